"""fewshot bench --model: every method in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_bench import shrink

from episodes.errors import UserError
from fewshot import bench_models
from fewshot.methods import METHODS
from fewshot.reporting import Reporter


@pytest.mark.parametrize("name", ["proto", "relation", "masked-proto"])
def test_time_and_memory_of_a_method_are_measured(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch, tmp_path)
    monkeypatch.setattr(bench_models, "_MORE", (6, 1))
    monkeypatch.setattr(bench_models, "_MANY", (6, 5))
    seconds, of_more, memory = bench_models.measure_one(name, str(tmp_path), "20")
    assert seconds["name"] == f"{name}: 20 episodes 5w1s15q"
    assert seconds["unit"] == "s"
    assert 0 < seconds["value"] < 60
    assert of_more["name"] == f"{name}: 20 episodes 20w1s15q"
    assert 0 < of_more["value"] < 60
    assert memory["unit"] == "GB"
    assert 0.05 < memory["value"] < 30
    assert "random pixels" in seconds["what"]


def test_a_method_without_a_table_of_embeddings_is_left_out_of_all_and_refused_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_models, "METHODS", {"maml": METHODS.get("maml")})
    assert bench_models.measure_models("all", None, Reporter())["measurements"] == []
    with pytest.raises(UserError, match="maml is not measured here"):
        bench_models.measure_models("maml", None, Reporter())
