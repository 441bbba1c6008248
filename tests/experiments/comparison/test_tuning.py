"""tune(): val alone judges, every trial is a row, and a search that was interrupted ends as an undisturbed one."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from episodes.errors import Interrupted, UserError
from fewshot.experiments.comparison import tuning as tuning_module
from fewshot.experiments.comparison.terms import terms_named
from fewshot.experiments.comparison.tuning import SEARCH, Tuning, read_trials, recipe_entry, tune, write_trials
from fewshot.experiments.config import RunConfig, TuneConfig
from fewshot.experiments.run import run_without_test
from fewshot.experiments.sweep import jobs as jobs_module
from fewshot.experiments.sweep import workers
from fewshot.experiments.sweep.executors import Processes
from fewshot.experiments.sweep.jobs import Job, Place, Result
from fewshot.experiments.sweep.workers import Workers
from fewshot.models.methods import METHODS
from fewshot.models.methods.prototypical import Prototypical
from fewshot.models.options import Range, Search, options_of
from fewshot.training.loop import TrainingError
from fewshot.training.recipes import Recipe, find_recipe, read_table
from forked import fork_what_is_spawned
from photo_builders import gray_squares
from toy_classes import QUICK, FewStrokes, NoTest
from toy_runs import Listener

RESULTS = Path(__file__).parents[3] / "results"
RECIPES = Path(tuning_module.__file__).parents[2] / "training" / "recipes"
CONFIG = TuneConfig(
    model="siamese-contrastive",
    recipe="smoke",
    dataset="strokes",
    encoder_options={"width": 8},
    way=4,
    trials=3,
    budget=0.5,
    device="cpu",
    precision="fp32",
)


def tuned(folder: Path, config: TuneConfig = CONFIG, listener: Listener | None = None) -> Tuning:
    return tune(config, NoTest(), folder / "runs", folder / "results", listener)


def found(tuning: Tuning) -> list[tuple[Any, ...]]:
    return [(trial.number, dict(trial.parameters), trial.val_accuracy, trial.state) for trial in tuning.trials]


class StopsIn(Listener):
    """Presses Ctrl-C in the middle of the training after a line that begins so."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line

    def say(self, text: str) -> None:
        super().say(text)
        self.stop_at = 5 if text.startswith(self.line) else self.stop_at


def test_the_test_classes_are_never_read_and_every_trial_is_a_row(tmp_path: Path) -> None:
    tuning = tuned(tmp_path)
    assert not (tmp_path / "runs" / "records").exists()
    with tuning.path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    named = ["learning_rate", "optimizer", "margin", "val_accuracy", "val_ci95", "seconds", "images", "commit", "state"]
    assert list(rows[0]) == ["trial", *named, "command"]
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert tuning.path == tmp_path / "results" / "tuning" / "strokes_siamese-contrastive.csv"
    assert read_trials(tuning.path) == tuning.trials
    assert {trial.images for trial in tuning.trials} == {10 * 4 * (1 + 5)}
    assert len({tuple(trial.parameters.values()) for trial in tuning.trials}) == 3


def test_the_first_trial_is_the_recipe_as_it_is_and_the_best_one_is_told_how_to_train_in_full(tmp_path: Path) -> None:
    tuning = tuned(tmp_path)
    first = tuning.trials[0]
    assert first.parameters == {"learning_rate": QUICK.learning_rate, "optimizer": "adam", "margin": 20.0}
    usual = replace(CONFIG.of_run()).resolve(NoTest(), test=False)
    said = replace(CONFIG.of_run(), learning_rate=QUICK.learning_rate, optimizer="adam", model_options={"margin": 20.0})
    assert said.resolve(NoTest(), test=False).identity() == usual.identity()
    assert tuning.best is max(tuning.trials, key=lambda trial: trial.val_accuracy or 0)
    assert type(tuning.config) is RunConfig
    assert tuning.config.budget is None
    assert tuning.config.learning_rate == tuning.best.parameters["learning_rate"]
    assert tuning.config.model_options == {"margin": tuning.best.parameters["margin"]}


def test_an_interrupted_search_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole")
    with pytest.raises(Interrupted):
        tuned(tmp_path / "parts", listener=StopsIn("3 of 3 trials"))
    assert len(read_trials(whole.path.parents[3] / "parts" / whole.path.relative_to(tmp_path / "whole"))) == 2
    assert found(tuned(tmp_path / "parts")) == found(whole)


