"""fewshot bench --large-file: the file is as large as said, is trained from, and is gone afterwards."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from episodes.errors import UserError
from episodes.spec import EpisodeSpec
from fewshot.bench import large_file as bench_large
from fewshot.bench.large_file import large_file, measure_large_file, own_megabytes
from fewshot.progress import Reporter
from fewshot.reports.pages.speed import write_speed
from forked import FORKED
from toy_bench import called_here
from toy_classes import toy_method


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which strokes are decoded already."""
    root = tmp_path_factory.mktemp("data")
    with large_file(root, 10, Reporter()):
        return root


def test_the_file_holds_drawn_characters_over_and_over_and_is_gone_afterwards(drawn: Path) -> None:
    num_images = 70_000  # more than strokes has
    with large_file(drawn, num_images, Reporter()) as path:
        images = np.load(path, mmap_mode="r")
        assert images.shape == (num_images, 1, 28, 28)
        period = next(n for n in range(1, num_images) if np.array_equal(images[n], images[0]))
        assert np.array_equal(images[period:], images[:-period])
        assert images[-1].any()
        del images
    assert not path.exists()
    assert not path.parent.exists()


def test_a_file_that_does_not_fit_on_the_disk_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"does not fit on the disk .* smaller --large-file"),
        large_file(tmp_path, 10**15, Reporter()),
    ):
        pass
    assert not [*tmp_path.iterdir()]


def test_both_trainings_are_measured_and_shown(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_large, "in_a_process", called_here)
    monkeypatch.setattr(bench_large, "keep_freed_memory", lambda: True)  # it would last beyond the test
    for name, value in (("_SPEC", EpisodeSpec(3, 1, 2)), ("_PER_CLASS", 20), ("_SMALL_SHARE", 4)):
        monkeypatch.setattr(bench_large, name, value)
    monkeypatch.setattr(bench_large, "fresh_method", lambda model, _: toy_method(model))
    measured: dict[str, Any] = measure_large_file(drawn, Reporter(), 0.0003, steps=60)
    found = measured["large_file"]
    assert found["large"]["file_gb"] == pytest.approx(0.0003, rel=0.1)
    assert found["small"]["file_gb"] == pytest.approx(0.0003 / 4, rel=0.2)
    assert found["memory_gb"] > 0.5
    for part in (found["small"], found["large"]):
        assert 0 < part["step_ms"] < 60_000
        assert 50 < part["own_mb"] < 50_000
    page = write_speed(tmp_path, measured)[0].read_text()
    assert "Training from an image file of 0.0 GB" in page
    later = write_speed(tmp_path, found | {"of_models": "all", "measurements": []})[0].read_text()
    assert "Training from an image file" in later  # kept until it is measured anew


def allocated_and_mapped(path: Path) -> tuple[float, float]:
    """What 100 MB add to the memory of this process: as an array of its own, and as the pages of a file."""
    np.save(path, np.ones(100_000_000, np.uint8))
    before = own_megabytes()
    kept = np.ones(100_000_000, np.uint8)
    after = own_megabytes()
    pages = np.load(path, mmap_mode="r")
    assert pages.sum() == kept.sum() == 100_000_000
    return after - before, own_megabytes() - after


def test_memory_of_its_own_counts_what_is_allocated_and_not_what_is_mapped(tmp_path: Path) -> None:
    """In a process of its own: this one may keep memory that others have freed, and give it out again."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("needs Linux's account of a process")
    with ProcessPoolExecutor(1, mp_context=FORKED) as pool:
        allocated, mapped = pool.submit(allocated_and_mapped, tmp_path / "pages.npy").result()
    assert 80 < allocated < 130
    assert mapped < 40
