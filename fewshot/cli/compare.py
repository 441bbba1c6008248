"""fewshot compare: what was measured on the same episodes, side by side, in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fewshot.cli.options import PATH, refuse_unread, results_option

if TYPE_CHECKING:
    from fewshot.records.comparison import Comparison
    from fewshot.records.rows import Setting
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
@click.option("--picture", type=PATH, help="Draw the critical-difference plot (.png or .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON on standard output.")
def compare(
    words: tuple[str, ...],
    results: Path,
    folder: Path | None,
    setting: Setting | None,
    recipe: str | None,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Compare A, B, ...: paths of records, or models (MODEL by its own rule, or MODEL+READOUT).

    Records of one configuration are its seeds: accuracies are their mean, and intervals and p hold for other seeds as
    well. Models are compared within one setting; of several configurations of a model the best on the validation
    classes is taken, never by the test.

    On every protocol that all were measured on, episode by episode: difference with its interval, win/tie/loss, effect
    size, Holm-corrected p, and the smallest difference that so many would find. Over protocols: mean ranks.
    """
    from fewshot.cli.output import print_json, print_problems, published_runs
    from fewshot.records import comparison

    if all(map(comparison.is_path, words)):
        refuse_unread("records named by their paths", "words", "picture", "as_json")
    problems: list[str] = []
    comparisons = comparison.compare(words, folder or published_runs(results), recipe, setting, problems)
    print_problems(problems)
    table = comparison.ranks_over_protocols(comparisons) if len(comparisons) > 1 else None
    if picture is not None:
        _draw(table, comparisons, picture)
    if as_json:
        print_json({"comparisons": [comparison.as_json(found) for found in comparisons], "ranks": _data(table)})
        return
    for line in [line for found in comparisons for line in [*_describe(found), ""]]:
        click.echo(line)
    for line in _describe_ranks(table) if table else []:
        click.echo(line)
    if picture is not None:
        click.echo(f"picture: {picture}")


def _draw(table: RankTable | None, comparisons: Sequence[Comparison], picture: Path) -> None:
    from fewshot.records.comparison import ComparisonError
    from fewshot.reports.plots.critical_difference import critical_difference_figure
    from fewshot.reports.plots.style import save

    if table is None:
        raise ComparisonError(
            f"the critical-difference plot ranks over protocols, and all were measured on "
            f"{comparisons[0].cell.protocol} alone: name models that share two protocols or more"
        )
    save(critical_difference_figure(table, f"Mean ranks over {len(comparisons)} protocols (1 is best)"), picture)


def _describe(found: Comparison) -> list[str]:
    from fewshot.records.rows import setting_of

    cell = found.cell
    width = max(len(name) for name in found.names)
    settings = dict.fromkeys(setting_of(entry.first) for entry in found.entries)
    lines = [
        f"{cell.protocol}, {' and '.join(settings)}, "
        f"the same {cell.num_episodes:,} episodes (digest {cell.digest[:12]})"
    ]
    for name, entry, rank in zip(found.names, found.entries, found.ranks, strict=True):
        seeds = f"{len(entry.seeds)} seed{'s' if len(entry.seeds) > 1 else ''}"
        lines.append(f"  {rank!s:>5}  {name:<{width}}  {entry.interval.percent()}  {seeds}  {entry.label}")
    lines += [f"  {name}: {how}" for name, how in zip(found.names, found.how, strict=True)]
    if len(settings) > 1:
        kinds = ", ".join(f"{name} {setting_of(e.first)}" for name, e in zip(found.names, found.entries, strict=True))
        lines.append(f"  not alike: {kinds}")
    several = any(len(entry.seeds) > 1 for entry in found.entries)
    over = "seeds and episodes together" if several else "episodes"
    lines.append(f"  differences in percentage points, first minus second, with 95 % interval over {over}")
    for pair in found.pairs:
        difference = pair.difference
        names = f"{found.names[pair.first]} - {found.names[pair.second]}"
        lines.append(
            f"  {names:<{2 * width + 3}}  {difference.percent()}  "
            f"win/tie/loss {difference.wins}/{difference.ties}/{difference.losses}  d {difference.effect_size:+.2f}  "
            f"p {_p(pair.p_holm)} (Holm, {len(found.pairs)} pair{'s' if len(found.pairs) > 1 else ''})  "
            f"detectable {100 * difference.detectable:.2f}  {pair.verdict}"
        )
    alone = ", ".join(name for name, entry in zip(found.names, found.entries, strict=True) if len(entry.seeds) == 1)
    if alone and several:
        lines.append(
            f"  one training seed of {alone}: another is taken to move it as far as those of the others move them"
        )
    elif alone:
        lines.append("  one training seed: a difference holds for these trainings, another seed may move it further")
    return lines


def _p(value: float) -> str:
    return "< 1e-12" if value < 1e-12 else f"{value:.2g}"


def _describe_ranks(table: RankTable) -> list[str]:
    width = max(len(method) for method in table.methods)
    lines = [f"mean rank over {len(table.protocols)} protocols (1 is best)"]
    lines += [f"  {table.methods[index]:<{width}}  {table.mean_ranks[index]:.2f}" for index in table.order]
    lines.append(
        f"  Friedman p {_p(table.friedman_p)}, critical difference {table.critical_difference:.2f} (Nemenyi, 5 %)"
    )
    return [*lines, *([f"  warning: {table.warning}"] if table.warning else [])]


def _data(table: RankTable | None) -> dict[str, object] | None:
    if table is None:
        return None
    return asdict(table) | {"ranks": table.ranks.tolist(), "mean_ranks": table.mean_ranks.tolist()}
