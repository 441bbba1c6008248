"""Embeddings that the user made, with any model at all, scored on the very episodes of everybody else."""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from episodes.errors import UserError, first_few, visible
from episodes.images.zip_files import UNREADABLE, open_member
from episodes.types import ImageSet
from fewshot.evaluation.embedding_cache import mean_of
from fewshot.experiments.measure import EvaluationPlan, Outcome, measurements, new_record, record_path
from fewshot.models.methods import METHODS
from fewshot.models.readouts import READOUTS, centering_readouts
from fewshot.progress import Reporter
from fewshot.records.provenance import commit
from fewshot.records.record import write_record
from fewshot.records.schema import Cost, ExternalEmbeddings, History, StoredRecipe, Trained

_ARRAYS = ("embeddings", "files", "fingerprint", "train_mean", "train_embeddings")
_MOST_BYTES = 2 << 30  # of all arrays once they are unpacked
_NOT_CALLED_SO = "holds no array called embeddings but {}: write it with numpy.savez(FILE, embeddings=...)"
HOW_TO_EXPORT = "`fewshot data export` writes the images in the order of the rows"
RECIPE = StoredRecipe(name="own", source="embeddings made elsewhere", train_episodes=0)


class EmbeddingsError(UserError):
    """A file of embeddings that does not fit. The message says what is wrong and what is wanted."""


@dataclass(frozen=True, eq=False)
class OwnEmbeddings:
    """What a file holds: the embedding of every test image, and the mean of those of the training images, if given."""

    path: Path
    digest: str  # SHA-256 of the file
    rows: Float[Tensor, "num_images dim"]
    mean: Float[Tensor, " dim"] | None

    def table(self, image_set: ImageSet) -> Float[Tensor, "num_images dim"]:
        """One row for each image of the set, which is the one that the file was checked against."""
        return self.rows

    def train_mean(self) -> Float[Tensor, " dim"]:
        """The mean embedding of the training images. Raises EmbeddingsError where the file does not tell it."""
        if self.mean is None:
            centered = ", ".join(centering_readouts())
            raise EmbeddingsError(
                f"some read-outs ({centered}) center on the training images and {self.path} holds neither train_mean "
                "(dim,) nor train_embeddings (images, dim): add one of them, or leave these read-outs out"
            )
        return self.mean


