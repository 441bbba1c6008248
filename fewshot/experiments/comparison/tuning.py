"""tune(config): trials of one method, judged on the validation classes alone; every one is a row of a CSV file.

The file is all there is to go on from: a trial follows from the rows before it and the seed, so an interrupted search
ends as an undisturbed one.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.experiments.comparison.terms import all_terms, terms_named
from fewshot.experiments.config import RunConfig, TuneConfig, option_fields
from fewshot.experiments.resolve import refuse_options_of_test, with_its_decay
from fewshot.experiments.sweep.jobs import Job, Perform, Place, Result, perform
from fewshot.models.methods import METHODS
from fewshot.models.options import Range, Search, options_of
from fewshot.progress import Reporter
from fewshot.records.provenance import commit
from fewshot.records.record import TrainingLog, plain
from fewshot.training.loop import TrainingError
from fewshot.training.optimizers import ADAM, MUON

try:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState, create_trial
except ImportError:
    raise UserError("tuning needs optuna: pip install optuna (or fewshot-bench[tune])") from None

optuna.logging.set_verbosity(optuna.logging.WARNING)

SEARCH: Search = {"learning_rate": Range(3e-4, 3e-2), "optimizer": (ADAM, MUON)}
"""What is tried of every method; its own ``search`` adds to it, or says otherwise."""
TRIALS, TRIAL_SHARE = 8, 0.25  # where no terms say it
RANDOM_TRIALS = 4
"""So many come before the search goes by what was found (tree-structured Parzen estimators, Bergstra et al. 2011)."""
COMPLETE, DIVERGED = "complete", "diverged"
_RESULTS = ("val_accuracy", "val_ci95", "seconds", "images", "commit", "state", "command")


@dataclass(frozen=True)
class Trial:
    """One trial. ``command`` trains and validates it again; accuracy and interval are None where training diverged."""

    number: int
    parameters: Mapping[str, Any]
    val_accuracy: float | None
    val_ci95: float | None
    seconds: float
    images: int
    commit: str
    state: str
    command: str

    def percent(self) -> str:
        """Accuracy and interval, ``98.81 ± 0.06 %``, or that it diverged."""
        if self.val_accuracy is None or self.val_ci95 is None:
            return self.state
        return f"{100 * self.val_accuracy:.2f} ± {100 * self.val_ci95:.2f} %"


@dataclass(frozen=True)
class Tuning:
    """The trials of a method, where they are kept, and the configuration that trains in full as the best one does."""

    trials: Sequence[Trial]
    path: Path
    best: Trial | None
    config: RunConfig


def tune(
    config: TuneConfig,
    dataset: Dataset | None = None,
    out: Path = Path("runs"),
    results: Path = Path("results"),
    reporter: Reporter | None = None,
    *,
    root: Path | None = None,
    make: Perform | None = None,
) -> Tuning:
    """Make the trials that are missing in results/tuning/<data set>_<model>.csv. The test classes are never read.

    Trial 0 is the recipe as it is. ``make`` makes several trials elsewhere, those at once that do not follow from one
    another: the search is the same. Without it they are made here, one after another. Raises UserError for options
    that do not fit, and where the file is of another search.
    """
    reporter = reporter or Reporter()
    config.checked()
    refuse_options_of_test(config.of_run())
    if METHODS.get(config.model).trains_on == "nothing":
        raise UserError(f"model {config.model} is not trained, so nothing of it can be tuned: name another --model")
    if not isinstance(config.recipe, str):
        raise UserError("a search starts from a recipe that has a name: fast, paper or smoke")
    if dataset is None:
        dataset = open_dataset(config.dataset, root, config.class_split, reporter=reporter, size=config.size)
    base, num_trials = _base(config, dataset)
    path = results / "tuning" / f"{dataset.name}_{config.model}.csv"
    trials = read_trials(path)
    space, present = _space(base, dataset, trials)
    _refuse_other_search(trials, base, space, path)
    while (first := len(trials)) < num_trials:
        last = max(first + 1, min(RANDOM_TRIALS, num_trials)) if make else first + 1
        tried = [_next(space, trials, number, config.seed) if number else present for number in range(first, last)]
        for number, parameters in enumerate(tried, first):
            reporter.say(f"{number + 1} of {num_trials} trials: {words(parameters)}")
        configs = [_with(base, parameters, present) for parameters in tried]
        jobs = [Job(f"trial {number}", config, tested=False) for number, config in enumerate(configs, first)]
        made = make(jobs) if make else perform(jobs, Place(out, root), reporter, dataset)
        for job, parameters, result in zip(jobs, tried, made, strict=True):
            trials.append(_trial_of(len(trials), job.config, parameters, result, reporter))
        write_trials(trials, path)
    best, chosen = best_of(trials), replace(base, budget=None)
    return Tuning(trials, path, best, chosen if best is None else _with(chosen, best.parameters, present))


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The one that validates best, of equals the first; None where all diverged."""
    there = [trial for trial in trials if trial.val_accuracy is not None]
    return max(there, key=lambda trial: trial.val_accuracy or 0.0, default=None)


