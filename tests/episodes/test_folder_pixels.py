from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from episodes.datasets.folder.dataset import Folder
from episodes.types import DataError
from photo_builders import save, save_classes, write_csv

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


pytestmark = pytest.mark.usefixtures("cache_elsewhere")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path / "My photos"


@pytest.mark.parametrize("suffix", ["jpg", "JPEG", "png", "bmp", "gif", "webp", "tif"])
def test_every_image_format_is_read(photos: Path, suffix: str) -> None:
    save(photos / f"a/red.{suffix}", Image.new("RGB", (20, 20), RED))
    image = Folder(photos, image_size=8).load("test").images[0]
    assert image[0].min() >= 250
    assert image[1:].max() <= 5


def test_gray_transparent_palette_and_16_bit_images_become_rgb(photos: Path) -> None:
    save(photos / "a/0 gray.png", Image.new("L", (9, 9), 100))
    save(photos / "a/1 transparent.png", Image.new("RGBA", (9, 9), (*RED, 0)))
    save(photos / "a/2 half.png", Image.new("RGBA", (9, 9), (*RED, 51)))
    palette = Image.new("P", (9, 9), 1)
    palette.putpalette([*RED, *BLUE])
    save(photos / "a/3 palette.png", palette)
    save(photos / "a/4 palette with a transparent color.png", palette, transparency=1)
    save(photos / "a/5 two colors.png", Image.new("1", (9, 9), 1))
    save(photos / "a/6 sixteen bits.png", Image.fromarray(np.full((9, 9), 100 * 256, np.uint16)))
    image_set = Folder(photos, image_size=9).load("test")
    colors = [tuple(image[:, 4, 4].tolist()) for image in image_set.images]
    expected = [(100,) * 3, WHITE, (255, 204, 204), BLUE, WHITE, WHITE, (100,) * 3]
    assert colors == expected
    gray = Folder(photos, image_size=9, channels=1).load("test").images
    assert gray.shape == (7, 1, 9, 9)
    assert gray[:, 0, 4, 4].tolist() == [100, 255, 219, 29, 255, 255, 100]  # 0.299 R + 0.587 G + 0.114 B


def test_photos_are_turned_upright_as_their_exif_tag_says(photos: Path) -> None:
    image = Image.new("RGB", (40, 40), RED)
    image.paste(BLUE, (0, 0, 40, 20))  # blue above
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    save(photos / "a/0 as it is.jpg", image)
    save(photos / "a/1 turned.jpg", image, exif=exif)
    as_it_is, turned = Folder(photos, image_size=8).load("test").images
    assert as_it_is[2, 0].min() > 240
    assert turned[2, 7].min() > 240
    assert turned[0, 0].min() > 240


def test_the_middle_square_is_kept_and_resized_by_the_named_filter(photos: Path) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 100, 3), dtype=np.uint8))
    save(photos / "a/wide.png", image)
    save(photos / "a/tall.png", image.transpose(Image.Transpose.TRANSPOSE))
    tall, wide = Folder(photos, image_size=10).load("test").images.numpy()
    expected = np.asarray(image.crop((30, 0, 70, 40)).resize((10, 10), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    np.testing.assert_array_equal(wide, expected)
    assert abs(tall.transpose(0, 2, 1).astype(int) - expected).max() <= 1


def test_empty_and_undecodable_images_are_named_in_one_line(photos: Path) -> None:
    save_classes(photos, {"a": 3, "b": 3})
    (photos / "a/00.png").write_bytes(b"")
    (photos / "b/01.png").write_text("no image")
    content = (photos / "b/02.png").read_bytes()
    (photos / "b/02.png").write_bytes(content[:-700])
    with pytest.raises(DataError) as caught:
        Folder(photos).load("test")
    message = str(caught.value)
    assert "1 empty image: a/00.png; 2 undecodable images: b/01.png (no known image format), b/02.png (" in message
    assert "\n" not in message
    assert len(Folder(photos).check()) == 2


def test_many_damaged_images_are_counted_and_only_the_first_are_named(photos: Path) -> None:
    for number in range(9):
        write_csv(photos / f"a/{number}.jpg", ["no image"])
    with pytest.raises(DataError, match=r"9 undecodable images: a/0\.jpg .*a/4\.jpg \(.*\) and 4 more\. Replace"):
        Folder(photos).load("test")
