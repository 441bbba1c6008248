"""A checkpoint that nobody trained."""

from __future__ import annotations

from pathlib import Path

from fewshot.models.factory import build_method
from fewshot.models.tensor_files import save_tensors
from toy_classes import COLOR


def color_checkpoint(path: Path) -> Path:
    """Of a narrow Conv4 for color images, 84 pixels a side."""
    built = {"model": "proto", "model_options": {}, "encoder": "conv4", "encoder_options": {"width": 8}}
    about = built | {"image_shape": COLOR, "seed": 0}
    save_tensors(path, build_method(**about).state_dict(), about)  # type: ignore[arg-type]
    return path