def words(parameters: Mapping[str, Any]) -> str:
    """``learning_rate=0.01 margin=0.2``."""
    return " ".join(f"{name}={plain(value)}" for name, value in parameters.items())


def read_trials(path: Path) -> list[Trial]:
    """The trials of a file, none where there is no such file. Raises UserError where it holds something else."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [{name: _value(word) for name, word in row.items()} for row in csv.DictReader(file, strict=True)]
        return [_trial(row) for row in rows]
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is no file of trials ({error!r}): move it away to begin anew") from error


def write_trials(trials: Sequence[Trial], path: Path) -> None:
    """The trials as a file, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", *trials[0].parameters, *_RESULTS])
    for trial in trials:
        values = [trial.number, *trial.parameters.values(), *(getattr(trial, name) for name in _RESULTS)]
        writer.writerow("" if v is None else v if isinstance(v, str) else json.dumps(v) for v in values)
    write_atomically(path, text.getvalue().encode())


def recipe_entry(tuning: Tuning) -> str:
    """The best trial as an entry of ``<data set>.tuned.toml``, which names the file of trials."""
    config = tuning.config
    said = {"recipe": config.recipe, "model": [config.model], "terms": config.terms}
    said |= {"log": f"tuning/{tuning.path.name}", **config.overrides()}
    lines = [f"{name} = {json.dumps(value)}" for name, value in said.items() if value is not None]
    options = ", ".join(f"{name} = {json.dumps(value)}" for name, value in config.model_options.items())
    return "\n".join(["[[entry]]", *lines, *([f"options = {{ {options} }}"] if options else [])])


def _value(word: str) -> Any:
    """A cell: a number or a truth value where it is one, None where it is empty, else the word."""
    try:
        return json.loads(word) if word else None
    except ValueError:
        return word


def _trial(row: Mapping[str, Any]) -> Trial:
    results = {name: row[name] for name in _RESULTS} | {"images": int(row["images"])}
    parameters = {name: value for name, value in row.items() if name not in (*_RESULTS, "trial")}
    if results["state"] not in (COMPLETE, DIVERGED):
        raise ValueError(f"state {results['state']!r}")
    return Trial(int(row["trial"]), parameters, **results)


def _base(config: TuneConfig, dataset: Dataset) -> tuple[RunConfig, int]:
    """What every trial has in common, and how many there are to be."""
    terms = terms_named(config.terms) if config.terms is not None else [*all_terms().values()][-1]
    budget = terms.budgets.get(dataset.protocol_name)
    share = config.budget or (TRIAL_SHARE if budget is None else budget.trial_share)
    named = config.dataset or dataset.name
    return replace(config.of_run(), dataset=named, budget=share), config.trials or (budget.trials if budget else TRIALS)


