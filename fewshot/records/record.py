"""RunRecord: what was measured and all that is needed to measure it again; to and from disk."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from episodes.errors import HIDDEN, UserError
from episodes.files import write_atomically
from episodes.spec import Unit, unit_of
from fewshot.records.protocols import ProtocolName
from fewshot.records.schema import (
    SCHEMA,
    Cost,
    Count,
    EpisodeSettings,
    ExternalEmbeddings,
    Hardware,
    History,
    Number,
    Positive,
    RecordError,
    Share,
    Trained,
    history_fields,
    trained_of,
    upgrade,
)
from fewshot.statistics.intervals import Accuracies, Interval, episode_interval

NORMAL_FORMULA = "mean +- 1.96 * s / sqrt(n)"
"""How the ci_formula of older records begins. Their ci95 is kept; what is printed is computed from the counts."""

WITHOUT_WEIGHTS = "Committed without its weights"
"""What a note says of a record in results/runs whose weights are not in results/weights."""

PACKED = Path(__file__).parent / "published_data" / "records.jsonl.gz"
"""The published records inside an installed package, for whoever has no checkout: setup.py packs them."""

CHECKOUT = Path(__file__).parents[2] / "results" / "runs"
"""The published records of the checkout from which the package is installed, for whoever works in another folder."""

_HIDDEN = re.compile(rf"(?!\r){HIDDEN.pattern}|\\u(00[01]|007f|00[89]|200[ef]|202[89a-e]|206[6-9])", re.IGNORECASE)
"""As they are, and as JSON may write them; line breaks are written otherwise."""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measurement. Accuracies are fractions; ``correct`` holds the correct queries of every episode, packed."""

    protocol: str  # what was measured: omniglot-vinyals-28/5w1s/q15@v1 (ProtocolName)
    accuracy: Share  # the mean over the episodes, a fraction
    ci95: Number  # half the 95 % interval over the episodes, by ci_formula
    num_episodes: Positive
    num_queries: Positive  # of one episode
    correct: str  # correct queries of every episode, packed by pack_counts
    episodes_digest: str  # fingerprint of the test episodes: where it is the same, so are they (EpisodeSampler.digest)
    episode_seed: Count  # which episodes were drawn
    readout: str = ""  # how frozen embeddings were classified; empty where the method has its own rule
    transductive: bool  # the queries of an episode saw each other
    uses_unlabeled: bool  # unlabeled images of the episode were used
    self_supervised: bool = False  # no label was used in training
    num_parameters: Count  # of the whole method
    trained: Trained  # what was trained, on what, and how
    test: EpisodeSettings  # the test episodes
    history: History  # validations, and the weights they selected
    cost: Cost  # seconds
    hardware: Hardware  # the machine of the test
    embeddings: ExternalEmbeddings | None = None  # None where the model is one of this program's
    versions: dict[str, str]  # of this program, Python and libraries
    command: str  # as it was typed
    date: str  # of the test, ISO 8601
    ci_formula: str
    notes: list[str] = []  # what the program remarked, and --note
    schema: int = SCHEMA

    @property
    def model(self) -> str:
        """The model under whose rule the weights were tested."""
        return self.trained.model

    @property
    def recipe(self) -> str:
        """The name of the recipe."""
        return self.trained.recipe.name

    @property
    def shortened(self) -> bool:
        """Whether it was trained for fewer episodes than the recipe says: kept apart from full trainings."""
        return self.trained.shortened

    @property
    def seed(self) -> int:
        """The seed of weights and training order."""
        return self.trained.seed

    @property
    def commit(self) -> str:
        """The commit of the code that trained."""
        return self.trained.commit

    @property
    def counts(self) -> npt.NDArray[np.uint16]:
        """Correctly classified queries of every episode, (num_episodes,)."""
        return unpack_counts(self.correct)

    @property
    def accuracies(self) -> Accuracies:
        """Accuracy on every episode, a fraction, (num_episodes,)."""
        return self.counts / np.float64(self.num_queries)

    @property
    def trained_elsewhere(self) -> str:
        """In words that it was trained on other images than it is tested on, or begun from other weights; else empty.

        Damaged images are the data set's own.
        """
        if self.trained.pretrained is not None:
            return "from weights made elsewhere"
        trained = self.trained.dataset_id.removesuffix(f"-damaged-{100 * self.trained.corruption:g}")
        return "" if trained == self.test.clean_id else "trained on other images"

    @property
    def unit(self) -> Unit:
        """What was drawn independently: episodes, or the alphabets of Lake's runs."""
        return unit_of(self.protocol_name.published_as)

    @property
    def interval(self) -> Interval:
        """Student's t interval over the episodes of this training, whatever the formula of ``ci95`` was."""
        return episode_interval(self.accuracies, self.unit)

    @property
    def protocol_name(self) -> ProtocolName:
        """The protocol, in its parts."""
        return ProtocolName.parse(self.protocol)

    @property
    def pixels_way_shot(self) -> tuple[str, int, int]:
        """The cell of a published table: data set id, way, shot."""
        return self.test.dataset_id, self.test.way, self.test.shot

    @property
    def without_weights(self) -> bool:
        """Whether it says that its weights were not kept, so that nobody can measure it again."""
        return any(WITHOUT_WEIGHTS in note for note in self.notes)

    @property
    def batch_norm(self) -> str:
        """Whose statistics the test used: ``inductive``, ``transductive`` or ``released, 3 queries at a time``."""
        if not self.transductive:
            return "inductive"
        options = self.trained.model_options
        at_once = f", {options['queries_at_once']} queries at a time" if "queries_at_once" in options else ""
        return f"{options.get('batch_norm', 'transductive')}{at_once}"

    @property
    def has_distractors(self) -> bool:
        """Whether unlabeled images of classes outside the episode were among the unlabeled ones."""
        return self.test.distractors > 0

    @property
    def description(self) -> str:
        """The model with all that sets it apart: options, read-out, and what it was trained on or as, if not as tested.

        ``matching scale=100 (trained 1-shot)``.
        """
        trained, recipe = self.trained, self.trained.recipe
        words = [f" {name.replace('_', '-')}={plain(value)}" for name, value in sorted(trained.model_options.items())]
        words += [f" {name}={plain(value)}" for name, value in sorted(trained.encoder_options.items())]
        training = []
        if before := trained.trained_as:
            training.append(f"as {before.model}" if before.model != self.model else "with running batch norm")
        if recipe.labeled_share:
            training.append(f"with {100 * recipe.labeled_share:g} % labels")
        if trained.corruption:
            training.append(f"with {100 * trained.corruption:g} % damaged")
        if recipe.train_shot not in (None, self.test.shot):
            training.append(f"{recipe.train_shot}-shot")
        readout = f" + {self.readout}" if self.readout else ""
        said = f" (trained {', '.join(training)})" if training else ""
        return f"{self.model}{''.join(words)}{readout}{said}"

    def percent(self) -> str:
        """``98.81 ± 0.06 %``."""
        return self.interval.percent()


