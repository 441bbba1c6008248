"""A record and its weights into results/, where they are committed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from msgspec.structs import replace

from episodes.errors import UserError
from episodes.files import sole_writer, write_all
from fewshot.experiments.convert import trained_name
from fewshot.models.factory import TrainedMethod, load_trained
from fewshot.models.methods import METHODS
from fewshot.models.tensor_files import CheckpointError, borrowing_bytes, half_bytes, load_tensors, tensors_bytes
from fewshot.records.record import WITHOUT_WEIGHTS, RunRecord, read_record, record_bytes
from fewshot.records.schema import Trained, trained_of
from fewshot.training.checkpoints import CHECKPOINT, training_name

MOST_BYTES_OF_ONE = 2_000_000
MOST_BYTES_OF_ALL = 60_000_000


class PublishError(UserError):
    """A record that must not be published. The message says why and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A record that may be published, and the file of its weights; None where it is to go without."""

    source: Path
    record: RunRecord
    weights: Path | None


def weights_path(record: RunRecord, results: Path) -> Path:
    """Where the weights of a published record lie: named for the training, which several records may share."""
    return results / "weights" / f"{training_name(Path(record.trained.checkpoint))}.safetensors"


def find_weights(record: RunRecord, path: Path, results: Path) -> Path | None:
    """Where the weights of the record at ``path`` lie: beside it or its folder, where it says, or in ``results``.

    What lies beside the record comes first: the place that it names is one of the folder it was made in.
    """
    stated, beside = Path(record.trained.checkpoint), path.resolve().parent
    name = training_name(stated)
    trained_here = beside.parent / "checkpoints" / name / CHECKPOINT
    near = beside / f"{name}.safetensors", weights_path(record, beside.parent), trained_here
    return next((place for place in (*near, stated, weights_path(record, results)) if place.is_file()), None)


Tables = Callable[[Mapping[Path, RunRecord]], Mapping[Path, bytes]]
Moved = Callable[[Path, Path], str]
"""How far the weights at the second path move the number of the record at the first; empty where it stands."""


def publish(
    paths: Sequence[Path],
    results: Path,
    tables: Tables,
    *,
    with_weights: bool = True,
    note: str = "",
    half: Moved | None = None,
) -> list[Path]:
    """Copy records and their weights into ``results`` and write its ``tables`` anew, all or none; the paths written.

    ``note`` joins the notes of the published copies, and that a record has no weights. With ``half``, weights are kept
    in half precision; the number of every record of theirs must stand with it. All records are looked at, and the
    tables made, before any is copied. Raises PublishError, CheckpointError or RecordError, with nothing changed.
    """
    if half is not None:
        _refuse_unasked(paths, results)
        _refuse_what_half_weights_move(paths, results, half)
    with sole_writer(results):
        contents, published = _contents(paths, results, with_weights=with_weights, note=note, half=half is not None)
        _refuse_too_much(contents, results / "weights")
        contents |= tables(published)
        write_all(contents)
    return list(contents)


def _contents(
    paths: Iterable[Path], results: Path, *, with_weights: bool, note: str, half: bool
) -> tuple[dict[Path, bytes], dict[Path, RunRecord]]:
    """What is to be written of weights and records, and the records by their new paths."""
    candidates = [_examined(path, results, with_weights=with_weights) for path in paths]
    published: dict[Path, RunRecord] = {}
    contents: dict[Path, bytes] = {}  # weights come before their record: no record ever lacks its weights
    for candidate in candidates:
        if candidate.weights is not None:
            path = weights_path(candidate.record, results)
            borrowing = None if half else _borrowing(candidate.weights, path)
            contents[path] = borrowing or weights_bytes(candidate.weights, half=half)
        record = candidate.record
        kept = candidate.weights is not None or weights_path(record, results).is_file() or record.without_weights
        missing = "" if kept or not record.trained.checkpoint else f"{WITHOUT_WEIGHTS}."
        new = [said for said in (note, missing) if said and said not in record.notes]
        path = results / "runs" / candidate.source.name
        published[path] = replace(_of_no_machine(record), notes=[*record.notes, *new])
        contents[path] = record_bytes(published[path])
    return contents, published


def _of_no_machine(record: RunRecord) -> RunRecord:
    """The record with its checkpoint named as under the default --out: a whole path tells of one machine alone."""
    stated = Path(record.trained.checkpoint)
    if not stated.is_absolute():
        return record
    named = Path("runs", "checkpoints", training_name(stated), CHECKPOINT)
    return replace(record, trained=replace(record.trained, checkpoint=named.as_posix()))


def weights_bytes(checkpoint: Path, *, half: bool = False) -> bytes:
    """The checkpoint as it is committed: without what a loss on images keeps for its training alone."""
    tensors, metadata = load_tensors(checkpoint)
    if METHODS.get(metadata["model"]).trains_on == "images":
        tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("encoder.")}
    return half_bytes(tensors, metadata) if half else tensors_bytes(tensors, metadata)


def _borrowing(checkpoint: Path, published: Path) -> bytes | None:
    """A converted checkpoint without tensors, where those of the training that it was made of are published already."""
    lender = published.with_name(f"{trained_name(published.stem)}{published.suffix}")
    if lender == published or not lender.is_file():
        return None
    return borrowing_bytes(lender, *load_tensors(checkpoint))


def _examined(source: Path, results: Path, *, with_weights: bool) -> Candidate:
    record = read_record(source)
    if record.recipe == "smoke":
        raise PublishError(f"{source} is a smoke test, not a result: train with --recipe fast or paper")
    if record.commit == "unknown" or record.commit.endswith("+changes"):
        raise PublishError(
            f"{source} was trained by code that is in no commit ({record.commit}): commit, train again with --fresh"
        )
    if not with_weights or not record.trained.checkpoint:  # where nothing was learned there are none
        return Candidate(source, record, None)
    weights = find_weights(record, source, results)
    if weights is None:
        raise PublishError(
            f"the weights of {source} are neither {record.trained.checkpoint} nor beside it: run its command again "
            f"({record.command}), or publish the record alone with --without-weights"
        )
    size = len(weights_bytes(weights))
    if size > MOST_BYTES_OF_ONE:
        raise PublishError(
            f"{weights} has {size:,} bytes, more than the {MOST_BYTES_OF_ONE:,} that are committed of one training: "
            "--without-weights publishes the record alone"
        )
    _refuse_other_training(record, weights)
    return Candidate(source, record, weights)


def _refuse_other_training(record: RunRecord, weights: Path) -> None:
    """What the checkpoint says of its training must be what the record says, word for word; and it must load."""
    # packages: a checkpoint names those of its method and encoder, not that of its images
    fields = (name for name in Trained.__struct_fields__ if name != "packages")
    if difference := difference_of(load_trained(weights, torch.device("cpu")), record, fields):
        raise CheckpointError(
            f"{weights} is of another training than the record: {difference}: run the record's command again "
            f"({record.command})"
        )


def difference_of(trained: TrainedMethod, record: RunRecord, fields: Iterable[str]) -> str:
    """``its seed is 1 and the record's is 0``: the first of the fields that differs; empty where none does."""
    weights = trained_of(trained.metadata, record.trained.checkpoint)
    for name in fields:
        found, stated = getattr(weights, name), getattr(record.trained, name)
        if found != stated:
            return f"its {name} is {found!r} and the record's is {stated!r}"
    return ""


