"""The same work by us, by plain PyTorch and by the other libraries that are installed: in one run, as ratios."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

from episodes.files import data_root
from fewshot.bench.basics import SETTINGS, Measurement, in_a_process
from fewshot.bench.libraries import CONTENDERS
from fewshot.progress import Reporter

_QUICK, _FULL = (1, 1.0), (2, 8.0)  # rounds, and seconds for the step and for the test in each


def measure_contenders(root: Path | None, reporter: Reporter, *, quick: bool = False) -> list[dict[str, Any]]:
    """Step and test of every contender in every setting; the better of two rounds, in which all take turns."""
    present = [name for name, contender in CONTENDERS.items() if not _left_out(name, contender.why_not(), reporter)]
    rounds, budget = _QUICK if quick else _FULL
    turns = [(setting.name, name) for setting in SETTINGS for _ in range(rounds) for name in present]
    best: dict[tuple[str, str], dict[str, Any]] = {}
    for number, turn in enumerate(turns):
        setting, name = turn
        reporter.say(f"  {setting}: {CONTENDERS[name].title} ({number + 1} of {len(turns)})")
        found = in_a_process("fewshot.bench.libraries:measure", name, setting, str(data_root(root)), str(budget))
        before = best.get(turn, found)
        best[turn] = {**found, "version": _version(name)} | {
            key: min(found[key], before[key]) for key in ("step_ms", "test_s")
        }
    return [*best.values()]


def _left_out(name: str, reason: str, reporter: Reporter) -> bool:
    if reason:
        reporter.say(f"{name} is not compared with: {reason}")
    return bool(reason)


def _version(name: str) -> str:
    """Of the library that does the work."""
    return metadata.version("torch" if name in ("ours", "plain") else name)


def ratios(measured: list[dict[str, Any]]) -> list[Measurement]:
    """How many times faster our step and our test are than those of each other contender."""
    ours = {line["setting"]: line for line in measured if line["name"] == "ours"}
    figures = []
    for line in measured:
        own, contender = ours[line["setting"]], CONTENDERS[line["name"]]
        if line is own:
            continue
        what = f"{contender.title} {line['step_ms']:,.0f} ms, ours {own['step_ms']:,.0f} ms; {contender.training}"
        figures.append(
            Measurement(
                f"{line['setting']}: step against {contender.title}",
                line["step_ms"] / own["step_ms"],
                "times faster",
                what,
            )
        )
        what = f"{contender.title} {line['test_s']:,.0f} s, ours {own['test_s']:,.1f} s; {contender.testing}"
        figures.append(
            Measurement(
                f"{line['setting']}: 10,000 test episodes against {contender.title}",
                line["test_s"] / own["test_s"],
                "times faster",
                what,
            )
        )
    return figures
