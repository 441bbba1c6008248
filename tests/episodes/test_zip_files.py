"""Members of zip files: never more of one in memory than the ceiling, whatever it says of its own size."""

from __future__ import annotations

import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from episodes.datasets.omniglot.oneshot_runs import read_runs
from episodes.errors import DataError
from episodes.images.decoding import PictureArchive
from episodes.images.zip_files import UNREADABLE, read_member
from fewshot.experiments.external_embeddings import EmbeddingsError, read_own_embeddings
from toy_classes import FewStrokes

CPU = torch.device("cpu")
MANY = 40_000_000  # bytes, which deflated are 40,000


def zeros(path: Path, name: str, how: int = zipfile.ZIP_DEFLATED, *, stated: int = MANY) -> Path:
    """A file with one member of zeros, which may say that it has fewer."""
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr(name, bytes(MANY))
    content = path.read_bytes()
    path.write_bytes(content.replace(MANY.to_bytes(4, "little"), stated.to_bytes(4, "little")))
    return path


def most_memory(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
    except (DataError, EmbeddingsError, *UNREADABLE):
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


def test_a_member_comes_whole_up_to_the_ceiling(tmp_path: Path) -> None:
    with zipfile.ZipFile(zeros(tmp_path / "a.zip", "x")) as archive:
        assert read_member(archive, "x", MANY) == bytes(MANY)
        with pytest.raises(ValueError, match="'x' has 40,000,000 bytes once unpacked, 39,999,999 are the most"):
            read_member(archive, "x", MANY - 1)


@pytest.mark.parametrize("stated", [MANY, 100])
def test_pictures_labels_and_arrays_take_no_more_memory_than_their_ceilings(tmp_path: Path, stated: int) -> None:
    runs = zeros(tmp_path / "all_runs.zip", "run01/class_labels.txt", stated=stated)
    with pytest.raises(DataError, match=r"all_runs\.zip does not hold Lake's 20 runs \("):
        read_runs(runs, lambda drawing: drawing)
    pictures = PictureArchive(zeros(tmp_path / "images.zip", "x.png", stated=stated))
    arrays = zeros(tmp_path / "mine.npz", "embeddings.npy", stated=stated)
    test_set = FewStrokes().load("test")
    with pytest.raises(EmbeddingsError, match=r"mine\.npz is no NumPy archive of numbers \((the magic string|Bad CRC)"):
        read_own_embeddings(arrays, test_set, CPU)
    for act in (
        lambda: read_runs(runs, lambda drawing: drawing),
        lambda: pictures.read("x.png", 1_000_000),
        lambda: read_own_embeddings(arrays, test_set, CPU),
    ):
        assert most_memory(act) < 3_000_000


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_gigabytes_at_once_is_not_begun(tmp_path: Path, how: int) -> None:
    pictures = PictureArchive(zeros(tmp_path / "images.zip", "x.png", how))
    with pytest.raises(ValueError, match=r"'x\.png' is packed by method (12|14): stored and deflated are read"):
        pictures.read("x.png")
    assert most_memory(lambda: pictures.read("x.png")) < 3_000_000
