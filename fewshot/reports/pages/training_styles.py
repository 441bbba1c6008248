"""Where does episodic training pay? Episodic networks beside encoders that a loss trained, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.records.ranking import COLUMNS, Standing, settings, standings
from fewshot.records.record import RunRecord
from fewshot.reports.documents import Block, Heading, Paragraph, Table, Value, markdown
from fewshot.statistics.paired import PairedDifference, holm, paired_difference

Style = Literal["episodic", "baseline", "self-supervised", "floor"]
STYLES: dict[Style, str] = {
    "episodic": "trained on episodes",
    "baseline": "a loss on batches of labeled images",
    "self-supervised": "a loss on batches, no label used",
    "floor": "not trained at all",
}
PAGE, PICTURE = "training-styles.md", "training-styles.svg"
OWN_RULE = "own"
_FIXED = "simpleshot"  # the read-out that the papers of transfer baselines settled on, whatever the test says
_INTRODUCTION = (
    "Everything here shares images, classes and the very test episodes. What differs is the training: episodes that "
    "look like the test, or batches of images under a loss, after which the frozen embeddings are read out. Generated "
    "from the records in `runs/` by `make leaderboard`; do not edit."
)
_HOW_TO_READ = (
    "Accuracy in percent. A difference is that of two rows on the same episodes, episodic minus baseline, with its "
    "95 % interval over episodes (closed: these classes, these trainings) and a paired t test, Holm-corrected over all "
    "comparisons of this page. The best of several read-outs was chosen on the very episodes that it is shown for, "
    f"which favors the baselines; `{_FIXED}` was not chosen. An episodic network decides by its own rule, and the best "
    "one was chosen likewise, among fewer."
)


@dataclass(frozen=True)
class Verdict:
    """The best episodic network of a cell against a baseline, on the same episodes."""

    way_shot: tuple[int, int]
    episodic: Standing
    baseline: Standing
    difference: PairedDifference

    def words(self, p: float) -> str:
        """What the difference says at the Holm-corrected ``p``."""
        if p >= 0.05:
            return "not separable"
        return "episodic training pays" if self.difference.mean > 0 else "episodic training does not pay"


def style_of(record: RunRecord) -> Style | None:
    """How the encoder of a record was trained; None for what has none, or sees more than the others do."""
    if record.uses_unlabeled or record.transductive or "encoder" not in record.config:
        return None
    if record.model == "untrained":
        return "floor"
    if record.config["recipe"].get("batch_size"):
        return "self-supervised" if record.self_supervised else "baseline"
    return "episodic" if record.config["recipe"].get("train_episodes") else None


def readout_of(standing: Standing) -> str:
    """Its name, or ``own``."""
    return standing.entry.first.readout or OWN_RULE


def comparable(records: Iterable[RunRecord]) -> list[list[Standing]]:
    """The ranked entries that have a style, in groups of the same images and episodes where both styles occur."""
    groups: dict[tuple[str, str, int, int], list[Standing]] = {}
    for standing in standings(records):
        if standing.rank is not None and style_of(standing.entry.first) and standing.way_shot in COLUMNS:
            groups.setdefault(settings(standing), []).append(standing)
    kept = [groups[key] for key in sorted(groups)]
    return [group for group in kept if {"episodic", "baseline"} <= {_style(standing) for standing in group}]


def _style(standing: Standing) -> Style:
    style = style_of(standing.entry.first)
    assert style is not None
    return style


def _cell(group: Sequence[Standing], way_shot: tuple[int, int]) -> list[Standing]:
    """Best first."""
    chosen = [standing for standing in group if standing.way_shot == way_shot]
    return sorted(chosen, key=lambda standing: -standing.entry.interval.mean)


def verdicts(group: Sequence[Standing], readout: str | None = None) -> list[Verdict]:
    """Cell by cell the best episodic network, under its own rule, against the best baseline of one readout or any."""
    found = []
    for way_shot in COLUMNS:
        cell = _cell(group, way_shot)
        episodic = [s for s in cell if _style(s) == "episodic" and readout_of(s) == OWN_RULE]
        baselines = [s for s in cell if _style(s) == "baseline" and readout in (None, readout_of(s))]
        if episodic and baselines:
            first, second = episodic[0], baselines[0]
            difference = paired_difference(first.entry.accuracies, second.entry.accuracies)
            found.append(Verdict(way_shot, first, second, difference))
    return found


def blocks_of(groups: Sequence[Sequence[Standing]]) -> list[Block]:
    """The page."""
    blocks: list[Block] = [Heading(1, "Where does episodic training pay?"), Paragraph(_INTRODUCTION)]
    blocks += [Paragraph(f"![error of every model, by training style]({PICTURE})"), Paragraph(_HOW_TO_READ)]
    for group in groups:
        pixels, queries, episodes, seed = settings(group[0])
        blocks.append(Heading(2, f"{pixels}, {queries}, {episodes:,} episodes a cell (episode seed {seed})"))
        blocks += [*_verdict_blocks(group), *_cost_blocks(group), *_matrix_blocks(group)]
    return blocks


def _verdict_blocks(group: Sequence[Standing]) -> list[Block]:
    found = [*verdicts(group), *verdicts(group, _FIXED)]
    corrected = [float(p) for p in holm([verdict.difference.p for verdict in found])]
    rows = [
        (
            Value(_head(verdict.way_shot)),
            Value(f"{_name(verdict.episodic)} {_percent(verdict.episodic)}"),
            Value(f"{_name(verdict.baseline)} {_percent(verdict.baseline)}"),
            Value(verdict.difference.percent()),
            Value(verdict.words(p), bold=p < 0.05),
        )
        for verdict, p in zip(found, corrected, strict=True)
    ]
    columns = ("cell", "best episodic network", "best baseline with labels", "difference", "verdict")
    return [
        Heading(3, "The verdict"),
        Paragraph(f"First against the best of all read-outs, then against `{_FIXED}` alone."),
        Table(columns, tuple(rows), frozenset({"difference"})),
        Paragraph(_summary(found, corrected)),
    ]


def _summary(found: Sequence[Verdict], corrected: Sequence[float]) -> str:
    """The answer in a sentence or two, counted."""
    strict = [(verdict, p) for verdict, p in zip(found, corrected, strict=True) if p < 0.05]
    pays = [verdict for verdict, _ in strict if verdict.difference.mean > 0]
    costs = [verdict for verdict, _ in strict if verdict.difference.mean < 0]
    sentences = [
        f"Of {len(found)} comparisons episodic training is surely ahead in {len(pays)}, surely behind in {len(costs)}."
    ]
    if pays:
        most = max(pays, key=lambda verdict: verdict.difference.mean)
        least = min(pays, key=lambda verdict: verdict.difference.mean)
        sentences.append(
            f"It gains most at {_head(most.way_shot)} ({100 * most.difference.mean:.2f} points over "
            f"{_name(most.baseline)}), least at {_head(least.way_shot)} ({100 * least.difference.mean:.2f} over "
            f"{_name(least.baseline)})."
        )
    if costs:
        worst = min(costs, key=lambda verdict: verdict.difference.mean)
        sentences.append(
            f"It loses most at {_head(worst.way_shot)} ({-100 * worst.difference.mean:.2f} points to "
            f"{_name(worst.baseline)})."
        )
    return " ".join(sentences)


def _cost_blocks(group: Sequence[Standing]) -> list[Block]:
    """What each training was given, beside what came out under its own rule."""
    rows = []
    for name, standing in _one_a_model(group).items():
        entry, passed = standing.entry, images_seen(standing.entry.first)
        cells = [_ruled(_cell(group, column), name, standing) for column in COLUMNS]
        rows.append(
            (
                *(Value(text) for text in (name, _style(standing), entry.encoder, entry.schedule)),
                Value("" if passed is None else f"{passed:,}"),
                Value("" if entry.train_seconds is None else f"{entry.train_seconds / 60:.1f}"),
                *(Value("" if cell is None else _percent(cell)) for cell in cells),
            )
        )
    text = (
        "Each model under its own rule (a baseline's is the nearest class mean); recipe and cost are those of its most "
        "accurate row at the first cell it has. Images count as often as they passed through the encoder."
    )
    columns = ("model", "style", "encoder", "recipe", "images", "minutes", *map(_head, COLUMNS))
    return [Heading(3, "What it costs"), Paragraph(text), Table(columns, tuple(rows), frozenset(columns[4:]))]


def images_seen(record: RunRecord) -> int | None:
    """Images that went through the encoder in training, the two views of an image counted twice; None if unknown."""
    recipe = record.config["recipe"]
    steps = recipe.get("train_episodes")
    if not steps:
        return 0
    if recipe.get("batch_size"):
        return int(steps * recipe["batch_size"] * (2 if record.self_supervised and record.model != "gan" else 1))
    if not recipe.get("train_way"):
        return None
    shot, unlabeled = recipe.get("train_shot") or record.config["shot"], recipe.get("unlabeled") or 0
    of_classes = recipe["train_way"] * (shot + recipe["train_query"] + unlabeled)
    return int(steps * (of_classes + unlabeled * (recipe.get("distractors") or 0)))


def _one_a_model(group: Sequence[Standing]) -> dict[str, Standing]:
    """The best row of each model at the first cell it has under its own rule, best models first."""
    found: dict[str, Standing] = {}
    for column in COLUMNS:
        for standing in _cell(group, column):
            if readout_of(standing) == OWN_RULE:
                found.setdefault(row_name(standing), standing)
    return found


def row_name(standing: Standing) -> str:
    """The model; of what was never trained the encoder, too."""
    first = standing.entry.first
    return f"untrained {standing.entry.encoder}" if first.model == "untrained" else first.model


def _best(cell: Sequence[Standing], name: str, readout: str) -> Standing | None:
    return next((s for s in cell if row_name(s) == name and readout_of(s) == readout), None)


def _ruled(cell: Sequence[Standing], name: str, standing: Standing) -> Standing | None:
    """A model under its own rule; for all that learned no rule that is the nearest class mean, whoever computed it."""
    found = _best(cell, name, OWN_RULE)
    return found if found is not None or _style(standing) == "episodic" else _best(cell, name, "prototype")


def _matrix_blocks(group: Sequence[Standing]) -> list[Block]:
    """Every model with every read-out, a table for each cell, best models first, the best of each row in bold."""
    blocks: list[Block] = [Heading(3, "Every model with every read-out")]
    for column in COLUMNS:
        cell = _cell(group, column)
        readouts = tuple(dict.fromkeys([OWN_RULE, *sorted({readout_of(standing) for standing in cell})]))
        rows = []
        for name in dict.fromkeys(map(row_name, cell)):
            found = [_best(cell, name, readout) for readout in readouts]
            there = [standing for standing in found if standing is not None]
            most = max(standing.entry.interval.mean for standing in there)
            values = [Value("") if s is None else Value(_percent(s), bold=s.entry.interval.mean == most) for s in found]
            rows.append((Value(name), Value(_style(there[0])), *values))
        blocks += [Heading(4, _head(column)), Table(("model", "style", *readouts), tuple(rows), frozenset(readouts))]
    return blocks


def _head(way_shot: tuple[int, int]) -> str:
    return f"{way_shot[0]}-way {way_shot[1]}-shot"


def _name(standing: Standing) -> str:
    readout = readout_of(standing)
    return row_name(standing) + ("" if readout == OWN_RULE else f" + {readout}")


def _percent(standing: Standing) -> str:
    interval = standing.entry.interval
    return f"{100 * interval.mean:.2f} ± {100 * interval.half_width:.2f}"


def page_text(records: Iterable[RunRecord]) -> str:
    """The page as Markdown; empty where no records of both styles share their episodes."""
    groups = comparable(records)
    return markdown(blocks_of(groups)) + "\n" if groups else ""


def write_training_styles(records: Sequence[RunRecord], results: Path) -> list[Path]:
    """Write page and picture into ``results``; nothing where there is nothing to compare."""
    from fewshot.reports.plots.training_styles import plot_training_styles

    text = page_text(records)
    if not text:
        return []
    write_atomically(results / PAGE, text.encode())
    return [results / PAGE, plot_training_styles(comparable(records)[0], results / PICTURE)]


def check_training_styles(records: Sequence[RunRecord], results: Path) -> None:
    """Raise UserError when the page does not say what the records say."""
    text, path = page_text(records), results / PAGE
    if text and (not path.is_file() or path.read_bytes() != text.encode()):
        raise UserError(f"{path} is not what the records in {results / 'runs'} say: run `make leaderboard`")
