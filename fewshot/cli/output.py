"""Where commands print."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from rich.console import Console
from rich.table import Table
from rich.text import Text

from episodes.errors import UserError, visible

if TYPE_CHECKING:
    import pandas as pd

    from fewshot.evaluation.result import Evaluation
    from fewshot.experiments.comparison.tuning import Tuning
    from fewshot.experiments.measure import Outcome
    from fewshot.records.record import RunRecord, TrainingLog
    from fewshot.records.schema import Trained
    from fewshot.reports.rendering import Section

_LABEL_WIDTH = 22  # of the names beside the numbers, at least
_LEAST_TEXT = 30  # columns of text beside a label; on a narrower terminal it stands below


def terminal() -> Console:
    """Standard output; wide where it is no terminal, so that a pipe gets whole lines, or as COLUMNS says."""
    asked = os.environ.get("COLUMNS", "")
    wide = int(asked) if asked.isdecimal() and int(asked) else 160
    return Console(highlight=False, width=None if sys.stdout.isatty() else wide)


def bold(text: str, stand_out: bool = True) -> str:
    """Text that stands out, on a terminal that can do it."""
    dumb = os.environ.get("TERM") == "dumb" or "NO_COLOR" in os.environ
    return click.style(text, bold=True) if stand_out and sys.stdout.isatty() and not dumb else text


def print_labeled(label: str, texts: Sequence[str], indent: int) -> None:
    """Texts behind a label, broken between words as the terminal is wide: a path is never cut."""
    width = terminal().width
    if width < indent + _LEAST_TEXT:
        click.echo(bold(label))
        label, indent = "", 2
    wrapper = textwrap.TextWrapper(width, break_long_words=False, break_on_hyphens=False)
    wrapper.subsequent_indent = " " * indent
    for number, text in enumerate(texts):
        first = wrapper.initial_indent = f"{'' if number else label:<{indent}}"
        lines = wrapper.wrap(text)
        lines = lines if sys.stdout.isatty() else [first + text]
        click.echo("\n".join(lines).rstrip())


def print_listed(entries: Iterable[tuple[str, Sequence[str]]], indent: int | None = None) -> None:
    """Names, what is said of each beside it."""
    found = list(entries)
    width = indent or max(len(name) for name, _ in found) + 2
    for name, texts in found:
        print_labeled(name, [text for text in texts if text], width)


def published_runs(results: Path) -> Path:
    """Where the published records are; a line on standard error where they are those that came with the package.

    Raises UserError where ``--results`` names a folder without records.
    """
    from fewshot.records.record import published_runs

    typed = click.get_current_context().get_parameter_source("results") is ParameterSource.COMMANDLINE
    if typed and not (results / "runs").exists():
        raise UserError(f"--results {results}: there are no records in {results / 'runs'}")
    found = published_runs(results)
    if found != results / "runs":
        click.echo(f"no {results / 'runs'} here: the records that came with the package are used", err=True)
    return found


def print_sections(sections: Iterable[Section]) -> None:
    """Headings, sentences and tables, each as wide as the terminal is."""
    console = terminal()
    for section in sections:
        if section.heading:
            console.print(Text(section.heading, style="bold"), soft_wrap=not console.is_terminal)
        if section.text:
            console.print(Text(section.text), soft_wrap=not console.is_terminal)
        if section.table is not None:
            for table in stacked_tables(section.table, section.numbers, console.width):
                console.print(table)
        console.print()


def stacked_tables(frame: pd.DataFrame, numbers: Collection[str], width: int) -> list[Table]:
    """A table of words for any width: the columns that are no ``numbers`` below each other, no number ever broken.

    What stands in brackets goes below its number. Numbers that do not fit side by side are shown in further tables,
    which repeat the first of these columns alone.
    """
    from fewshot.reports.rendering import Bold

    names = [column for column in frame.columns if column not in numbers]
    kept = [str(column) for column in frame.columns if column in numbers]
    columns = {column: [str(word).replace(" (", "\n(") for word in frame[column]] for column in kept}
    heads = {column: "\n".join(column.rsplit(" ", 1)) for column in kept}
    pieces = "\n".join([*heads.values(), *(word for words in columns.values() for word in words)]).split("\n")
    side_by_side = max(1, (width - _LABEL_WIDTH) // (2 + max(map(len, pieces))))
    labels = [_label([word for word in row if word]) for row in frame[names].itertuples(index=False, name=None)]
    tables = []
    for start in range(0, len(columns), side_by_side):
        chosen = list(columns)[start : start + side_by_side]
        table = Table(box=None, pad_edge=False)
        table.add_column(names[0], overflow="fold")
        for column in chosen:
            table.add_column(heads[column], justify="right", no_wrap=True)
        for place, label in enumerate(labels):
            styles = ["bold" if isinstance(frame[column].iloc[place], Bold) else "" for column in chosen]
            cells = [Text(columns[column][place], style) for column, style in zip(chosen, styles, strict=True)]
            if any(cell.plain for cell in cells):
                table.add_row(str(frame[names[0]].iloc[place]) if start else label, *cells)
        tables.append(table)
    return tables


def _label(words: Sequence[str]) -> Text:
    """The first word, and the others in a line of their own."""
    return Text.assemble(words[0], ("\n" + ", ".join(words[1:]) if words[1:] else "", "dim"))


def print_json(content: Any) -> None:
    """Machine-readable output, on standard output alone."""
    click.echo(json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True))


def print_problems(problems: Sequence[str]) -> None:
    """What is no record among many, a line each on standard error: the others are gone on with."""
    for problem in problems:
        click.echo(visible(f"left out: {problem}"), err=True)


def readable_records(*folders: Path) -> list[RunRecord]:
    """The records of these folders; what is none is named and left out."""
    from fewshot.records.record import read_records

    problems: list[str] = []
    records = read_records(folders, problems)
    print_problems(problems)
    return records


def all_records(results: Path, out: Path) -> list[RunRecord]:
    """The published records, and those under ``--out``; what is none is named and left out."""
    return readable_records(published_runs(results), out / "records")


def print_log(log: TrainingLog, as_json: bool) -> None:
    """A training without a test."""
    from fewshot.records.record import as_stored
    from fewshot.training.checkpoints import LOG

    if as_json:
        print_json(as_stored(log))
        return
    history = log.history
    _print_lines(
        [
            ("model", _model_words(log.trained)),
            (
                "validation",
                f"{bold(log.percent())}  after training episode {history.selected_episode:,}",
            ),
            ("images", f"{log.images:,} through the encoder"),
            ("test", "none: the test classes were not read"),
            *_files_of(log.trained.checkpoint),
            ("log", str(Path(log.trained.checkpoint).with_name(LOG))),
        ]
    )


def print_leaderboard(records: Iterable[RunRecord], form: str | None = None, *, smoke: bool = False) -> None:
    """As tables, as LaTeX, or every column of every row as JSON or CSV; smoke tests are left out, or ranked alone."""
    from fewshot.reports.frame import csv_text, leaderboard_frame
    from fewshot.reports.latex import latex
    from fewshot.reports.leaderboard import for_papers, overview, unranked

    frame = leaderboard_frame(records, smoke=smoke)
    if form == "csv":
        click.echo(csv_text(frame), nl=False)
    elif form == "json":
        click.echo(frame.to_json(orient="records", indent=1, force_ascii=False))
    elif form == "latex":
        click.echo(latex(for_papers(frame)), nl=False)
    else:
        print_sections([*overview(frame), *unranked(frame)])


def print_tuning(tuning: Tuning, as_json: bool) -> None:
    """All trials, the best one, and how to train in full as it did; a method of ours may have it as its recipe."""
    from episodes.registry import origin_of
    from fewshot.experiments.comparison.tuning import recipe_entry, words
    from fewshot.models.methods import METHODS

    command = None if tuning.best is None else tuning.config.to_command()
    if as_json:
        trials = [asdict(trial) for trial in tuning.trials]
        best = None if tuning.best is None else tuning.best.number
        print_json({"trials": trials, "best": best, "command": command, "file": str(tuning.path)})
        return
    for trial in tuning.trials:
        mark = "best" if trial is tuning.best else ""
        click.echo(f"{trial.number:>3}  {trial.percent():<16} {mark:<5} {words(trial.parameters)}")
    _print_lines([("trials", str(tuning.path)), *([] if command is None else [("in full", command)])])
    if command is not None and not origin_of(METHODS.get(tuning.config.model)):
        click.echo(f"\nAs a recipe, in fewshot/training/recipes/{tuning.path.name.partition('_')[0]}.tuned.toml:\n")
        click.echo(recipe_entry(tuning))


def print_outcomes(outcomes: Sequence[Outcome], as_json: bool, evaluations: Sequence[Evaluation] | None = None) -> None:
    """One record in full; several as a table. As JSON a record, or a list of them.

    With the evaluations, whose predictions were kept, the JSON says of each where it errs, under ``predictions``.
    """
    from fewshot.records.record import as_stored

    if as_json:
        contents = [as_stored(record) for record, _ in outcomes]
        for content, evaluation in zip(contents, evaluations or (), strict=evaluations is not None):
            content["predictions"] = evaluation.details()
        print_json(contents[0] if len(contents) == 1 else contents)
        return
    if len(outcomes) == 1:
        _print_lines(_lines_of(*outcomes[0]))
        return
    record, path = outcomes[0]
    shared = ("model", "interval", "note", "checkpoint", "training", "embeddings")
    _print_lines([line for line in _lines_of(record, path) if line[0] in shared])
    if record.test.dataset == "folder" and record.trained.pretrained is not None and evaluations:
        _print_readouts(outcomes, evaluations)
        return
    width = max(len(record.protocol) for record, _ in outcomes)
    for record, path in outcomes:
        accuracy = bold(record.percent())
        click.echo(f"{record.protocol:<{width}}  {record.readout or 'own':<16}  {accuracy}  {path}")


def _print_readouts(outcomes: Sequence[Outcome], evaluations: Sequence[Evaluation]) -> None:
    """The read-outs on the user's own images, the best first, and what to do."""
    import shlex

    from fewshot.evaluation.classifier.choice import advice, readout_rows
    from fewshot.reports.names import typed_dataset

    record, path = outcomes[0]
    rows = readout_rows([found.readout for found, _ in outcomes], evaluations)
    way = record.test.way
    click.echo(f"{way} classes, {record.test.shot} support images each; chance {100 / way:.1f} %; ± over the images;")
    click.echo("* none is surely better (paired test over the images, Holm)")
    for row in rows:
        accuracy = bold(f"{row.interval.percent():<16}", row.best)
        needs = "  needs all new images at once" if row.transductive else ""
        click.echo(f"{'*' if row.best else ' '} {row.readout or 'own':<22} {accuracy}{needs}".rstrip())
    click.echo(advice(rows, way, shlex.quote(typed_dataset(record.command)), record.trained.encoder))
    click.echo(f"records     {path.parent}")


