"""The command line: parse, call one function, print. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from episodes.errors import Interrupted, UserError
from fewshot.cli.bench import bench
from fewshot.cli.classify import export, fit, open_set, predict
from fewshot.cli.compare import compare
from fewshot.cli.data import data, list_, show
from fewshot.cli.leaderboard import leaderboard, publish, verify
from fewshot.cli.options import data_option
from fewshot.cli.report import centers, damage, report
from fewshot.cli.reproduce import reproduce
from fewshot.cli.run import evaluate, hausdorff, run, tune
from fewshot.cli.sweep import sweep


class HelpfulGroup(click.Group):
    """Answers a mistyped command with the near one and all valid ones."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from episodes.registry import unknown_name_message

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise click.UsageError(unknown_name_message("command", args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


@click.group(cls=HelpfulGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="fewshot-bench", message="fewshot %(version)s")
def cli() -> None:
    """A few-shot learning benchmark whose numbers reproduce.

    \b
    fewshot run --model proto --way 5 --shot 1    train, select, test, record
    fewshot evaluate CHECKPOINT --way 20          test a trained model again
    fewshot tune --model triplet                  try options on the validation classes
    fewshot show omniglot                         draw episodes into a picture
    fewshot leaderboard                           the table made from the records
    fewshot compare proto relation                on the same episodes, pair by pair
    fewshot fit PHOTOS -o my.safetensors          a classifier of your own images, to predict with
    """


@cli.command(short_help="Say what is here and what to do about what is missing.")
@data_option
def doctor(data: Path | None) -> None:
    """Say what is here (versions, device, precision, data sets, learn2learn) and what to do about what is missing."""
    from fewshot.bench.doctor import examine, render
    from fewshot.cli.output import terminal

    terminal().print(render(examine(data)))


VERBS = (
    run,
    sweep,
    evaluate,
    tune,
    fit,
    predict,
    export,
    open_set,
    show,
    data,
    list_,
    leaderboard,
    publish,
    verify,
    compare,
    reproduce,
    report,
    damage,
    centers,
    bench,
)
for command in (*VERBS, hausdorff):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """Entry point. Bad input ends with one line on standard error and status 2; Ctrl-C with 130."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(args=words or ["--help"], prog_name="fewshot", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as error:
        _fail(_with_hint(error), 2)
    except UserError as error:
        _fail(str(error), 2)
    except Interrupted as stop:
        _fail(str(stop), 130)
    except (KeyboardInterrupt, click.Abort):
        _fail("stopped", 130)
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error), 1)


def _with_hint(error: click.ClickException) -> str:
    """click's message in one line, with the command whose help to read."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fewshot"
    return f"{error.format_message()} (see `{command} --help`)".replace("\n", " ")


def _fail(message: str, status: int) -> None:
    click.echo(f"fewshot: {' '.join(message.split())}", err=True)
    sys.exit(status)
