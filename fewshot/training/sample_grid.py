"""A picture of the images that a generating method makes, at every validation of its training."""

from __future__ import annotations

import io
import math
from pathlib import Path

import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from episodes.files import write_atomically
from fewshot.models.methods import Method

_ENLARGED = 2  # times, both ways


def draw_samples(method: Method, folder: Path) -> Path | None:
    """Write ``samples-0001.png`` and so on, one more at every call; nothing for a method that makes no images."""
    method.eval()
    images = method.samples()
    if images is None:
        return None
    path = folder / f"samples-{len(list(folder.glob('samples-*.png'))) + 1:04d}.png"
    tiled = tiles(images).cpu()
    if len(tiled) == 1:
        picture = Image.fromarray(255 - tiled[0].numpy())  # ink on paper
    else:
        picture = Image.fromarray(tiled.permute(1, 2, 0).contiguous().numpy())
    enlarged = picture.resize((picture.width * _ENLARGED, picture.height * _ENLARGED), Image.Resampling.NEAREST)
    file = io.BytesIO()
    enlarged.save(file, "PNG")
    write_atomically(path, file.getvalue())
    return path


def tiles(images: UInt8[Tensor, "n c h w"]) -> UInt8[Tensor, "c rows columns"]:
    """The images side by side in a square, a pixel of paper around each."""
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    columns = math.isqrt(len(images))
    rows = [torch.cat(list(padded[first : first + columns]), dim=2) for first in range(0, len(images), columns)]
    return torch.cat([row for row in rows if row.shape[2] == rows[0].shape[2]], dim=1)
