"""The frame of the leaderboard -> tables. Every number in README.md and results/leaderboard.* comes through here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from fewshot.records.numbers import place_in_papers
from fewshot.records.protocols import ProtocolName
from fewshot.records.ranking import COLUMNS as WAYS_AND_SHOTS
from fewshot.records.ranking import RankedRow, missing, ranked_rows
from fewshot.records.record import RunRecord
from fewshot.records.rows import READOUTS_COMPARED, SETTINGS, Setting
from fewshot.reports import frame as frames
from fewshot.reports.frame import (
    Column,
    Row,
    accuracy_and_classes,
    accuracy_words,
    csv_text,
    frame_of,
    is_best,
    model_words,
    rank_words,
    seeds_words,
)
from fewshot.reports.latex import ACCURACY, BEST, latex
from fewshot.reports.names import departures, images_name, shape_name
from fewshot.reports.pages.base import Content, Page
from fewshot.reports.rendering import Bold, Section, render, table_of
from fewshot.reports.sortable import Heading, SortableTable, Value

_NOTHING = Section(text="No records yet: `fewshot run` makes one.")
FRONT = "front"
"""What ``PAGE`` calls the table of README.md, which is no file of its own."""
FRONT_ROWS = 6
_MOST_ROWS = 8  # of a table of leaderboard.md; the others on demand
_TITLES = {"omniglot-vinyals-28": "Omniglot", "miniimagenet-ravi-84": "miniImageNet"}  # of the table in README.md
_MODEL_AND_SEEDS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: model_words(row, "model"),
    "trainings": seeds_words,
}
_GROUP = ["dataset", "queries", "episodes", "episode_seed", "images"]  # what the columns of one table share
_OTHERWISE = "published otherwise"
_CONFIGURATION = ["display_name", "encoder", "recipe_details"]  # a row of an overview, at every way and shot


def overview(frame: pd.DataFrame, *, folded: bool = False) -> list[Section]:
    """A table for each setting of each test: a row for each configuration, its ways and shots side by side.

    Where a configuration was read out in several ways, it is shown by one, see ``_one_each``, unless read-outs are what
    is compared (transductive, external data). With ``folded`` the first test of each data set and setting stands open,
    and the others behind them on demand.
    """
    labels = {column.heading: column.word for column in frames.COLUMNS if "overview" in column.tables}
    labels["trainings"] = seeds_words
    sections, others = list[Section](), list[Section]()
    seen: set[tuple[str, Setting]] = set()
    for rows in _groups(frame):
        heading = _title(rows)
        for setting, members in _by_setting(rows):
            by = [*_CONFIGURATION, *_readout_in(setting)]
            table = _wide(_one_each(members, by), by, labels, _ranked)
            numbers = frozenset(table.columns[len(labels) :])
            section = Section(text=_setting_words(setting, rows), table=table, numbers=numbers)
            key = rows["dataset"].iloc[0], setting
            if folded and key in seen:
                others.append(replace(section, text=f"{_title(rows)}, {setting}", folded=True))
            else:
                sections.append(replace(section, heading=heading, most=_MOST_ROWS))
                heading = ""
            seen.add(key)
    return [*sections, *([Section("Other tests")] if others else []), *others] or [_NOTHING]


def front(frame: pd.DataFrame) -> Section:
    """The table of README.md: the best methods on Omniglot, and what they reach on miniImageNet.

    Inductive rows alone, each method by one configuration; behind it the published number that is comparable.
    """
    wide: dict[str, pd.DataFrame] = {}
    for rows in _groups(frame):
        inductive = rows[rows["setting"] == "inductive"]
        title = _TITLES.get(str(rows["dataset"].iloc[0]), "")
        if title and title not in wide and len(inductive):
            table = _wide(_one_each(inductive, ["model"]), ["model"], _MODEL_AND_SEEDS, _beside_published)
            wide[title] = table.set_index("model").add_prefix(f"{title} ")
    if not wide:
        return _NOTHING
    table = pd.concat([*wide.values()], axis=1, sort=False).head(FRONT_ROWS).fillna("").reset_index(names="method")
    return Section(table=table, numbers=frozenset(column for column in table.columns[1:] if column.endswith("shot")))


def headline(frame: pd.DataFrame) -> list[Section]:
    """The tables of summary.md: a row of each model, behind it the published number that is comparable.

    Published numbers that are not stand in a column of their own, with what differs. Where read-outs are what is
    compared (transductive, external data), each has a row.

    A table of one row is left to leaderboard.md, unless its images have no larger one, or a paper tested so and let
    queries see each other.
    """
    sections, title = list[Section](), ""
    shown: set[str] = set()
    for rows in _groups(frame):
        is_first, said = rows["dataset"].iloc[0] not in shown, _title(rows)
        shown.add(rows["dataset"].iloc[0])
        for setting, members in _by_setting(rows):
            as_in_a_paper = setting == "transductive" and members["published"].notna().any()
            if members["model"].nunique() == 1 and not is_first and not as_in_a_paper:
                continue
            by = ["model", *_readout_in(setting)]
            labels = _MODEL_AND_SEEDS | ({"model": _model_and_readout} if len(by) > 1 else {})
            table = _wide(_one_each(members, by), by, labels, _beside_published, _otherwise)
            numbers = frozenset(table.columns[len(_MODEL_AND_SEEDS) :]) - {_OTHERWISE}
            heading = "" if title == said else (title := said)
            text = _setting_words(setting, rows)
            sections.append(Section(heading, text=text, table=table, numbers=numbers, most=_MOST_ROWS))
    return sections or [_NOTHING]


def _readout_in(setting: Setting) -> list[str]:
    """The column that tells rows of one method apart where read-outs are what is compared."""
    return ["readout"] if setting in READOUTS_COMPARED else []


def _one_each(rows: pd.DataFrame, of: Sequence[str]) -> pd.DataFrame:
    """Of each ``of`` the rows of one configuration with one read-out, in all its cells. No test accuracy chooses it.

    It is one within the terms of a comparison where there is one, by the recipe tuned on them and no variant that an
    ablation tries, then the one with most cells, then one that a
    published number stands beside, then the model's own rule, then one by today's recipe, then the best on the
    validation classes (in the first cell: other shots are validated otherwise).
    """
    rows = rows.assign(
        own=rows["readout"].fillna("") == "", readout=rows["readout"].fillna(""), terms=rows["terms"].fillna("")
    )
    order = {"way": True, "shot": True, "val_accuracy": False}  # of two trainings the better one first
    rows = rows.sort_values([*order], ascending=[*order.values()], kind="stable")
    whole = list(dict.fromkeys([*of, *_CONFIGURATION, "terms", "readout"]))
    score = rows.groupby(whole).agg(
        within=("terms", lambda terms: bool(terms.iloc[0])),
        tuned=("as_tuned", "max"),
        cells=("accuracy", "size"),
        held=("published", "count"),
        own=("own", "first"),
        today=("todays_recipe", "sum"),
        val=("val_accuracy", "first"),
    )
    best_first = score.sort_values([*score.columns], ascending=False, kind="stable")
    chosen = best_first.reset_index().drop_duplicates(list(of))[whole]
    return rows.merge(chosen, on=whole)


def _model_and_readout(row: Row) -> str:
    return model_words(row, "model") + (f" + {row.readout}" if row.readout else "")


def for_papers(frame: pd.DataFrame) -> list[Section]:
    """A table for each setting of each test, to be printed in a paper: a row for each method.

    It is of one configuration with one read-out; see ``_one_each``. Where read-outs are what is compared
    (transductive, external data), each has a row.
    """
    labels = {column.heading: column.word for column in frames.COLUMNS if "paper" in column.tables}
    sections = []
    for rows in _groups(frame.assign(readout=frame["readout"].fillna(""))):
        for setting, members in _by_setting(rows):
            by = ["model", "encoder", *_readout_in(setting)]
            table = _wide(_one_each(members, by), by, labels, accuracy_words)
            count = f"{rows['episodes'].iloc[0]:,} episodes a cell"
            told = f"{_title(rows)}, {setting}: {SETTINGS[setting]}. {ACCURACY}, {count}; {BEST}."
            sections.append(Section(told, table=table, numbers=frozenset(table.columns[len(labels) :])))
    return sections


def unranked(frame: pd.DataFrame) -> list[Section]:
    """A table for each reason why rows are not ranked."""
    reasons = frame.groupby("not_ranked_because")
    return [_listed(rows, "unranked", f"Not ranked: {reason}") for reason, rows in reasons]


def _groups(frame: pd.DataFrame) -> list[pd.DataFrame]:
    """The ranked rows, in groups that share a title: the papers' own images first, larger groups before smaller.

    Before them all is the final test on equal terms, once it has methods for the table of README.md: the other episodes
    were seen while methods were made.
    """
    ranked = frame[frame["rank"].notna()]
    names = [ProtocolName.parse(protocol) for protocol in ranked["protocol"]]
    ranked = ranked.assign(queries=[f"{name.episodes}@v{name.version}" for name in names])
    ranked = ranked.assign(images=_other_images(ranked))

    def order(group: tuple[tuple[str, str, int, int, int], pd.DataFrame]) -> tuple[object, ...]:
        dataset, rows = group[0][0], group[1]
        is_final = rows.loc[rows["terms"].fillna("") != "", "model"].nunique() >= FRONT_ROWS
        return place_in_papers(dataset), dataset, not is_final, -len(rows), group[0]

    found: Iterable[tuple[tuple[str, str, int, int, int], pd.DataFrame]] = ranked.groupby(_GROUP)  # type: ignore[assignment]
    return [rows for _, rows in sorted(found, key=order)]


def _other_images(ranked: pd.DataFrame) -> list[int]:
    """0 for each row; 1, 2, ... where the same cell was measured on other episodes or images under the same name."""
    cell = [*_GROUP[:-1], "way", "shot"]
    largest_first = ranked.value_counts([*cell, "episodes_digest"]).reset_index()
    number = {
        row[:-1]: int(place)
        for row, place in zip(
            largest_first.itertuples(index=False, name=None), largest_first.groupby(cell).cumcount(), strict=True
        )
    }
    return [number[row] for row in ranked[[*cell, "episodes_digest"]].itertuples(index=False, name=None)]


def _by_setting(rows: pd.DataFrame) -> list[tuple[Setting, pd.DataFrame]]:
    groups = [(setting, rows[rows["setting"] == setting]) for setting in SETTINGS]
    return [(setting, members) for setting, members in groups if len(members)]


def _setting_words(setting: Setting, rows: pd.DataFrame) -> str:
    dataset, queries, episodes, seed, _ = rows[_GROUP].iloc[0]
    protocol = f"Protocol {dataset}/.../{queries}, {episodes:,} episodes a cell, episode seed {seed}."
    return f"{setting.capitalize()}: {SETTINGS[setting]}. {protocol}"


def _ways_and_shots(rows: pd.DataFrame) -> list[tuple[int, int]]:
    """Those that occur, those of the field's tables first."""
    there = {(int(way), int(shot)) for way, shot in zip(rows["way"], rows["shot"], strict=True)}
    return [cell for cell in WAYS_AND_SHOTS if cell in there] + sorted(there - set(WAYS_AND_SHOTS))


