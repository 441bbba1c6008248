"""A run small enough for tests, and a reporter that listens."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from episodes.types import ImageSet, Split
from fewshot.experiments.config import RunConfig
from fewshot.experiments.measure import Outcome
from fewshot.experiments.run import run_readouts
from fewshot.progress import Reporter
from fewshot.training.loop import Progress as TrainingProgress
from photo_builders import gray_squares
from toy_classes import QUICK, FewStrokes

CONFIG = RunConfig(
    recipe=QUICK, encoder_options={"width": 8}, way=4, query=5, episodes=30, device="cpu", precision="fp32"
)


def in_any_process(images: Path, train_episodes: int = 200) -> RunConfig:
    """A training of a second or two that needs nothing of the tests; it keeps its state every 10 episodes.

    On new images in that folder.
    """
    return RunConfig(
        dataset=str(gray_squares(images, classes=25)),
        size=28,
        recipe="smoke",
        encoder_options={"width": 8},
        way=2,
        query=2,
        episodes=20,
        train_way=5,
        train_query=2,
        train_episodes=train_episodes,
    )


def run(*what: Any, **options: Any) -> Outcome:
    """The run of a configuration with a single read-out."""
    (outcome,) = run_readouts(*what, **options)
    return outcome


class Listener(Reporter):
    """Keeps what is said and how far training came; may stop it."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.said: list[str] = []
        self.trained: list[int] = []
        self.stop_at = stop_at

    def say(self, text: str) -> None:
        self.said.append(text)

    def training_progress(self, progress: TrainingProgress) -> None:
        self.trained.append(progress.episode)
        if self.stop_at == progress.episode:
            signal.raise_signal(signal.SIGINT)


def changed_pixels(split: Split, seed: int = 0) -> ImageSet:
    image_set = FewStrokes().load(split)
    pixels = torch.randint(0, 256, image_set.images.shape, generator=torch.Generator().manual_seed(seed))
    return replace(image_set, images=pixels.to(torch.uint8), fingerprint=f"noise {seed}")