def _refuse_what_half_weights_move(paths: Iterable[Path], results: Path, half: Moved) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        for path in paths:
            candidate = _examined(path, results, with_weights=True)
            if candidate.weights is None:
                continue
            rounded = Path(scratch) / weights_path(candidate.record, results).name
            rounded.write_bytes(weights_bytes(candidate.weights, half=True))
            if moved := half(path, rounded):
                raise PublishError(
                    f"the number of {path} does not stand with its weights in half precision ({moved}): publish the "
                    "records of this training without --half-weights"
                )


def _refuse_unasked(paths: Iterable[Path], results: Path) -> None:
    """A record that is there and not among those published, whose weights would become half ones unmeasured."""
    coming = {path.name: read_record(path) for path in paths}
    halved = {_training_behind(record) for record in coming.values() if record.trained.checkpoint}
    for path in sorted((results / "runs").glob("*.json")):
        if path.name not in coming and _training_behind(read_record(path)) in halved:
            raise PublishError(f"{path} has the same weights: --half-weights needs all records of a training at once")


def _training_behind(record: RunRecord) -> str:
    return trained_name(training_name(Path(record.trained.checkpoint)))


def _refuse_too_much(contents: dict[Path, bytes], folder: Path) -> None:
    there = {path: path.stat().st_size for path in folder.glob("*.safetensors")}
    there |= {path: len(content) for path, content in contents.items() if path.parent == folder}
    total = sum(there.values())
    if total > MOST_BYTES_OF_ALL:
        raise PublishError(
            f"{folder} would hold {total:,} bytes, more than the {MOST_BYTES_OF_ALL:,} that are committed: "
            "keep some in half precision (--half-weights), remove those of records that are no longer there, or use "
            "--without-weights"
        )
