"""From a trained method to records: one for each protocol and each read-out, all scored on one table of embeddings."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import torch
from msgspec.structs import replace
from torch import Tensor

from episodes.datasets.base import Dataset
from episodes.datasets.corruption import Corrupted, corrupted, corrupted_share
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.registry import origins
from episodes.sampler import EpisodeSampler
from episodes.spec import unit_of
from episodes.types import ImageSet
from fewshot.evaluation.embedding_cache import Embeddings
from fewshot.evaluation.evaluate import Evaluation, drawn_rows, evaluate, evaluate_readout
from fewshot.models.factory import TrainedMethod, implementation_of
from fewshot.models.hardware import Precision, describe_machine
from fewshot.models.methods import Method
from fewshot.models.readouts import READOUTS, centering_readouts
from fewshot.progress import Reporter
from fewshot.records.protocols import ProtocolName
from fewshot.records.provenance import short_hash, versions
from fewshot.records.record import RunRecord, course_of, pack_counts, write_record
from fewshot.records.schema import EpisodeSettings, Hardware, trained_of
from fewshot.statistics.intervals import formula
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


@dataclass(frozen=True, eq=False)
class EvaluationPlan:
    """What is tested on which episodes, how, and which command says so: a record for each sampler and read-out."""

    dataset: Dataset
    samplers: Sequence[EpisodeSampler]
    num_episodes: int
    precision: Precision
    readouts: Sequence[str] = (OWN_RULE,)
    command: str = ""
    root: Path | None = None  # of the data sets, as asked for


@dataclass(frozen=True)
class ScoredEpisodes:
    """The episodes that are scored."""

    dataset: Dataset
    sampler: EpisodeSampler
    num_episodes: int
    episodes_digest: str  # of all read-outs alike, so it is computed once

    @property
    def protocol(self) -> str:
        """What the leaderboard calls it."""
        return str(ProtocolName.of(self.dataset.protocol_name, self.sampler.spec, self.sampler.published_as))

    @property
    def ci_formula(self) -> str:
        """How the interval was computed, and over what."""
        name = self.sampler.published_as
        known = f"; the episodes are the {self.num_episodes} published {name}" if name else ""
        return formula(unit_of(name)) + known

    def settings(self, **more: Any) -> EpisodeSettings:
        """What a record says of it, and ``more`` of the test."""
        spec, dataset = self.sampler.spec, self.dataset
        return EpisodeSettings(
            way=spec.way,
            shot=spec.shot,
            query=spec.num_query,
            unlabeled=spec.num_unlabeled,
            distractors=spec.num_distractor,
            dirichlet=spec.dirichlet or 0,
            dataset=dataset.name,
            class_split=dataset.class_split,
            dataset_id=dataset.protocol_name,
            num_classes=self.sampler.image_set.num_classes,
            corruption=corrupted_share(dataset),
            **more,
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of one read-out on one cell's episodes."""

    cell: ScoredEpisodes
    readout: str
    evaluation: Evaluation


def readouts_named(words: str | None) -> tuple[str, ...]:
    """``"logistic,svm"``, ``"all"`` (every read-out there is) or ``"own"`` (the method's own rule), without repeats.

    None is the method's own rule, too. Raises UnknownNameError with the valid names.
    """
    names: list[str] = []
    for word in (word.strip() for word in (words or OWN_RULE_WORD).split(",")):
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
    if method.embeds_per_episode:
        raise UserError(
            f"model {model} with batch norm over the whole episode has no embedding of an image alone: leave out "
            "--readout, or choose --batch-norm inductive"
        )


def measure(trained: TrainedMethod, plan: EvaluationPlan, out: Path, reporter: Reporter) -> list[Outcome]:
    """Test a trained method as planned; the records, written under ``out``.

    Every image that is drawn is embedded once, whatever the number of samplers (of one image set) and read-outs.
    """
    method, metadata = trained.method, trained.metadata
    refuse_unreadable(metadata["model"], method, plan.readouts)
    rows = drawn_rows(plan.samplers, plan.num_episodes)
    trained_on = partial(dataset_of_training, metadata, plan.dataset, reporter, plan.root)
    embeddings = Embeddings(method, plan.dataset, plan.precision, reporter, out / "embeddings", rows, trained_on)

    def by_own_rule(cell: ScoredEpisodes) -> Evaluation:
        table = None if method.embeds_per_episode else embeddings.table(cell.sampler.image_set)
        keep, progress = reporter.evaluations is not None, reporter.test_progress
        return evaluate(method, cell.sampler, cell.num_episodes, plan.precision, progress, table, keep_predictions=keep)

    history, cost = course_of(metadata)
    about = {
        "trained": trained_of(metadata, str(trained.checkpoint)),
        "history": history,
        "cost": cost,
        "transductive": method.transductive,
        "uses_unlabeled": method.uses_unlabeled,
        "self_supervised": method.self_supervised,
        "num_parameters": sum(parameter.numel() for parameter in method.parameters()),
    }
    outcomes = []
    for measured in measurements(plan, embeddings, reporter, by_own_rule):
        rule = implementation_of(method) if measured.readout == OWN_RULE else {}
        test = measured.cell.settings(precision=plan.precision, **rule)
        record = new_record(about, measured, test, plan.command, method.encoder.mean.device, reporter.notes)
        outcomes.append((record, write_record(record, record_path(record, training_name(trained.checkpoint), out))))
    return outcomes