class TrainingLog(msgspec.Struct, frozen=True, kw_only=True):
    """A training and its validations, without any test."""

    trained: Trained
    history: History
    images: Count  # that went through the encoder, each view and each pass counted
    training_seconds: Number
    validation_seconds: Number  # of these

    def percent(self) -> str:
        """The accuracy on the validation classes of the weights that they selected: ``98.81 ± 0.06 %``."""
        assert self.history.val_accuracy is not None
        assert self.history.val_ci95 is not None
        return f"{100 * self.history.val_accuracy:.2f} ± {100 * self.history.val_ci95:.2f} %"


def training_log(metadata: Mapping[str, Any], checkpoint: Path, images: int) -> TrainingLog:
    """What the metadata of a checkpoint say of its training. Raises RecordError where they are none."""
    history, cost = course_of(metadata)
    return TrainingLog(
        trained=trained_of(metadata, str(checkpoint)),
        history=history,
        images=images,
        training_seconds=cost.training_seconds,
        validation_seconds=cost.validation_seconds or 0.0,
    )


def course_of(metadata: Mapping[str, Any]) -> tuple[History, Cost]:
    """The course of a training and what it took, from the metadata of its checkpoint; nothing is tested yet."""
    training = dict(metadata["training"])
    cost = Cost(
        training_seconds=training.pop("seconds", 0.0),
        test_seconds=0.0,
        validation_seconds=training.pop("validation_seconds", None),
    )
    return msgspec.convert(history_fields(training), History), cost


def plain(value: Any) -> str:
    """The value of an option as it is said: ``100`` for 100.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def pack_counts(counts: npt.NDArray[np.uint16]) -> str:
    """Base64 of zlib of little-endian 16-bit numbers: 10,000 episodes fit into a few kilobytes."""
    return base64.b64encode(zlib.compress(counts.astype("<u2").tobytes(), 9)).decode()


@lru_cache(maxsize=2048)  # pages ask for them again and again; 20 kB each for 10,000 episodes
def unpack_counts(packed: str) -> npt.NDArray[np.uint16]:
    """The inverse of pack_counts; the array is shared and cannot be written to."""
    counts = np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<u2").astype(np.uint16)
    counts.flags.writeable = False
    return counts


def from_stored(stored: Any) -> RunRecord:
    """What a file of any schema holds, as a record. Raises RecordError, without the name of the file.

    Its digest is checked where it has one; records that are older than digests have none.
    """
    if not isinstance(stored, dict):
        raise RecordError(f"it holds no object but {type(stored).__name__}")
    if "digest" in stored and stored.pop("digest") != _digest(stored):
        raise RecordError("its content is not that of its digest: it was damaged or changed, get it anew")
    try:
        return msgspec.convert(upgrade(stored), RunRecord)
    except msgspec.ValidationError as error:
        raise RecordError(str(error)) from error


def as_stored(record: RunRecord | TrainingLog) -> dict[str, Any]:
    """A record or log as plain data, in the layout of today's schema."""
    return dict(msgspec.to_builtins(record))


def record_bytes(record: RunRecord | TrainingLog) -> bytes:
    """A record or log as it stands in its file: with a digest of its content, so that damage is seen."""
    return with_digest(as_stored(record))


