"""Records of the open-set protocol: how well each rule tells queries of unknown classes, measured on one checkpoint."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fewshot.records.schema import Count, Part, Positive, RecordError, Share, Trained


class OpenSetRule(Part, frozen=True, kw_only=True):
    """One rule: AUROC and FPR95 with the half widths of their intervals over episodes, as fractions."""

    rule: str
    auroc: Share
    auroc_ci95: Share
    fpr95: Share
    fpr95_ci95: Share


class OpenSetRecord(Part, frozen=True, kw_only=True):
    """One measurement, and all that is needed to measure it again."""

    protocol: str  # open_set_protocol
    dataset_id: str
    part: str
    way: Positive
    shot: Positive
    query: Positive
    unknown: Positive
    episodes: Positive
    seed: Count
    episodes_digest: str  # EpisodeSampler.digest of way + unknown classes
    precision: str
    trained: Trained
    versions: dict[str, str]
    command: str
    date: str
    rules: tuple[OpenSetRule, ...]


def open_set_protocol(dataset_id: str, way: int, shot: int, query: int, unknown: int) -> str:
    """``miniimagenet-ravi-84/5w5s/q15unknown5@open-set-v1``."""
    return f"{dataset_id}/{way}w{shot}s/q{query}unknown{unknown}@open-set-v1"


def open_set_bytes(record: OpenSetRecord) -> bytes:
    """The file of a record."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def read_open_set(folder: Path) -> list[OpenSetRecord]:
    """All records of a folder, by their protocols. Raises RecordError, in one line, for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=OpenSetRecord))
        except (OSError, msgspec.MsgspecError) as error:
            raise RecordError(f"{path} is no record of the open-set protocol: {error}") from error
    return sorted(found, key=lambda record: record.protocol)