def _space(
    base: RunConfig, dataset: Dataset, trials: Sequence[Trial]
) -> tuple[dict[str, BaseDistribution], dict[str, Any]]:
    """What is tried, and the present recipe's values of it, which are among what is tried."""
    resolved = base.resolve(dataset, test=False)
    assert resolved.training is not None
    method_class = METHODS.get(base.model)
    options, searched = options_of(method_class), {**SEARCH, **method_class.search}
    recipe = {"optimizer": ADAM, "augment": "none"} | {
        k: v for k, v in asdict(resolved.training.recipe).items() if v is not None
    }
    fields = {item.name for item in option_fields(RunConfig)}
    space, present = dict[str, BaseDistribution](), dict[str, Any]()
    for name, values in searched.items():
        if name in base.changed() or name in base.model_options:
            continue
        if name in options:
            value = resolved.config.model_options.get(name, options[name].default)
        elif name in recipe and name in fields:
            value = recipe[name]
        else:
            raise UserError(f"model {base.model} searches {name!r}, which is neither an option of it nor of its recipe")
        present[name] = value = trials[0].parameters.get(name, value) if trials else value
        if isinstance(values, Range):
            space[name] = FloatDistribution(min(values.low, value), max(values.high, value), log=True)
        else:
            space[name] = CategoricalDistribution(list(dict.fromkeys((value, *values))))
    return space, present


def _refuse_other_search(trials: Sequence[Trial], base: RunConfig, space: Collection[str], path: Path) -> None:
    if trials and {*trials[0].parameters} != {*space}:
        tried, wanted = ", ".join(trials[0].parameters), ", ".join(space)
        raise UserError(f"{path} is of another search: it tries {tried} and not {wanted}; move it away to begin anew")
    for trial in trials:
        wanted = _command(_with(base, trial.parameters, trials[0].parameters))
        if trial.command != wanted:
            raise UserError(
                f"{path} is of another search: its trial {trial.number} is `{trial.command}` and would be `{wanted}`; "
                "move it away to begin anew"
            )


def _next(space: Mapping[str, BaseDistribution], trials: Sequence[Trial], number: int, seed: int) -> dict[str, Any]:
    """What trial ``number`` tries: random values at first, then those that the trials so far speak for."""
    drawn = hashlib.sha256(f"tuning trial {seed} {number}".encode()).digest()
    sampler = TPESampler(seed=int.from_bytes(drawn[:4], "little"), n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for trial in trials:
        state = TrialState.COMPLETE if trial.state == COMPLETE else TrialState.FAIL
        study.add_trial(
            create_trial(
                params=dict(trial.parameters), distributions=dict(space), value=trial.val_accuracy, state=state
            )
        )
    asked = study.ask(dict(space)).params
    return {name: _rounded(value, space[name]) for name, value in asked.items()}


def _rounded(value: Any, values: BaseDistribution) -> Any:
    """Three digits are enough, and can be read in a recipe."""
    if not isinstance(values, FloatDistribution):
        return value
    return min(max(float(f"{value:.3g}"), values.low), values.high)


def _with(config: RunConfig, parameters: Mapping[str, Any], present: Mapping[str, Any]) -> RunConfig:
    """The configuration with what a trial tries, said as on the command line."""
    options = options_of(METHODS.get(config.model))
    of_method = {name: value for name, value in parameters.items() if name in options}
    fields = {name: value for name, value in parameters.items() if name not in options}
    tried = replace(config, model_options={**config.model_options, **of_method}, **fields)
    return with_its_decay(tried, present["optimizer"]) if "optimizer" in fields else tried


def _command(config: RunConfig) -> str:
    """The line that makes a trial, on any machine."""
    return f"{replace(config, device='auto', precision='auto', log=()).to_command()} --no-test"


def _trial_of(
    number: int, config: RunConfig, parameters: Mapping[str, Any], result: Result, reporter: Reporter
) -> Trial:
    """One trial, of which this came. Raises UserError where it could not be made."""
    if isinstance(result, TrainingError):
        reporter.say(f"diverged: {result}")
        return Trial(number, parameters, None, None, 0.0, 0, commit(), DIVERGED, _command(config))
    if isinstance(result, UserError):
        raise result
    assert isinstance(result, TrainingLog)
    history, seconds = result.history, result.training_seconds
    return Trial(
        number,
        parameters,
        history.val_accuracy,
        history.val_ci95,
        seconds,
        result.images,
        result.trained.commit,
        COMPLETE,
        _command(config),
    )
