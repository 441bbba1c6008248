"""Where does episodic training pay? Episodic networks beside encoders that a loss trained, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from fewshot.records.numbers import place_in_papers
from fewshot.records.ranking import COLUMNS, RankedRow, ranked_rows, settings
from fewshot.records.record import RunRecord
from fewshot.records.rows import best_on_val
from fewshot.reports.frame import as_tuned
from fewshot.reports.leaderboard import FRONT_ROWS
from fewshot.reports.names import departures, images_name, method_name, shape_name
from fewshot.reports.pages.ablation import part_between
from fewshot.reports.pages.base import Content, Page
from fewshot.reports.pages.comparison import ENOUGH_SEEDS, finding, verdict_words, why_no_finding
from fewshot.reports.pages.recipe_costs import images_seen
from fewshot.reports.rendering import Bold, render, table_of
from fewshot.statistics.paired import PairedDifference, holm, paired_difference

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Style = Literal["episodic", "baseline", "self-supervised", "untrained"]
STYLES: dict[Style, str] = {
    "episodic": "trained on episodes",
    "baseline": "a loss on batches of labeled images",
    "self-supervised": "a loss on batches, no label used",
    "untrained": "not trained at all",
}
FINDINGS = "findings"  # what README.md says of it
OWN_RULE = "own"
_FIXED = "simpleshot"  # the read-out that the papers of transfer baselines settled on


@dataclass(frozen=True)
class Verdict:
    """An episodic network of a cell against the baseline that validated best there, on the same episodes."""

    way_shot: tuple[int, int]
    episodic: RankedRow
    baseline: RankedRow
    difference: PairedDifference
    lacks: str = ""  # the part of its recipe that an ablation took away

    @property
    def cell(self) -> str:
        """``5-way 1-shot``."""
        return shape_name(*self.way_shot)

    @property
    def episodic_name(self) -> str:
        """The episodic network, and what its recipe lacks."""
        return row_name(self.episodic) + (f" without {self.lacks}" if self.lacks else "")

    @property
    def baseline_name(self) -> str:
        """Model and read-out of the baseline."""
        readout = readout_of(self.baseline)
        return row_name(self.baseline) + ("" if readout == OWN_RULE else f" + {readout}")

    @property
    def why_no_finding(self) -> str:
        """What both rows lack for a finding; empty where it is nothing."""
        return why_no_finding(self.episodic.entry, self.baseline.entry)

    def words(self, p: float) -> str:
        """What the difference says at the Holm-corrected ``p``."""
        pays, does_not = "episodic training pays", "episodic training does not pay"
        return finding(self.episodic.entry, self.baseline.entry, self.difference, p, pays, does_not)


def style_of(record: RunRecord) -> Style | None:
    """How the encoder of a record was trained; None for what has none, or sees more than the others do."""
    if record.uses_unlabeled or record.transductive:
        return None
    if record.model == "untrained":
        return "untrained"
    if record.trained.recipe.batch_size:
        return "self-supervised" if record.self_supervised else "baseline"
    return "episodic" if record.trained.recipe.train_episodes else None


def readout_of(standing: RankedRow) -> str:
    """Its name, or ``own``."""
    return standing.entry.first.readout or OWN_RULE


def comparable(records: Iterable[RunRecord]) -> list[list[RankedRow]]:
    """The ranked entries that have a style, in groups of the same images and episodes where both styles occur.

    Groups of the final test come first, once they have methods for the table of README.md; then the papers' own images,
    larger groups before smaller. The picture shows the first.
    """
    groups: dict[tuple[str, str, int, int], list[RankedRow]] = {}
    for standing in ranked_rows(records):
        if standing.rank is not None and style_of(standing.entry.first) and standing.way_shot in COLUMNS:
            groups.setdefault(settings(standing), []).append(standing)
    kept = {key: group for key, group in groups.items() if {"episodic", "baseline"} <= {*map(_style, group)}}

    def order(key: tuple[str, str, int, int]) -> tuple[object, ...]:
        within = {standing.entry.first.model for standing in kept[key] if standing.entry.first.trained.terms}
        return len(within) < FRONT_ROWS, place_in_papers(key[0]), -len(kept[key]), key

    return [kept[key] for key in sorted(kept, key=order)]


def _style(standing: RankedRow) -> Style:
    style = style_of(standing.entry.first)
    assert style is not None
    return style


def _cell(group: Sequence[RankedRow], way_shot: tuple[int, int]) -> list[RankedRow]:
    """Best first."""
    chosen = [standing for standing in group if standing.way_shot == way_shot]
    return sorted(chosen, key=lambda standing: -standing.entry.interval.mean)


def verdicts(group: Sequence[RankedRow], readout: str = OWN_RULE, *, ablated: bool = False) -> list[Verdict]:
    """Cell by cell every episodic network, by its own rule, against the baseline that did best on the validation
    classes, with a read-out that is set beforehand.

    With ``ablated`` it is every network as an ablation trained it, without one part of its recipe. Where both kinds
    have rows on the terms of a comparison, these alone are compared.
    """
    found = []
    for way_shot in COLUMNS:
        cell = _cell(group, way_shot)
        episodic = [s for s in cell if _style(s) == "episodic" and readout_of(s) == OWN_RULE]
        rules = (OWN_RULE, "prototype") if readout == OWN_RULE else (readout,)  # a baseline's is the nearest class mean
        baselines = [s for s in cell if _style(s) == "baseline" and readout_of(s) in rules]
        within = [[s for s in side if s.entry.first.trained.terms] for side in (episodic, baselines)]
        if all(within):
            episodic, baselines = within
        if baselines:
            rows = [standing.entry.by_seed for standing in cell]  # all of them say how far seeds move a row
            second = _chosen(baselines)
            for name in dict.fromkeys(map(row_name, episodic)):
                of_name = [standing for standing in episodic if row_name(standing) == name]
                first = _chosen(of_name)
                for row, lacks in _without_a_part(first, of_name) if ablated else [(first, "")]:
                    difference = paired_difference(rows, cell.index(row), cell.index(second))
                    found.append(Verdict(way_shot, row, second, difference, lacks))
    return found


def _without_a_part(whole: RankedRow, rows: Sequence[RankedRow]) -> list[tuple[RankedRow, str]]:
    """Rows on the terms of a comparison whose recipe lacks one part of another's and nothing else, and which part."""
    of = whole.entry.first.trained
    trained = [(row, row.entry.first.trained) for row in rows]
    alike = [row for row, its in trained if its.terms and its.model_options == of.model_options]
    parts = [(row, part_between(of.recipe, row.entry.first.trained.recipe)) for row in alike]
    return [(row, part) for row, part in parts if part is not None]