def _title(rows: pd.DataFrame) -> str:
    dataset, _, episodes, seed, other = rows[_GROUP].iloc[0]
    digest = rows["episodes_digest"].iloc[0][:8]
    said = departures(ProtocolName.parse(rows["protocol"].iloc[0]), int(episodes), int(seed))
    said += [f"other images under the same name, digest {digest}"] if other else []
    return images_name(dataset) + (f" ({', '.join(said)})" if said else "")


def _wide(
    rows: pd.DataFrame,
    by: list[str],
    labels: Mapping[str, Callable[[Row], str]],
    cell: Callable[[Row], str],
    otherwise: Callable[[Sequence[Row | None]], str] | None = None,
) -> pd.DataFrame:
    """A row for each value of ``by``, a column for each way and shot, in it the first of the rows that it has.

    Labels stand before them, several where the cells differ; behind them what ``otherwise`` says of the cells, where it
    says anything. Complete rows come first, then they are sorted by mean accuracy, then by name.
    """
    heads = {way_shot: shape_name(*way_shot) for way_shot in _ways_and_shots(rows)}
    of_key: dict[tuple[str, ...], dict[tuple[int, int], Row]] = {}
    firsts: Iterable[Row] = rows.drop_duplicates([*by, "way", "shot"]).itertuples()  # a column costs more than a row
    for row in firsts:
        of_key.setdefault(tuple(getattr(row, name) for name in by), {})[row.way, row.shot] = row
    found = []
    for key, cells in of_key.items():
        there = [cells[way_shot] for way_shot in heads if way_shot in cells]
        words = {
            head: (Bold if is_best(cells[way_shot]) else str)(cell(cells[way_shot])) if way_shot in cells else ""
            for way_shot, head in heads.items()
        }
        names = {heading: ", ".join(dict.fromkeys(map(label, there))) for heading, label in labels.items()}
        last = {_OTHERWISE: otherwise([cells.get(way_shot) for way_shot in heads])} if otherwise else {}
        mean = sum(row.accuracy for row in there) / len(there)
        found.append(((-len(there), -mean, key), names | words | last))
    table = table_of(row for _, row in sorted(found, key=lambda item: item[0]))
    return table.drop(columns=_OTHERWISE) if otherwise and not table[_OTHERWISE].any() else table


