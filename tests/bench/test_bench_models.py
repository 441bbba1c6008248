"""fewshot bench --model: every method in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes.errors import UserError
from fewshot.bench import methods as bench_models
from fewshot.models.methods import METHODS
from fewshot.progress import Reporter
from toy_bench import shrink


@pytest.mark.parametrize("name", ["proto", "relation", "masked-proto"])
def test_time_and_memory_of_a_method_are_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, tmp_path)
    monkeypatch.setattr(bench_models, "_MORE", (6, 1))
    monkeypatch.setattr(bench_models, "_MANY", (6, 5))
    seconds, of_more, memory, step = bench_models.measure_one(name, tmp_path, 20, 2)
    assert seconds["name"] == f"{name}: 20 episodes 5w1s15q"
    assert seconds["unit"] == "s"
    assert 0 < seconds["value"] < 60
    assert of_more["name"] == f"{name}: 20 episodes 20w1s15q"
    assert 0 < of_more["value"] < 60
    assert memory["unit"] == "GB"
    assert 0.05 < memory["value"] < 30
    assert "random pixels" in seconds["what"]
    assert step["name"] == f"{name}: training step"
    assert 0 < step["value"] < 60_000
    assert f", {3 * (2 + 5 * (name == 'masked-proto'))} a step, " in step["what"]


@pytest.mark.parametrize(("name", "images"), [("softmax", 6), ("triplet", 4), ("nt-xent", 12), ("gan", 6)])
def test_a_step_of_training_on_images_is_timed_on_as_many_of_them(
    name: str, images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch, tmp_path)
    monkeypatch.setattr(bench_models, "_MORE", (6, 1))
    monkeypatch.setattr(bench_models, "_MANY", (6, 5))
    step = bench_models.measure_one(name, tmp_path, 2, 2)[-1]
    assert step["name"] == f"{name}: training step"
    assert f", {images} a step, " in step["what"]


def test_what_is_never_trained_has_no_training_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, tmp_path)
    monkeypatch.setattr(bench_models, "_MORE", (6, 1))
    monkeypatch.setattr(bench_models, "_MANY", (6, 5))
    figures = bench_models.measure_one("untrained", tmp_path, 2, 2)
    assert [figure["unit"] for figure in figures] == ["s", "s", "GB"]


def test_a_method_without_a_table_of_embeddings_is_left_out_of_all_and_refused_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_models, "METHODS", {"maml": METHODS.get("maml")})
    assert bench_models.measure_models("all", None, Reporter())["measurements"] == []
    with pytest.raises(UserError, match="maml is not measured here"):
        bench_models.measure_models("maml", None, Reporter())
