"""Every option changes what comes of a command, or is refused: on every path, and a new option must be placed here."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from command_line import SMOKE, Fewshot, checkpoint_of, record_in
from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from fewshot.cli import main as command_line
from fewshot.experiments import evaluate as evaluation
from fewshot.experiments.config import EvaluateConfig, RunConfig, TuneConfig, option_fields
from fewshot.experiments.measure import EvaluationPlan, Outcome
from fewshot.experiments.run import initial_method, training_sampler
from fewshot.models.factory import TrainedMethod
from fewshot.models.hardware import choose_precision
from fewshot.training.optimizers import optimizer_for

SMALL = RunConfig(recipe="smoke", query=5, episodes=20, device="cpu")
OTHER: dict[str, Any] = {
    "augment": "flip",
    "batch_size": 9,
    "compiled": True,
    "damage": 0.5,
    "dataset": "omniglot",
    "budget": 0.5,
    "class_split": "lake",
    "device": "cuda",
    "dirichlet": 2,
    "distractors": 1,
    "encoder": "koch",
    "encoder_data": "ImageNet",
    "episode_seed": 3,
    "episodes": 21,
    "half_size": 0.5,
    "init": Path("nothing.safetensors"),
    "labeled_share": 0.5,
    "learning_rate": 0.002,
    "log": ("tensorboard",),
    "model": "matching",
    "optimizer": "muon",
    "per_class": 2,
    "precision": "bf16" if choose_precision("auto", torch.device("cpu")) == "fp32" else "fp32",
    "protocol": "runs",
    "query": 6,
    "readout": "cosine",
    "recipe": "fast",
    "seed": 1,
    "shot": 2,
    "size": 20,
    "terms": "comparison@v1",
    "train_episodes": 3,
    "train_query": 2,
    "train_shot": 2,
    "train_way": 4,
    "turns": True,
    "unlabeled": 2,
    "way": 4,
    "weight_decay": 0.03,
    "weights": Path("nothing.safetensors"),
}
"""A value that is not the default, for every option of run."""
OTHER_OF_TEST: dict[str, Any] = {name: OTHER[name] for name in OTHER} | {
    "as_model": "matching",
    "embeddings": Path("more.npz"),
    "name": "elsewhere",
    "trained_on": "photos",
    "way": (4,),
    "shot": (2,),
}
PATHS_OF_RUN = {
    "episodes": SMALL,
    "images": replace(SMALL, model="softmax"),
    "unlabeled images": replace(SMALL, model="soft-kmeans-proto"),
    "nothing trained": replace(SMALL, model="untrained", recipe="fast"),
}
# Command, what is typed, what is read then. What else the command has must be refused.
PATHS: list[tuple[str, str, str]] = [
    ("show", "strokes", "dataset class_split part way shot query unlabeled distractors seed index count picture data"),
    ("data", "get strokes", "action dataset data"),
    ("data", "check strokes", "action dataset data"),
    ("data", "path strokes", "action dataset data"),
    ("data", "export strokes", "action dataset file class_split part size data"),
    ("list", "models", "what"),
    ("leaderboard", "", "results out as_json as_csv as_latex write check dataset"),
    ("leaderboard", "--write", "write results"),
    ("leaderboard", "--check", "check results"),
    ("leaderboard", "--dataset strokes", "dataset recipe way shot episodes data out as_json as_csv as_latex"),
    ("publish", "record.json", "records results without_weights half_weights note"),
    ("publish", "record.json --half-weights", "records results half_weights note data"),
    ("verify", "record.json", "records results device precision episodes data"),
    ("compare", "proto matching", "words results folder setting recipe picture as_json as_latex"),
    ("compare", "a.json b.json", "words picture as_json as_latex"),
    ("reproduce", "", "results out as_json"),
    ("reproduce", "snell2017-table1", "table train recipe results out as_json as_latex"),
    (
        "reproduce",
        "snell2017-table1 --run",
        "table train recipe seed results data out as_json as_latex executor jobs address gpus_per_run partition time",
    ),
    ("report", "", "results out file plots closeups write"),
    ("report", "--closeups", "results out data file plots closeups write"),
    ("report", "--write", "results file plots closeups write"),
    ("damage", "", "results picture out"),
    ("centers", "", "weights dataset classes steps picture data"),
    ("bench", "", "quick model time_to_accuracy scaling large_file isa write data as_json"),
    ("bench", "--write", "quick model time_to_accuracy scaling large_file isa write docs data as_json"),
    ("bench", "--scaling", "quick time_to_accuracy scaling large_file isa write data as_json"),
    ("bench", "--large-file 1", "time_to_accuracy scaling large_file isa write data as_json"),
    (
        "bench",
        "--time-to-accuracy",
        "model dataset way shot recipe target seeds episodes "
        "time_to_accuracy scaling large_file isa write data as_json",
    ),
    ("doctor", "", "data"),
    ("hausdorff", "", "size data out as_json"),
    ("evaluate", "", "note data out as_json model_options checkpoint"),
    ("run", "", "fresh no_test note data out as_json model_options"),
    (
        "sweep",
        "--dry-run",
        "words table leaderboard dry_run results data out as_json executor jobs address gpus_per_run partition time",
    ),
    (
        "tune",
        "",
        "data out results as_json model_options executor jobs address gpus_per_run partition time",
    ),
    ("fit", "photos", "photos output encoder weights encoder_data readout as_json"),
    ("predict", "x.classifier", "classifier new reject out as_json"),
    ("export", "x.classifier", "classifier onnx"),
    ("open-set", "checkpoint", "checkpoint dataset part way shot query unknown episodes seed record data out as_json"),
]
CONFIGS = {"run": RunConfig, "tune": TuneConfig, "evaluate": EvaluateConfig}


def test_every_option_has_a_value_to_be_tried() -> None:
    assert {item.name for item in option_fields(RunConfig)} == OTHER.keys()
    assert {item.name for item in option_fields(EvaluateConfig)} <= OTHER_OF_TEST.keys()


def test_every_option_of_every_command_is_placed() -> None:
    for name, command in command_line.cli.commands.items():
        read = {word for verb, _, words in PATHS if verb == name for word in words.split()}
        read |= {item.name for item in option_fields(CONFIGS[name])} if name in CONFIGS else set()
        assert {parameter.name for parameter in command.params} == read, name


def unread() -> list[Any]:
    found = []
    for verb, words, read in PATHS:
        if verb not in CONFIGS:
            parameters = command_line.cli.commands[verb].params
            found += [
                pytest.param(verb, words, option, id=f"{verb} {words} {option.opts[0]}")
                for option in parameters
                if isinstance(option, click.Option) and option.name not in read.split()
            ]
    return found


@pytest.mark.parametrize(("verb", "words", "option"), unread())
def test_an_option_that_is_not_read_is_refused(fewshot: Fewshot, verb: str, words: str, option: click.Option) -> None:
    kind = option.type
    value = kind.choices[0] if isinstance(kind, click.Choice) else "7" if hasattr(kind, "min") else "fast"
    said = fewshot(verb, *words.split(), option.opts[0], *([] if option.is_flag else [value])).error
    assert re.search(r"--[a-z-]+ has no meaning for .*: leave it out", said)


def test_a_file_is_refused_where_none_is_written(fewshot: Fewshot) -> None:
    assert "file has no meaning for `data path`" in fewshot("data", "path", "strokes", "x.npz").error


def test_two_forms_of_one_table_are_refused(fewshot: Fewshot) -> None:
    assert "choose one of them" in fewshot("leaderboard", "--json", "--csv").error
    assert "choose one of them" in fewshot("compare", "proto", "matching", "--json", "--latex").error
    assert "choose one of them" in fewshot("reproduce", "snell2017-table1", "--json", "--latex").error


def plan_of(plan: EvaluationPlan) -> list[Any]:
    episodes = [(sampler.digest(3), sampler.spec) for sampler in plan.samplers]
    return [plan.dataset.protocol_name, episodes, plan.num_episodes, plan.precision, plan.readouts]


@cache
def images(name: str, class_split: str | None, size: int | None) -> Dataset:
    """The data set, its images drawn once."""
    dataset = open_dataset(name, None, class_split, size=size)
    dataset.load = cache(dataset.load)  # type: ignore[method-assign]
    return dataset


def outcome_of(config: RunConfig) -> list[Any]:
    """All that decides what comes of a run: the first step of its training, its optimizer, its test."""
    resolved = config.resolve(images(config.dataset or "strokes", config.class_split, config.size))
    assert resolved.test is not None
    found = [*plan_of(resolved.test), str(resolved.device), resolved.config.log]
    training = resolved.training
    if training is None:
        return [*found, config.model, config.seed, config.encoder]
    recipe = training.recipe
    method = initial_method(resolved, training)
    (step,) = training_sampler(training.train_set, recipe, config.seed).steps(0, 1)
    rows = {name: value.tolist() for name, value in vars(step).items() if value is not None}
    optimizer = optimizer_for(method, recipe)
    groups = [{name: value for name, value in g.items() if name != "params"} for g in optimizer.param_groups]
    weights = [float(tensor.double().sum()) for tensor in method.state_dict().values()]
    schedule = (recipe.train_episodes, [recipe.learning_rate_at(episode) for episode in range(3)])
    options = (recipe.augment, recipe.turns, recipe.half_size, resolved.precision, config.compiled)
    return [*found, type(method), weights, rows, groups, schedule, options]


@pytest.mark.parametrize("path", PATHS_OF_RUN)
@pytest.mark.usefixtures("fewshot")
def test_an_option_of_run_changes_the_outcome_or_is_refused(path: str) -> None:
    usual = PATHS_OF_RUN[path]
    before, ignored = outcome_of(usual), []
    for name, value in OTHER.items():
        other: Any = value if value != getattr(usual, name) else "smoke"
        try:
            if outcome_of(replace(usual, **{name: other})) == before:
                ignored.append(name)
        except UserError:
            pass
    assert ignored == []


def described(config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a test is made of, instead of testing."""
    found: list[Any] = []

    def plan(trained: TrainedMethod, plan: EvaluationPlan, *_: Any) -> list[Outcome]:
        found.append([type(trained.method), dict(trained.metadata["model_options"]), *plan_of(plan)])
        return []

    def plan_external(path: Path, name: str, trained_on: str, plan: EvaluationPlan, *_: Any) -> list[Outcome]:
        found.append([path, name, trained_on, *plan_of(plan)])
        return []

    monkeypatch.setattr(evaluation, "measure", plan)
    monkeypatch.setattr(evaluation, "measure_external", plan_external)
    evaluation.evaluate_again(config)
    return found


@pytest.mark.parametrize("path", ["checkpoint", "embeddings"])
def test_an_option_of_evaluate_changes_the_outcome_or_is_refused(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    usual = EvaluateConfig(dataset="strokes", query=5, episodes=20, device="cpu")
    if path == "checkpoint":
        usual = replace(usual, checkpoint=checkpoint_of(record_in(fewshot(*SMOKE))))
    else:
        usual = replace(usual, embeddings=Path("mine.npz"), name="mine", trained_on="drawings")
    before, ignored = described(usual, monkeypatch), []
    for item in option_fields(EvaluateConfig):
        try:
            if described(replace(usual, **{item.name: OTHER_OF_TEST[item.name]}), monkeypatch) == before:
                ignored.append(item.name)
        except UserError:
            pass
    assert ignored == []