def test_a_search_goes_on_after_the_last_row(tmp_path: Path) -> None:
    whole = tuned(tmp_path / "whole", replace(CONFIG, trials=4))
    tuned(tmp_path / "parts", replace(CONFIG, trials=2))
    listener = Listener()
    assert found(tuned(tmp_path / "parts", replace(CONFIG, trials=4), listener)) == found(whole)
    assert next(line for line in listener.said if "of 4 trials" in line).startswith("3 of 4 trials")
    assert found(tuned(tmp_path / "parts", replace(CONFIG, trials=1), listener)) == found(whole)
    other = tuned(tmp_path / "other", replace(CONFIG, trials=2, seed=1))
    assert other.trials[1].parameters != whole.trials[1].parameters


def test_a_search_through_processes_makes_the_random_trials_at_once_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = gray_squares(tmp_path / "images", classes=25)
    config = replace(CONFIG, trials=5, dataset=str(images), size=28, train_episodes=20)
    here = tune(config, None, tmp_path / "here", tmp_path / "here")
    engines: list[int] = []
    batches: list[int] = []

    class Counted(Processes):
        def __init__(self, count: int) -> None:
            engines.append(count)
            super().__init__(count)

    monkeypatch.setattr(workers, "Processes", Counted)
    fork_what_is_spawned(monkeypatch)
    with Workers(jobs=2).making(Place(tmp_path / "there"), lambda _: None) as make:

        def counted(jobs: Sequence[Job]) -> list[Result]:
            batches.append(len(jobs))
            return make(jobs)

        there = tune(config, None, tmp_path / "there", tmp_path / "there", make=counted)
    assert (engines, batches) == ([2], [4, 1])
    assert [trial.parameters for trial in there.trials[:4]] == [trial.parameters for trial in here.trials[:4]]
    assert all(trial.val_accuracy is not None for trial in there.trials)
    assert read_trials(there.path) == there.trials


def test_a_trial_that_diverges_is_a_row_and_the_search_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverges_at_once(config: RunConfig, *rest: Any, **more: Any) -> Any:
        if config.learning_rate == QUICK.learning_rate:
            raise TrainingError("the training loss is no longer a number")
        return run_without_test(config, *rest, **more)

    monkeypatch.setattr(jobs_module, "run_without_test", diverges_at_once)
    tuning = tuned(tmp_path, replace(CONFIG, trials=2))
    assert [(trial.state, trial.val_accuracy is None) for trial in tuning.trials] == [
        ("diverged", True),
        ("complete", False),
    ]
    assert tuning.best is tuning.trials[1]
    assert read_trials(tuning.path) == tuning.trials
    monkeypatch.setattr(jobs_module, "run_without_test", run_without_test)
    assert len(tuned(tmp_path).trials) == 3


def test_the_rows_of_another_search_and_what_is_no_file_of_trials_are_refused(tmp_path: Path) -> None:
    tuning = tuned(tmp_path, replace(CONFIG, trials=1))
    with pytest.raises(UserError, match=r"is of another search: its trial 0 .*--budget 0.5.* would be .*--budget 0.25"):
        tuned(tmp_path, replace(CONFIG, budget=0.25))
    message = "is of another search: it tries learning_rate, optimizer, margin and not learning_rate, optimizer;"
    with pytest.raises(UserError, match=message):
        tuned(tmp_path, replace(CONFIG, model_options={"margin": 3.0}))
    for content in ("trial,state\n1,complete\n", tuning.path.read_text(encoding="utf-8").replace("complete", "so so")):
        tuning.path.write_text(content, encoding="utf-8")
        with pytest.raises(UserError, match=r"is no file of trials .* move it away"):
            tuned(tmp_path)


def test_what_is_said_is_not_tried(tmp_path: Path) -> None:
    config = replace(CONFIG, model_options={"margin": 5.0}, optimizer="adam", trials=2)
    tuning = tuned(tmp_path, config)
    assert [[*trial.parameters] for trial in tuning.trials] == [["learning_rate"], ["learning_rate"]]
    assert all("--margin 5.0" in trial.command for trial in tuning.trials)
    for wrong in (replace(CONFIG, query=3), replace(CONFIG, model="untrained", encoder_options={}, recipe="fast")):
        with pytest.raises(UserError, match="leave out"):
            tuned(tmp_path, wrong)
    with pytest.raises(UserError, match="a recipe that has a name"):
        tuned(tmp_path, replace(CONFIG, recipe=QUICK))


