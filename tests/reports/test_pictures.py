from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.datasets.strokes.dataset import Strokes
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import DataError, Episode, EpisodeError, ImageSet
from fewshot.reports.colors import SERIES
from fewshot.reports.plots.episodes import Pixels, draw_episodes, plot_history

PER_CLASS = 12
HISTORY = [
    {"episode": 250, "loss": 2.0, "accuracy": 0.81, "ci95": 0.02, "seconds": 3.0},
    {"episode": 500, "loss": 0.6, "accuracy": 0.93, "ci95": 0.01, "seconds": 6.0},
    {"episode": 750, "loss": 0.5, "accuracy": 0.92, "ci95": 0.01, "seconds": 9.0},
]


def color_of(row: int) -> tuple[int, int, int]:
    """Nothing else on the paper has red above green above blue in these bounds."""
    return 250 - row // 100, 100 + row % 100, 7


def colored_set(num_classes: int, side: int = 28, names: list[str] | None = None) -> ImageSet:
    """Every image is of one color, which says in which row it lies."""
    rows = num_classes * PER_CLASS
    colors = torch.tensor([color_of(row) for row in range(rows)], dtype=torch.uint8)
    images = colors[:, :, None, None].expand(rows, 3, side, side).contiguous()
    names = names or [f"class {index}" for index in range(num_classes)]
    return ImageSet(images, np.arange(num_classes + 1) * PER_CLASS, tuple(names), "colored", "test")


def read(path: Path) -> Pixels:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


Place = tuple[int, int, int, int]


def places_in(picture: Pixels) -> dict[int, Place]:
    """Left, top, width and height of every image, by its row; fails where one is not whole or there twice."""
    tops, lefts = np.nonzero((picture[:, :, 2] == 7) & (picture[:, :, 0] > 240))
    red, green = picture[tops, lefts, 0].astype(int), picture[tops, lefts, 1].astype(int)
    rows = (250 - red) * 100 + green - 100
    places = {}
    for row in np.unique(rows):
        y, x = tops[rows == row], lefts[rows == row]
        places[int(row)] = int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1
        assert len(x) == places[int(row)][2] * places[int(row)][3]
    return places


def draw(image_set: ImageSet, episode: Episode, folder: Path, title: str = "colored") -> Pixels:
    """The picture of these episodes, (height, width, 3)."""
    return read(draw_episodes(image_set, episode, folder / "episodes.png", title))


def rows_of(episode: Episode) -> list[int]:
    parts = [episode.support, episode.query] + ([] if episode.unlabeled is None else [episode.unlabeled])
    return [int(row) for part in parts for row in part.flatten()]


def two_way(*rows: int) -> Episode:
    """An episode of two classes, one shot and one query each: support of class 0 and 1, query of class 0 and 1."""
    return Episode(torch.tensor([[rows[:1], rows[1:2]]]), torch.tensor([rows[2:]]), torch.tensor([[0, 1]]))


@pytest.mark.parametrize("spec", [EpisodeSpec(5, 1, 1), EpisodeSpec(5, 5, 6), EpisodeSpec(20, 5, 7)])
def test_every_image_is_drawn_in_the_panel_and_line_where_it_belongs(tmp_path: Path, spec: EpisodeSpec) -> None:
    image_set = colored_set(25)
    episode = EpisodeSampler(image_set, spec, seed=0)[0]
    places = places_in(draw(image_set, episode, tmp_path))
    assert sorted(places) == sorted(rows_of(episode))
    assert len({place[2:] for place in places.values()}) == 1
    tops = []
    for label in range(spec.way):
        line = episode.support[0, label].tolist() + episode.query[0, episode.labels[0] == label].tolist()
        assert len({places[row][1] for row in line}) == 1
        tops.append(places[line[0]][1])
    assert tops == sorted(set(tops))
    support_end = max(places[row][0] + places[row][2] for row in episode.support.flatten().tolist())
    query_start = min(places[row][0] for row in episode.query.flatten().tolist())
    assert query_start - support_end > 10  # apart, so that the eye sees it