def _lines_of(record: RunRecord, path: Path) -> list[tuple[str, str]]:
    """What is said of one record, as name and text."""
    from fewshot.models.readouts import READOUTS
    from fewshot.records.published import target_of

    target = target_of(record)
    return [
        ("model", _model_words(record.trained)),
        *([("read-out", f"{record.readout}: {READOUTS.get(record.readout).title}")] if record.readout else []),
        ("protocol", record.protocol),
        ("accuracy", f"{bold(record.percent())}  over {record.num_episodes:,} episodes"),
        ("published", str(target) if target else "no paper gives a number for this protocol"),
        ("interval", record.ci_formula),
        *(("note", visible(note)) for note in record.notes),
        *([("embeddings", record.embeddings.file)] if record.embeddings else _files_of(record.trained.checkpoint)),
        ("record", str(path)),
    ]


def _model_words(trained: Trained) -> str:
    smoke = "  SMOKE TEST, not a result" if trained.recipe.name == "smoke" else ""
    short = "  SHORTENED training" if trained.shortened else ""
    return f"{trained.model}, {trained.recipe.name} recipe, seed {trained.seed}{smoke}{short}"


def _files_of(checkpoint: str) -> list[tuple[str, str]]:
    """What a training left."""
    if not checkpoint:  # nothing was learned
        return []
    picture = Path(checkpoint).with_name("training.png")  # not drawn where nothing is trained, nor published
    return [("checkpoint", checkpoint), *([("training", str(picture))] if picture.is_file() else [])]


def _print_lines(lines: Sequence[tuple[str, str]]) -> None:
    print_listed(((name, [text]) for name, text in lines), 12)