def test_another_optimizer_comes_with_its_weight_decay(tmp_path: Path) -> None:
    tuning = tuned(tmp_path, replace(CONFIG, trials=6))
    decays = {trial.parameters["optimizer"]: "--weight-decay 1.0" in trial.command for trial in tuning.trials}
    assert decays == {"adam": False, "muon": True}


def test_trials_and_share_are_those_of_the_terms_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FewStrokes, "protocol_name", "strokes-standard-28")
    budget = terms_named("comparison@v1").budgets["strokes-standard-28"]
    tuning = tuned(tmp_path, replace(CONFIG, trials=None, budget=None))
    assert len(tuning.trials) == budget.trials
    assert all(f"--budget {budget.trial_share} " in trial.command for trial in tuning.trials)


@pytest.mark.parametrize("model", [name for name in METHODS if METHODS.get(name).trains_on != "nothing"])
def test_every_method_has_a_search_of_the_learning_rate_and_at_most_two_options(model: str) -> None:
    method_class = METHODS.get(model)
    searched, options = {**SEARCH, **method_class.search}, options_of(method_class)
    assert len(searched.keys() - {"learning_rate"}) <= 2
    recipe = find_recipe("fast", "omniglot", 1, model)
    for name, values in searched.items():
        assert name in options or name in RunConfig.__dataclass_fields__.keys() & Recipe.__dataclass_fields__.keys()
        default: Any = options[name].default if name in options else getattr(recipe, name) or "adam"
        if isinstance(values, Range):
            assert 0 < values.low <= default <= values.high
        else:
            assert default in values
            assert name not in options or set(values) <= set(options[name].choices)


class Mine(Prototypical):
    """A method of a user's own."""

    search: ClassVar[Search] = {"distance": ("euclidean", "cosine")}


def test_a_method_of_a_users_own_is_tuned_by_its_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS._entries, "mine", Mine)
    config = replace(CONFIG, model="mine", trials=2)
    assert [*tuned(tmp_path, config).trials[1].parameters] == ["learning_rate", "optimizer", "distance"]
    monkeypatch.setattr(Mine, "search", {"distanse": ("euclidean",)})
    with pytest.raises(UserError, match="model mine searches 'distanse', which is neither an option of it"):
        tuned(tmp_path / "wrong", config)


def wrong_logs(folder: Path, results: Path) -> list[str]:
    """What recipes say otherwise than the best trial of the log that they name."""
    wrong = []
    for path in sorted(folder.glob("*.toml")):
        for entry in (entry for entry in read_table(path).entries if entry.log):
            best = tuning_module.best_of(read_trials(results / entry.log))
            said = {**entry.fields, **entry.fields.get("options", {})}
            if best is None or any(said.get(name) != value for name, value in best.parameters.items()):
                wrong.append(f"{path.name}: {entry.log}")
    return wrong


def test_a_recipe_that_names_a_log_says_what_its_best_trial_says(tmp_path: Path) -> None:
    assert wrong_logs(RECIPES, RESULTS) == []
    tuning = tuned(tmp_path, replace(CONFIG, recipe="smoke", trials=3))
    table = tmp_path / "strokes.tuned.toml"
    table.write_text(recipe_entry(tuning), encoding="utf-8")
    assert wrong_logs(tmp_path, tmp_path / "results") == []
    best = tuning.best
    assert best is not None
    better = replace(tuning.trials[0], number=3, parameters={**best.parameters, "margin": 33.0}, val_accuracy=0.999)
    write_trials([*tuning.trials, better], tuning.path)
    assert wrong_logs(tmp_path, tmp_path / "results") == ["strokes.tuned.toml: tuning/strokes_siamese-contrastive.csv"]
    tuning.path.unlink()
    assert wrong_logs(tmp_path, tmp_path / "results") == ["strokes.tuned.toml: tuning/strokes_siamese-contrastive.csv"]