def _chosen(rows: Sequence[RankedRow]) -> RankedRow:
    """The one that did best on the validation classes; no variant that an ablation tries, where there is another."""
    rows = [standing for standing in rows if as_tuned(standing.entry.first)] or rows
    best = best_on_val(standing.entry for standing in rows)
    return next(standing for standing in rows if standing.entry is best)


def _group_of_page(group: Sequence[RankedRow]) -> dict[str, Any]:
    """What the page says of one group."""
    pixels, _, episodes, seed = settings(group[0])
    said = ", ".join(departures(group[0].entry.first.protocol_name, episodes, seed))
    tables, ablated = _judged(group), _judged(group, ablated=True)
    found = [verdict for table in tables for verdict, _ in table]
    sure = [verdict for table in tables for verdict, words in table if isinstance(words, Bold)]
    sure = sorted(sure, key=lambda verdict: -verdict.difference.mean)
    return {
        "images": images_name(pixels),
        "title": f"{images_name(pixels)}{f' ({said})' if said else ''}",
        "baselines": list(dict.fromkeys(row_name(verdict.baseline) for verdict in found)),
        "verdicts": [_verdict_table(table) for table in tables if table],
        "ablated": [_verdict_table(table) for table in ablated if table],
        "parts": _counted([verdict for table in ablated for verdict in table]),
        "num_verdicts": len(found),
        "num_findings": sum(not verdict.why_no_finding for verdict in found),
        "ahead": [verdict for verdict in sure if verdict.difference.mean > 0],
        "behind": [verdict for verdict in sure if verdict.difference.mean < 0],
        "costs": _cost_table(group),
        "readouts": {shape_name(*column): _readout_table(_cell(group, column)) for column in COLUMNS},
    }


def _judged(group: Sequence[RankedRow], *, ablated: bool = False) -> list[list[tuple[Verdict, str]]]:
    """For each read-out of the baseline the verdicts and what they say, corrected over all of them."""
    of_readouts = [verdicts(group, readout, ablated=ablated) for readout in (OWN_RULE, _FIXED)]
    corrected = map(float, holm([verdict.difference.p for found in of_readouts for verdict in found]))
    return [[(verdict, verdict.words(next(corrected))) for verdict in found] for found in of_readouts]


def _counted(said: Sequence[tuple[Verdict, str]]) -> dict[str, tuple[int, int, int]]:
    """Of each network that lacks a part: how many comparisons are findings, and in how many it is ahead and behind."""
    found: dict[str, tuple[int, int, int]] = {}
    for verdict, words in said:
        if not verdict.why_no_finding:
            number, ahead, behind = found.get(verdict.episodic_name, (0, 0, 0))
            sure, gains = isinstance(words, Bold), verdict.difference.mean > 0
            found[verdict.episodic_name] = number + 1, ahead + (sure and gains), behind + (sure and not gains)
    return found


def _verdict_table(said: Sequence[tuple[Verdict, str]]) -> pd.DataFrame:
    """A row for each episodic network, a column for each cell, and in words what they say; a finding is bold."""
    rows = []
    for name in dict.fromkeys(verdict.episodic_name for verdict, _ in said):
        row, of_name = {"episodic network": name}, list[tuple[str, str]]()
        for verdict, words in said:
            if verdict.episodic_name == name:
                of_name.append((words, verdict.cell))
                shown = verdict.difference.percent()
                row[f"{verdict.cell} against {verdict.baseline_name}"] = (
                    Bold(shown) if isinstance(words, Bold) else shown
                )
        rows.append(row | {"verdict": verdict_words(of_name)})
    table = table_of(rows).fillna("")
    return table[[*table.columns.drop("verdict"), "verdict"]]


