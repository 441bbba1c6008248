"""One training, another rule: the weights of a checkpoint under a method that they were not trained for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from episodes.errors import UserError
from fewshot.models.factory import read_trained, rebuilt
from fewshot.models.methods import METHODS
from fewshot.models.options import non_default_options
from fewshot.models.tensor_files import save_tensors
from fewshot.records.provenance import short_hash
from fewshot.training.checkpoints import training_name

_AS = "-as-"


class ConversionError(UserError):
    """A rule that these weights cannot serve. The message says what is missing."""


def trained_name(name: str) -> str:
    """The training that a checkpoint of this name holds the weights of: its own, or the one it was converted from."""
    return name.partition(_AS)[0]


def convert_checkpoint(checkpoint: Path, model: str, options: Mapping[str, Any], out: Path) -> Path:
    """Write a checkpoint that holds the weights of another as ``model``; its path, under ``out``.

    With it a prototypical network trained on labels alone is tested with one step of soft k-means ("semi-supervised
    inference", Ren et al. 2018, section 5.2), or a relation network with the statistics of the test batch. What the
    new rule does not need is left out. Raises ConversionError when it needs weights that were never trained.
    """
    tensors, metadata = read_trained(checkpoint)
    kept = metadata["model_options"] if model == metadata["model"] else {}
    chosen = non_default_options(METHODS.get(model), {**kept, **options}, f"model {model}")
    wanted = rebuilt(metadata, model, chosen).state_dict()
    missing = sorted(name for name in wanted if name not in tensors or tensors[name].shape != wanted[name].shape)
    if missing:
        raise ConversionError(
            f"{checkpoint} was trained as {metadata['model']} and has no weights for {missing[0]} of {model}: "
            f"train it (`fewshot run --model {model}`)"
        )
    before = {"model": metadata["model"], "model_options": metadata["model_options"]}
    changed = metadata | {"model": model, "model_options": chosen, "trained_as": metadata.get("trained_as", before)}
    name = f"{training_name(checkpoint)}{_AS}{model}-{short_hash({'model': model, 'options': chosen})[:6]}"
    path = out / "checkpoints" / name / "checkpoint.safetensors"
    save_tensors(path, {name: tensors[name] for name in wanted}, changed)
    return path
