"""Pictures to look at: episodes before anybody trains on them, and the course of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from episodes.types import Episode, EpisodeError, ImageSet
from fewshot.reports.colors import INK, MUTED, PAPER, SERIES, TINTS
from fewshot.reports.plots.style import picture_file, plain, save

Pixels = npt.NDArray[np.uint8]

_PANELS = dict(zip(("support", "query", "unlabeled"), zip(SERIES, TINTS, strict=False), strict=True))

_MARGIN, _PANEL_GAP, _BLOCK_GAP, _PADDING, _CELL_GAP = 20, 16, 28, 5, 3  # pixels
_TITLE_SIZE, _HEADING_SIZE, _NAME_SIZE = 18, 15, 14
_HEADING_HEIGHT = 24
_WIDEST_NAME = 280
_SIDE_AIMED_AT = 1100  # for the images of one episode
_LEAST_CELL, _LARGEST_CELL = 48, 112
_TALLEST = 20_000


@dataclass(frozen=True)
class _ClassRow:
    """One line of an episode: a class and the rows of its images by panel."""

    name: str
    images: dict[str, list[int]]
    distractor: bool


def episode_picture(image_set: ImageSet, episode: Episode, title: str) -> Image.Image:
    """A batch of episodes as a picture: a row per class, its support, query and unlabeled images side by side.

    Queries and unlabeled images are sorted to their classes; distractor classes follow below. Ink is drawn dark on
    white. Raises EpisodeError when the picture would be too tall.
    """
    blocks = [_class_rows(image_set, episode, index) for index in range(len(episode))]
    sheet = _Sheet(blocks, _Cells(image_set, blocks), title)
    if sheet.height > _TALLEST:
        raise EpisodeError(
            f"{len(blocks)} episodes make a picture {sheet.height} pixels tall, and {_TALLEST} is the limit: "
            "draw fewer episodes or lower the way"
        )
    return sheet.draw()


def draw_episodes(image_set: ImageSet, episode: Episode, path: Path, title: str) -> Path:
    """Write ``episode_picture`` as a PNG file; returns ``path``. Raises DataError when it cannot be written there."""
    picture = episode_picture(image_set, episode, title)
    with picture_file(path) as scratch:
        picture.save(scratch, "PNG")
    return path


def _class_rows(image_set: ImageSet, episode: Episode, index: int) -> list[_ClassRow]:
    """The lines of episode ``index``: its classes by label, then the distractor classes."""
    support, labels = episode.support[index].tolist(), episode.labels[index].tolist()
    queries: list[list[int]] = [[] for _ in support]
    for row, label in zip(episode.query[index].tolist(), labels, strict=True):
        queries[label].append(row)
    unlabeled: dict[int, list[int]] = {}
    if episode.unlabeled is not None:
        for row in sorted(episode.unlabeled[index].tolist()):
            unlabeled.setdefault(int(image_set.class_ids[row]), []).append(row)
    lines = []
    for shown, asked in zip(support, queries, strict=True):
        class_id = int(image_set.class_ids[shown[0]])
        images = {"support": shown, "query": asked, "unlabeled": unlabeled.pop(class_id, [])}
        lines.append(_ClassRow(image_set.class_names[class_id], images, distractor=False))
    for class_id, rows in unlabeled.items():
        lines.append(_ClassRow(image_set.class_names[class_id], {"unlabeled": rows}, distractor=True))
    return lines


class _Cells:
    """The images as they are shown: enlarged by a whole factor where they are small, reduced where they are large."""

    def __init__(self, image_set: ImageSet, blocks: list[list[_ClassRow]]) -> None:
        used = sorted({row for block in blocks for line in block for rows in line.images.values() for row in rows})
        pixels: Pixels = image_set.images[used].numpy()  # (shown, channels, height, width)
        if pixels.shape[1] == 1:
            if np.median(pixels) < 32:  # ink on dark paper, not a gray photograph: shown as people write
                pixels = 255 - pixels
            pixels = pixels.repeat(3, axis=1)
        self._pixels = dict(zip(used, pixels.transpose(0, 2, 3, 1), strict=True))
        self.columns = {
            panel: max((len(line.images.get(panel, ())) for block in blocks for line in block), default=0)
            for panel in _PANELS
        }
        _, height, width = image_set.image_shape
        side = max(height, width)
        fitting = _SIDE_AIMED_AT // (max(sum(self.columns.values()), *map(len, blocks)) * side)
        factor = min(max(fitting, -(-_LEAST_CELL // side)), max(1, _LARGEST_CELL // side))
        self.width, self.height = width * factor, height * factor
        self._filter = Image.Resampling.NEAREST
        if side > _LARGEST_CELL:
            self.width, self.height = width * _LARGEST_CELL // side, height * _LARGEST_CELL // side
            self._filter = Image.Resampling.LANCZOS

    def image(self, row: int) -> Image.Image:
        """The image in row ``row`` of the image set, at the size it is shown."""
        return Image.fromarray(self._pixels[row]).resize((self.width, self.height), self._filter)


class _Sheet:
    """Where everything lies on the paper, in pixels from the upper left corner."""

    def __init__(self, blocks: list[list[_ClassRow]], cells: _Cells, title: str) -> None:
        self.blocks, self.cells, self.title = blocks, cells, _printable(title)
        names = [_name(line) for block in blocks for line in block]
        if len(blocks) > 1:
            names.append(f"episode {len(blocks)}")
        self.names_end = _MARGIN + max(_text_width(name, _NAME_SIZE) for name in names)
        left = self.names_end + 10
        self.panels: dict[str, tuple[int, int]] = {}  # left edge and width of those that are there
        for panel, count in cells.columns.items():
            if count:
                images = count * (cells.width + _CELL_GAP) - _CELL_GAP
                width = max(images, _text_width(panel, _HEADING_SIZE, bold=True)) + 2 * _PADDING
                self.panels[panel] = left, width
                left += width + _PANEL_GAP
        title_width = _text_width(self.title, _TITLE_SIZE, bold=True)
        self.width = max(left - _PANEL_GAP, _MARGIN + title_width) + _MARGIN
        self.first_top = _MARGIN + 2 * _TITLE_SIZE
        self.height = self.first_top + sum(self.block_height(block) + _BLOCK_GAP for block in blocks)
        self.height += _MARGIN - _BLOCK_GAP

    def block_height(self, block: list[_ClassRow]) -> int:
        """Pixels from the headings of an episode to the end of its panels."""
        return _HEADING_HEIGHT + len(block) * (self.cells.height + _CELL_GAP) - _CELL_GAP + 2 * _PADDING

    def draw(self) -> Image.Image:
        """The whole picture."""
        picture = Image.new("RGB", (self.width, self.height), PAPER)
        pen = ImageDraw.Draw(picture)
        pen.text((_MARGIN, _MARGIN), self.title, INK, _font(_TITLE_SIZE, bold=True))
        top = self.first_top
        for number, block in enumerate(self.blocks, start=1):
            if len(self.blocks) > 1:
                pen.text((_MARGIN, top), f"episode {number}", MUTED, _font(_NAME_SIZE))
            self._draw_panels(pen, block, top)
            for index, line in enumerate(block):
                self._draw_line(picture, pen, line, top + _HEADING_HEIGHT + _PADDING, index)
            top += self.block_height(block) + _BLOCK_GAP
        return picture

    def _draw_panels(self, pen: ImageDraw.ImageDraw, block: list[_ClassRow], top: int) -> None:
        for panel, (left, width) in self.panels.items():
            color, tint = _PANELS[panel]
            filled = [line for line in block if line.images.get(panel)]  # distractors, at the end, have no support
            bottom = top + self.block_height(filled) - 1
            pen.rectangle((left, top + _HEADING_HEIGHT, left + width - 1, bottom), tint)
            pen.rectangle((left, top + _HEADING_HEIGHT - 3, left + width - 1, top + _HEADING_HEIGHT - 1), color)
            pen.text((left + width // 2, top), panel, color, _font(_HEADING_SIZE, bold=True), anchor="ma")

    def _draw_line(self, picture: Image.Image, pen: ImageDraw.ImageDraw, line: _ClassRow, top: int, index: int) -> None:
        cells = self.cells
        y = top + index * (cells.height + _CELL_GAP)
        color = MUTED if line.distractor else INK
        pen.text((self.names_end, y + cells.height // 2), _name(line), color, _font(_NAME_SIZE), anchor="rm")
        for panel, rows in line.images.items():
            for column, row in enumerate(rows):
                x = self.panels[panel][0] + _PADDING + column * (cells.width + _CELL_GAP)
                picture.paste(cells.image(row), (x, y))


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and knows most alphabets; ``size`` in pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)


def _text_width(text: str, size: int, bold: bool = False) -> int:
    return int(np.ceil(_font(size, bold).getlength(text)))


def _printable(text: str) -> str:
    """One line without what no font can draw: names of files may hold any bytes."""
    return "".join(letter if letter.isprintable() else " " for letter in text.encode(errors="replace").decode())


def _name(line: _ClassRow) -> str:
    """What stands at the left of a row; a long name loses its middle."""
    name, note = _printable(line.name), " (distractor)" if line.distractor else ""
    kept = len(name)
    while _text_width(name + note, _NAME_SIZE) > _WIDEST_NAME and kept > 2:
        kept -= 1
        name = _printable(f"{line.name[: kept // 2]}…{line.name[len(line.name) - (kept + 1) // 2 :]}")
    return name + note


def plot_history(history: Sequence[Mapping[str, float]], path: Path, title: str) -> Path:
    """Draw the training loss and the validation accuracy with its 95 % interval against episodes into a PNG file.

    Each entry of ``history`` has ``episode``, ``loss``, ``accuracy`` and ``ci95`` (accuracy and interval from 0 to 1),
    as in a record. The chosen episode, that of the highest accuracy, is marked. Returns ``path``. Raises ValueError
    when the history is empty, DataError when the file cannot be written.
    """
    if not history:
        raise ValueError("there is no history to draw: nothing was validated")
    episodes, loss, accuracy, ci95 = (
        np.array([entry[key] for entry in history], np.float64) for key in ("episode", "loss", "accuracy", "ci95")
    )
    figure = Figure(figsize=(10, 4), dpi=120, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))
    figure.suptitle(_printable(title), fontsize=12, fontweight="bold", parse_math=False)
    left, right = figure.subplots(1, 2)
    _plot_loss(left, episodes, loss)
    _plot_accuracy(right, episodes, 100 * accuracy, 100 * ci95)
    for axes in (left, right):
        axes.set_xlabel("training episode")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        plain(axes)
    return save(figure, path)


def _plot_loss(axes: Axes, episodes: npt.NDArray[np.float64], loss: npt.NDArray[np.float64]) -> None:
    axes.set_title("training loss", fontsize=11)
    axes.plot(episodes, loss, color=SERIES[0], marker="o", markersize=3)
    if 0 < 20 * loss.min() < loss.max():  # false where one is not a number
        axes.set_yscale("log")


def _plot_accuracy(
    axes: Axes, episodes: npt.NDArray[np.float64], accuracy: npt.NDArray[np.float64], ci95: npt.NDArray[np.float64]
) -> None:
    axes.set_title("validation accuracy (%), 95 % interval", fontsize=11)
    axes.fill_between(episodes, accuracy - ci95, accuracy + ci95, color=SERIES[1], alpha=0.2, linewidth=0)
    axes.plot(episodes, accuracy, color=SERIES[1], marker="o", markersize=3)
    best = int(accuracy.argmax())
    chosen = f"chosen: {accuracy[best]:.2f} ± {ci95[best]:.2f} % after {int(episodes[best]):,} episodes"
    axes.scatter(episodes[best], accuracy[best], s=90, facecolors="none", edgecolors=INK, label=chosen, zorder=3)
    axes.legend(loc="best", frameon=False, handletextpad=0.1)
