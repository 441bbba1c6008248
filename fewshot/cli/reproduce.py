"""Train what a paper's table lacks, cell by cell, under one progress bar with the time that is left."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

from episodes.datasets.cards import DATASETS
from episodes.datasets.opening import open_dataset
from fewshot.cli.main import cli
from fewshot.cli.progress import TerminalReporter
from fewshot.cli.run_commands import evaluate_as_chosen, run_as_chosen
from fewshot.experiments.config import DEFAULT_UNLABELED
from fewshot.experiments.hausdorff import measure_hausdorff
from fewshot.experiments.paper_plan import Cell, evaluate_words, run_words
from fewshot.training.loop import Progress as TrainingProgress
from fewshot.training.recipes import RecipeName, find_recipe

_BAR = "all cells, %"
_OF_TEST = ("--way", "--shot", "--query", "--readout")  # two cells that differ by these alone may share a training


class PlanReporter(TerminalReporter):
    """The bars of one cell, and one over the work of all cells, with the time that is left.

    Work is counted in pixels that training sends through the encoder; speed is measured in this very process.
    """

    def __init__(self, work: Sequence[float], seconds_between_lines: float = 10.0) -> None:
        super().__init__(seconds_between_lines)
        self._work, self._cell, self._name = list(work), 0, ""
        self._measured_work, self._measured_seconds = 0.0, 0.0
        self._last: tuple[float, float] | None = None  # when this cell's training was last seen, and its share done

    def begin(self, cell: int, name: str, command: Sequence[str]) -> None:
        """Cell number ``cell``, from 0, is next, and this is the command that fills it."""
        self._cell, self._name, self._last = cell, name, None
        self.command = shlex.join(["fewshot", *command])
        for what in [what for what in self._tasks if what != _BAR]:
            self._bars.remove_task(self._tasks.pop(what))
        self.say(f"cell {cell + 1} of {len(self._work)}: {name}: {self.command}")
        self._show_plan(0.0)

    def training_progress(self, progress: TrainingProgress) -> None:
        super().training_progress(progress)
        now, share = time.monotonic(), progress.episode / progress.train_episodes
        if self._last is not None:  # the first look of a resumed training shows work of another process
            self._measured_seconds += now - self._last[0]
            self._measured_work += (share - self._last[1]) * self._work[self._cell]
        self._last = now, share
        self._show_plan(share)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all cells are trained, at the speed so far; None before there is any."""
        if not self._measured_work or not self._measured_seconds:
            return None
        share = self._last[1] if self._last is not None else 0.0
        left = sum(self._work[self._cell :]) - share * self._work[self._cell]
        return left * self._measured_seconds / self._measured_work

    def _show_plan(self, share: float) -> None:
        done, total = sum(self._work[: self._cell]) + share * self._work[self._cell], sum(self._work) or 1.0
        left = self.seconds_left
        estimate = "time left: known after the first steps" if left is None else f"about {duration(left)} left"
        detail = f"cell {self._cell + 1} of {len(self._work)}: {self._name}; {estimate}"
        self._show(_BAR, round(100 * done / total), 100, detail)


def duration(seconds: float) -> str:
    """``5 min`` or ``2 h 05 min``."""
    minutes = max(1, round(seconds / 60))
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def share_of_training(cell: Cell, recipe_name: RecipeName, seed: int = 0) -> tuple[str, float]:
    """What names a cell's training (cells of one name share it), and the pixels that it sends through the encoder."""
    ours, column = cell.row.ours, cell.column
    assert ours is not None
    words = run_words(cell, recipe_name, seed)
    if ours.untrained:
        return str(words), 0.0
    recipe = find_recipe(recipe_name, cell.table.dataset, column.shot, ours.model, column.way, ours.encoder)
    chosen: Mapping[str, Any] = vars(recipe) | dict(ours.training)
    way, shot = chosen["train_way"] or column.way, chosen["train_shot"] or column.shot
    of_test = {index + ahead for index, word in enumerate(words) if word in _OF_TEST for ahead in (0, 1)}
    kept = [word for index, word in enumerate(words) if index not in of_test]
    name = str([*kept, way, shot, chosen["val_way"] or column.way])
    unlabeled = (chosen["unlabeled"] or DEFAULT_UNLABELED) if "unlabeled" in ours.training else 0
    images = way * (shot + chosen["train_query"]) + unlabeled * (way + column.distractors)
    if chosen["batch_size"]:  # one training serves every test
        images, name = chosen["batch_size"], str([words[:3], ours.encoder, ours.options])
    shape = DATASETS.get(cell.table.dataset).image_shape
    pixels = 105 * 105 if cell.table.pixels_of(ours).endswith("-105") else math.prod(shape)
    return name, float(chosen["train_episodes"] * images * pixels)


def work_of(cells: Sequence[Cell], recipe_name: RecipeName, seed: int = 0) -> list[float]:
    """Pixels that each cell's training sends through the encoder; cells that share a training pay once."""
    paid: set[str] = set()
    work = []
    for cell in cells:
        name, pixels = share_of_training(cell, recipe_name, seed)
        work.append(0.0 if name in paid else pixels)
        paid.add(name)
    return work


def train_missing(
    cells: Sequence[Cell], recipe: RecipeName, seed: int, more: Sequence[str], seconds_between_lines: float = 10.0
) -> None:
    """Fill these cells one after the other; ``more`` are words for all of them, such as ``--out FOLDER``.

    Each is trained by `fewshot run` and goes on where it was stopped. Raises Interrupted on Ctrl-C.
    """
    reporter = PlanReporter(work_of(cells, recipe, seed), seconds_between_lines)
    with reporter:
        for number, cell in enumerate(cells):
            words = [*run_words(cell, recipe, seed), *more]
            reporter.begin(number, f"{cell.row.name}, {cell.column.title}", words)
            assert cell.row.ours is not None
            if cell.row.ours.by_drawing:
                _score_hausdorff(_parsed(words), reporter)
                continue
            ((record, _),) = run_as_chosen(_parsed(words), reporter)
            if cell.row.ours.test:
                second = [*evaluate_words(cell, record.config["checkpoint"]), *more]
                reporter.command = shlex.join(["fewshot", *second])
                evaluate_as_chosen(_parsed(second), reporter)


def _score_hausdorff(choices: Mapping[str, Any], reporter: TerminalReporter) -> None:
    dataset = open_dataset("omniglot", choices["data"], "lake", reporter=reporter, size=choices["size"])
    measure_hausdorff(dataset, choices["out"], reporter)


def _parsed(words: Sequence[str]) -> Mapping[str, Any]:
    """The choices that the command line makes of these words."""
    name, *rest = words
    return cli.commands[name].make_context(name, list(rest)).params