def with_digest(stored: dict[str, Any]) -> bytes:
    """The same of plain data; a digest that they hold is replaced."""
    stored = {name: value for name, value in stored.items() if name != "digest"}
    stored["digest"] = _digest(stored)
    return (json.dumps(stored, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode(
        errors="backslashreplace"  # of file names that are no text; JSON writes them so, too
    )


def _digest(stored: dict[str, Any]) -> str:
    """SHA-256 of the content, however it is laid out in its file."""
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def record_carries_digest(path: Path) -> bool:
    """Whether damage to a record would be seen."""
    return "digest" in _parsed(path.read_bytes())


def write_record(record: RunRecord | TrainingLog, path: Path) -> Path:
    """Write a record or log atomically. Raises RecordError when the disk is full."""
    try:
        write_atomically(path, record_bytes(record))
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    return path


def read_record(path: Path) -> RunRecord:
    """Read a record of any schema. Raises RecordError, naming the file and the field, when it is none."""
    if not path.is_file():
        raise RecordError(f"there is no record {path}: `fewshot run` writes one and prints its path")
    try:
        record = from_stored(_parsed(path.read_bytes()))
        contradiction = _contradiction(record)
    except (OSError, ValueError, RecursionError, zlib.error, UserError) as error:
        raise RecordError(f"{path} is not a run record: {error}") from error
    if contradiction:
        raise RecordError(f"{path} contradicts itself: {contradiction}")
    return record


def _parsed(content: bytes) -> Any:
    text = content.decode()
    plain = text.isascii() and "\\u" not in text and text.replace("\n", "").isprintable()  # told in a sixth of the time
    if not plain and _HIDDEN.search(text):
        raise RecordError("it holds characters that steer a terminal or turn text around")
    try:
        return msgspec.json.decode(content)  # in a third of the time
    except msgspec.DecodeError:
        return json.loads(content)  # knows Infinity: the interval of a single episode


def _contradiction(record: RunRecord) -> str:
    """What a record says of itself that cannot be, in a few words; empty where all is well."""
    counts, test, name = record.counts, record.test, record.protocol_name
    drawn = (test.query, test.unlabeled, test.distractors, test.dirichlet)
    stated = (name.query, name.unlabeled, name.distractors, name.dirichlet)
    if (name.dataset_id, name.way, name.shot) != (test.dataset_id, test.way, test.shot):
        return f"protocol is {name} and test is {test.way}-way {test.shot}-shot of {test.dataset_id}"
    if stated != drawn and not name.published_as:
        return (
            f"protocol is {name} and test has {drawn} queries, unlabeled images, distractor classes and concentration"
        )
    if record.num_queries != test.way * test.query:
        return f"num_queries is {record.num_queries}, which is not {test.way} times {test.query}"
    if len(counts) != record.num_episodes or counts.max(initial=0) > record.num_queries:
        return f"correct does not hold {record.num_episodes:,} counts of up to {record.num_queries} queries"
    accuracies = counts / np.float64(record.num_queries)
    pairs = ((record.accuracy, float(np.mean(accuracies))), (record.ci95, _as_stated(record, accuracies)))
    if not all(math.isclose(*pair, rel_tol=0, abs_tol=1e-9) for pair in pairs):
        return "its accuracy and interval are not those of its per-episode counts"
    return ""


def _as_stated(record: RunRecord, accuracies: Accuracies) -> float:
    """The half width by the record's own ``ci_formula``: the normal interval until 26 November 2026."""
    if not record.ci_formula.startswith(NORMAL_FORMULA):
        return episode_interval(accuracies, record.unit).half_width
    n = len(accuracies)
    return 1.96 * float(np.std(accuracies, ddof=1)) / math.sqrt(n) if n > 1 else math.inf


def read_records(
    folders: Sequence[Path], problems: list[str] | None = None, coming: Mapping[Path, RunRecord] | None = None
) -> list[RunRecord]:
    """Every record in these folders, in the order of their file names; an absent folder holds none.

    Instead of a folder it may be the file that came with the package.

    Where a list of ``problems`` is given, what is no record is left out and said there, a line each; else the first
    one raises RecordError. Records that are ``coming`` are taken as if their files were there already.
    """
    records, coming = [record for packed in folders if packed.is_file() for record in _unpacked(packed)], coming or {}
    for folder in folders:
        for path in sorted({*folder.glob("*.json"), *(path for path in coming if path.parent == folder)}):
            try:
                records.append(coming.get(path) or read_record(path))
            except RecordError as error:
                if problems is None:
                    raise
                problems.append(str(error))
    return records


def published_runs(results: Path) -> Path:
    """Where ``read_records`` finds what was published: ``results/runs``, or what came with the package without it."""
    runs = results / "runs"
    return next((path for path in (runs, PACKED, CHECKOUT) if path.exists()), runs)


def _unpacked(path: Path) -> list[RunRecord]:
    return [from_stored(_parsed(line)) for line in gzip.decompress(path.read_bytes()).splitlines()]
