"""A configuration becomes a command, and the command the same configuration."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot.cli.run import config_of, evaluate, evaluate_config, run, tune
from fewshot.experiments.config import (
    CommonConfig,
    EvaluateConfig,
    RunConfig,
    TuneConfig,
    flag_of,
    kinds_of,
    option_fields,
)
from fewshot.experiments.sweep.workers import Workers
from fewshot.models.options import OptionError

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
OPTIONS = st.sampled_from([{}, {"distance": "cosine"}])
ENCODER_OPTIONS = st.sampled_from([{}, {"width": 8}])


def values_of(config: type[CommonConfig], item: dataclasses.Field[Any]) -> st.SearchStrategy[Any]:
    """Values that a field may have, its default among them."""
    kind, limits = kinds_of(config)[item.name], item.metadata["limits"]
    one = VALUES[get_args(kind)[0] if get_args(kind) else kind](limits)
    if get_args(kind):
        one = st.lists(one.filter(lambda word: "," not in str(word)), min_size=1, unique=True).map(tuple)
    return st.just(item.default) | one


def whole(limits: dict[str, Any]) -> st.SearchStrategy[int]:
    return st.integers(limits["min"], limits.get("max", 10**6))


VALUES: dict[Any, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    bool: lambda _: st.booleans(),
    int: whole,
    float: lambda limits: st.floats(limits["min"], limits.get("max", 1e6), exclude_min=True, exclude_max=True),
    str: lambda _: WORDS,
    Path: lambda _: WORDS.map(Path),
}


def fields_of(config: type[CommonConfig], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {item.name: values_of(config, item) for item in option_fields(config)}
    return st.fixed_dictionaries(fields | more)


RUNS = fields_of(
    RunConfig,
    model=st.just("proto"),
    encoder=st.just("conv4") | st.none(),
    model_options=OPTIONS,
    encoder_options=ENCODER_OPTIONS,
)
EVALUATIONS = fields_of(EvaluateConfig, checkpoint=WORDS.map(Path), embeddings=st.none(), model_options=OPTIONS)
EVALUATIONS |= fields_of(EvaluateConfig, checkpoint=st.none())


@given(RUNS)
def test_the_command_of_a_run_is_parsed_to_the_same_configuration(said: dict[str, Any]) -> None:
    config = RunConfig(**said)
    assert config_of(RunConfig, parsed(run, config)) == config


def test_the_command_of_a_search_is_parsed_to_the_same_configuration() -> None:
    config = TuneConfig(model="triplet", trials=3, budget=0.25, terms="comparison@v1", model_options={"margin": 0.5})
    assert config_of(TuneConfig, parsed(tune, config)) == config


@given(EVALUATIONS)
def test_the_command_of_a_test_is_parsed_to_the_same_configuration(said: dict[str, Any]) -> None:
    config = EvaluateConfig(**said)
    assert evaluate_config(parsed(evaluate, config)) == config


def parsed(command: click.Command, config: CommonConfig) -> dict[str, Any]:
    program, verb, *words = shlex.split(config.to_command())
    assert (program, verb) == ("fewshot", command.name)
    return command.make_context(verb, words).params


@pytest.mark.parametrize(("command", "config"), [(run, RunConfig), (tune, TuneConfig), (evaluate, EvaluateConfig)])
def test_every_field_is_an_option_of_its_command_and_none_is_read_by_nobody(
    command: click.Command, config: type[CommonConfig]
) -> None:
    flags = {parameter.name: parameter.opts[0] for parameter in command.params if isinstance(parameter, click.Option)}
    fields = {item.name: flag_of(item) for item in option_fields(config)}
    assert {name: flags.pop(name) for name in fields} == fields
    workers = {item.name for item in dataclasses.fields(Workers)}
    more = {"run": {"fresh", "no_test", "note"}, "tune": {"results", *workers}, "evaluate": {"note"}}[config.verb]
    assert flags.keys() <= {"data", "out", "as_json", "help"} | more
    constructors = {"model_options", "encoder_options", "checkpoint"}
    not_options = {item.name for item in dataclasses.fields(config)} - fields.keys()
    assert not_options <= constructors | {*config.not_offered}


def test_options_of_model_and_encoder_find_their_constructors() -> None:
    words = ["--distance", "cosine", "--width", "8"]
    config = config_of(RunConfig, run.make_context("run", words).params)
    assert (config.model_options, config.encoder_options) == ({"distance": "cosine"}, {"width": 8})
    with pytest.raises(OptionError, match="Did you mean '--distance'"):
        config_of(RunConfig, run.make_context("run", ["--distanse", "cosine"]).params)
