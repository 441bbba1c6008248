"""fewshot bench --scaling: the points are where they say, the file is gone afterwards, the picture shows them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from episodes.spec import EpisodeSpec
from fewshot.bench import scaling as bench_scaling
from fewshot.bench.basics import in_equal_classes
from fewshot.bench.scaling import QUICK, Point, Sizes, image_file, measure_point, measure_scaling, points_of
from fewshot.progress import Reporter
from fewshot.reports.plots.scaling import scaling_figure
from fewshot.reports.plots.style import save
from toy_bench import called_here

TINY = Sizes(
    classes=(10, 50),
    images=(300, 600),
    way=(5, 10),
    shot=(1, 2),
    episodes=(3, 40),
    scored=((5, 1, 10),),
    fixed_classes=20,
    rounds=1,
    blocks=1,
)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(bench_scaling, "in_a_process", called_here)
        monkeypatch.setattr(bench_scaling, "keep_freed_memory", lambda: True)  # it would last beyond the test
        return measure_scaling(tmp_path_factory.mktemp("data"), Reporter(), TINY)


def test_every_place_on_every_axis_is_measured(measured: Any) -> None:
    found = [(point["axis"], point["value"]) for point in measured["points"]]
    for axis in ("classes", "images", "way", "shot", "episodes"):
        assert tuple(value for name, value in found if name == axis) == getattr(TINY, axis)
    assert all(0 < point["drawing_us"] < 1e6 and 0 < point["gathering_us"] < 1e6 for point in measured["points"])
    costs = [point["drawing_us"] + point["gathering_us"] for point in measured["points"] if point["axis"] == "classes"]
    assert measured["largest_over_smallest"]["classes"] == pytest.approx(max(costs) / min(costs))


def test_scoring_stays_below_its_ceiling(measured: Any) -> None:
    (scored,) = measured["scoring"]
    assert (scored["way"], scored["shot"], scored["episodes"]) == (5, 1, 10)
    assert 0 <= scored["added_mb"] < measured["scoring_ceiling_mb"] < 2000


@pytest.mark.parametrize("sizes", [Sizes(), QUICK, TINY])
def test_every_point_can_be_drawn_from_the_file(sizes: Sizes) -> None:
    """No class is too small for its way, shot and queries; and a million classes and ten million images are there."""
    for point in points_of(sizes):
        assert point.classes <= point.images <= sizes.images[-1]
        assert point.spec.way <= point.classes
        assert point.spec.shot + point.spec.num_query <= point.images // point.classes
    assert (Sizes().classes[-1], Sizes().images[-1]) == (1_000_000, 10_000_000)


def test_the_images_lie_in_a_file_that_is_gone_afterwards(tmp_path: Path) -> None:
    with image_file(tmp_path, 100, Reporter()) as images:
        (path,) = tmp_path.rglob("*.npy")
        assert path.stat().st_size == 100 * 64 + 128
        assert images.shape == (100, 1, 8, 8)
        assert images.float().std() > 50
    assert not [*tmp_path.iterdir()]


def test_classes_are_of_equal_size_and_a_better_time_replaces_a_worse_one() -> None:
    images = torch.zeros(103, 1, 8, 8, dtype=torch.uint8)
    made = in_equal_classes(images, 10, "train")
    assert made.class_sizes.tolist() == [10] * 10
    point = Point("way", 10, 103, EpisodeSpec(5, 1, 5), drawing_us=1e9, gathering_us=1e-9)
    measure_point(point, images, TINY)
    assert point.drawing_us < 1e9
    assert point.gathering_us == 1e-9


def test_the_picture_has_a_panel_for_each_axis(measured: Any, tmp_path: Path) -> None:
    text = save(scaling_figure(measured), tmp_path / "scaling.svg").read_text(encoding="utf-8")
    for word in (
        "classes of the set",
        "images of the set",
        "way (classes",
        "shot (support",
        "episodes drawn",
        "memory",
    ):
        assert word in text
    assert save(scaling_figure(measured), tmp_path / "again.svg").read_text(encoding="utf-8") == text
    assert save(scaling_figure(measured), tmp_path / "scaling.png").read_bytes().startswith(b"\x89PNG")
