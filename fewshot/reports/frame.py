"""The leaderboard as one data frame: a row for each configuration and cell, a column for each entry of ``COLUMNS``.

Every table, file and command shows columns of this frame. To add one, add an entry to the list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from episodes.errors import UserError
from fewshot.records.published import COMPARABLE_PIXELS
from fewshot.records.ranking import RankedRow, ranked_rows
from fewshot.records.record import RunRecord
from fewshot.reports.names import cell_words, images_name, method_and_readout, method_name
from fewshot.reports.rendering import Bold
from fewshot.statistics.intervals import Interval
from fewshot.training.recipes import RECIPES, find_recipe

Row = Any
"""A row of the frame, as ``DataFrame.itertuples`` gives it."""


@dataclass(frozen=True)
class Column:
    """A column: what it is called, how it is computed, how it is printed, which tables show it.

    ``value`` is None where there is none. ``form`` is the format of a value in leaderboard.csv, and in tables unless
    ``text`` says of the whole row what stands there.
    """

    name: str
    value: Callable[[RankedRow], Any]
    dtype: Literal["string", "Int64", "float64", "boolean"] = "string"
    form: str = ""
    heading: str = ""
    tables: tuple[Literal["overview", "unranked", "paper", "page"], ...] = ()
    text: Callable[[Row], str] | None = None
    right: bool = False  # aligned to the right

    def word(self, row: Row) -> str:
        """What stands in a table; empty where there is nothing to say."""
        value = getattr(row, self.name)
        if pd.isna(value):
            return ""
        return format(value, self.form) if self.text is None else self.text(row)

    def csv_word(self, value: Any) -> str:
        """What stands in leaderboard.csv. A spreadsheet would compute text that begins like a formula: it is quoted."""
        if pd.isna(value):
            return ""
        word = format(value, self.form)
        return f"'{word}" if isinstance(value, str) and word.startswith(("=", "+", "-", "@", "\t", "\r")) else word


def leaderboard_frame(records: Iterable[RunRecord], *, smoke: bool = False) -> pd.DataFrame:
    """The leaderboard of some records: all that is ranked, best first in each cell, then what is not, with the reason.

    Accuracies and half widths of 95 % intervals are percentages. Smoke tests are left out, or with ``smoke`` ranked
    alone.
    """
    return frame_of(ranked_rows(records, smoke=smoke))


def frame_of(rows: Sequence[RankedRow]) -> pd.DataFrame:
    """The frame of rows that are ranked already."""
    return pd.DataFrame({c.name: pd.array([c.value(row) for row in rows], dtype=c.dtype) for c in COLUMNS})


def csv_text(frame: pd.DataFrame) -> str:
    """leaderboard.csv. Without records, the heads alone."""
    known = {column.name: column for column in COLUMNS}
    words = {str(name): [known[str(name)].csv_word(value) for value in frame[name]] for name in frame.columns}
    return pd.DataFrame(words, columns=frame.columns).to_csv(index=False, lineterminator="\n")


def accuracy_words(row: Row) -> str:
    """``98.81 ± 0.06``."""
    return f"{row.accuracy:.2f} ± {row.ci95:.2f}"


def accuracy_and_classes(row: Row) -> str:
    """``98.81 ± 0.06 ± 0.35``: the second interval is that over classes, left out where the classes are not known."""
    return accuracy_words(row) + (f" ± {row.ci95_classes:.2f}" if pd.notna(row.ci95_classes) else "")


def seeds_words(row: Row) -> str:
    """``3 seeds``."""
    return f"{row.seeds} seed{'s' if row.seeds > 1 else ''}"


def model_words(row: Row, name: str = "display_name") -> str:
    """The model, and whether its weights were not kept."""
    return f"{getattr(row, name)}{' (weights not kept)' if row.without_weights else ''}"


def is_best(row: Row) -> bool:
    """Whether nothing on the same cell is surely better."""
    return bool(pd.notna(row.rank) and row.rank == 1)


def rank_words(row: Row) -> str:
    """``3``, or ``1–3`` where tests leave several places open; empty for what is not ranked."""
    if pd.isna(row.rank):
        return ""
    return f"{row.rank}" if row.rank == row.rank_worst else f"{row.rank}–{row.rank_worst}"


def test_words(row: RankedRow) -> str:
    """``5-way 1-shot``, and how its episodes depart from the usual ones."""
    return cell_words(row.entry.first.protocol_name, row.cell.num_episodes, row.cell.episode_seed)


def setting_words(row: Row) -> str:
    """The setting; of what is not ranked why it is not."""
    return str(row.setting) if pd.isna(row.not_ranked_because) else f"not ranked: {row.not_ranked_because}"


def published_words(row: Row) -> str:
    """A comparable published number with its interval and source; empty for one that is not."""
    return "" if row.published_difference else f"{row.published_printed} ({row.source})"


def _training_words(row: Row) -> str:
    return f"{row.training}, on {images_name(row.trained_on)}" if row.trained_on != row.dataset else str(row.training)


def _duration(row: Row) -> str:
    minutes = row.train_seconds / 60
    return f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.1f} min"


def _of(
    interval: Literal["interval", "over_episodes", "over_classes", "over_seeds"], part: str
) -> Callable[[RankedRow], float | None]:
    """A part of one of the intervals of a row, in percent; None where there is none."""

    def value(row: RankedRow) -> float | None:
        found: Interval | None = getattr(row.entry, interval)
        return None if found is None else 100 * float(getattr(found, part))

    return value


def _of_spread(part: str) -> Callable[[RankedRow], float]:
    return lambda row: 100 * float(getattr(row.entry.spread, part))


def _validated(row: RankedRow) -> float | None:
    """On the validation classes, in percent, the mean over seeds: what chose the weights of the training."""
    return 100 * row.entry.val_accuracy or None


def of_todays_recipe(record: RunRecord) -> bool:
    """Whether a training like this one would take the same course now, by the recipe of that name."""
    pixels, way, shot = record.pixels_way_shot
    name = next((name for name in RECIPES if name == record.recipe), None)
    if name is None or pixels not in COMPARABLE_PIXELS:
        return False
    try:
        today = find_recipe(name, COMPARABLE_PIXELS[pixels], shot, record.model, way)
    except UserError:  # no paper gives one any more
        return False
    then = record.trained.recipe
    names = ("train_way", "train_query", "train_episodes", "learning_rate", "optimizer", "augment")
    alike = all(getattr(then, name) == getattr(today, name) for name in names)
    return alike and then.support_rotation == today.turns


def as_tuned(record: RunRecord) -> bool:
    """Whether a training on the terms of a comparison has every part that the recipe tuned on them has, and no other:
    what an ablation leaves out stands beside the method and never for it."""
    pixels, way, shot = record.pixels_way_shot
    if not record.trained.terms or pixels not in COMPARABLE_PIXELS or record.recipe != "fast":
        return False
    tuned = find_recipe("fast", COMPARABLE_PIXELS[pixels], shot, record.model, way, terms=record.trained.terms)
    then = record.trained.recipe
    way_of_training = tuned.train_way or (None if then.batch_size else way)
    return (
        then.support_rotation == tuned.turns
        and (then.optimizer or "adam") == (tuned.optimizer or "adam")
        and then.augment == tuned.augment
        and then.train_way == way_of_training
    )


def _options(row: RankedRow) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(row.entry.first.trained.model_options.items()))


def _published(part: str) -> Callable[[RankedRow], Any]:
    return lambda row: None if row.target is None else getattr(row.target, part)


_EVERYWHERE: Any = ("overview", "unranked")
_ENCODER: Any = (*_EVERYWHERE, "paper", "page")
_PAPER: Any = ("paper", "page")
_PAGE: Any = ("page",)
_UNRANKED: Any = ("unranked", "page")


def _points(name: str, value: Callable[[RankedRow], float | None], heading: str = "", tables: Any = ()) -> Column:
    """A column of percentage points: with four digits in leaderboard.csv, with two in tables."""
    return Column(name, value, "float64", ".4f", heading, tables, lambda row: f"{getattr(row, name):.2f}", right=True)


COLUMNS: list[Column] = [
    Column(
        "dataset",
        lambda row: row.cell.pixels,
        heading="data set",
        tables=_PAGE,
        text=lambda row: images_name(row.dataset),
    ),
    Column(
        "protocol",
        lambda row: row.cell.protocol,
        heading="test",
        tables=("unranked",),
        text=lambda row: f"{images_name(row.dataset)}, {row.test}",
    ),
    Column("version", lambda row: row.entry.first.protocol_name.version, "Int64"),
    Column("way", lambda row: row.way_shot[0], "Int64"),
    Column("shot", lambda row: row.way_shot[1], "Int64"),
    Column("query", lambda row: row.entry.first.test.query, "Int64"),
    Column("episodes", lambda row: row.cell.num_episodes, "Int64"),
    Column("episode_seed", lambda row: row.cell.episode_seed, "Int64"),
    Column("episodes_digest", lambda row: row.cell.digest),
    Column("test", test_words, heading="test", tables=_PAGE),
    Column("setting", lambda row: row.setting, heading="setting", tables=_PAGE, text=setting_words),
    Column("rank", lambda row: row.rank and row.rank.best, "Int64", heading="rank", tables=_PAGE, text=rank_words),
    Column("rank_worst", lambda row: row.rank and row.rank.worst, "Int64"),
    Column("not_ranked_because", lambda row: row.not_ranked_because or None),
    Column("model", lambda row: row.entry.first.model),
    Column(
        "method",
        lambda row: method_name(row.entry.first.model),
        heading="Method",
        tables=_PAPER,
        text=lambda row: method_and_readout(row.model, row.readout),
    ),
    Column("options", _options),
    Column("display_name", lambda row: row.entry.model, heading="model", tables=_EVERYWHERE, text=model_words),
    Column("without_weights", lambda row: any(record.without_weights for record in row.entry.records), "boolean"),
    Column(
        "readout",
        lambda row: row.entry.first.readout,
        heading="readout",
        tables=_EVERYWHERE,
        text=lambda row: row.readout or "its own",
    ),
    Column("encoder", lambda row: row.entry.encoder, heading="encoder", tables=_ENCODER),
    Column("recipe", lambda row: row.entry.first.recipe),
    Column("recipe_details", lambda row: row.entry.training, heading="recipe", tables=("overview",)),
    Column("training", lambda row: row.entry.schedule, heading="recipe", tables=_UNRANKED, text=_training_words),
    Column("terms", lambda row: row.entry.first.trained.terms or None),
    Column("trained_on", lambda row: row.entry.first.trained.dataset_id),
    Column("todays_recipe", lambda row: of_todays_recipe(row.entry.first), "boolean"),
    Column("as_tuned", lambda row: as_tuned(row.entry.first), "boolean"),
    _points("val_accuracy", _validated),
    Column(
        "accuracy",
        lambda row: 100 * row.entry.interval.mean,
        "float64",
        ".4f",
        heading="accuracy",
        tables=_UNRANKED,
        text=lambda row: (Bold if is_best(row) else str)(accuracy_words(row)),
        right=True,
    ),
    _points("ci95", _of("interval", "half_width")),
    _points("low", _of("interval", "low")),
    _points("high", _of("interval", "high")),
    Column("interval", lambda row: row.entry.interval.method),
    Column("interval_covers", lambda row: row.entry.interval.covers),
    _points("ci95_episodes", _of("over_episodes", "half_width")),
    _points("ci95_classes", _of("over_classes", "half_width"), "± classes", _PAGE),
    _points("low_classes", _of("over_classes", "low")),
    _points("high_classes", _of("over_classes", "high")),
    Column("classes", lambda row: row.entry.over_classes and row.entry.over_classes.n, "Int64"),
    _points("ci95_seeds", _of("over_seeds", "half_width")),
    Column("seeds", lambda row: len(row.entry.seeds), "Int64", heading="seeds", tables=_UNRANKED, right=True),
    _points("worst_decile", _of_spread("worst_decile")),
    _points("percentile5", _of_spread("percentile5")),
    _points("median", _of_spread("median")),
    _points("percentile95", _of_spread("percentile95")),
    _points("perfect_episodes", _of_spread("perfect")),
    Column("transductive", lambda row: row.entry.first.transductive, "boolean"),
    Column("unlabeled", lambda row: row.entry.first.uses_unlabeled, "boolean"),
    Column("self_supervised", lambda row: row.entry.first.self_supervised, "boolean"),
    Column(
        "parameters",
        lambda row: row.entry.first.num_parameters,
        "Int64",
        heading="parameters",
        tables=_PAGE,
        text=lambda row: f"{row.parameters:,}",
        right=True,
    ),
    Column(
        "train_seconds",
        lambda row: row.entry.train_seconds,
        "float64",
        ".1f",
        heading="training",
        tables=_PAGE,
        text=_duration,
        right=True,
    ),
    Column(
        "published",
        _published("accuracy"),
        "float64",
        ".2f",
        heading="published",
        tables=_PAGE,
        text=published_words,
    ),
    Column("published_difference", _published("difference")),
    Column("published_printed", _published("printed")),
    Column("published_ci95", _published("ci95"), "float64", ".2f"),
    Column("published_status", _published("status")),
    Column("source", lambda row: row.target and f"{row.target.source}, {row.target.table}"),
    Column(
        "gap",
        lambda row: row.gap,
        "float64",
        "+.4f",
        heading="gap",
        tables=_PAGE,
        text=lambda row: f"{row.gap:+.2f}",
        right=True,
    ),
]
