"""leaderboard.csv: one line for each row of the tables, for whoever computes with it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from fewshot.records.ranking import Standing
from fewshot.statistics.intervals import CoveringInterval, spread


def csv_text(found: Iterable[Standing]) -> str:
    """Accuracies and half widths are percentages. Without records, the heads alone."""
    lines = [_line(standing) for standing in found]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


COLUMNS = (
    *("model", "options", "dataset", "protocol", "version", "way", "shot", "query", "block", "rank", "rank_worst"),
    *("readout", "encoder", "recipe", "training", "accuracy", "ci95", "low", "high", "interval", "episodes"),
    *("ci95_classes", "low_classes", "high_classes", "classes", "seeds", "ci95_seeds", "percentile5", "median"),
    *("percentile95", "worst_decile", "perfect_episodes", "transductive", "unlabeled", "self_supervised"),
    *("parameters", "train_seconds", "published", "published_ci95", "published_status", "gap", "source", "apart"),
    "episodes_digest",
)


def _line(standing: Standing) -> dict[str, Any]:
    entry, record, target = standing.entry, standing.entry.first, standing.target
    way, shot = standing.way_shot
    options = " ".join(f"{name}={value}" for name, value in sorted(record.trained.model_options.items()))
    hidden = spread(entry.accuracies)
    return {
        **{"model": record.model, "options": options, "dataset": standing.cell.pixels},
        **{"protocol": record.protocol, "version": record.protocol_name.version, "way": way, "shot": shot},
        **{"query": record.test.query, "block": standing.block},
        "rank": standing.rank.best if standing.rank else "",
        "rank_worst": standing.rank.worst if standing.rank else "",
        **{"readout": record.readout, "encoder": entry.encoder, "recipe": record.recipe, "training": entry.schedule},
        **_interval(entry.interval),
        "interval": entry.interval.method,
        "episodes": record.num_episodes,
        **{f"{name}_classes": value for name, value in _interval(entry.over_classes).items() if name != "accuracy"},
        "classes": entry.over_classes.n if entry.over_classes else "",
        "seeds": len(entry.seeds),
        "ci95_seeds": _percent(entry.over_seeds.half_width if entry.over_seeds else None),
        "percentile5": _percent(hidden.percentile5),
        "median": _percent(hidden.median),
        "percentile95": _percent(hidden.percentile95),
        "worst_decile": _percent(hidden.worst_decile),
        "perfect_episodes": _percent(hidden.perfect),
        **{"transductive": record.transductive, "unlabeled": record.uses_unlabeled},
        **{"self_supervised": record.self_supervised, "parameters": record.num_parameters},
        "train_seconds": "" if entry.train_seconds is None else f"{entry.train_seconds:.1f}",
        "published": "" if target is None else f"{target.accuracy:.2f}",
        "published_ci95": "" if target is None or target.ci95 is None else f"{target.ci95:.2f}",
        "published_status": "" if target is None else target.status,
        "gap": "" if standing.gap is None else f"{standing.gap:+.4f}",
        "source": "" if target is None else f"{target.source}, {target.table}",
        **{"apart": standing.apart, "episodes_digest": record.episodes_digest},
    }


def _interval(interval: CoveringInterval | None) -> dict[str, str]:
    if interval is None:
        return {"accuracy": "", "ci95": "", "low": "", "high": ""}
    return {
        "accuracy": _percent(interval.mean),
        "ci95": _percent(interval.half_width),
        "low": _percent(interval.low),
        "high": _percent(interval.high),
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.4f}"
