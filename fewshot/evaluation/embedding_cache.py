"""Tables of embeddings, kept on disk: the next protocol or read-out of the same weights starts at scoring."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from episodes.datasets.base import Dataset
from episodes.errors import UserError
from episodes.files import remove_left_behind
from episodes.types import ImageSet, Rows
from fewshot.evaluation.evaluate import embed_all, embed_drawn
from fewshot.models.hardware import Precision
from fewshot.models.methods import Method
from fewshot.models.readouts import centering_readouts
from fewshot.models.tensor_files import CheckpointError, digest_of, load_tensors, save_tensors
from fewshot.progress import Reporter
from fewshot.records.provenance import short_hash

_IMAGES_OF_A_PART = 4096
_NOT_OURS = ("builtins", "abc", "typing", "torch")  # torch's version stands in the key
MOST_BYTES = 1 << 30
"""What a folder of tables may hold; the ones not used for longest go first."""


class Embeddings:
    """What a trained method makes of the test images, and the mean of what it makes of the training images.

    Both are made when they are first asked for. With a ``folder`` they are kept there, filed under a digest of the
    weights, of the code that embeds, of the pixels, of precision and device: a file that was made by other weights,
    other code or from other images is never found. What was typed in at a prompt, and has no file, is made anew. With
    ``rows`` (of drawn_rows) only those test images are embedded. ``trained_on`` opens the data set of the training
    where that is another one.
    """

    def __init__(
        self,
        method: Method,
        dataset: Dataset,
        precision: Precision,
        reporter: Reporter,
        folder: Path | None = None,
        rows: Rows | None = None,
        trained_on: Callable[[], Dataset] | None = None,
    ) -> None:
        self._trained_on = trained_on or (lambda: dataset)
        self._method, self._precision, self._rows = method, precision, rows
        self._reporter, self._folder = reporter, folder
        self._tables: dict[str, Tensor] = {}
        if folder is not None:
            remove_left_behind(folder)
        self._train_mean: Tensor | None = None

    def table(self, image_set: ImageSet) -> Float[Tensor, "num_images *feature"]:
        """One row for each image of the set, on the device of the method."""
        digest = image_set.pixels_digest
        if digest not in self._tables:
            self._tables[digest] = self._found("table", image_set, lambda: self._embed(image_set))
        return self._tables[digest]

    def train_mean(self) -> Float[Tensor, " *feature"]:
        """The mean embedding of all images of the training's data set that are there to train on."""
        if self._train_mean is None:
            dataset = self._trained_on()
            train_set = dataset.load("train", self._reporter.data_progress)
            if not len(train_set.images):
                centered = ", ".join(centering_readouts())
                raise UserError(f"{dataset.name} has no training images to center on: leave out {centered}")
            self._train_mean = self._found("mean", train_set, lambda: self._mean(train_set))
        return self._train_mean

    def _embed(self, image_set: ImageSet) -> Tensor:
        progress = self._reporter.test_progress
        return embed_drawn(self._method, image_set.images, self._rows, self._precision, progress)

    def _mean(self, image_set: ImageSet) -> Tensor:
        """Summed over parts, since all embeddings of a training split may be too many for memory."""
        total: Tensor | None = None
        done = 0
        for part in torch.split(image_set.images, _IMAGES_OF_A_PART):
            table = embed_all(self._method, part, self._precision)
            added = table.sum(dim=0, dtype=torch.float64)
            total = added if total is None else total + added
            done += len(part)
            self._reporter.test_progress("embedding training images", done, len(image_set.images))
        assert total is not None
        return total / len(image_set.images)

    def _found(self, what: str, image_set: ImageSet, make: Callable[[], Tensor]) -> Tensor:
        code = code_digest(self._method)
        if self._folder is None or code is None:
            return make()
        device = self._method.encoder.mean.device
        key = {
            "what": what,
            "weights": weights_digest(self._method),
            "code": code,
            "images": image_set.pixels_digest,
            "precision": self._precision,
            "device": device.type,
            "torch": torch.__version__,
        }
        if what == "table" and self._rows is not None:
            key["rows"] = hashlib.sha256(self._rows.tobytes()).hexdigest()
        path = self._folder / f"{short_hash(key)}.safetensors"
        kept = read_kept(path, key)
        if kept is None:
            kept = make()
            try:
                keep(path, kept, key)
            except (UserError, OSError) as error:
                self._reporter.say(f"the embeddings are not kept for the next time: {error}")
        return kept.to(device)


def mean_of(table: Float[Tensor, "num_images *feature"]) -> Float[Tensor, " *feature"]:
    """The mean row, in double precision: a mean far from zero is subtracted from rows that are near it."""
    return table.mean(dim=0, dtype=torch.float64)


def weights_digest(method: Method) -> str:
    """SHA-256 of every weight and buffer with its name."""
    return digest_of({name: tensor.cpu() for name, tensor in method.state_dict().items()})


def code_digest(method: Method) -> str | None:
    """SHA-256 of the files that the method and all its parts are written in, and of how it is put together.

    None where a part was typed in at a prompt, so that no file holds its code.
    """
    classes = {kind for part in method.modules() for kind in type(part).__mro__}
    try:
        files = {inspect.getsourcefile(kind) for kind in classes if kind.__module__.split(".")[0] not in _NOT_OURS}
    except (OSError, TypeError):
        return None
    sha = hashlib.sha256(repr((type(method).__qualname__, str(method.encoder))).encode())
    for file in sorted(file for file in files if file):
        sha.update(Path(file).read_bytes())
    return sha.hexdigest()


def read_kept(path: Path, key: Mapping[str, Any]) -> Tensor | None:
    """What was kept under ``key``; None where there is nothing, or something damaged or made otherwise."""
    if not path.is_file():
        return None
    try:
        tensors, metadata = load_tensors(path)
        kept = tensors["embeddings"]
    except (CheckpointError, KeyError):
        return None
    if metadata.get("key") != dict(key):
        return None
    with contextlib.suppress(OSError):  # a folder that may only be read
        os.utime(path)  # used now: it is not the next to go
    return kept


def keep(path: Path, table: Tensor, key: Mapping[str, Any]) -> None:
    """Write a table atomically, older ones removed where the folder would grow over MOST_BYTES.

    A table that is itself larger is not written. Raises UserError or OSError where it cannot be.
    """
    size = table.numel() * table.element_size()
    if size > MOST_BYTES:
        return
    others = sorted(path.parent.glob("*.safetensors"), key=lambda other: other.stat().st_mtime_ns)
    total = size + sum(other.stat().st_size for other in others)
    for other in others:
        if total <= MOST_BYTES:
            break
        total -= other.stat().st_size
        other.unlink()
    save_tensors(path, {"embeddings": table}, {"key": dict(key)})
