from __future__ import annotations

import sys
from pathlib import Path

import pytest

from episodes.errors import UserError
from fewshot.training.loop import Progress, Validation
from fewshot.training.tensorboard import tensorboard_observer


def test_loss_and_validation_accuracy_reach_tensorboard(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    observe = tensorboard_observer(tmp_path)
    observe(Progress(10, 20, 0.5, 100.0, None))
    observe(Progress(20, 20, 0.25, 100.0, Validation(20, 0.25, 0.75, 0.01, 1.0)))
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(10, 0.5), (20, 0.25)]
    assert [(event.step, event.value) for event in events.Scalars("val/accuracy")] == [(20, 0.75)]


def test_without_tensorboard_one_line_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        tensorboard_observer(tmp_path)
