"""Single episodes and classes looked at closely, kept as data so that the page needs neither weights nor images.

``fewshot report --closeups`` makes results/closeups.json where weights and images are; every page is drawn from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import matplotlib.figure as mpl
import msgspec
import numpy as np
import numpy.typing as npt

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.reports.colors import ACCENT, GRID, INK, PAPER, SERIES
from fewshot.reports.html.figures import Figure, label
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.plots.charts import WIDTH, dots
from fewshot.reports.plots.sheets import SeenClass, color_of_class, paper, picture, word

FILE = "closeups.json"
Kind = Literal["typical", "hard"]
_HARD = 4  # episodes drawn as the hardest
_TYPICAL = 0.1  # share of the episodes that are harder than the one whose embeddings are drawn
_MOST_MODELS = 16


@dataclass(frozen=True)
class ModelView:
    """What one model made of an episode."""

    training: str  # the name of its checkpoint
    places: tuple[tuple[int, int], ...]  # projected embeddings, 0 to 1000: support, then queries; empty: none to draw
    share: float  # of the variance that the projection shows
    predicted: tuple[int, ...]  # a label for each query


@dataclass(frozen=True)
class GalleryEpisode:
    """One episode of one board; the images are PNG files, dark ink on white, support first, class by class."""

    kind: Kind
    digest: str  # of the board's episodes
    index: int
    class_names: tuple[str, ...]
    shot: int
    labels: tuple[int, ...]  # of the queries
    images: tuple[bytes, ...]
    views: tuple[ModelView, ...]

    def view_of(self, row: NamedRow) -> ModelView | None:
        """What the model of a row made of it; None where its weights were not here."""
        return next((view for view in self.views if view.training == training_of(row)), None)


@dataclass(frozen=True)
class ClassResults:
    """All predictions of the best model of a board, class by class."""

    training: str
    digest: str
    accuracies: tuple[float, ...]  # of every test class that was drawn
    hardest: tuple[SeenClass, ...]
    confused: tuple[SeenClass, ...]  # pairs, over the episodes that hold both
    calibration: tuple[tuple[float, float, int], ...]  # mean confidence, accuracy and queries of each bin
    calibration_error: float  # expected: the mean of |confidence - accuracy| over queries
    readout: str = ""
    names: tuple[str, ...] = ()  # of these classes and of the matrix, where they are few
    confusion: tuple[tuple[int, ...], ...] = ()  # queries of class i that were taken for class j
    photos: bool = False  # not ink on white


@dataclass(frozen=True)
class EmbeddingMap:
    """Where one model puts images of several classes."""

    training: str
    digest: str
    places: tuple[tuple[int, int], ...]  # 0 to 1000
    classes: tuple[int, ...]  # of each place
    names: tuple[str, ...]
    images: tuple[bytes, ...]  # the most central one of each class
    photos: bool = False


@dataclass(frozen=True)
class Gallery:
    """The content of closeups.json."""

    schema: Literal[2] = 2
    episodes: tuple[GalleryEpisode, ...] = ()
    classes: tuple[ClassResults, ...] = ()
    maps: tuple[EmbeddingMap, ...] = ()


def training_of(row: NamedRow) -> str:
    """The name under which the weights of a row are kept."""
    path = Path(row.first.trained.checkpoint)
    return path.parent.name if path.stem == "checkpoint" else path.stem


def rows_to_look_at(board: Board) -> list[NamedRow]:
    """The best models that classify by their own rule; a read-out of frozen embeddings is no model of its own."""
    return [row for row in board.rows if not row.first.readout][:_MOST_MODELS]


def episodes_to_look_at(accuracies: npt.NDArray[np.float64]) -> list[tuple[Kind, int]]:
    """One typical of the harder tenth, and the hardest, by the mean over models: (models, episodes) -> indices."""
    order = np.argsort(accuracies.mean(axis=0), kind="stable")
    hard: list[tuple[Kind, int]] = [("hard", int(index)) for index in order[:_HARD]]
    return [("typical", int(order[int(_TYPICAL * len(order))])), *hard]


def write_gallery(gallery: Gallery, path: Path) -> Path:
    """Write it as JSON; the path."""
    write_atomically(path, msgspec.json.encode(gallery) + b"\n")
    return path


def read_gallery(path: Path) -> Gallery:
    """What was written before; an empty one where there is no such file. Raises UserError where it is damaged."""
    if not path.is_file():
        return Gallery()
    try:
        return msgspec.json.decode(path.read_bytes(), type=Gallery)
    except msgspec.DecodeError as error:
        raise UserError(
            f"{path} does not hold closeups ({error}): `fewshot report --closeups` makes it anew"
        ) from error


def embeddings(board: Board, gallery: Gallery) -> list[Figure]:
    """The embeddings of one episode, a figure for each model whose weights were looked at."""
    reading = (
        "The first two principal components of the embeddings of one and the same episode; a tenth of all episodes are "
        "harder. Drawn images are the support, discs the queries in the color of their class; a ring is a mistake, in "
        "the color of the class that was predicted. These are two of many dimensions: what overlaps may be apart."
    )
    figures: list[Figure] = []
    for episode in _of_board(gallery, board, "typical"):
        for row in rows_to_look_at(board):
            if (view := episode.view_of(row)) and view.places:
                wrong = sum(map(int.__ne__, episode.labels, view.predicted))
                note = f"{wrong or 'None'} of {len(episode.labels)} wrong; {100 * view.share:.0f} % of the variance."
                key = f"embeddings-{len(figures) + 1}-{board.key}"
                figures.append(Figure(key, label(row), reading, _embedding_panel(episode, view), note))
    return figures


def hardest(board: Board, gallery: Gallery) -> list[Figure]:
    """The episodes with most mistakes over all models, drawn."""
    reading = (
        "The episodes with most mistakes over all models; left of each class its support image. Framed queries were "
        "predicted wrongly: by how many models, and for which class they were taken most often. Point at one for names."
    )
    figures: list[Figure] = []
    for rank, episode in enumerate(_of_board(gallery, board, "hard"), 1):
        views = [(row.name, view) for row in board.rows if not row.first.readout and (view := episode.view_of(row))]
        if views:
            right = [100 * np.mean(np.array(episode.labels) == view.predicted) for _, view in views]
            names = " ".join(f"{_letter(number)}: {name}." for number, name in enumerate(episode.class_names))
            note = f"{len(views)} models, from {min(right):.0f} to {max(right):.0f} % right. {names}"
            title = f"{board.name}, episode {episode.index}"
            figures.append(Figure(f"hardest-{rank}-{board.key}", title, reading, _episode_sheet(episode, views), note))
    return figures


def not_looked_at(board: Board, gallery: Gallery) -> list[str]:
    """Names of the rows that the gallery should show and does not."""
    seen = {view.training for of in _of_board(gallery, board, "typical") for view in of.views}
    return [row.name for row in rows_to_look_at(board) if training_of(row) not in seen]


def _of_board(gallery: Gallery, board: Board, kind: Kind) -> list[GalleryEpisode]:
    return [episode for episode in gallery.episodes if (episode.digest, episode.kind) == (board.digest, kind)]


def _letter(number: int) -> str:
    """A for label 0."""
    return chr(ord("A") + number)


def _embedding_panel(episode: GalleryEpisode, view: ModelView) -> mpl.Figure:
    """Color and drawing say the class; drawings are support, discs are queries, a ring is a mistake."""
    figure, axes = paper(WIDTH, f"Embeddings of {view.training}, episode {episode.index}")
    places = np.clip(20 + 0.36 * np.array(view.places, np.float64), 16, WIDTH - 16)
    num_support = len(episode.class_names) * episode.shot
    queries, told = places[num_support:], []
    for actual, predicted in zip(episode.labels, view.predicted, strict=True):
        mistake = "" if actual == predicted else f", predicted as {episode.class_names[predicted]}"
        told.append(episode.class_names[actual] + mistake)
    wrong = np.array(episode.labels) != view.predicted
    rings = [color_of_class(predicted) for predicted in np.array(view.predicted)[wrong].tolist()]
    dots(axes, queries[wrong], [], 150, color=PAPER, edgecolors=rings, linewidths=2)
    dots(axes, queries, told, 50, color=[color_of_class(number) for number in episode.labels])
    for number, (x, y) in enumerate(places[:num_support]):
        actual = number // episode.shot
        picture(
            axes, episode.images[number], x - 14, y - 14, 28, color_of_class(actual), 2.5, episode.class_names[actual]
        )
    return figure


def _episode_sheet(episode: GalleryEpisode, views: Sequence[tuple[str, ModelView]]) -> mpl.Figure:
    """An episode, class by class; under each query that somebody got wrong, how many did and what it was taken for."""
    per_line, side, step = 8, 35.0, 50.0
    way = len(episode.class_names)
    of_class = [[at for at, actual in enumerate(episode.labels) if actual == number] for number in range(way)]
    lines = -(-max(map(len, of_class)) // per_line)
    figure, axes = paper(way * (lines * step + 8) + 4, f"Episode {episode.index}: queries and who got them wrong")
    for number, queries in enumerate(of_class):
        top = number * (lines * step + 8) + 4
        name = episode.class_names[number]
        word(axes, 10, top + side / 2, _letter(number), color_of_class(number), 15, weight="bold")
        picture(
            axes, episode.images[number * episode.shot], 24, top, side, color_of_class(number), 2.2, f"{name}: support"
        )
        mistakes = {at: [(who, v.predicted[at]) for who, v in views if v.predicted[at] != number] for at in queries}
        for place, at in enumerate(sorted(queries, key=lambda at: -len(mistakes[at]))):
            line, column = divmod(place, per_line)
            x, y, wrong = 76 + column * (side + 5), top + line * step, mistakes[at]
            taken = "; ".join(f"{who}: {_letter(predicted)}" for who, predicted in wrong)
            tip = f"{name}, wrong by {taken}" if wrong else f"{name}: all right"
            width = 1 + 2.5 * len(wrong) / len(views) if wrong else 0
            picture(axes, episode.images[way * episode.shot + at], x, y, side, SERIES[1] if wrong else GRID, width, tip)
            if wrong:
                ((predicted, _),) = Counter(predicted for _, predicted in wrong).most_common(1)
                word(axes, x + 8, y + side + 8, f"{len(wrong)}×", ACCENT, 10)
                word(axes, x + side - 6, y + side + 8, _letter(predicted), INK, 11, weight="bold")
    return figure
