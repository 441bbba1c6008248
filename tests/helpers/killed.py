"""Commands in processes of their own that are killed: each is forked from a server that has imported everything."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from command_line import use_few_strokes
from episodes import files
from fewshot.cli.main import main
from fewshot.experiments import resolve
from fewshot.reports import results
from fewshot.training import loop
from forked import FORKED


def carry_out(folder: Path, words: Sequence[str]) -> None:
    """The command line in ``folder``, as of committed code; a training keeps its state at every step."""
    os.chdir(folder)
    os.environ["FEWSHOT_DATA"] = str(folder / "data")
    os.environ.pop("FEWSHOT_CACHE", None)
    with Path("said.txt").open("w") as said:
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
    use_few_strokes()
    setattr(resolve, "commit", lambda: "0" * 40)  # noqa: B010
    setattr(loop, "_SECONDS_BETWEEN_STATES", 0.0)  # noqa: B010
    main([*words])


def write_without_end(folder: Path) -> None:
    """`leaderboard --write` in ``folder``; it says so when its first file is half written."""

    def write(into: Path) -> None:
        with files.scratch_file(into / "table.md") as scratch:
            scratch.write_bytes(b"half")
            print("writing", flush=True)
            time.sleep(60)

    setattr(results, "write_results", write)  # noqa: B010
    carry_out(folder, ["leaderboard", "--write"])


def prepare() -> None:
    """The server begins to import everything, while something else is done here."""
    forkserver.ensure_running()


def begun(folder: Path, *words: str) -> ForkServerProcess:
    """The command, which runs now."""
    return _started(carry_out, folder, words)


def begun_without_end(folder: Path) -> ForkServerProcess:
    """See ``write_without_end``."""
    return _started(write_without_end, folder)


def _started(target: Callable[..., None], *args: object) -> ForkServerProcess:
    process = FORKED.Process(target=target, args=args)
    process.start()
    return process


class Killer:
    """Starts a command again and again, and kills it at random moments."""

    def __init__(self, seed: int) -> None:
        self.dice, self.kills = random.Random(seed), 0
        server = FORKED.Process(target=len, args=((),))
        server.start()
        server.join()  # the server has imported everything now, so that what is measured are the commands

    def whole(self, folder: Path, *words: str) -> float:
        """Carry the command out undisturbed; the seconds that it took."""
        begin = time.monotonic()
        process = begun(folder, *words)
        process.join()
        assert process.exitcode == 0, f"{words}: status {process.exitcode}, {(folder / 'said.txt').read_text()}"
        return time.monotonic() - begin

    def killed(self, folder: Path, seconds: float, *words: str) -> bool:
        """Kill the command within its first ``seconds``; whether it still ran then."""
        process = begun(folder, *words)
        process.join(self.dice.uniform(0, seconds))
        process.kill()
        process.join()
        self.kills += process.exitcode == -9
        assert process.exitcode in (0, -9), f"{words}: status {process.exitcode}, {(folder / 'said.txt').read_text()}"
        return process.exitcode == -9