def _ranked(row: Row) -> str:
    return f"{accuracy_and_classes(row)} ({rank_words(row)})"


def _beside_published(row: Row) -> str:
    comparable = pd.notna(row.published) and not row.published_difference
    return accuracy_and_classes(row) + (f" ({row.published:.2f})" if comparable else "")


def _otherwise(cells: Sequence[Row | None]) -> str:
    """``98.02 / 99.25 / – / –: run by PaddleFSL``, cell by cell, for each difference."""
    differences = [str(cell.published_difference) if cell and pd.notna(cell.published) else "" for cell in cells]
    numbers = [f"{cell.published:.2f}" if cell else "" for cell in cells]
    return "; ".join(
        " / ".join(n if d == difference else "–" for n, d in zip(numbers, differences, strict=True)) + f": {difference}"
        for difference in dict.fromkeys(filter(None, differences))
    )


def _listed(rows: pd.DataFrame, kind: str, heading: str) -> Section:
    """Every row, with all columns of a kind of table that say anything in it."""
    columns = [column for column in frames.COLUMNS if kind in column.tables]
    table = table_of({column.heading: column.word(row) for column in columns} for row in rows.itertuples())
    table = table.loc[:, (table != "").any()]
    return Section(heading, table=table, numbers=frozenset(c.heading for c in columns if c.right), most=_MOST_ROWS)


