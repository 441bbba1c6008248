"""Arrays of images that are read from the disk where they are looked at."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import numpy as np
import torch

from episodes.images.decoding import Images

_MAP_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)  # Python names it from 3.13 on; the number is x86's and ARM's


def machine_memory() -> int:
    """Bytes of memory that this machine has; not for Windows."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def map_images(path: Path) -> torch.Tensor:
    """The array of a ``.npy`` file as a tensor, read from the disk where it is looked at, also if larger than memory.

    PyTorch wants writable memory: pages are copied on writing, and the file stays as it is. Linux counts such a map as
    memory that will be needed, and refuses one larger than the machine's, unless told to reserve none.
    """
    images: Images = np.load(path, mmap_mode="r")
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows, which does not count so
        return torch.from_numpy(np.load(path, mmap_mode="c"))
    assert isinstance(images, np.memmap)
    with path.open("rb") as file:
        flags = mmap.MAP_PRIVATE | (_MAP_NORESERVE if sys.platform == "linux" else 0)
        pages = mmap.mmap(file.fileno(), 0, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    if hasattr(mmap, "MADV_RANDOM") and len(pages) > machine_memory() // 2:
        pages.madvise(mmap.MADV_RANDOM)  # it will never be in memory as a whole: read images, not all around them
    return torch.from_numpy(np.ndarray(images.shape, images.dtype, pages, images.offset))
