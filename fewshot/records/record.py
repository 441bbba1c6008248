"""RunRecord: what was measured and all that is needed to measure it again; to and from disk."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from episodes.files import write_atomically
from fewshot.records.schema import (
    Cost,
    EpisodeSettings,
    ExternalEmbeddings,
    Hardware,
    History,
    RecordError,
    Trained,
    upgrade,
)
from fewshot.statistics.intervals import interval_over_episodes

SCHEMA = 1


class _Parts(msgspec.Struct, kw_only=True):
    trained: Trained
    test: EpisodeSettings
    history: History
    cost: Cost
    hardware: Hardware
    embeddings: ExternalEmbeddings | None = None


@dataclass(frozen=True)
class RunRecord:
    """One measured cell. Accuracies are fractions; ``correct`` holds the correct queries of every episode, packed."""

    model: str
    protocol: str
    accuracy: float
    ci95: float
    num_episodes: int
    num_queries: int
    correct: str  # pack_counts
    episodes_digest: str  # EpisodeSampler.digest
    episode_seed: int
    recipe: str
    shortened: bool  # trained for fewer episodes than the recipe says: kept apart from full runs
    seed: int
    transductive: bool
    uses_unlabeled: bool
    num_parameters: int
    config: dict[str, Any]
    training: dict[str, Any]
    seconds: dict[str, float]
    commit: str
    versions: dict[str, str]
    machine: dict[str, Any]
    command: str
    date: str
    ci_formula: str
    notes: list[str] = field(default_factory=list)
    readout: str = ""  # how frozen embeddings were classified; empty where the method has its own rule
    self_supervised: bool = False  # no label was used in training
    schema: int = SCHEMA

    @cached_property
    def _parts(self) -> _Parts:
        return msgspec.convert(upgrade(asdict(self)), _Parts)

    @property
    def trained(self) -> Trained:
        """What was trained, on which images, and how."""
        return self._parts.trained

    @property
    def test(self) -> EpisodeSettings:
        """The test episodes, and the images that they were drawn from."""
        return self._parts.test

    @property
    def history(self) -> History:
        """The course of the training."""
        return self._parts.history

    @property
    def cost(self) -> Cost:
        """Seconds of training and test."""
        return self._parts.cost

    @property
    def hardware(self) -> Hardware:
        """The machine."""
        return self._parts.hardware

    @property
    def embeddings(self) -> ExternalEmbeddings | None:
        """The file of embeddings made elsewhere; None where the model is one of this program's."""
        return self._parts.embeddings

    @property
    def counts(self) -> npt.NDArray[np.uint16]:
        """Correctly classified queries of every episode, (num_episodes,)."""
        return unpack_counts(self.correct)

    @property
    def pixels_way_shot(self) -> tuple[str, int, int]:
        """The cell of a published table: pixels and classes, way, shot."""
        return self.protocol.split("/")[0], self.config["way"], self.config["shot"]

    @property
    def has_distractors(self) -> bool:
        """Whether unlabeled images of classes outside the episode were among the unlabeled ones."""
        return bool(self.config.get("distractors", self.config["recipe"].get("distractors")))

    @property
    def description(self) -> str:
        """The model with all that sets it apart: options, read-out, and what it was trained on or as, if not as tested.

        ``matching scale=100 (trained 1-shot)``.
        """
        config, recipe = self.config, self.config["recipe"]
        options = [
            f"{name.replace('_', '-')}={_plain(value)}" for name, value in sorted(config["model_options"].items())
        ]
        if config["encoder_options"]:
            options += [f"{name}={_plain(value)}" for name, value in sorted(config["encoder_options"].items())]
        training = []
        if before := config.get("trained_as"):
            training.append(f"as {before['model']}" if before["model"] != self.model else "with running batch norm")
        if recipe.get("labeled_share"):
            training.append(f"with {100 * recipe['labeled_share']:g} % labels")
        if config.get("damage"):
            training.append(f"with {100 * config['damage']:g} % damaged")
        if recipe.get("train_shot") not in (None, config["shot"]):
            training.append(f"{recipe['train_shot']}-shot")
        name = " ".join([self.model, *options])
        readout = f" + {self.readout}" if self.readout else ""
        return f"{name}{readout} (trained {', '.join(training)})" if training else f"{name}{readout}"

    def percent(self) -> str:
        """``98.81 ± 0.06 %``."""
        return f"{100 * self.accuracy:.2f} ± {100 * self.ci95:.2f} %"


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def pack_counts(counts: npt.NDArray[np.uint16]) -> str:
    """Base64 of zlib of little-endian 16-bit numbers: 10,000 episodes fit into a few kilobytes."""
    return base64.b64encode(zlib.compress(counts.astype("<u2").tobytes(), 9)).decode()


def unpack_counts(packed: str) -> npt.NDArray[np.uint16]:
    """The inverse of pack_counts."""
    return np.frombuffer(zlib.decompress(base64.b64decode(packed)), "<u2").astype(np.uint16)


def record_bytes(record: RunRecord) -> bytes:
    """A record as it stands in its file."""
    return (json.dumps(asdict(record), indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def write_record(record: RunRecord, path: Path) -> Path:
    """Write a record atomically. Raises RecordError when the disk is full."""
    try:
        write_atomically(path, record_bytes(record))
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror}") from error
    return path


def read_record(path: Path) -> RunRecord:
    """Read a record; fields of older schemas that are gone are left out. Raises RecordError when it is none."""
    if not path.is_file():
        raise RecordError(f"there is no record {path}: `fewshot run` writes one and prints its path")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(RunRecord)}
        record = RunRecord(**{name: value for name, value in stored.items() if name in known})
        consistent = _says_what_its_counts_say(record)
    except (OSError, ValueError, TypeError, AttributeError, zlib.error) as error:
        raise RecordError(f"{path} is not a run record: {error}") from error
    if not consistent:
        raise RecordError(
            f"{path} contradicts itself: its accuracy and interval are not those of its per-episode counts"
        )
    return record


def _says_what_its_counts_say(record: RunRecord) -> bool:
    counts, num_queries = record.counts, int(record.num_queries)
    if len(counts) != record.num_episodes or counts.max(initial=0) > num_queries:
        return False
    interval = interval_over_episodes(counts.astype(np.float64) / max(1, num_queries))
    stated = ((record.accuracy, interval.mean), (record.ci95, interval.ci95))
    return all(math.isclose(*pair, rel_tol=0, abs_tol=1e-9) for pair in stated)


def read_records(folders: Iterable[Path]) -> list[RunRecord]:
    """Every record in these folders, in the order of their file names; an absent folder holds none."""
    return [read_record(path) for folder in folders for path in sorted(folder.glob("*.json"))]
