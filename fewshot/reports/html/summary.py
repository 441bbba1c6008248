"""The short answer: which model is best, whether surely, whether as published, and what it cost. In words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fewshot.records.published import Published
from fewshot.records.published import verdict as verdict_on
from fewshot.reports.html.row_names import Board, NamedRow
from fewshot.reports.plots.charts import duration, signed
from fewshot.statistics.intervals import Interval
from fewshot.statistics.paired import paired_difference, pairwise_p

Tone = Literal["good", "open", "bad", "plain"]


@dataclass(frozen=True)
class Answer:
    """One question answered: a few words, a sentence behind them, and whether it is good news."""

    question: str
    short: str
    long: str
    tone: Tone


@dataclass(frozen=True)
class PublishedVerdict:
    """Ours against a published number: one word, the gap in percentage points, a sentence."""

    word: str
    gap: float
    sentence: str
    tone: Tone


def verdict(ours: Interval, paper: Published) -> PublishedVerdict:
    """The verdict of fewshot.records.published, in a sentence; ours is over seeds and episodes."""
    gap = 100 * ours.mean - paper.accuracy
    side = f"{abs(gap):.2f} points {'above' if gap > 0 else 'below'}"
    word = verdict_on(gap, 100 * ours.half_width, paper)
    sentences = {
        "number not checked": "; the number was recalled from memory and not checked in a document: no verdict",
        "not comparable": f"; not comparable: {paper.difference}",
        "no 95 % interval published": "; the paper prints no 95 % interval, so no test is possible",
        "matches": ", within the two intervals",
    }
    tones: dict[str, Tone] = {"matches": "good", "above": "good", "below": "bad"}
    sentence = sentences.get(word, ", more than the two intervals allow")
    return PublishedVerdict(word, gap, f"{side}{sentence}", tones.get(word, "open"))


def source_of(paper: Published) -> str:
    """Where a published number stands, and how far it was checked."""
    doubt = paper.doubt or "read in its document"
    beside = f"; not comparable: {paper.difference}" if paper.difference else ""
    return f"{paper.source}, {paper.table}; {doubt}{beside}"


@dataclass(frozen=True)
class Bar:
    """The interval of the best row on an axis of accuracies from ``low`` to ``high``; places in percent of it."""

    low: float
    high: float
    start: float
    width: float
    mean: float
    second: float | None
    paper: float | None
    label: str


def bar_of(board: Board) -> Bar:
    """The best row of a board, the next method and the paper's number, where it is comparable, on one axis."""
    best, others = board.ranked[0], [row for row in board.ranked if row.first.model != board.ranked[0].first.model]
    paper = best.published if best.published and not best.published.difference else None
    low, high = best.interval.mean - best.interval.half_width, best.interval.mean + best.interval.half_width
    marks = [others[0].interval.mean] if others else []
    marks += [paper.accuracy / 100] if paper else []
    air = max(0.002, 0.25 * (max(high, *marks, high) - min(low, *marks, low)))
    first, last = max(0.0, min(low, *marks, low) - air), min(1.0, max(high, *marks, high) + air)

    def place(accuracy: float) -> float:
        return round(100 * (accuracy - first) / (last - first), 2)

    said = f"95 % interval from {100 * low:.2f} to {100 * high:.2f} %"
    said += f"; next {100 * others[0].interval.mean:.2f} %" if others else ""
    said += f"; published {paper.accuracy:.2f} %" if paper else ""
    second = place(others[0].interval.mean) if others else None
    of_paper = place(paper.accuracy / 100) if paper else None
    width = round(place(high) - place(low), 2)
    return Bar(first, last, place(low), width, place(best.interval.mean), second, of_paper, said)


def answers_for(board: Board) -> list[Answer]:
    """The four answers for a board that has ranked rows."""
    best = board.ranked[0]
    return [_best(board, best), _surely(board), _as_published(board), _cost(best)]


def _best(board: Board, best: NamedRow) -> Answer:
    seeds = f"one training (seed {best.first.seed}): how far another would differ is not known"
    if best.over_seeds is not None:
        over = f"± {100 * best.over_seeds.half_width:.2f} over seeds, ± {100 * best.interval.half_width:.2f} over both"
        seeds = f"{len(best.seeds)} trainings ({over})"
    wider = best.over_classes
    classes = f"± {100 * wider.half_width:.2f} over test classes; " if wider else ""
    long = f"± {100 * best.over_episodes.half_width:.2f} over {board.num_episodes:,} test episodes; {classes}{seeds}"
    return Answer("Which model is best?", best.name, long, "good")


def _surely(board: Board) -> Answer:
    """The best against the next model: other recipes and read-outs of its own are no rivals."""
    question, best = "Surely better than the next?", board.ranked[0]
    rows = [row.by_seed for row in board.ranked]
    p_values = pairwise_p(rows)[0]
    others = [place for place, row in enumerate(board.ranked) if row.first.model != best.first.model]
    if not others:
        return Answer(question, "nothing to compare", "no other model has a ranked record here yet", "plain")
    second, p = board.ranked[others[0]], float(p_values[others[0]])
    difference = paired_difference(rows, 0, others[0])
    points = f"{difference.percent().replace('-', '−')} points over {second.name} on the same episodes"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    long = (
        f"{points}, {chance} (over seeds and episodes, Holm over all pairs); {difference.wins:,} episodes won, "
        f"{difference.losses:,} lost"
    )
    tied = [board.ranked[place].name for place in others if p_values[place] >= 0.05]
    if not tied:
        return Answer(question, "Yes", long, "good")
    more = f" and {len(tied) - 1} more" if tied[1:] else ""
    return Answer(question, f"No: tied with {tied[0]}{more}", long, "open")


def _as_published(board: Board) -> Answer:
    question, best, paper = "As published?", board.ranked[0], board.ranked[0].published
    if paper is None or paper.difference:
        return Answer(
            question, "nothing to compare with", f"no published number is comparable here{_nearest(board)}", "plain"
        )
    found = verdict(best.interval, paper)
    words = {"matches": "Yes, it matches", "above": "No: it is above", "below": "No: it is below"}
    short = words.get(found.word, f"{signed(found.gap)} points, {found.word}")
    long = f"published: {paper.printed} % ({source_of(paper)}); ours is {found.sentence}"
    return Answer(question, short, long, found.tone)


def _nearest(board: Board) -> str:
    """The best model that has a published number, beside it."""
    for row in board.ranked:
        if (paper := row.published) is not None and not paper.difference:
            ours = f"{100 * row.interval.mean:.2f} % against {paper.accuracy:.2f} %"
            return f"; the best model with one is {row.name}: {ours} ({source_of(paper)})"
    return ""


def _cost(best: NamedRow) -> Answer:
    record = best.first
    long = (
        f"one training of {best.length} on {record.hardware.name}; {record.num_parameters:,} parameters; "
        f"the test took {record.cost.test_seconds:.1f} s"
    )
    return Answer("What did it cost?", duration(best.train_seconds or 0.0), long, "plain")