def test_small_images_are_enlarged_and_the_picture_keeps_a_sane_size(tmp_path: Path) -> None:
    image_set = colored_set(25)
    for spec, least in ((EpisodeSpec(5, 1, 1), 84), (EpisodeSpec(20, 5, 7), 56)):
        episode = EpisodeSampler(image_set, spec, seed=1)[0]
        picture = draw(image_set, episode, tmp_path)
        assert min(place[2] for place in places_in(picture).values()) >= least
        assert picture.shape[0] < 1500
        assert 300 < picture.shape[1] < 1500


def test_large_images_are_reduced(tmp_path: Path) -> None:
    image_set = colored_set(5, side=224)
    episode = EpisodeSampler(image_set, EpisodeSpec(5, 1, 2), seed=1)[0]
    assert {place[2:] for place in places_in(draw(image_set, episode, tmp_path)).values()} == {(112, 112)}


def test_unlabeled_images_lie_right_of_the_queries_and_distractors_below_the_classes(tmp_path: Path) -> None:
    image_set, spec = colored_set(10), EpisodeSpec(4, 1, 2, num_unlabeled=3, num_distractor=2)
    episode = EpisodeSampler(image_set, spec, seed=3)[0]
    assert episode.unlabeled is not None
    places = places_in(draw(image_set, episode, tmp_path))
    query_end = max(places[row][0] + places[row][2] for row in episode.query[0].tolist())
    line_of = {row // PER_CLASS: places[row][1] for row in episode.support.flatten().tolist()}
    distractors = 0
    for row in episode.unlabeled[0].tolist():
        left, top, _, _ = places[row]
        assert left > query_end + 10
        if row // PER_CLASS in line_of:
            assert top == line_of[row // PER_CLASS]
        else:
            assert top > max(line_of.values())
            distractors += 1
    assert distractors == 6


def test_several_episodes_are_drawn_one_below_the_other(tmp_path: Path) -> None:
    first, second = two_way(0, 12, 1, 13), two_way(24, 36, 25, 37)
    both = Episode(
        torch.cat((first.support, second.support)),
        torch.cat((first.query, second.query)),
        torch.cat((first.labels, second.labels)),
    )
    places = places_in(draw(colored_set(4), both, tmp_path))
    assert max(places[row][1] for row in rows_of(first)) < min(places[row][1] for row in rows_of(second))


def test_ink_is_drawn_dark_on_white_paper(tmp_path: Path) -> None:
    image_set = Strokes(num_classes=25).load("test")
    episode = EpisodeSampler(image_set, EpisodeSpec(2, 1, 1), seed=0)[0]
    picture = draw(image_set, episode, tmp_path)
    drawing = 255 - image_set.images[episode.support[0, 0, 0], 0].numpy()
    wanted = drawing.repeat(4, axis=0).repeat(4, axis=1)[:, :, None].repeat(3, axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(picture, wanted.shape)[:, :, 0]
    corner = (windows[:, :, 0, 0] == 255).all(axis=-1)
    assert any(np.array_equal(windows[top, left], wanted) for top, left in np.argwhere(corner))


def test_a_gray_photograph_keeps_its_grays(tmp_path: Path) -> None:
    images = torch.full((4, 1, 28, 28), 77, dtype=torch.uint8)
    image_set = ImageSet(images, np.array([0, 2, 4]), ("a", "b"), "gray", "test")
    episode = EpisodeSampler(image_set, EpisodeSpec(2, 1, 1), seed=0)[0]
    picture = draw(image_set, episode, tmp_path)
    assert (picture == 77).all(axis=2).sum() >= 4 * 112 * 112


def test_names_and_title_are_drawn_and_never_cut_off(tmp_path: Path) -> None:
    lefts = {}
    for kind, names in {"short": ["a", "b"], "long": ["n" * 300, "Greek/" + "character" * 40]}.items():
        image_set = colored_set(2, names=names)
        sheet = draw(image_set, two_way(0, 12, 1, 13), tmp_path, "a long title " * 8)
        lefts[kind] = left = places_in(sheet)[0][0]
        assert (sheet[60:, 10 : left - 12] < 128).any()  # the names
        assert (sheet[15:45] < 128).any()  # the title
        for edge in (sheet[:10], sheet[-10:], sheet[:, :10], sheet[:, -10:]):
            assert (edge == 255).all()
    assert lefts["short"] < lefts["long"] < 400


def test_odd_names_are_no_obstacle(tmp_path: Path) -> None:
    image_set = colored_set(2, names=["$x_{", "line\nbreak \udcff 漢字"])
    assert len(places_in(draw(image_set, two_way(0, 12, 1, 13), tmp_path, "$odd_{\udcff"))) == 4
    assert plot_history(HISTORY, tmp_path / "history.png", "$odd_{\udcff$").stat().st_size > 0


def test_too_many_episodes_are_refused(tmp_path: Path) -> None:
    image_set = colored_set(25)
    sampler = EpisodeSampler(image_set, EpisodeSpec(20, 1, 1), seed=0)
    with pytest.raises(EpisodeError, match="draw fewer episodes"):
        draw_episodes(image_set, sampler.batch(0, 40), tmp_path / "many.png", "many")
    assert not list(tmp_path.iterdir())
    assert draw(image_set, sampler.batch(0, 10), tmp_path).shape[0] <= 20_000


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "history.png"
    assert plot_history(HISTORY, path, "first") == path
    before = path.read_bytes()

    def fail(self: object, file: io.BytesIO, **options: object) -> None:  # noqa: ARG001
        file.write(b"half a picture")
        raise OSError("no space left")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="no space"):
        plot_history(HISTORY, path, "second")
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_is_no_place_to_write_a_picture_to(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is a folder: name a file"):
        plot_history(HISTORY, tmp_path, "history")


def hue_columns(picture: Pixels, color: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.flatnonzero((np.abs(picture.astype(int) - [*bytes.fromhex(color[1:])]) < 12).all(axis=2).any(axis=0))


def test_history_shows_the_loss_at_the_left_and_the_accuracy_at_the_right(tmp_path: Path) -> None:
    picture = read(plot_history(HISTORY, tmp_path / "history.png", "strokes 5-way 1-shot"))
    assert picture.shape == (480, 1200, 3)
    loss, accuracy = hue_columns(picture, SERIES[0]), hue_columns(picture, SERIES[1])
    assert len(loss) > 300
    assert len(accuracy) > 300
    assert loss.max() < 600 < accuracy.min()


def test_history_shows_what_it_is_given(tmp_path: Path) -> None:
    original = read(plot_history(HISTORY, tmp_path / "history.png", "one"))
    for key, value in (("loss", 1.2), ("accuracy", 0.88), ("ci95", 0.05), ("episode", 600)):
        changed = [*HISTORY[:1], HISTORY[1] | {key: value}, *HISTORY[2:]]
        assert not np.array_equal(original, read(plot_history(changed, tmp_path / "history.png", "one"))), key


def test_history_of_one_validation_is_drawn(tmp_path: Path) -> None:
    picture = read(plot_history(HISTORY[:1], tmp_path / "history.png", "one"))
    assert len(hue_columns(picture, SERIES[0])) > 0


def test_empty_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing was validated"):
        plot_history([], tmp_path / "history.png", "none")


@pytest.mark.real_data
def test_real_photographs_appear_pixel_by_pixel(tmp_path: Path, real_data_root: Path) -> None:
    from episodes.datasets.miniimagenet.dataset import MiniImageNet

    image_set = MiniImageNet(real_data_root).load("val")
    episode = EpisodeSampler(image_set, EpisodeSpec(2, 1, 1), seed=0)[0]
    picture = draw(image_set, episode, tmp_path)
    photograph = image_set.images[episode.query[0, 0]].permute(1, 2, 0).numpy()
    windows = np.lib.stride_tricks.sliding_window_view(picture, photograph.shape)[:, :, 0]
    corner = (windows[:, :, 0, 0] == photograph[0, 0]).all(axis=-1)
    assert any(np.array_equal(windows[top, left], photograph) for top, left in np.argwhere(corner))
