"""A record measured once more: its weights, on its episodes. Does the number stand?"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from episodes.datasets.base import Dataset
from episodes.datasets.cards import DATASETS
from episodes.datasets.corruption import corrupted
from episodes.datasets.omniglot.oneshot_runs import oneshot_runs
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import Split
from fewshot.experiments.measure import EvaluationPlan, measure
from fewshot.experiments.publish import difference_of, find_weights, weights_path
from fewshot.models.factory import load_trained
from fewshot.models.hardware import Precision, choose_device, choose_precision, has_fast_bf16
from fewshot.models.tensor_files import is_half
from fewshot.progress import Reporter
from fewshot.records.protocols import VERSION
from fewshot.records.record import RunRecord, read_record
from fewshot.statistics.intervals import episode_interval

_OF_TRAINING = ("model", "model_options", "encoder", "encoder_options", "recipe", "seed", "train_images", "val_images")
_OF_ROUNDING = 0.1
"""Share of the half width that the accuracy may move where another processor rounds otherwise."""
_OF_PRECISION = 0.5
"""The same where it is measured in another precision than recorded: bfloat16 keeps three digits, float32 seven."""
_OF_SPREAD = 0.1
"""Share of the standard deviation over episodes that an episode may move on the mean, up or down.

Between two trainings of one method in results/runs it is 0.18 or more, between bf16 and fp32 of one 0.004 to 0.035.
"""
_FIRST = 50
"""Episodes that are measured where bfloat16 would be emulated and no number is said."""


class VerificationError(UserError):
    """A record that cannot be measured again here. The message says what is missing."""


@dataclass(frozen=True)
class Verification:
    """What came of measuring a record again."""

    record: RunRecord
    weights: Path
    counts: npt.NDArray[np.uint16]  # correct queries of the first episodes, or of all, measured now
    episodes_equal: bool  # the digest of all: the same images in the same episodes
    other_data: tuple[Split, ...]  # splits whose images are not those of the training
    precision: Precision  # of this measurement
    half: bool = False  # the weights are kept in half precision

    @property
    def recorded(self) -> npt.NDArray[np.float64]:
        """The recorded accuracies of the episodes that were measured."""
        return self.record.counts[: len(self.counts)] / np.float64(self.record.num_queries)

    @property
    def moved(self) -> npt.NDArray[np.float64]:
        """By how much the accuracy of each of them moved."""
        return self.counts / np.float64(self.record.num_queries) - self.recorded

    @property
    def exact(self) -> bool:
        """Whether every episode has the recorded number of correct queries."""
        return self.episodes_equal and not self.other_data and not self.moved.any()

    @property
    def stands(self) -> bool:
        """Whether episodes and data are the recorded ones and the counts are, but for the rounding of a processor."""
        alike = abs(self.moved.mean()) <= self.tolerance and np.abs(self.moved).mean() <= self.tolerance_of_episodes
        return self.episodes_equal and not self.other_data and bool(alike)

    @property
    def tolerance(self) -> float:
        """By how much the accuracy may move: a share of the half width of the interval over the episodes measured."""
        alike = self.record.test.precision in (None, self.precision)
        return (_OF_ROUNDING if alike else _OF_PRECISION) * episode_interval(self.recorded).half_width

    @property
    def tolerance_of_episodes(self) -> float:
        """By how much an episode may move on the mean, up or down: with few episodes it is what tells other weights."""
        return _OF_SPREAD * float(np.std(self.recorded))

    def moved_words(self) -> str:
        """By how much the number and the single episodes moved, and what is allowed."""
        moved = 100 * self.moved
        return (
            f"{moved.mean():+.4f} points, {100 * self.tolerance:.4f} are allowed; an episode by "
            f"{np.abs(moved).mean():.4f} on the mean, {100 * self.tolerance_of_episodes:.4f} are allowed"
        )

    def lines(self) -> list[str]:
        """The finding, a line each, the verdict last."""
        record, total, measured = self.record, self.record.num_episodes, len(self.counts)
        version = record.protocol_name.version
        older = "" if version == VERSION else f" (version {version}; today's is {VERSION})"
        counts = "every episode has the recorded number of correct queries"
        if differing := int(np.count_nonzero(self.moved)):
            largest = round(np.abs(self.moved).max() * record.num_queries)
            counts = f"{differing:,} of {measured:,} episodes differ, by {largest} queries at most"
        verdict = "the number stands" if self.stands else "the number does NOT stand"
        if self.stands and not self.exact:
            verdict += ", to the rounding of another machine"
        data = f"other images than in the training: {', '.join(self.other_data)}" if self.other_data else "as recorded"
        part = "" if measured == total else f"; measured are the first {measured:,} (--episodes {total} measures all)"
        now, then = 100 * (self.recorded + self.moved).mean(), 100 * self.recorded.mean()
        return [
            f"weights   {self.weights}{', kept in half precision' * self.half}",
            f"protocol  {record.protocol}{older}",
            f"data      {data}",
            f"episodes  {'as recorded' if self.episodes_equal else 'NOT those of the record'}, {total:,}{part}",
            f"precision {self.precision}, recorded {record.test.precision or 'is none'}",
            f"counts    {counts}",
            f"accuracy  {now:.2f} %, recorded {then:.2f} %; of all episodes {record.percent()}",
            f"moved     {self.moved_words()}",
            f"verdict   {verdict}",
        ]


def verify(
    path: Path,
    results: Path,
    reporter: Reporter,
    *,
    root: Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    episodes: int | None = None,
    weights: Path | None = None,
    scratch: Path | None = None,
) -> Verification:
    """Measure the record at ``path`` again, with its weights: beside it, where it names them, or in ``results``.

    ``weights`` names others of the same training in their place. Embeddings are kept in ``scratch``, where it is given,
    for further records of the same weights.
    ``auto`` is the precision of the record, but float32 for bfloat16 where that would be emulated. Measured are all
    episodes or the first ``episodes``; by default the first 50 where bfloat16 would be emulated, all elsewhere.

    Nothing is written. Raises VerificationError where weights or data are missing, or are not those of the record.
    """
    record = read_record(path)
    without_weights = {"none": "a rule that learns nothing", "own": "embeddings made elsewhere"}
    if found := without_weights.get(record.recipe):
        raise VerificationError(f"{path} is of {found}: run its command again ({record.command})")
    place_on = choose_device(device)
    trained = load_trained(weights or _weights_of(record, path, results), place_on)
    if difference := difference_of(trained, record, _OF_TRAINING):
        raise VerificationError(f"{trained.checkpoint} is of another training than {path}: {difference}")
    dataset = _tested_dataset(record, root, reporter)
    test_set = dataset.load("test", reporter.data_progress)
    drawn_here = not record.protocol_name.published_as
    sampler = EpisodeSampler(test_set, spec_of(record), record.episode_seed) if drawn_here else oneshot_runs(dataset)
    stated, slow = record.test.precision or "auto", not has_fast_bf16(place_on)
    wanted = "auto" if stated == "bf16" and slow else stated
    here = choose_precision(wanted if precision == "auto" else precision, place_on)
    measured = min(record.num_episodes, episodes or (_FIRST if slow else record.num_episodes))
    with nullcontext(scratch) if scratch else tempfile.TemporaryDirectory() as folder:
        plan = EvaluationPlan(dataset, [sampler], measured, here, (record.readout,))
        ((again, _),) = measure(trained, plan, Path(folder), reporter)
    return Verification(
        record,
        trained.checkpoint,
        again.counts,
        sampler.digest(record.num_episodes) == record.episodes_digest,
        _changed_splits(record, dataset, reporter),
        here,
        is_half(trained.checkpoint),
    )


def _weights_of(record: RunRecord, path: Path, results: Path) -> Path:
    if (weights := find_weights(record, path, results)) is not None:
        return weights
    raise VerificationError(
        f"the weights of {path} are neither beside it nor {record.trained.checkpoint} nor "
        f"{weights_path(record, results)}: train them again ({record.command})"
    )


def _tested_dataset(record: RunRecord, root: Path | None, reporter: Reporter) -> Dataset:
    name, shape = record.test.dataset, record.trained.image_shape
    if name not in DATASETS or name == "folder":
        raise VerificationError(
            f"the record is of your own images ({record.test.clean_id}) and does not say where they lie: run its "
            f"command again ({record.command})"
        )
    dataset = open_dataset(name, root, record.test.class_split, reporter=reporter, image_shape=shape)
    return corrupted(dataset, record.test.corruption)


def spec_of(record: RunRecord) -> EpisodeSpec:
    """The shape of the episodes of a record."""
    test = record.test
    return EpisodeSpec(test.way, test.shot, test.query, test.unlabeled, test.distractors, test.dirichlet or None)


def _changed_splits(record: RunRecord, dataset: Dataset, reporter: Reporter) -> tuple[Split, ...]:
    """The training's splits whose fingerprint is another now; none where the test is on other images anyway."""
    if record.trained.dataset_id != dataset.protocol_name:
        return ()
    splits: tuple[Split, ...] = ("train", "val")
    return tuple(
        split
        for split in splits
        if getattr(record.trained, f"{split}_images")
        not in (None, dataset.load(split, reporter.data_progress).fingerprint)
    )