def dataset_of_training(
    metadata: Mapping[str, Any], tested: Dataset, reporter: Reporter, root: Path | None = None
) -> Dataset:
    """The data set on whose training images read-outs center: that of the training, whatever is tested.

    It lies where the tested one does, or under ``root`` where that is a folder of the user's own. It differs from the
    tested one where its class split, its side or the share of its damaged images does. Raises UserError where it is not
    at hand.
    """
    name, pixels, damage = metadata["dataset"], metadata["pixels"], metadata.get("damage", 0.0)
    whole = tested.inner if isinstance(tested, Corrupted) else tested
    for trained_on in (tested, corrupted(whole, damage)):
        if pixels == trained_on.protocol_name:
            return trained_on
    if name == "folder":
        raise UserError(
            f"the model was trained on images of its user's own that are not those tested here ({pixels}): leave out "
            f"the read-outs that center on training images ({', '.join(centering_readouts())})"
        )
    root = root if whole.name == "folder" else whole.root
    shape = tuple(metadata["image_shape"])
    opened = open_dataset(name, root, metadata["class_split"], reporter=reporter, image_shape=shape)
    return corrupted(opened, damage)


def measurements(
    plan: EvaluationPlan,
    embeddings: EmbeddingSource,
    reporter: Reporter,
    own_rule: Callable[[ScoredEpisodes], Evaluation] | None = None,
) -> Iterator[Measured]:
    """Every sampler's episodes, scored with every read-out of the plan; ``own_rule`` is that of a method."""
    for sampler in plan.samplers:
        cell = ScoredEpisodes(plan.dataset, sampler, plan.num_episodes, sampler.digest(plan.num_episodes))
        for readout in plan.readouts:
            if readout == OWN_RULE and own_rule is not None:
                evaluation = own_rule(cell)
            else:
                evaluation = _read_out(cell, readout, embeddings, reporter)
            if reporter.evaluations is not None:
                reporter.evaluations.append(evaluation)
            yield Measured(cell, readout, evaluation)


def _read_out(cell: ScoredEpisodes, readout: str, embeddings: EmbeddingSource, reporter: Reporter) -> Evaluation:
    rule = READOUTS.get(readout)()
    train_mean = embeddings.train_mean() if rule.needs_train_mean else None
    return evaluate_readout(
        rule,
        embeddings.table(cell.sampler.image_set),
        train_mean,
        cell.sampler,
        cell.num_episodes,
        reporter.test_progress,
        keep_predictions=reporter.evaluations is not None,
    )


def new_record(
    about: Mapping[str, Any],
    measured: Measured,
    test: EpisodeSettings,
    command: str,
    device: torch.device,
    notes: Sequence[str],
) -> RunRecord:
    """A record of what was measured here and now; ``about`` holds its fields that tell of the model."""
    cell, evaluation, trained = measured.cell, measured.evaluation, about["trained"]
    readout = READOUTS.get(measured.readout) if measured.readout in READOUTS else None
    packages = trained.packages | origins(dataset=type(cell.dataset), readout=readout)
    changed = {
        "trained": replace(trained, packages=packages),
        "cost": replace(about["cost"], test_seconds=round(evaluation.seconds, 2)),
        "transductive": about["transductive"] or (readout is not None and readout.transductive),
    }
    return RunRecord(
        **{**about, **changed},
        protocol=cell.protocol,
        accuracy=evaluation.interval.mean,
        ci95=evaluation.interval.half_width,
        num_episodes=cell.num_episodes,
        num_queries=evaluation.num_queries,
        correct=pack_counts(evaluation.correct),
        episodes_digest=cell.episodes_digest,
        episode_seed=cell.sampler.seed,
        readout=measured.readout,
        test=test,
        versions=versions(),
        hardware=msgspec.convert(describe_machine(device), Hardware),
        command=command,
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
