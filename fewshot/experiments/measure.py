"""From a trained method to records: one for each protocol and each read-out, all scored on one table of embeddings."""

from __future__ import annotations

import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from episodes.datasets.base import Dataset
from episodes.datasets.corruption import corrupted_share
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.types import ImageSet
from fewshot.evaluation.embedding_cache import Embeddings
from fewshot.evaluation.evaluate import Evaluation, evaluate, evaluate_readout
from fewshot.models.factory import Trained, implementation_of
from fewshot.models.hardware import Precision, describe_machine
from fewshot.models.methods import Method
from fewshot.models.readouts import READOUTS
from fewshot.progress import Reporter
from fewshot.records.protocols import Protocol as TestProtocol
from fewshot.records.provenance import short_hash, versions
from fewshot.records.record import RunRecord, pack_counts, write_record
from fewshot.statistics.intervals import CI95_FORMULA
from fewshot.training.checkpoints import training_name

Outcome = tuple[RunRecord, Path]


@runtime_checkable
class EmbeddingSource(Protocol):
    """Where embeddings come from: a trained method, or a file of the user's."""

    def table(self, image_set: ImageSet) -> Tensor:
        """One row for each image of the set, (num_images, dim)."""

    def train_mean(self) -> Tensor:
        """The mean embedding of the training images, (dim,)."""


OWN_RULE = ""
"""The read-out of a record that was measured with the method's own rule."""
OWN_RULE_WORD = "own"


@dataclass(frozen=True)
class Cell:
    """The episodes that are scored."""

    dataset: Dataset
    sampler: EpisodeSampler
    num_episodes: int
    episodes_digest: str  # of all read-outs alike, so it is computed once

    @property
    def protocol(self) -> TestProtocol:
        """What the leaderboard calls it."""
        sampler = self.sampler
        return TestProtocol(
            self.dataset.protocol_name, sampler.spec, self.num_episodes, sampler.seed, sampler.published_as
        )

    @property
    def ci_formula(self) -> str:
        """How the interval was computed, and over what."""
        if self.sampler.published_as:
            return f"{CI95_FORMULA}; the episodes are the {self.num_episodes} published {self.sampler.published_as}"
        return CI95_FORMULA

    def config(self) -> dict[str, Any]:
        """What a record's configuration says of it."""
        spec = self.sampler.spec
        return {
            "way": spec.way,
            "shot": spec.shot,
            "query": spec.num_query,
            "unlabeled": spec.num_unlabeled,
            "distractors": spec.num_distractor,
            "test_pixels": self.dataset.protocol_name,
            "num_test_classes": self.sampler.image_set.num_classes,
            "test_damage": corrupted_share(self.dataset),
        }


def readouts_named(words: str) -> tuple[str, ...]:
    """``"logistic,svm"``, ``"all"`` (every read-out there is) or ``"own"`` (the method's own rule), without repeats.

    Raises UnknownNameError with the valid names.
    """
    names: list[str] = []
    for word in (word.strip() for word in words.split(",")):
        if word == "all":
            names += READOUTS
        elif word == OWN_RULE_WORD:
            names.append(OWN_RULE)
        else:
            READOUTS.get(word)
            names.append(word)
    return tuple(dict.fromkeys(names))


def refuse_unreadable(model: str, method: Method | type[Method], readouts: Sequence[str]) -> None:
    """Raises UserError where a read-out is asked of a method without a flat embedding for each image alone."""
    if not any(readouts):
        return
    if method.compares_maps:
        raise UserError(
            f"model {model} compares feature maps with a network of its own, there is no flat embedding to read out: "
            "leave out --readout, or choose another model"
        )
    if method.sees_whole_episode:
        raise UserError(
            f"model {model} with batch norm over the whole episode has no embedding of an image alone: leave out "
            "--readout, or choose --batch-norm inductive"
        )


