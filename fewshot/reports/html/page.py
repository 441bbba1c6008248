"""The page: sections in the order in which they are read, and the HTML around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from jinja2 import Environment, StrictUndefined

from fewshot.records.published import published
from fewshot.records.record import RunRecord
from fewshot.reports.charts.canvas import DARK, FONT, LIGHT, Canvas
from fewshot.reports.html import figures, gallery_figures, tables
from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import Closeup
from fewshot.reports.html.row_names import Cell, cells_of
from fewshot.reports.html.summary import Answer, answers_for
from fewshot.reports.html.tables import Column, Item, Table

TITLE = "Few-shot learning: what was measured"
_HERO = ("omniglot-vinyals-28", 1)  # pixels and shot of the question that everybody asks first


@dataclass(frozen=True)
class Section:
    """A heading, how to read what follows, and what follows; ``shown`` figures of each group are open at once."""

    key: str
    title: str
    lead: str
    heading: str = ""
    cards: tuple[tuple[Cell, list[Answer]], ...] = ()
    figures: tuple[list[Figure], ...] = ()
    tables: tuple[Table, ...] = ()
    missing: tuple[str, ...] = ()
    shown: int = 4

    @property
    def is_empty(self) -> bool:
        return not (self.cards or any(self.figures) or self.tables or self.missing)


def sections_of(records: Sequence[RunRecord], closeups: Sequence[Closeup] = ()) -> list[Section]:
    """Everything that these records have to say."""
    cells = cells_of(records)
    made = (
        *(_short_answer(cells), _leaderboards(cells), _papers(cells), _pairs(cells), _spreads(cells)),
        *(_learning(cells), _shots_and_ways(cells), _costs(cells)),
        *(_embeddings(cells, closeups), _hardest(cells, closeups), _records(cells)),
    )
    return [section for section in made if not section.is_empty]


def render(records: Sequence[RunRecord], closeups: Sequence[Closeup] = ()) -> str:
    """The page as one HTML text that needs nothing else; the same records give the same bytes."""
    sections = sections_of(records, closeups)
    symbols: dict[str, str] = {}

    def drawn(canvas: Canvas) -> str:
        return canvas.svg(symbols)

    def collected() -> str:
        return "".join(symbols.values())

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.files("fewshot.reports.html").joinpath("page.html").read_text(encoding="utf-8")
    return (
        environment.from_string(text).render(
            title=TITLE,
            subtitle=_subtitle(records),
            sections=sections,
            drawn=drawn,
            symbols=collected,
            light=_variables(LIGHT),
            dark=_variables(DARK),
            font=FONT,
            nothing="No records for this yet: `fewshot run` makes them.",
            footer=_footer(),
        )
        + "\n"
    )


def _variables(colors: Mapping[str, str]) -> str:
    return " ".join(f"--{role}: {color};" for role, color in colors.items())


def all_figures(records: Sequence[RunRecord], closeups: Sequence[Closeup] = ()) -> list[Figure]:
    """Every figure of the page."""
    return [figure for section in sections_of(records, closeups) for group in section.figures for figure in group]


def _subtitle(records: Sequence[RunRecord]) -> str:
    kept = [record for cell in cells_of(records) for entry in cell.entries for record in entry.row.records]
    if not kept:
        return "No records yet: `fewshot run` makes one, and this page is made from them."
    models, pixels = {record.model for record in kept}, {record.pixels_way_shot[0] for record in kept}
    queries = sum(record.num_episodes * record.num_queries for record in kept)
    return (
        f"{len(kept)} records of {len(models)} models on {len(pixels)} data sets: {queries:,} classified queries, "
        f"the newest of {max(record.date for record in kept)[:10]}. Every number here is computed from them."
    )


def _footer() -> str:
    recalled = sum(paper.status != "verified" for paper in published())
    return (
        "Made by `fewshot report` from the records in results/runs; nothing is typed. Intervals are 95 % over test "
        "episodes (closed: these classes and these trainings). Published numbers come from fewshot/published.csv, "
        f"{recalled} of {len(published())} of them recalled from memory and shown as such."
    )


def _short_answer(cells: Sequence[Cell]) -> Section:
    pixels, shot = _HERO
    usual = [cell for cell in cells if cell.ranked and cell.rest == "q15@v1"]
    first = [cell for cell in usual if (cell.pixels, cell.shot) == (pixels, shot)] or usual[:1]
    shown = first[:2]
    rest = [cell for cell in cells if cell.ranked and cell not in shown]
    lead = "Inductive models only, each trained as its recipe says; all were tested on the very same episodes."
    elsewhere = (_elsewhere(rest),) if rest else ()
    heading = "The short answer: one shot on Omniglot" if first and first[0].pixels == pixels else "The short answer"
    cards = tuple((cell, answers_for(cell)) for cell in shown)
    return Section("answer", "Short answer", lead, heading, cards=cards, tables=elsewhere)


def _elsewhere(cells: Sequence[Cell]) -> Table:
    columns = (
        Column("setting"), Column("best"), Column("accuracy, %", True), Column("surely better than the next?"),
        Column("as its paper says?"), Column("training", True), Column("models", True),
    )  # fmt: skip
    rows = []
    for cell in cells:
        best, surely, paper, cost = answers_for(cell)
        entry = cell.ranked[0]
        accuracy = f"{100 * entry.interval.mean:.2f} ± {100 * entry.interval.half_width:.2f}"
        name = entry.name + (f" ({entry.apart})" if entry.apart else "")
        rows.append(
            (
                Item(cell.name), Item(name, note=best.long), Item(accuracy, f"{entry.interval.mean:.9g}"),
                Item(surely.short, look=surely.tone, note=surely.long),
                Item(paper.short, look=paper.tone, note=paper.long),
                Item(cost.short, f"{entry.train_seconds:.9g}"), Item(str(len(cell.ranked)), str(len(cell.ranked))),
            )
        )  # fmt: skip
    return Table("The same questions elsewhere", "Point at an answer for the sentence behind it.", columns, tuple(rows))


def _leaderboards(cells: Sequence[Cell]) -> Section:
    lead = (
        "Accuracy ± 95 % interval over test episodes. Rows that the paired test does not separate share their rank; "
        "bold: not surely beaten by anyone in the table. Press a heading to sort."
    )
    charts = [figures.intervals(cell) for cell in cells]
    return Section("leaderboard", "Leaderboard", lead, figures=(charts,), tables=tuple(tables.leaderboards(cells)))


def _papers(cells: Sequence[Cell]) -> Section:
    table = tables.beside_the_papers(cells)
    lead = "Each of our numbers that the model's own paper prints for the same data set, way and shot."
    return Section("papers", "Papers", lead, "Beside the papers", tables=(table,) if table else ())


def _pairs(cells: Sequence[Cell]) -> Section:
    lead = "All models answer the same episodes, so their differences are known far better than their accuracies."
    maps = [found for cell in cells if (found := figures.paired(cell))]
    return Section(
        "pairs", "Paired differences", lead, "Who is better than whom", figures=(maps,) if maps else (), shown=2
    )


def _spreads(cells: Sequence[Cell]) -> Section:
    lead = "The mean hides the bad episodes: these are what somebody meets who has one problem to solve."
    charts = [figures.distribution(cell) for cell in cells]
    table = (tables.spreads(cells),) if cells else ()
    return Section(
        "spread", "Spread", lead, "Single episodes", figures=(charts,) if charts else (), tables=table, shown=2
    )


def _learning(cells: Sequence[Cell]) -> Section:
    lead = "How each training went on the validation classes, which choose the checkpoint; test classes never do."
    charts = figures.learning_curves(cells)
    return Section("learning", "Learning curves", lead, figures=(charts,) if charts else (), shown=2)


def _shots_and_ways(cells: Sequence[Cell]) -> Section:
    lead = "More support images help; more classes to choose from hurt. How much, model by model."
    charts = [group for group in (figures.against_shots(cells), figures.against_ways(cells)) if group]
    return Section("shots", "Shots and ways", lead, figures=tuple(charts))


def _costs(cells: Sequence[Cell]) -> Section:
    lead = "What the accuracy cost in training time."
    charts = [found for cell in cells if (found := figures.costs(cell))]
    return Section("costs", "Costs", lead, figures=(charts,) if charts else (), shown=2)


def _looked_at(cells: Sequence[Cell]) -> list[Cell]:
    """Where closeups belong: five classes fit on a page."""
    return [cell for cell in cells if (cell.way, cell.shot, cell.rest) == (5, 1, "q15@v1")]


def _embeddings(cells: Sequence[Cell], closeups: Sequence[Closeup]) -> Section:
    charts = [figure for cell in _looked_at(cells) for figure in gallery_figures.embeddings(cell, closeups)]
    missing = []
    for cell in _looked_at(cells):
        if names := gallery_figures.not_looked_at(cell, closeups):
            missing.append(
                f"{cell.name}: not shown for {', '.join(names)}. `fewshot report --closeups` needs their weights and, "
                "to show them, images that may be passed on (Omniglot, strokes; no photographs)."
            )
    lead = "Where each encoder puts the images of one and the same episode."
    return Section(
        "embeddings", "Embeddings", lead, "One episode, as each model sees it",
        figures=(charts,) if charts else (), missing=tuple(missing), shown=1,
    )  # fmt: skip


def _hardest(cells: Sequence[Cell], closeups: Sequence[Closeup]) -> Section:
    charts = [figure for cell in _looked_at(cells) for figure in gallery_figures.hardest(cell, closeups)]
    lead = "Often the images themselves are to blame: look before you blame a model."
    missing = () if charts or not cells else (
        "Not drawn: `fewshot report --closeups` makes them where weights and images are on this machine.",
    )  # fmt: skip
    return Section("hardest", "Hardest episodes", lead, figures=(charts,) if charts else (), missing=missing, shown=4)


def _records(cells: Sequence[Cell]) -> Section:
    lead = "What was run, by which code, on which episodes: `fewshot verify` takes any of these and measures it again."
    return Section("records", "Records", lead, tables=(tables.provenance(cells),) if cells else ())
