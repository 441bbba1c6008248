"""A user's folder of images, made for a test."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

COLORS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def save(path: Path, image: Image.Image | None = None, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if image is None:  # one that nobody else has
        seed = list(path.as_posix().encode())
        image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    image.save(path, **options)


def save_classes(root: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        for number in range(size):
            save(root / name / f"{number:02d}.png")


def write_csv(path: Path, lines: Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def plain_photos(root: Path, count: int, first: int = 0) -> Path:
    """A folder for each color, its images that color with noise."""
    for name, color in COLORS.items():
        for number in range(first, first + count):
            noise = np.random.default_rng([number, *color]).normal(0, 30, (40, 50, 3))
            save(root / name / f"{number:02d}.png", Image.fromarray((noise + color).clip(0, 255).astype(np.uint8)))
    return root


def gray_squares(root: Path, classes: int) -> Path:
    """Eight images of 28x28 in each class, every one of a gray of its own."""
    for number in range(classes):
        for index in range(8):
            gray = np.full((28, 28), 10 * number + index, np.uint8)
            save(root / f"class{number}" / f"{index}.png", Image.fromarray(gray))
    return root