def measure(
    trained: Trained,
    dataset: Dataset,
    samplers: Sequence[EpisodeSampler],
    num_episodes: int,
    out: Path,
    reporter: Reporter,
    precision: Precision,
    readouts: Sequence[str] = (OWN_RULE,),
) -> list[Outcome]:
    """Test a trained method on each sampler's episodes with each read-out; the records, written under ``out``.

    Every image is embedded once, whatever the number of samplers and read-outs.
    """
    method = trained.method
    refuse_unreadable(trained.metadata["model"], method, readouts)
    embeddings = Embeddings(trained.method, dataset, precision, reporter, out / "embeddings")
    outcomes = []
    for sampler in samplers:
        cell = Cell(dataset, sampler, num_episodes, sampler.digest(num_episodes))
        for readout in readouts:
            evaluation = _evaluated(method, embeddings, cell, readout, precision, reporter)
            record = _record(trained, cell, evaluation, readout, precision, reporter.notes)
            record = replace(record, command=reporter.command or record.command)
            outcomes.append((record, write_record(record, record_path(record, training_name(trained.checkpoint), out))))
    return outcomes


def _evaluated(
    method: Method, embeddings: Embeddings, cell: Cell, readout: str, precision: Precision, reporter: Reporter
) -> Evaluation:
    progress, sampler = reporter.test_progress, cell.sampler
    if readout != OWN_RULE:
        return evaluated_readout(embeddings, cell, readout, reporter)
    table = None if method.sees_whole_episode else embeddings.table(sampler.image_set)
    return evaluate(method, sampler, cell.num_episodes, precision, progress, table)


def evaluated_readout(embeddings: EmbeddingSource, cell: Cell, readout: str, reporter: Reporter) -> Evaluation:
    """The accuracy of a read-out, with whatever it needs of the embeddings."""
    rule = READOUTS.get(readout)()
    train_mean = embeddings.train_mean() if rule.needs_train_mean else None
    table = embeddings.table(cell.sampler.image_set)
    return evaluate_readout(rule, table, train_mean, cell.sampler, cell.num_episodes, reporter.test_progress)


def _record(
    trained: Trained, cell: Cell, evaluation: Evaluation, readout: str, precision: Precision, notes: Sequence[str]
) -> RunRecord:
    method, metadata = trained.method, trained.metadata
    tested = {"test_precision": precision, "checkpoint": str(trained.checkpoint)}
    if readout == OWN_RULE:
        tested |= implementation_of(method, "test_implementation")
    identity = {name: value for name, value in metadata.items() if name != "training"}
    about = {
        "model": metadata["model"],
        "recipe": metadata["recipe"]["name"],
        "shortened": metadata["shortened"],
        "seed": metadata["seed"],
        "transductive": method.transductive,
        "uses_unlabeled": method.uses_unlabeled,
        "self_supervised": method.self_supervised,
        "num_parameters": sum(parameter.numel() for parameter in method.parameters()),
        "config": identity | cell.config() | tested,
        "training": metadata["training"],
        "seconds": {"training": metadata["training"]["seconds"], "test": round(evaluation.seconds, 2)},
        "commit": metadata["commit"],
    }
    return new_record(about, cell, evaluation, readout, method.encoder.mean.device, notes)


def new_record(
    about: Mapping[str, Any],
    cell: Cell,
    evaluation: Evaluation,
    readout: str,
    device: torch.device,
    notes: Sequence[str],
) -> RunRecord:
    """A record of what was measured here and now; ``about`` are the fields that tell of the model."""
    return RunRecord(
        **about,
        protocol=cell.protocol.name,
        accuracy=evaluation.interval.mean,
        ci95=evaluation.interval.ci95,
        num_episodes=cell.num_episodes,
        num_queries=evaluation.num_queries,
        correct=pack_counts(evaluation.correct),
        episodes_digest=cell.episodes_digest,
        episode_seed=cell.sampler.seed,
        readout=readout,
        versions=versions(),
        machine=describe_machine(device),
        command=shlex.join(["fewshot", *sys.argv[1:]]),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        ci_formula=cell.ci_formula,
        notes=list(notes),
    )


def record_path(record: RunRecord, weights: str, out: Path) -> Path:
    """``records/proto_omniglot-vinyals-28_5w1s_q15_fast_<hash>.json``; the hash names weights, test and read-out."""
    identity = {"checkpoint": weights, "digest": record.episodes_digest, "protocol": record.protocol}
    if record.readout:
        identity["readout"] = record.readout
    cell = record.protocol.partition("@")[0].replace("/", "_")
    words = [record.model, cell, record.recipe, record.readout, short_hash(identity)]
    return out / "records" / f"{'_'.join(word for word in words if word)}.json"
