"""fewshot compare: what was measured on the same episodes, side by side, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from episodes.errors import UserError
from fewshot.cli.options import PATH, latex_option, refuse_unread, results_option

if TYPE_CHECKING:
    from fewshot.records.comparison import Comparison
    from fewshot.records.rows import Setting
    from fewshot.reports.rendering import Section
    from fewshot.statistics.ranks import RankTable


@click.command(short_help="Compare records on the same episodes, pair by pair.")
@click.argument("words", nargs=-1, required=True, metavar="A B [C ...]")
@results_option
@click.option(
    "--from",
    "folder",
    type=PATH,
    help="The folder of the records of the models named, such as runs/records [default: results/runs].",
)
@click.option(
    "--setting",
    type=click.Choice(
        ["inductive", "transductive", "semi-supervised", "self-supervised", "cross-domain", "external data"]
    ),
    help="The setting that models are compared in [default: the first that all were measured in].",
)
@click.option("--recipe", help="Of the models named, only records of this recipe: fast or paper.")
@click.option("--picture", type=PATH, help="Draw the critical-difference plot (.png, .svg or .pdf).")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON on standard output.")
@latex_option
def compare(
    words: tuple[str, ...],
    results: Path,
    folder: Path | None,
    setting: Setting | None,
    recipe: str | None,
    picture: Path | None,
    as_json: bool,
    as_latex: bool,
) -> None:
    """Compare A, B, ...: paths of records, or models (MODEL by its own rule, or MODEL+READOUT).

    Records of one configuration are its seeds: accuracies are their mean, and intervals and p hold for other seeds as
    well. Models are compared within one setting; of several configurations of a model the best on the validation
    classes is taken, never by the test.

    On every protocol that all were measured on, episode by episode: difference with its interval, win/tie/loss, effect
    size, Holm-corrected p, and the smallest difference that so many would find. Over protocols: mean ranks.
    """
    from fewshot.cli.output import print_json, print_problems, print_sections, published_runs
    from fewshot.records.comparison import NoRecordsError, compare, is_path, ranks_over_protocols
    from fewshot.records.comparison import as_json as as_plain

    if all(map(is_path, words)):
        refuse_unread("records named by their paths", "words", "picture", "as_json", "as_latex")
    if as_json and as_latex:
        raise UserError("--json and --latex are forms of one table: choose one of them")
    problems: list[str] = []
    try:
        comparisons = compare(words, folder or published_runs(results), recipe, setting, problems)
    except NoRecordsError as error:
        raise NoRecordsError(f"{error}{_unknown_model(words)}") from None
    print_problems(problems)
    table = ranks_over_protocols(comparisons) if len(comparisons) > 1 else None
    if picture is not None:
        _draw(comparisons, table, picture)
    if as_json:
        print_json({"comparisons": [as_plain(found) for found in comparisons], "ranks": _data(table)})
    elif as_latex:
        from fewshot.reports.latex import comparison_sections, latex

        click.echo(latex(comparison_sections(comparisons)), nl=False)
    else:
        sections = [section for found in comparisons for section in _describe(found)]
        print_sections(sections if table is None else [*sections, _describe_ranks(table)])
        if picture is not None:
            click.echo(f"picture: {picture}")


def _draw(comparisons: Sequence[Comparison], table: RankTable | None, picture: Path) -> None:
    """The critical-difference plot."""
    from fewshot.records.comparison import ComparisonError
    from fewshot.reports.names import method_and_readout
    from fewshot.reports.plots.critical_difference import critical_difference_figure
    from fewshot.reports.plots.style import save

    if table is None:
        raise ComparisonError(
            f"the critical-difference plot ranks over protocols, and all were measured on "
            f"{comparisons[0].cell.protocol} alone: name models that share two protocols or more"
        )
    if len(table.methods) < 3:
        raise ComparisonError(
            "the critical-difference plot ranks three methods or more: of two the paired differences say it all"
        )
    names = [method_and_readout(*word.partition("+")[::2]) for word in table.methods]
    title = f"Mean ranks over {len(comparisons)} protocols (1 is best)"
    save(critical_difference_figure(replace(table, methods=tuple(names)), title), picture)


def _unknown_model(words: Sequence[str]) -> str:
    """Where no record says which models there are: the first word that is none of ours, with the near ones."""
    from episodes.registry import unknown_name_message
    from fewshot.models.catalog import models
    from fewshot.records.comparison import is_path

    ours = [described.name for described in models()]
    named = [word.partition("+")[0] for word in words if not is_path(word)]
    wrong = next((name for name in named if name not in ours), None)
    return f"; {unknown_name_message('model', wrong, ours)}" if wrong else ""


def _describe(found: Comparison) -> list[Section]:
    """The rows and their pairs, as tables for any width."""
    from fewshot.records.rows import setting_of
    from fewshot.reports.rendering import Bold, Section, table_of

    cell = found.cell
    settings = [setting_of(row.entry.first) for row in found.rows]
    rows = [
        {
            "method": row.name,
            "row": row.entry.label,
            "chosen": row.how,
            "setting": setting if len(set(settings)) > 1 else "",
            "rank": str(row.rank),
            "accuracy, %": (Bold if row.rank.best == 1 else str)(row.entry.interval.points()),
            "seeds": str(len(row.entry.seeds)),
        }
        for row, setting in zip(found.rows, settings, strict=True)
    ]
    pairs = [
        {
            "pair": f"{found.rows[pair.first].name} - {found.rows[pair.second].name}",
            "verdict": pair.verdict,
            "effect": f"d {pair.difference.effect_size:+.2f}",
            "detectable": f"detectable {100 * pair.difference.detectable:.2f}",
            "difference": pair.difference.percent(),
            "win/tie/loss": f"{pair.difference.wins}/{pair.difference.ties}/{pair.difference.losses}",
            "Holm p": _p(pair.p_holm),
        }
        for pair in found.pairs
    ]
    several = any(len(row.entry.seeds) > 1 for row in found.rows)
    over = "seeds and episodes together" if several else "episodes"
    told = (
        f"{' and '.join(dict.fromkeys(settings))}, the same {cell.num_episodes:,} episodes (digest {cell.digest[:12]})"
    )
    differences = (
        f"Differences in percentage points, first minus second, with 95 % interval over {over}; p over all "
        f"{len(pairs)} pair{'s' * (len(pairs) > 1)}; d: effect size; detectable: the "
        "smallest difference that so many episodes find." + _of_one_seed(found, several)
    )
    return [
        Section(cell.protocol, text=told, table=table_of(rows), numbers=frozenset(("rank", "accuracy, %", "seeds"))),
        Section(text=differences, table=table_of(pairs), numbers=frozenset(("difference", "win/tie/loss", "Holm p"))),
    ]


def _of_one_seed(found: Comparison, several: bool) -> str:
    alone = ", ".join(row.name for row in found.rows if len(row.entry.seeds) == 1)
    if not alone:
        return ""
    if several:
        return f" One training seed of {alone}: another is taken to move it as far as those of the others move them."
    return " One training seed: a difference holds for these trainings, another seed may move it further."


def _p(value: float) -> str:
    return "< 1e-12" if value < 1e-12 else f"{value:.2g}"


def _describe_ranks(table: RankTable) -> Section:
    from fewshot.reports.rendering import Section, table_of

    rows = [{"method": table.methods[place], "mean rank": f"{table.mean_ranks[place]:.2f}"} for place in table.order]
    friedman = "" if table.friedman_p is None else f"Friedman p {_p(table.friedman_p)}, "
    told = f"{friedman}critical difference {table.critical_difference:.2f} (Nemenyi, 5 %)"
    warning = f"\nwarning: {table.warning}" if table.warning else ""
    heading = f"mean rank over {len(table.protocols)} protocols (1 is best)"
    return Section(heading, text=told + warning, table=table_of(rows), numbers=frozenset(["mean rank"]))


def _data(table: RankTable | None) -> dict[str, object] | None:
    if table is None:
        return None
    return asdict(table) | {"ranks": table.ranks.tolist(), "mean_ranks": table.mean_ranks.tolist()}
