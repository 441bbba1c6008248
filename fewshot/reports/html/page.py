"""The page: sections in the order in which they are read, and the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.figure as mpl

from episodes.datasets.cards import DATASETS
from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.records.published import published
from fewshot.records.record import RunRecord
from fewshot.records.rows import SETTINGS, Setting
from fewshot.reports import rendering
from fewshot.reports.colors import PAPER
from fewshot.reports.html import figures, gallery, gallery_classes, tables
from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import Gallery
from fewshot.reports.html.row_names import Board, boards_of
from fewshot.reports.html.summary import answers_for, bar_of
from fewshot.reports.plots.inline_svg import inline_svg, svg_file
from fewshot.reports.plots.style import save
from fewshot.reports.sortable import SortableTable

PAGE = "report.html"
TITLE = "Few-shot learning: what was measured"
_FIRST = ("omniglot-vinyals-28", 1)  # data set id and shot of the question that everybody asks first
_FIRST_SETTINGS: tuple[Setting, ...] = ("inductive", "external data")  # those that compete for the short answer
_OTHER_SETTINGS = tuple(setting for setting in SETTINGS if setting not in _FIRST_SETTINGS)


@dataclass(frozen=True)
class PageSection:
    """A heading, how to read what follows, and what follows; the first ``shown`` figures of a group are open."""

    key: str
    title: str
    lead: str
    heading: str = ""
    cards: tuple[Board, ...] = ()
    figures: tuple[list[Figure], ...] = ()
    tables: tuple[SortableTable, ...] = ()
    more_tables: tuple[SortableTable, ...] = ()  # to be opened
    missing: tuple[str, ...] = ()
    shown: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.cards or any(self.figures) or self.tables or self.missing)


def sections_of(records: Sequence[RunRecord], seen: Gallery = Gallery()) -> list[PageSection]:  # noqa: B008
    """Everything that these records and the gallery have to say."""
    boards = boards_of(records)
    own = [board for board in boards if board.is_own and board.ranked]
    made = (
        _own_answer(own),
        _short_answer([board for board in boards if not board.is_own]),
        _leaderboards(boards),
        _published(boards),
        _pairs(boards),
        _spreads(boards),
        _learning(boards),
        _shots_and_ways(boards),
        _costs(boards),
        _classes(boards, seen),
        _maps(boards, seen),
        _embeddings(boards, seen),
        _hardest(boards, seen),
        _records(boards),
    )
    return [section for section in made if not section.is_empty]


def render(records: Sequence[RunRecord], seen: Gallery = Gallery()) -> str:  # noqa: B008
    """The page as one HTML text that needs nothing else; the same records give the same bytes."""
    shared: dict[str, str] = {}

    def drawn(drawing: mpl.Figure) -> str:
        return inline_svg(drawing, shared)

    return rendering.render(
        "report.html",
        title=TITLE,
        subtitle=_subtitle(records),
        sections=sections_of(records, seen),
        drawn=drawn,
        shared=shared,
        footer=_footer(),
        answers_for=answers_for,
        bar_of=bar_of,
    )


def all_figures(records: Sequence[RunRecord], seen: Gallery = Gallery()) -> list[Figure]:  # noqa: B008
    """Every figure of the page."""
    return [figure for section in sections_of(records, seen) for group in section.figures for figure in group]


def write_page(records: Sequence[RunRecord], seen: Gallery, path: Path) -> Path:
    """Write the page; its path. Raises UserError where it cannot be written."""
    content = render(records, seen).encode()
    try:
        write_atomically(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; choose another --file") from error
    return path


def write_plots(records: Sequence[RunRecord], seen: Gallery, folder: Path) -> Iterator[tuple[Path, int]]:
    """Write every figure into ``folder`` as SVG, PDF and PNG; after each figure its PNG, and how many there are."""
    drawn = all_figures(records, seen)
    if not drawn:
        raise UserError("there is nothing to plot: no records were found (`fewshot run` makes one)")
    for figure in drawn:
        write_atomically(folder / f"{figure.key}.svg", svg_file(figure.drawing, photos=figure.photos).encode())
        figure.drawing.set(frameon=True, facecolor=PAPER, dpi=144)
        save(figure.drawing, folder / f"{figure.key}.pdf")
        yield save(figure.drawing, folder / f"{figure.key}.png"), len(drawn)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _subtitle(records: Sequence[RunRecord]) -> str:
    kept = [record for board in boards_of(records) for row in board.rows for record in row.records]
    if not kept:
        return "No records yet: `fewshot run` makes one, and this page is made from them."
    models, sets = {record.model for record in kept}, {record.test.dataset for record in kept}
    corruptions = {record.test.corruption for record in kept} - {0.0}
    queries = sum(record.num_episodes * record.num_queries for record in kept)
    corrupted = f" and {_count(len(corruptions), 'share', 'shares')} of corrupted images" if corruptions else ""
    return (
        f"{_count(len(kept), 'record', 'records')} of {_count(len(models), 'model', 'models')} on "
        f"{_count(len(sets), 'data set', 'data sets')}{corrupted}: {queries:,} classified queries, "
        f"the newest of {max(record.date for record in kept)[:10]}. Every number here is computed from them."
    )


def _footer() -> str:
    recalled = sum(paper.status == "recalled" for paper in published())
    return (
        "Made by `fewshot report` from the records in results/runs; nothing is typed. Intervals are 95 % over training "
        "seeds and test episodes together, for these test classes; of a row of one seed over episodes alone, which "
        "does not hold how far another training would differ. Of the published numbers "
        f"{recalled} of {len(published())} were recalled from memory; nothing is judged by them."
    )


def _own_answer(boards: Sequence[Board]) -> PageSection:
    lead = "On your own images: every encoder and read-out was tested on the very same episodes."
    rest = (tables.elsewhere(boards[2:]),) if boards[2:] else ()
    return PageSection("own", "Your images", lead, "Your images: the short answer", tuple(boards[:2]), tables=rest)


def _short_answer(boards: Sequence[Board]) -> PageSection:
    answered = [board for board in boards if board.ranked]
    usual = [board for board in answered if board.is_usual]
    first = [board for board in usual if (board.protocol.dataset_id, board.protocol.shot) == _FIRST]
    shown = (first or usual[:1])[:2]
    rest = [board for board in answered if board not in shown]
    lead = "Inductive models, each trained in full as its recipe says; all were tested on the very same episodes."
    heading = "The short answer: one shot on Omniglot" if first else "The short answer"
    return PageSection(
        "answer", "Short answer", lead, heading, tuple(shown), tables=(tables.elsewhere(rest),) if rest else ()
    )


def _leaderboards(boards: Sequence[Board]) -> PageSection:
    lead = (
        "Accuracy with its 95 % interval over training seeds and test episodes; with one seed over episodes alone. "
        "Rows that the test on the same episodes does not separate share their "
        "rank; bold: not surely beaten by anyone in the table. Press a heading to sort."
    )
    charts = [figures.intervals(board) for board in boards]
    usual = _most_measured([board for board in boards if board.is_usual])
    first = tables.leaderboards(usual, ranked=True, settings=_FIRST_SETTINGS)
    others = tables.leaderboards(usual, ranked=True, settings=_OTHER_SETTINGS)
    keys = {board.key for board in usual}
    others += tables.leaderboards([board for board in boards if board.key not in keys], ranked=True)
    others += tables.leaderboards(boards, ranked=False)
    return PageSection("leaderboard", "Leaderboard", lead, "", (), (charts,), tuple(first), tuple(others), shown=1)


def _most_measured(boards: Sequence[Board]) -> list[Board]:
    """Of each data set the boards of those episodes, of development or of the final test, that have most rows."""
    rows: Counter[tuple[str, str]] = Counter()
    for board in boards:
        rows[board.dataset, board.details] += len(board.rows)
    most = {dataset: details for (dataset, details), _ in reversed(rows.most_common())}
    return [board for board in boards if most[board.dataset] == board.details]


def _published(boards: Sequence[Board]) -> PageSection:
    lead = "Each of our numbers that a paper prints for the same data set, way and shot."
    table = tables.beside_the_papers(boards)
    return PageSection("papers", "Published", lead, "Beside published numbers", tables=(table,) if table else ())


def _pairs(boards: Sequence[Board]) -> PageSection:
    lead = "All models answer the same episodes, so their differences are known far better than their accuracies."
    maps = [found for board in boards if (found := figures.paired(board))]
    return PageSection("pairs", "Paired differences", lead, "Who is better than whom", figures=(maps,), shown=1)


def _spreads(boards: Sequence[Board]) -> PageSection:
    lead = "The mean hides the bad episodes: these are what somebody meets who has one problem to solve."
    charts, found = [figures.distribution(board) for board in boards], (tables.spreads(boards),) if boards else ()
    return PageSection("spread", "Single episodes", lead, figures=(charts,), tables=found)


def _learning(boards: Sequence[Board]) -> PageSection:
    lead = "How each training went on the validation classes, which select the checkpoint; test classes never do."
    return PageSection("learning", "Learning curves", lead, figures=(figures.learning_curves(boards),))


def _shots_and_ways(boards: Sequence[Board]) -> PageSection:
    lead = "More support images help; more classes to choose from hurt. How much, model by model."
    found = figures.against(boards, "shot") + figures.against(boards, "way")
    return PageSection("shots", "Shots and ways", lead, figures=(found,))


def _costs(boards: Sequence[Board]) -> PageSection:
    lead = "What the accuracy cost in training time."
    charts = [found for board in boards if (found := figures.costs(board))]
    return PageSection("costs", "Costs", lead, figures=(charts,), shown=1)


def _looked_at(boards: Sequence[Board]) -> list[Board]:
    """Where the gallery looks: five classes fit on a page."""
    return [board for board in boards if (board.protocol.way, board.protocol.shot) == (5, 1) and board.is_usual]


def _classes(boards: Sequence[Board], seen: Gallery) -> PageSection:
    lead = "Which classes are hard, which are taken for each other, and whether the model knows when it is wrong."
    looked_at = [*(board for board in boards if board.is_own), *_looked_at(boards)]
    charts = [figure for board in looked_at for figure in gallery_classes.class_figures(board, seen)]
    return PageSection("classes", "Classes", lead, "Class by class", figures=(charts,), shown=1)


def _maps(boards: Sequence[Board], seen: Gallery) -> PageSection:
    lead = "Where an encoder puts the images of many classes: which of them are alike to it."
    own = [board for board in boards if board.is_own]
    charts = [figure for board in (*own, *_looked_at(boards)) for figure in gallery_classes.map_figures(board, seen)]
    missing = tuple(
        f"{board.name}: `fewshot report --closeups` draws your images: which classes are taken for which, and a map. "
        "The page then holds small copies of them."
        for board in own
        if board.digest not in {found.digest for found in seen.classes}
    )
    return PageSection("maps", "Map", lead, "Many classes on a map", figures=(charts,), missing=missing, shown=1)


def _embeddings(boards: Sequence[Board], seen: Gallery) -> PageSection:
    lead = "Where each encoder puts the images of one and the same episode."
    charts = [figure for board in _looked_at(boards) for figure in gallery.embeddings(board, seen)]
    missing = []
    for board in _looked_at(boards):
        names, dataset = gallery.not_looked_at(board, seen), board.rows[0].first.test.dataset
        if not names or board.is_own:  # the map says how to draw one's own images
            continue
        if dataset in DATASETS and not DATASETS.get(dataset).shareable:
            missing.append(f"{board.dataset}: not shown, its images may not be passed on in a page.")
            continue
        some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
        missing.append(
            f"{board.name}: not shown for {some}. `fewshot report --closeups` needs their weights and images."
        )
    heading = "One episode, as each model sees it"
    return PageSection(
        "embeddings", "Embeddings", lead, heading, figures=(charts,), missing=tuple(dict.fromkeys(missing))
    )


def _hardest(boards: Sequence[Board], seen: Gallery) -> PageSection:
    lead = "Often the images themselves are to blame: look before you blame a model."
    charts = [figure for board in _looked_at(boards) for figure in gallery.hardest(board, seen)]
    none = "Not drawn: `fewshot report --closeups` makes them where weights and images are on this machine."
    missing = (none,) if boards and not charts else ()
    return PageSection("hardest", "Hardest episodes", lead, figures=(charts,), missing=missing)


def _records(boards: Sequence[Board]) -> PageSection:
    lead = "What was run, by which code, on which episodes: `fewshot verify` takes any of these and measures it again."
    return PageSection("records", "Records", lead, tables=(tables.provenance(boards),) if boards else ())
