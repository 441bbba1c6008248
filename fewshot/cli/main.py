"""The command line: parse, call one function, print. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import errno
import io
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import click

from episodes.errors import HIDDEN, Interrupted, UserError, visible
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

_OF_STREAMS = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


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


@click.command(short_help="Say what is here and what to do about what is missing.")
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
    doctor,
)
for command in (*VERBS, hausdorff):
    cli.add_command(command)


def main(arguments: list[str] | None = None) -> None:
    """The whole command line. Bad input and full disks end with one line on standard error and status 2.

    Ctrl-C ends with 130, SIGTERM with 143, a lost terminal with 129, whatever comes of the exception on its way here.
    """
    words = sys.argv[1:] if arguments is None else arguments
    if sys.stdout is None:  # closed by the caller; else the next file that is opened would be in its place
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may be no text
            stream.reconfigure(errors="backslashreplace")
    with _stop_signals() as first_signal:
        try:
            message, status = _outcome(words)
        except BaseException:
            if not first_signal():
                raise
            message, status = "stopped", 0
        if number := first_signal():
            message, status = message or "stopped", 128 + number
    if message:
        with suppress(OSError):  # standard error may be gone, too
            click.echo(f"fewshot: {visible(' '.join(message.split()))}", err=True)
    sys.exit(status)


def _outcome(words: list[str]) -> tuple[str, int]:
    """Carry the command out; what is to be said of its end, if anything, and its exit status."""
    try:
        _refuse_odd(words)
        cli.main(args=words or ["--help"], prog_name="fewshot", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return "", stop.exit_code
    except SystemExit as stop:
        return "", int(stop.code or 0)
    except click.ClickException as error:
        return _with_hint(error), 2
    except UserError as error:
        return str(error), 2
    except Interrupted as stop:
        return str(stop), 130
    except (KeyboardInterrupt, click.Abort):
        return "stopped", 130
    except OSError as error:
        return _of_system(error)
    return "", 0


def _refuse_odd(words: list[str]) -> None:
    """An empty word is a variable of a script that is not set; as a folder it would be the current one."""
    if hidden := [word for word in words if HIDDEN.search(word)]:
        raise UserError(f"{hidden[0]!r} holds characters that steer the terminal or turn text around: leave them out")
    for before, word in zip(["", *words], words, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            raise UserError(
                f"an empty word stands behind {word or before or 'fewshot'!r}: is a variable of a script not set?"
            )


def _of_system(error: OSError) -> tuple[str, int]:
    """A full disk, a file that may not be written, a reader of standard output that is gone."""
    place = error.filename
    if place is None and error.errno in _OF_STREAMS:  # what is written to files names them: episodes.files
        place = "standard output"
        with suppress(OSError, ValueError):  # what is left in its buffer would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return "", 1  # as click says
    return f"{place}: {error.strerror or error}" if place else str(error), 2


@contextmanager
def _stop_signals() -> Iterator[Callable[[], int]]:
    """Every one raises an exception, so that half-written files are removed; gives a look at which came first.

    The numbers come by the wakeup file, which hears of each, whoever handles it. Signals that were ignored stay so.
    """
    numbers = [found for name in ("SIGINT", "SIGTERM", "SIGHUP") if (found := getattr(signal, name, None))]
    before = {number: signal.getsignal(number) for number in numbers}
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    ears, mouth = socket.socketpair()
    with ears, mouth:
        ears.setblocking(False)
        mouth.setblocking(False)
        wakeup = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)

        def first_signal() -> int:
            try:
                return next((number for number in ears.recv(64, socket.MSG_PEEK) if number in numbers), 0)
            except BlockingIOError:
                return 0

        try:
            for number in numbers:
                if before[number] != signal.SIG_IGN:
                    signal.signal(number, _stop)
            yield first_signal
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)


class _Stopped(BaseException):
    """In the place of KeyboardInterrupt, before which click prints an empty line."""


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise _Stopped


def _with_hint(error: click.ClickException) -> str:
    """click's message in one line, with the command whose help to read."""
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "fewshot"
    return f"{error.format_message()} (see `{command} --help`)".replace("\n", " ")
