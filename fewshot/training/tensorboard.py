"""Training curves for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from episodes.errors import UserError
from fewshot.training.loop import Progress


def tensorboard_observer(folder: Path) -> Callable[[Progress], None]:
    """A callback that writes loss, speed and validation accuracy. Raises UserError where TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard needs TensorBoard: pip install tensorboard (or fewshot-bench[tensorboard])"
        ) from None
    writer: Any = SummaryWriter(str(folder))  # type: ignore[no-untyped-call, unused-ignore]

    def observe(progress: Progress) -> None:
        writer.add_scalar("train/loss", progress.loss, progress.episode)
        writer.add_scalar("train/episodes_per_second", progress.episodes_per_second, progress.episode)
        if progress.validation is not None and progress.validation.episode == progress.episode:
            writer.add_scalar("val/accuracy", progress.validation.accuracy, progress.episode)
        writer.flush()

    return observe
