"""Images are read from the disk where they are looked at, however large the file is."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from episodes.images.mapped_files import map_images


def test_a_file_larger_than_memory_is_mapped_all_the_same(tmp_path: Path) -> None:
    """Where memory is counted strictly, as it is by default on Linux, a plain private map of it would be refused."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    path, rows = tmp_path / "images.npy", 3 * memory // 1000
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (rows, 1000)})
        offset = file.tell()
        try:
            file.truncate(offset + rows * 1000)
        except OSError:
            pytest.skip("this disk writes out empty files")
        if path.stat().st_blocks * 512 > 1 << 20:
            pytest.skip("this disk writes out empty files")
        file.seek(-1, os.SEEK_END)
        file.write(bytes([7]))
    images = map_images(path)
    assert (images.shape, int(images[-1, -1]), int(images[0].sum())) == ((rows, 1000), 7, 0)
    images[0] = 1
    assert not map_images(path)[0].any()