def _cost_table(group: Sequence[RankedRow]) -> pd.DataFrame:
    """What each training was given, beside what came out under its own rule."""
    rows = []
    for name, standing in _one_a_model(group).items():
        entry, passed = standing.entry, images_seen(standing.entry.first)
        cells = {shape_name(*column): _ruled(_cell(group, column), name, standing) for column in COLUMNS}
        row = {
            "model": name,
            "style": _style(standing),
            "encoder": entry.encoder,
            "recipe": entry.schedule,
            "images": "" if passed is None else f"{passed:,}",
            "minutes": "" if entry.train_seconds is None else f"{entry.train_seconds / 60:.1f}",
        }
        rows.append(row | {head: "" if cell is None else cell.entry.interval.points() for head, cell in cells.items()})
    return table_of(rows)


def _one_a_model(group: Sequence[RankedRow]) -> dict[str, RankedRow]:
    """The row of each model that validated best, at the first cell it has under its own rule, best models first."""
    found: dict[str, RankedRow] = {}
    for column in COLUMNS:
        cell = _cell(group, column)
        for name in dict.fromkeys(row_name(standing) for standing in cell if readout_of(standing) == OWN_RULE):
            row = _row_of(cell, name, OWN_RULE)
            assert row is not None
            found.setdefault(name, row)
    return found


def row_name(standing: RankedRow) -> str:
    """The model; of what was never trained the encoder, too."""
    first = standing.entry.first
    return f"untrained {standing.entry.encoder}" if first.model == "untrained" else first.model


def _row_of(cell: Sequence[RankedRow], name: str, readout: str) -> RankedRow | None:
    """The row of a model with a read-out; of several the one that validated best."""
    found = [s for s in cell if row_name(s) == name and readout_of(s) == readout]
    return _chosen(found) if found else None


def _ruled(cell: Sequence[RankedRow], name: str, standing: RankedRow) -> RankedRow | None:
    """A model under its own rule; for all that learned no rule that is the nearest class mean, whoever computed it."""
    found = _row_of(cell, name, OWN_RULE)
    return found if found is not None or _style(standing) == "episodic" else _row_of(cell, name, "prototype")


def _readout_table(cell: Sequence[RankedRow]) -> pd.DataFrame:
    """Every model with every read-out, best models first, the best of each row in bold."""
    readouts = list(dict.fromkeys([OWN_RULE, *sorted({readout_of(standing) for standing in cell})]))
    rows = []
    for name in dict.fromkeys(map(row_name, cell)):
        found = {readout: _row_of(cell, name, readout) for readout in readouts}
        there = [standing for standing in found.values() if standing is not None]
        most = max(standing.entry.interval.mean for standing in there)
        values = {
            readout: "" if s is None else (Bold if s.entry.interval.mean == most else str)(s.entry.interval.points())
            for readout, s in found.items()
        }
        rows.append({"model": name, "style": _style(there[0])} | values)
    return table_of(rows)


def draw(group: Sequence[RankedRow]) -> Figure:
    """The errors of a group."""
    from fewshot.reports.plots.training_styles import training_styles_figure

    rows = [
        {
            "cell": shape_name(*standing.way_shot),
            "name": _full_name(standing),
            "style": _style(standing),
            "own_rule": readout_of(standing) == OWN_RULE,
            "error": 100 * max(1e-4, 1 - standing.entry.interval.mean),  # drawn on a logarithmic axis
        }
        for column in COLUMNS
        for standing in group
        if standing.way_shot == column
    ]
    images = images_name(settings(group[0])[0])
    title = f"Errors on {images}: left is better; the color says how the encoder was trained"
    return training_styles_figure(pd.DataFrame(rows), {str(style): what for style, what in STYLES.items()}, title)


def _full_name(standing: RankedRow) -> str:
    """The paper's name; of what was never trained with the encoder."""
    first, name = standing.entry.first, method_name(standing.entry.first.model)
    return f"{name}, {standing.entry.encoder}" if first.model == "untrained" else name


def _render(records: Iterable[RunRecord]) -> dict[str, Content]:
    groups = comparable(records)
    pages = [_group_of_page(group) for group in groups]
    first = {page["images"]: page for page in reversed(pages)}  # of each data set: the final test, where there is one
    said = render("findings.md", groups=[page for page in pages if page is first[page["images"]]], enough=ENOUGH_SEEDS)
    if not groups:
        return {FINDINGS: said}
    text = render("training-styles.md", groups=pages, fixed=_FIXED, enough=ENOUGH_SEEDS)
    return {"training-styles.md": text, "training-styles.svg": lambda: draw(groups[0]), FINDINGS: said}


PAGE = Page("training styles", _render)
