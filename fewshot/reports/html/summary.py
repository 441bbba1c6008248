"""The short answer: which model is best, whether surely, whether as its paper says, and what it cost. In words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fewshot.records.published import Published
from fewshot.records.published import verdict as verdict_on
from fewshot.reports.charts.scales import duration, signed
from fewshot.reports.html.row_names import Cell, Entry
from fewshot.statistics.intervals import CoveringInterval
from fewshot.statistics.paired import paired_difference, pairwise_p

Tone = Literal["good", "open", "bad"]


@dataclass(frozen=True)
class Answer:
    """One question answered: a few words, a sentence behind them, and whether it is good news."""

    question: str
    short: str
    long: str
    tone: Tone


@dataclass(frozen=True)
class Verdict:
    """Ours against a printed number: one word, the gap in percentage points, a sentence."""

    word: str
    gap: float
    sentence: str
    tone: Tone


def verdict(ours: CoveringInterval, paper: Published) -> Verdict:
    """``matches`` where the 95 % interval of the difference holds 0, ``above`` or ``below`` else.

    Both intervals are over episodes; where the paper prints none, nothing is claimed.
    """
    gap = 100 * ours.mean - paper.accuracy
    side = f"{abs(gap):.2f} points {'above' if gap > 0 else 'below'}"
    word = verdict_on(gap, 100 * ours.half_width, paper)
    sentences = {
        "number not checked": "; the number was not checked, so nothing is claimed",
        "no interval published": "; the paper prints no interval, so no test is possible",
        "matches": ", within the two intervals",
    }
    tones: dict[str, Tone] = {"matches": "good", "above": "good", "below": "bad"}
    sentence = sentences.get(word, ", more than the two intervals allow")
    return Verdict(word, gap, f"{side}{sentence}", tones.get(word, "open"))


def source_of(paper: Published) -> str:
    """Where a printed number stands, and how far it was checked."""
    doubt = "read in a document" if paper.status == "verified" else "recalled from memory, not checked"
    return f"{paper.source}, {paper.table}; {doubt}"


def answers_for(cell: Cell) -> list[Answer]:
    """The four answers for one cell."""
    best = cell.ranked[0]
    return [_best(cell, best), _surely(cell), _as_published(cell), _cost(best)]


def _best(cell: Cell, best: Entry) -> Answer:
    apart = f"; {best.apart}, and nothing better is here: this is no ranking" if best.apart else ""
    seeds = f"one training (seed {best.seeds})"
    if best.row.over_seeds is not None:
        seeds = f"{len(best.row.seeds)} trainings (± {100 * best.row.over_seeds.half_width:.2f} over seeds)"
    wider = best.row.over_classes
    classes = f"± {100 * wider.half_width:.2f} with other classes of this kind; " if wider else ""
    long = f"{best.interval.percent()} over {cell.num_episodes:,} episodes; {classes}{seeds}{apart}"
    return Answer("Which model is best?", best.name, long, "open" if apart else "good")


def _surely(cell: Cell) -> Answer:
    """The best against the next model: other recipes and read-outs of its own are no rivals."""
    question, best = "Surely better than the next?", cell.ranked[0]
    p_values = pairwise_p(np.stack([entry.accuracies for entry in cell.ranked]))[0] if cell.ranked[1:] else [1.0]
    others = [
        (entry, float(p))
        for entry, p in zip(cell.ranked, p_values, strict=True)
        if entry.record.model != best.record.model
    ]
    if not others:
        return Answer(question, "nothing to compare", "no other inductive model has a record here yet", "open")
    second, p = others[0]
    difference = paired_difference(best.accuracies, second.accuracies)
    points = f"{difference.percent().replace('-', '−')} points over {second.name} on the same episodes"
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    long = (
        f"{points}, {chance} (paired t test, Holm over all pairs); {difference.wins:,} episodes won, "
        f"{difference.losses:,} lost"
    )
    tied = [entry.name for entry, chance_of_it in others if chance_of_it >= 0.05]
    if not tied:
        return Answer(question, "Yes", long, "good")
    return Answer(
        question, f"No: tied with {tied[0]}" + (f" and {len(tied) - 1} more" if tied[1:] else ""), long, "open"
    )


def _as_published(cell: Cell) -> Answer:
    question, best, paper = "As its paper says?", cell.ranked[0], cell.ranked[0].published
    if paper is None:
        return Answer(question, "no number to meet", f"no paper prints one for it here{_nearest(cell)}", "open")
    found = verdict(best.interval, paper)
    interval = f" ± {paper.ci95:.2f}" if paper.ci95 is not None else ""
    words = {"matches": "Yes, it matches", "above": "No: it is above", "below": "No: it is below"}
    long = f"printed: {paper.accuracy:.2f}{interval} % ({source_of(paper)}); ours is {found.sentence}"
    return Answer(question, words.get(found.word, f"{signed(found.gap)} points"), long, found.tone)


def _nearest(cell: Cell) -> str:
    """The best model that has a printed number, beside it."""
    for entry in cell.ranked:
        if (paper := entry.published) is not None:
            ours = f"{100 * entry.interval.mean:.2f} % against {paper.accuracy:.2f} %"
            return f"; the best model with one is {entry.name}: {ours} ({source_of(paper)})"
    return ""


def _cost(best: Entry) -> Answer:
    record = best.record
    machine = record.machine.get("name", "an unnamed machine")
    long = (
        f"one training of {best.train_length} on {machine}; {record.num_parameters:,} parameters; "
        f"testing took {record.seconds.get('test', 0):.1f} s"
    )
    return Answer("What did it cost?", duration(best.train_seconds), long, "good")
