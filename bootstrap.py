"""Make or renew ``.venv`` with pinned versions: ``make setup`` runs this, and so does every other target first.

It is instant when nothing changed, carries on where it was broken off, and two at once wait for each other. Only the
standard library is used, in words that an old Python understands, so that it can say that it is too old.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
READY = VENV / ".ready"  # holds the fingerprint of what was installed
LEARN2LEARN_LOG = VENV / "learn2learn.log"
OLDEST, NEWER = (3, 11), ("python3.13", "python3.12", "python3.11")

INSTALL = ("-m", "pip", "install", "--constraint", "constraints.txt")
# learn2learn is on offer as source only. The C files in it do not compile since Python 3.11; build_ext makes new ones
# with the Cython of .venv. It lists requirements that it uses for nothing here, so its real ones are named instead.
LEARN2LEARN = (
    (*INSTALL, "--no-build-isolation", "gym", "requests", "scipy", "tqdm"),
    (*INSTALL, "--no-build-isolation", "--no-deps", "-C--global-option=build_ext", "learn2learn"),
)


class SetupError(Exception):
    """The set-up cannot go on. The message says why."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def fingerprint() -> str:
    """Changes with what is to be installed, where, and whether there is a compiler for learn2learn."""
    sha = hashlib.sha256(f"{VENV} {shutil.which('cc') is not None}".encode())
    for name in ("pyproject.toml", "constraints.txt", "bootstrap.py"):
        sha.update((ROOT / name).read_bytes())
    return sha.hexdigest()


def is_ready() -> bool:
    """Whether everything was installed as it is wanted now, by a Python that is still there."""
    return PYTHON.exists() and READY.is_file() and READY.read_text() == fingerprint()


def run(*arguments: str) -> None:
    """Run .venv's Python; pip shows its progress on a terminal and only its complaints elsewhere."""
    quiet = ("--quiet", "--quiet") if "pip" in arguments and not sys.stdout.isatty() else ()
    calm = {**os.environ, "PYTHONWARNINGS": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if subprocess.call([str(PYTHON), *arguments, *quiet], cwd=ROOT, stdin=subprocess.DEVNULL, env=calm):
        raise SetupError(f"this failed, see above: .venv/bin/python {' '.join(arguments)}")


def is_usable() -> bool:
    """Whether .venv has pip and a new enough Python, and lies where it was made: its scripts name their folder."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        script = (VENV / "bin" / "pip").read_text()
        made_here = any(f"{before}{VENV}" in script for before in '! "')  # what stands before the interpreter's path
        return made_here and subprocess.call([str(PYTHON), "-c", check], stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def make_environment() -> None:
    """Create .venv, or anew what was broken off, moved or made with too old a Python; one that works is kept."""
    if is_usable():
        return
    say(f"making .venv with Python {sys.version.split()[0]}")
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]):
        raise SetupError("Python's venv failed, see above")


def install_learn2learn() -> None:
    """learn2learn is optional: what goes wrong here is one line on the terminal and the whole story in a log."""
    say("learn2learn, for the comparison with it; the first time it is built from source")
    with LEARN2LEARN_LOG.open("w") as log:
        for arguments in LEARN2LEARN:
            command = [str(PYTHON), *arguments]
            if subprocess.call(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log):
                cause = "its installation failed" if shutil.which("cc") else "there is no C compiler"
                say(f"warning: no learn2learn, {cause} (.venv/{LEARN2LEARN_LOG.name}); all else works without it")
                say("to try again: rm .venv/.ready && make setup")
                return


def install() -> None:
    """Everything, pinned, into .venv."""
    started = time.monotonic()
    make_environment()
    READY.unlink(missing_ok=True)
    say("installing the pinned packages into .venv; the first time this takes a minute or more")
    run(*INSTALL, "--upgrade", "pip", "setuptools", "wheel", "cython")
    run(*INSTALL, "--no-build-isolation", "--editable", ".[dev,docs,mlflow,photos,ray,slurm,tensorboard,tune,wandb]")
    install_learn2learn()
    READY.write_text(fingerprint())
    say(f"done in {time.monotonic() - started:.0f} s")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Hold the lock of this checkout; it is let go with the process, however that ends."""
    with (ROOT / "constraints.txt").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("waiting for another set-up of this folder")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_on_with_a_newer_python() -> None:
    """Replace this process by a Python that is new enough; return when this one is."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER:
        found = shutil.which(name)
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(found, [found, *sys.argv])
    raise SetupError(
        f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed and this is {sys.version.split()[0]}: "
        "name another one with `make setup PYTHON=...`"
    )


def main() -> int:
    """The exit status: 0 when .venv is ready."""
    try:
        go_on_with_a_newer_python()
        if not is_ready():
            with one_at_a_time():
                if not is_ready():
                    install()
    except SetupError as error:
        say(f"{error}\nsetup: once that is mended, `make setup` goes on from here")
        return 1
    except KeyboardInterrupt:
        say("stopped; `make setup` goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
