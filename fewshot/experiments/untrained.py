"""A checkpoint without a training: what `fewshot run --model untrained` tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from episodes.datasets.base import Dataset
from episodes.datasets.corruption import corrupted_share
from episodes.errors import UserError
from episodes.types import ImageSet
from fewshot.experiments.config import RunConfig
from fewshot.models.factory import Trained, build_method, place
from fewshot.models.tensor_files import save_tensors
from fewshot.records.provenance import commit, short_hash
from fewshot.training.checkpoints import CHECKPOINT

NO_TRAINING = {"name": "none", "source": "nothing is trained", "train_episodes": 0}
"""In the place of a recipe, in checkpoint and record."""


def write_untrained(
    config: RunConfig, dataset: Dataset, train_set: ImageSet, out: Path, device: torch.device
) -> Trained:
    """A method with the weights that its seed gives it, and its checkpoint under ``out``: one for all tests."""
    assert config.encoder is not None
    shape = train_set.image_shape
    method = build_method(
        config.model, config.model_options, config.encoder, config.encoder_options, shape, config.seed
    )
    method.trained = True  # as far as it ever will be
    identity: dict[str, Any] = {
        "model": config.model,
        "model_options": dict(config.model_options),
        "encoder": config.encoder,
        "encoder_options": dict(config.encoder_options),
        "pixels": dataset.protocol_name,
        "recipe": NO_TRAINING,
        "seed": config.seed,
    }
    metadata = identity | {
        "image_shape": list(shape),
        "dataset": dataset.name,
        "class_split": dataset.class_split,
        "damage": corrupted_share(dataset),
        "shortened": False,
        "commit": commit(),
        "training": {"history": [], "seconds": 0.0},
    }
    name = f"{config.model}-{dataset.protocol_name}-{NO_TRAINING['name']}-{short_hash(identity)}"
    checkpoint = out / "checkpoints" / name / CHECKPOINT
    save_tensors(checkpoint, method.state_dict(), metadata)
    return Trained(place(method, device), checkpoint, metadata)


def refuse_training_options(model: str, changed: dict[str, Any]) -> None:
    """Raises UserError where a model that is never trained is told how to be."""
    if changed:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
        raise UserError(f"model {model} is not trained: leave out {flags}")
