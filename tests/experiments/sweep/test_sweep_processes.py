"""The processes of a sweep, whose driver is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from running_processes import processes, wait_until

DRIVER = """
import sys
from functools import partial
from pathlib import Path
from fewshot.experiments.config import RunConfig
from fewshot.experiments.sweep.executors import Processes
from fewshot.experiments.sweep.jobs import Job, Place
from fewshot.experiments.sweep.loop import sweep
from played_runs import play

if __name__ == "__main__":
    jobs = [Job(model, RunConfig(model=model)) for model in ("proto", "matching")]
    sweep(jobs, Processes(2), partial(play, place=Place(Path(sys.argv[1]))), print)
"""


def test_no_run_goes_on_when_the_driver_was_killed(tmp_path: Path) -> None:
    """It would hold its training against the sweep that goes on with it."""
    (tmp_path / "script.json").write_text(json.dumps({"wait_for": ["nobody"], "failing": "", "dying": ""}))
    (tmp_path / "driver.py").write_text(DRIVER)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    driver = subprocess.Popen([sys.executable, str(tmp_path / "driver.py"), str(tmp_path)], env=environment)
    wait_until(lambda: all((tmp_path / model).exists() for model in ("proto", "matching")))
    workers = processes("spawn_main", driver.pid)
    assert len(workers) >= 2
    driver.kill()
    driver.wait()
    wait_until(lambda: not any(is_there(pid) for pid in workers), seconds=30)


def is_there(pid: int) -> bool:
    """Whether a process is there and no zombie, which has no command line."""
    try:
        return bool((Path("/proc") / str(pid) / "cmdline").read_bytes())
    except OSError:
        return False
