"""fewshot sweep: many runs, and what of them is there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from episodes.errors import UserError
from fewshot.cli.options import (
    data_option,
    flags_of,
    json_option,
    out_option,
    parse_model_options,
    results_option,
    workers_options,
)
from fewshot.cli.reproduce import reproduce

if TYPE_CHECKING:
    from fewshot.experiments.sweep.jobs import Job, Place
    from fewshot.experiments.sweep.survey import Surveyed
    from fewshot.records.record import RunRecord


@click.command(
    context_settings={"ignore_unknown_options": True},
    short_help="Make many runs: a file of them, a product of choices, a paper's table.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[FILE] [OPTIONS OF RUN]")
@click.option("--table", help="The runs of a paper's table (see `fewshot reproduce`).")
@click.option("--leaderboard", help="The runs of this data set in leaderboard.toml of --results.")
@click.option("--dry-run", is_flag=True, help="Print the runs, what is finished, and about how long the others take.")
@workers_options
@results_option
@data_option
@out_option
@json_option
def sweep(**choices: Any) -> None:
    """Make every run of FILE, of a table, or of choices such as --model proto,matching --way 5,20 --seed 0-2.

    FILE is TOML: the options of `fewshot run` by their names, where a list is a choice and every combination is a run;
    what differs goes into blocks, [[cell]]. Options on the command line stand in the place of what FILE says.

    What is finished is not repeated, and Ctrl-C loses nothing. A run that fails is named at the end, the others are
    made, and the exit status is 1.
    """
    from fewshot.cli.output import all_records, print_json, print_leaderboard
    from fewshot.cli.progress import carry_out, end
    from fewshot.experiments.sweep.jobs import Place
    from fewshot.experiments.sweep.workers import Workers
    from fewshot.records.record import as_stored

    jobs, place = _jobs(choices), Place(choices["out"], choices["data"])
    workers, records = Workers.of(choices), all_records(choices["results"], place.out)
    if choices["dry_run"]:
        _print_plan(jobs, place, records, workers.at_once, choices["as_json"])
        return
    made, failures = carry_out(jobs, place, records, workers)
    if choices["as_json"]:
        print_json([as_stored(record) for record in made])
    elif choices["table"]:
        places = {name: choices[name] for name in ("results", "data", "out")}
        click.get_current_context().invoke(reproduce, table=choices["table"], **places)
    elif made:
        print_leaderboard(made, smoke=all(record.recipe == "smoke" for record in made))
    end(failures, len(jobs))


def _jobs(choices: Mapping[str, Any]) -> list[Job]:
    """What the command asks for. Raises UserError where that is nothing, or more than one kind of thing."""
    from fewshot.experiments.paper_plan import fill
    from fewshot.experiments.sweep.plan import changed_jobs, choices_of, jobs_of, jobs_of_cells, known_flags, read_plan
    from fewshot.records.paper_tables import paper_table

    words: tuple[str, ...] = choices["words"]
    file = Path(words[0]) if words and not words[0].startswith("--") else None
    flags = known_flags() | flags_of(sweep)
    typed = parse_model_options(words[1:] if file else words, flags, known_flags(), "sweep")
    given = choices_of(typed)
    if sum(map(bool, (file, choices["table"], choices["leaderboard"]))) > 1:
        raise UserError("FILE, --table and --leaderboard each say which runs: leave out all but one")
    if choices["table"]:
        return changed_jobs(jobs_of_cells(fill(paper_table(choices["table"]), [])), given)
    if choices["leaderboard"]:
        blocks = read_plan(choices["results"] / "leaderboard.toml")
        named = [block for block in blocks if block.get("dataset", "omniglot") == choices["leaderboard"]]
        if not named:
            names = ", ".join(sorted({block.get("dataset", "omniglot") for block in blocks}))
            raise UserError(f"leaderboard.toml has no runs of {choices['leaderboard']}; it has those of: {names}")
        return jobs_of(named, given)
    if file is None and not given:
        raise UserError(
            "say which runs: FILE, --table NAME, --leaderboard DATASET, or options of run with several values"
        )
    return jobs_of([{}] if file is None else read_plan(file), given)


def _print_plan(jobs: Sequence[Job], place: Place, records: Iterable[RunRecord], count: int, as_json: bool) -> None:
    """A line for each run, and the sum."""
    from fewshot.cli.output import print_json
    from fewshot.experiments.sweep.survey import survey
    from fewshot.progress import duration

    found = survey(jobs, place, records, estimate=True)
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    width = max(len(one.job.name) for one in found)
    for one in found:
        images = f"{one.images:>14,} images" if one.images else ""
        time = f", about {duration(one.seconds)}" if one.seconds else ""
        click.echo(f"{one.state:<9} {one.job.name:<{width}} {one.why or images + time}".rstrip())
    counts = {state: sum(one.state == state for one in found) for state in dict.fromkeys(one.state for one in found)}
    seconds = [one.seconds for one in found if one.state == "to train" and one.images]
    known = [number for number in seconds if number is not None]
    click.echo(f"\n{len(found):,} runs: {', '.join(f'{number:,} {state}' for state, number in counts.items())}")
    if seconds:
        left = duration(sum(known) / count) if len(known) == len(seconds) else "unknown, the images are not here"
        click.echo(
            f"{sum(one.images for one in found):,} images pass the encoder in training; time, tests apart: {left}"
        )


def _as_json(one: Surveyed) -> dict[str, Any]:
    commands = [one.job.config.to_command(), *(test.to_command() for test in one.job.tests)]
    about = {"state": one.state, "images": one.images, "seconds": one.seconds, "why": one.why}
    return {"name": one.job.name, "commands": commands} | about
