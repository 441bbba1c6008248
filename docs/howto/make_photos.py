"""Draw photos to try `fewshot fit` with: 12 kinds of shapes on clouds, plain, striped or dotted.

python docs/howto/make_photos.py FOLDER [IMAGES_PER_CLASS] [SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 320
SHAPES, TEXTURES = ("disc", "triangle", "square", "star"), ("plain", "striped", "dotted")


def corners(shape: str, generator: np.random.Generator) -> list[tuple[float, float]]:
    """The outline of a shape, anywhere, at any size and angle."""
    center, radius, turn = generator.uniform(110, 210, 2), generator.uniform(50, 95), generator.uniform(0, 2 * np.pi)
    count = {"disc": 60, "triangle": 3, "square": 4, "star": 10}[shape]
    angles = turn + 2 * np.pi * np.arange(count) / count
    radii = np.where((np.arange(count) % 2 == 1) & (shape == "star"), 0.45, 1.0) * radius
    points = center[:, None] + radii * np.stack([np.cos(angles), np.sin(angles)])
    return [(float(x), float(y)) for x, y in points.T]


def photo(shape: str, texture: str, generator: np.random.Generator) -> Image.Image:
    """A shape in a color of its own on a cloud, with stripes or dots over all of it."""
    cloud = generator.normal(generator.integers(60, 200, 3), 25, (SIDE // 8, SIDE // 8, 3)).clip(0, 255)
    image = Image.fromarray(cloud.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    color, over = (tuple(int(part) for part in generator.integers(0, 256, 3)) for _ in range(2))
    draw.polygon(corners(shape, generator), fill=color)
    if texture == "striped":
        for left in range(-SIDE, SIDE, 18):
            draw.line((left, 0, left + SIDE, SIDE), fill=over, width=3)
    if texture == "dotted":
        for x, y in generator.integers(0, SIDE, (40, 2)).tolist():
            draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=over)
    return image.filter(ImageFilter.GaussianBlur(float(generator.uniform(0, 1.5))))


def main(folder: str, images: str = "8", seed: str = "0") -> None:
    """A folder for each class, so many photos in each."""
    for number, (shape, texture) in enumerate((shape, texture) for shape in SHAPES for texture in TEXTURES):
        place = Path(folder, f"{texture}-{shape}")
        place.mkdir(parents=True, exist_ok=True)
        for index in range(int(images)):
            made = photo(shape, texture, np.random.default_rng([int(seed), number, index]))
            made.save(place / f"{index:02d}.jpg", quality=90)


if __name__ == "__main__":
    main(*sys.argv[1:])
