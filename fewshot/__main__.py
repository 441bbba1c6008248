"""Where the program begins: Ctrl-C ends it with one line even while it imports itself. `python -m fewshot`, too."""

import _signal  # type: ignore[import-not-found]  # the module signal takes 5 ms, as long as all of Python's own start
import os
import sys


def _end(number: int, frame: object) -> None:  # noqa: ARG001
    """At once: an exception could be swallowed by what is being imported, and nothing is written yet."""
    os.write(2, b"fewshot: stopped\n")
    os._exit(128 + number)


def main() -> None:
    """Entry point of the console script."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has two of them
        number = getattr(_signal, name, None)
        if number is not None and _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, _end)
    from fewshot.cli.main import main as run

    run(sys.argv[1:])


if __name__ == "__main__":
    main()
