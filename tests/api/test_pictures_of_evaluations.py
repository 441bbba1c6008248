"""fs.plot_...: what stands in the figures, and that a notebook shows them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from matplotlib.collections import Collection
from matplotlib.figure import Figure

import fewshot as fs
from episodes.errors import UserError
from fewshot.evaluation.result import Predictions
from fewshot.reports.html.class_results import class_results, thumbnail
from fewshot.reports.html.row_names import boards_of
from fewshot.reports.plots.style import encode
from report_records import a_record
from toy_classes import FewStrokes

# One query of a class in a line, and what it was taken for: b is taken for a once in four times, c for b twice in four.
TRUE = [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
TAKEN = [0, 0, 1, 1, 1, 0, 2, 2, 1, 1]


def an_evaluation(true: npt.ArrayLike, taken: npt.ArrayLike, names: tuple[str, ...]) -> fs.Evaluation:
    """One episode of these queries, the first half of them half sure and the others surer."""
    classes, predicted = (np.array([numbers], np.int32) for numbers in (true, taken))
    total = classes.shape[1]
    sure = np.array([[0.5] * (total // 2) + [0.9] * (total - total // 2)], np.float32)
    kept = Predictions(names, np.zeros_like(classes), classes, predicted, sure, total)
    return fs.Evaluation(np.array([(classes == predicted).sum()], np.uint16), total, 0.0, kept)


def images_of(count: int, of_each: int = 2) -> fs.ImageSet:
    """Photographs in one color each."""
    colors = np.linspace(60, 250, count).astype(np.uint8).repeat(of_each)
    pixels = torch.from_numpy(np.stack([colors, 255 - colors, colors // 2], axis=1))[..., None, None].expand(
        -1, -1, 90, 90
    )
    names = tuple("abcdefghijklmnopqrstuvwxyz"[:count])
    return fs.ImageSet(pixels.contiguous(), np.arange(count + 1) * of_each, names, "toy", "test")


def places_of(dots: Collection) -> npt.NDArray[np.float64]:
    return np.asarray(dots.get_offsets(), np.float64)


def words_of(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_hardest_class_stands_on_top() -> None:
    words = words_of(fs.plot_classes(an_evaluation(TRUE, TAKEN, ("a", "b", "c"))))
    assert [word for word in words if word in "abc"] == ["c", "b", "a"]
    assert [word for word in words if "%" in word] == ["50.0 %", "75.0 %", "100.0 %"]


def test_many_classes_are_a_distribution() -> None:
    classes = np.arange(40)
    found = an_evaluation(classes, np.where(classes % 4, classes, 0), tuple(f"class {n}" for n in classes))
    assert words_of(fs.plot_classes(found)) == ["all classes"]


def test_a_confusion_matrix_has_the_shares_of_each_true_class() -> None:
    words = words_of(fs.plot_confusion(an_evaluation(TRUE, TAKEN, ("a", "b", "c"))))
    assert [word for word in words if ". " in word] == ["1. a", "2. b", "3. c"]
    assert [word for word in words if word.isdigit() and len(word) > 1] == ["100", "25", "75", "50", "50"]


def test_of_many_classes_those_with_most_mistakes_are_in_the_matrix() -> None:
    classes = np.arange(40)
    names = tuple(f"class-{n}" for n in classes)
    words = words_of(fs.plot_confusion(an_evaluation(classes, np.where(classes == 33, 7, classes), names)))
    named = [word.split(". ")[1] for word in words if ". " in word]
    assert len(named) == 20
    assert {"class-33", "class-7"} <= {*named}


def test_calibration_has_a_dot_for_each_bin_that_holds_a_query() -> None:
    figure = fs.plot_calibration(an_evaluation(TRUE, TAKEN, ("a", "b", "c")))
    (dots,) = [found for collection in figure.axes[0].collections if len(found := places_of(collection)) == 2]
    np.testing.assert_allclose(dots, np.array([[0.5, 1.0], [0.9, 0.4]]), atol=1e-6)


def test_confused_pairs_are_shown_with_their_images_and_how_often() -> None:
    found, images = an_evaluation(TRUE, TAKEN, ("a", "b", "c")), images_of(3)
    figure = fs.plot_confused(found, images)
    assert words_of(figure) == ["b / c", "2 of 8", "a / b", "1 of 6"]
    shown = [tuple((255 * np.asarray(image.get_array())[0, 0]).round()) for image in figure.axes[0].images]
    assert [color[0] for color in shown] == [155, 250, 60, 155]  # of b, c, a, b
    assert words_of(fs.plot_confused(an_evaluation(TRUE, TRUE, ("a", "b", "c")), images)) == ["no mistakes"]
    names = ("striped-square", "striped-triangle", "a" * 40)
    renamed = fs.ImageSet(images.images, images.class_starts, names, "toy", "test")
    words = words_of(fs.plot_confused(an_evaluation(TRUE, TAKEN, names), renamed))
    assert words[2] == "striped-square / striped-triangle", "there is room"
    assert "…" in words[0]
    with pytest.raises(UserError, match="other images"):
        fs.plot_confused(found, images_of(4))


def test_dollars_in_the_name_of_a_class_are_no_formula() -> None:
    images, names = images_of(3), ("$a_$", r"$\b$", "c")
    renamed = fs.ImageSet(images.images, images.class_starts, names, "toy", "test")
    found = an_evaluation(TRUE, TAKEN, names)
    for figure in (fs.plot_classes(found), fs.plot_confusion(found), fs.plot_confused(found, renamed)):
        assert encode(figure, Path("a.png"))


def test_of_a_class_that_was_never_drawn_nothing_is_kept_and_the_others_keep_their_names() -> None:
    (board,) = boards_of([a_record()])
    found = class_results(board.rows[0], "digest", an_evaluation(TRUE, TAKEN, ("a", "b", "c", "d")), images_of(4))
    assert found.names == ("a", "b", "c")
    assert found.confusion == ((2, 0, 0), (1, 3, 0), (0, 2, 2))


def test_counts_alone_cannot_be_drawn() -> None:
    with pytest.raises(UserError, match="keep_predictions"):
        fs.plot_classes(fs.Evaluation(np.array([2], np.uint16), 2, 0.0))


def test_the_map_is_the_same_each_time_and_keeps_classes_together() -> None:
    images = images_of(4, of_each=12)
    rows = np.eye(4).repeat(12, axis=0) * 20 + np.random.default_rng(0).normal(size=(48, 4))
    first, again = fs.plot_embeddings(rows, images), fs.plot_embeddings(rows, images)
    assert encode(first, Path("a.png")) == encode(again, Path("a.png"))
    (dots,) = first.axes[0].collections
    places = torch.tensor(places_of(dots))
    apart, same = torch.cdist(places, places), images.class_ids[:, None] == images.class_ids
    assert apart[~same].min() > apart[same].max()
    assert len(first.axes[0].images) == 4  # one of each class


def test_a_map_of_a_method_or_of_rows_that_do_not_fit() -> None:
    data = fs.Data(FewStrokes())
    method = fs.build("proto", data=data, encoder_options={"width": 8})
    assert len(places_of(fs.plot_embeddings(method, data.test, most=30).axes[0].collections[0])) <= 30
    with pytest.raises(UserError, match="a row for each image"):
        fs.plot_embeddings(np.ones((3, 2)), data.test)
    with pytest.raises(UserError, match="4 images or more"):
        fs.plot_embeddings(np.ones((2, 2)), images_of(1))
    same = fs.plot_embeddings(np.ones((8, 3)), images_of(4))  # every image at one place
    assert len(places_of(same.axes[0].collections[0])) == 8


def test_a_notebook_shows_a_figure_on_white_with_its_title() -> None:
    figure = fs.plot_confusion(an_evaluation(TRUE, TAKEN, ("a", "b", "c")), title="Mine")
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert figure.get_suptitle() == "Mine"
    assert [*figure.get_facecolor()][-1] == 1


def test_thumbnails_of_photographs_keep_their_colors_and_are_small() -> None:
    import io

    from PIL import Image

    picture = Image.open(io.BytesIO(thumbnail(images_of(3), 0)))
    assert picture.size == (56, 56)
    assert picture.convert("RGB").getpixel((5, 5)) == (60, 195, 30)