def _lacking(found: Sequence[RankedRow]) -> list[Section]:
    table = table_of(
        {"images": pixels, "model": model, "cells": ", ".join(shape_name(*cell) for cell in cells)}
        for pixels, models in missing(found).items()
        for model, cells in models.items()
    )
    text = "Cells of the papers' tables that have no ranked record here yet."
    return [] if table.empty else [Section("What is missing", text=text, table=table)]


def _page(frame: pd.DataFrame) -> str:
    """Every row in one table, to be sorted and filtered."""
    first = ["method", "accuracy"]
    columns = [column for column in frames.COLUMNS if "page" in column.tables]
    columns.sort(key=lambda column: first.index(column.name) if column.name in first else len(first))
    heads = tuple(Heading(column.heading, column.right) for column in columns)
    sets = frame["dataset"].map(place_in_papers)
    ordered = frame.assign(sets=sets, odd=frame["test"].str.len()).sort_values(
        ["sets", "dataset", "odd", "way", "shot"], kind="stable"
    )
    rows = tuple(tuple(_value(column, row) for column in columns) for row in ordered.itertuples())
    told = (
        f"{len(frame):,} rows: accuracy in percent with its 95 % interval; bold is not surely below the best. On final "
        "episodes nothing was ever chosen, neither a recipe nor an option."
    )
    filters = ("data set", "test", "setting", "encoder")
    extra = ("encoder", "± classes", "seeds", "parameters", "training", "published", "gap")
    table = SortableTable("All rows", "", heads, rows, filters, filters[:3], extra)
    return render("leaderboard.html", lead=told if rows else "No records yet: `fewshot run` makes one.", found=table)


def _value(column: Column, row: Row) -> Value:
    word, value = column.word(row), getattr(row, column.name)
    key = f"{value:.9g}" if column.right and pd.notna(value) else ""
    look = "score-cell" if column.name == "accuracy" else ""
    if column.name == "published" and word:
        return Value(str(row.published_printed), key, note=word)
    shown = str(word).replace("-", "\u2011") if column.name == "test" else str(word)
    shown = shown.replace("\u2013", "\u2060\u2013\u2060") if column.name == "rank" else shown  # on one line
    return Value(shown, key, f"{look} best" if isinstance(word, Bold) else look)


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    found = ranked_rows(records)
    frame = frame_of(found)
    whole = [*overview(frame, folded=True), *unranked(frame), *_lacking(found)]
    return {
        "summary.md": render("summary.md", sections=headline(frame)),
        "leaderboard.md": render("leaderboard.md", sections=whole),
        "leaderboard.csv": csv_text(frame),
        "leaderboard.html": _page(frame),
        "leaderboard.tex": latex(for_papers(frame)),
        FRONT: render("sections.md", sections=[front(frame)]),
    }


PAGE = Page("leaderboard", _render)