def read_own_embeddings(
    path: Path, test_set: ImageSet, device: torch.device, files: Sequence[str] = ()
) -> OwnEmbeddings:
    """Embeddings from a NumPy archive (.npz), checked against the images they are said to be of.

    It holds ``embeddings`` (num_images, dim), row i for image i of the test split, and may hold ``fingerprint`` (as
    exported: then it is compared), ``train_mean`` (dim,) or ``train_embeddings`` (images, dim). With an array ``files``
    the rows are found by the names of the images' ``files``, as the export has them, in whatever order they are.
    Nothing in the file is executed. Raises EmbeddingsError when anything does not fit.
    """
    arrays = _read_arrays(path)
    rows = _numbers(path, "embeddings", arrays["embeddings"], 2)
    names = arrays.get("files")
    if names is not None and names.size:  # an export of images that are no files of their own has none
        rows = rows[_rows_by_name(path, names, len(rows), files)]
    where = f"{test_set.dataset} {test_set.split}"
    if len(rows) != len(test_set.images):
        raise EmbeddingsError(
            f"{path} holds {len(rows):,} embeddings and {where} has {len(test_set.images):,} images: {HOW_TO_EXPORT}"
        )
    stated = arrays.get("fingerprint")
    if stated is not None and (stated.ndim or str(stated) != test_set.pixels_digest):
        raise EmbeddingsError(f"{path} was made from other images than those of {where} here: {HOW_TO_EXPORT}")
    mean = None
    if "train_mean" in arrays:
        mean = _numbers(path, "train_mean", arrays["train_mean"], 1)
    elif "train_embeddings" in arrays:
        mean = mean_of(_numbers(path, "train_embeddings", arrays["train_embeddings"], 2))
    if mean is not None and mean.shape[-1] != rows.shape[1]:
        raise EmbeddingsError(
            f"{path}: the embeddings have {rows.shape[1]} numbers each and those of the training images "
            f"{mean.shape[-1]}: make both with one model"
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return OwnEmbeddings(path, digest, rows.to(device), None if mean is None else mean.to(device))


def _rows_by_name(path: Path, stated: npt.NDArray[Any], num_rows: int, files: Sequence[str]) -> list[int]:
    """For each of the ``files`` the row that is called so."""
    if not files:
        raise EmbeddingsError(f"{path} names files and these images are no files: leave out the array files")
    names = [str(name) for name in stated.ravel()] if stated.size == num_rows else []
    if len({*names}) != num_rows:
        raise EmbeddingsError(f"{path}: the array files must name each of the {num_rows:,} embeddings, each once")
    row_of = {name: row for row, name in enumerate(names)}
    if missing := [name for name in files if name not in row_of]:
        raise EmbeddingsError(
            f"{path} has no embedding of {len(missing):,} of {len(files):,} files: {first_few(missing)}; files are "
            f"called as `fewshot data export` calls them, and one is called {names[0]} there"
        )
    return [row_of[name] for name in files]


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise EmbeddingsError(f"there is no file {path}: write one with numpy.savez({path.name!r}, embeddings=...)")
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise EmbeddingsError(f"{path} {_NOT_CALLED_SO.format('one bare array without a name')}")
        with zipfile.ZipFile(path) as archive:
            members = {member.filename.removesuffix(".npy"): member for member in archive.infolist()}
            if "embeddings" not in members:
                raise EmbeddingsError(f"{path} {_NOT_CALLED_SO.format(first_few([*members]))}")
            wanted = {name: members[name] for name in _ARRAYS if name in members}
            if (size := sum(member.file_size for member in wanted.values())) > _MOST_BYTES:
                raise EmbeddingsError(
                    f"{path} holds {size:,} bytes once unpacked, {_MOST_BYTES:,} are the most: in place of "
                    "train_embeddings, their mean, train_mean, is enough"
                )
            return {name: _array(archive, member.filename) for name, member in wanted.items()}
    except EmbeddingsError:
        raise
    except UNREADABLE as error:
        why = visible(" ".join(str(error).split())[:120]) or type(error).__name__
        raise EmbeddingsError(f"{path} is no NumPy archive of numbers ({why}): write it with numpy.savez") from error


def _array(archive: zipfile.ZipFile, name: str) -> npt.NDArray[Any]:
    """One array. Not by numpy.load, which unpacks a member that is none as a whole, whatever size it says it has."""
    with open_member(archive, name, _MOST_BYTES) as file:
        array: npt.NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{name} goes on behind its array")
    return array


def _numbers(path: Path, name: str, array: npt.NDArray[Any], axes: int) -> Tensor:
    """The array in single precision, or in double where it would lose digits: that is for the rule to say."""
    if array.ndim != axes or array.dtype.kind not in "fiu" or 0 in array.shape:
        wanted = "(images, dim)" if axes == 2 else "(dim,)"
        raise EmbeddingsError(f"{path}: {name} must hold numbers {wanted}, not {array.dtype} {array.shape}")
    kept = np.float32 if np.can_cast(array.dtype, np.float32) else np.float64
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array, dtype=kept)
    if not np.isfinite(numbers).all():
        raise EmbeddingsError(f"{path}: {name} holds numbers that are not finite")
    return torch.from_numpy(numbers)


def check_name(name: str | None) -> str:
    """The name that the model gets in tables. Raises EmbeddingsError for none, an unfit one and one that is taken."""
    if not name:
        raise EmbeddingsError("--embeddings needs --name: what the model that made them is called in the tables")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", name):
        raise EmbeddingsError(f"--name {name!r}: use letters, digits, '.', '+' and '-', 64 at most")
    if name in METHODS:
        raise EmbeddingsError(f"--name {name} is a model of this program: call yours otherwise")
    return name


def check_trained_on(text: str | None) -> str:
    """What the model was trained on, in the user's words. Raises EmbeddingsError for none."""
    if not text or not text.strip():
        raise EmbeddingsError(
            "--embeddings needs --trained-on: what data made them, such as ImageNet-21k; the tables say it"
        )
    return " ".join(text.split())


def measure_external(
    path: Path, name: str, trained_on: str, plan: EvaluationPlan, device: torch.device, out: Path, reporter: Reporter
) -> list[Outcome]:
    """Test the user's embeddings as planned; the records, written under ``out``."""
    test_set, files = plan.dataset.load("test", reporter.data_progress), plan.dataset.files("test")
    own = read_own_embeddings(path, test_set, device, files)
    if any(READOUTS.get(readout).needs_train_mean for readout in plan.readouts):
        own.train_mean()  # said before anything is scored
    about = {
        "trained": Trained(
            model=name,
            model_options={},
            encoder="own",
            encoder_options={},
            dataset_id=plan.dataset.protocol_name,
            recipe=RECIPE,
            shortened=False,
            seed=0,
            commit=commit(),
            checkpoint="",
        ),
        "history": History(),
        "cost": Cost(training_seconds=0.0, test_seconds=0.0),
        "transductive": False,
        "uses_unlabeled": False,
        "num_parameters": 0,
        "embeddings": ExternalEmbeddings(
            file=own.path.name, sha256=own.digest, dim=own.rows.shape[1], trained_on=trained_on
        ),
    }
    outcomes = []
    for measured in measurements(plan, own, reporter):
        test = measured.cell.settings()
        record = new_record(about, measured, test, plan.command, own.rows.device, reporter.notes)
        outcomes.append((record, write_record(record, record_path(record, own.digest, out))))
    return outcomes
