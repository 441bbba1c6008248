"""The images and labels of any torch ``Dataset``, brought to one shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from episodes.errors import DataError
from episodes.images.decoding import Images, Preparation, in_mode


def labeled_images(dataset: Any, size: int | None, channels: int | None) -> tuple[Images, npt.NDArray[np.int64]]:
    """Images uint8 (num_images, channels, height, width) and labels int64 (num_images,), sorted by label.

    Images of one label keep their order. Raises DataError, which names the item, for anything but pairs of an image and
    a whole number, and for images of several shapes.
    """
    if channels not in (None, 1, 3):
        raise DataError(f"channels must be 1 (gray) or 3 (color), not {channels}")
    items = (dataset[index] for index in range(len(dataset))) if hasattr(dataset, "__len__") else iter(dataset)
    images: list[Images] = []
    labels: list[int] = []
    for index, item in enumerate(items):
        try:
            image, label = item
            labels.append(int(label))
            if labels[-1] != float(label):
                raise ValueError(f"{label!r} is no whole number")
            images.append(as_array(image, size, channels))
        except (TypeError, ValueError, OverflowError) as error:
            what = "an image (PIL, or tensor of channels, height, width) and a whole number as its label"
            raise DataError(f"item {index} of the dataset is not {what}: {error}") from error
        if images[-1].shape != images[0].shape:
            shapes = " and ".join("x".join(map(str, found.shape)) for found in (images[0], images[-1]))
            raise DataError(f"item {index} of the dataset is of another shape than the first ({shapes}): give size")
    if not images:
        raise DataError("the dataset holds no image")
    order = np.argsort(labels, kind="stable")
    return np.stack([images[row] for row in order]), np.asarray(labels, np.int64)[order]


def as_array(image: Any, size: int | None, channels: int | None) -> Images:
    """One image (PIL, or tensor of channels, height, width), uint8 (channels, height, width).

    Raises ValueError or TypeError for anything else.
    """
    if not isinstance(image, Image.Image):
        if isinstance(image, np.ndarray):
            image = np.ascontiguousarray(image)  # one that was turned or mirrored is a view with negative strides
        image = _as_picture(torch.as_tensor(image))
    channels = channels or (1 if image.mode in ("1", "L", "I;16") else 3)
    if size is not None:
        return Preparation(channels, size, center_crop=True)(image)
    pixels = np.asarray(in_mode(image, "L" if channels == 1 else "RGB"))
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)


def _as_picture(pixels: torch.Tensor) -> Image.Image:
    if pixels.ndim == 2:
        pixels = pixels[None]
    if pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        raise ValueError(f"a tensor of shape {tuple(pixels.shape)}")
    if pixels.is_floating_point():
        if not 0 <= float(pixels.min()) <= float(pixels.max()) <= 1:
            raise ValueError("numbers outside 0 to 1: leave out normalization, the encoder does it")
        pixels = (255 * pixels).round()
    elif pixels.dtype != torch.uint8:
        raise ValueError(f"pixels of type {pixels.dtype}, neither uint8 nor floating point")
    array = pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy(force=True)
    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
