"""Runs that only note that they were made, and end when certain others have begun."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from episodes.errors import UserError

if TYPE_CHECKING:
    from fewshot.experiments.sweep.jobs import Chain, Place, Result


def play(chain: Chain, place: Place) -> list[Result]:
    """In the place of fewshot.experiments.sweep.jobs.perform; ``script.json`` in the folder says what happens."""
    from fewshot.progress import LineReporter
    from omniglot_records import of_omniglot

    reporter = LineReporter()
    script, model = json.loads((place.out / "script.json").read_text()), chain[0].config.model
    reporter.begin(chain[0].name)
    reporter.say(f"training {model}")
    if model == script["failing"]:
        raise UserError("no such luck")
    if model == script["dying"]:
        with (place.out / "deaths").open("a") as deaths:
            deaths.write(model + "\n")
        os.kill(os.getpid(), signal.SIGKILL)
    (place.out / model).write_text(json.dumps([job.name for job in chain]))
    end = time.monotonic() + 60
    try:
        while not all((place.out / name).exists() for name in script["wait_for"]):
            time.sleep(0.02)
            if time.monotonic() > end:
                raise UserError("waited in vain")
    except KeyboardInterrupt:
        (place.out / f"{model} saved").touch()
        raise
    return [[(of_omniglot(model=model), Path(model))] for _ in chain]
