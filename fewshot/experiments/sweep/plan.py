"""From a file, options or a paper's table to jobs: a product of choices, block by block."""

from __future__ import annotations

import math
import re
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import msgspec

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.experiments.config import CommonConfig, EvaluateConfig, RunConfig, flag_of, kinds_of, option_fields
from fewshot.experiments.paper_plan import PaperCell, run_of, tests_of
from fewshot.experiments.resolve import divided_options
from fewshot.experiments.sweep.jobs import Job
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of

Choices = Mapping[str, Any]
"""A setting of `fewshot run`, or an option of a model, and its value; a list holds several."""


MOST_OF_A_SPAN = 1_000_000
"""More numbers than that in one ``0-2`` are a slip of the fingers, and fill the memory."""


class SweepError(UserError):
    """A sweep that says what there is not."""


@dataclass(frozen=True)
class _Setting:
    """A field of a configuration as a file or the command line names it."""

    name: str
    kind: Any
    limits: Mapping[str, Any]

    def read(self, value: Any) -> Any:
        """The value in the type of the field. Raises SweepError."""
        if self.kind is Path and isinstance(value, str):
            return Path(value)
        try:
            read = msgspec.convert(value, self.kind, strict=False)
        except msgspec.ValidationError as error:
            raise SweepError(f"{self.name} = {value!r}: {error}") from None
        limits = {"min": -math.inf, "max": math.inf, **self.limits}
        for number in read if isinstance(read, tuple) else (read,):
            at_limit = [number == limits[end] and limits.get(f"{end}_open") for end in ("min", "max")]
            if isinstance(number, int | float) and (not limits["min"] <= number <= limits["max"] or any(at_limit)):
                raise SweepError(f"{self.name} = {value!r}: it lies outside of {limits['min']} to {limits['max']}")
        return read

    def choices(self, value: Any) -> list[Any]:
        """All values that stand there: those of a list, and the whole numbers of ``"0-2"`` or ``"1,5"``."""
        values = value if isinstance(value, list) else [value]
        if not values:
            raise SweepError(f"{self.name} is an empty list: name a value, or leave the setting out")
        if typing.get_origin(self.kind) is tuple:  # several names are one choice
            return [self.read(value.split(",") if isinstance(value, str) else values)]
        if self.kind is int:
            values = [number for word in values for number in _numbers(word)]
        return [self.read(word) for word in values]


def _numbers(word: Any) -> Iterable[Any]:
    """``"0-2,7"`` -> 0, 1, 2, 7; what is no such text is left to the one who reads it."""
    for part in word.split(",") if isinstance(word, str) else [word]:
        span = re.fullmatch(r"\s*(\d+)\s*-\s*(\d+)\s*", str(part))
        if span and int(span[2]) - int(span[1]) >= MOST_OF_A_SPAN:
            raise UserError(f"{part} are more than {MOST_OF_A_SPAN:,} runs: sweep fewer at a time")
        yield from range(int(span[1]), int(span[2]) + 1) if span else [part]


def _key(word: str) -> str:
    return word.removeprefix("--").replace("-", "_")


def _settings(config: type[CommonConfig]) -> dict[str, _Setting]:
    """The fields by their flags without dashes in front, written with - or _: ``train_way``, ``split``."""
    kinds, items = kinds_of(config), option_fields(config)
    return {_key(flag_of(item)): _Setting(item.name, kinds[item.name], item.metadata["limits"]) for item in items}


_OF_RUN, _OF_TEST = _settings(RunConfig), _settings(EvaluateConfig)


@cache
def _options_of_models() -> frozenset[str]:
    return frozenset(name for model in METHODS for name in options_of(METHODS.get(model)))


def _known(name: str, settings: Mapping[str, _Setting], what: str = "setting") -> _Setting:
    if name not in settings:
        raise SweepError(unknown_name_message(what, name, settings))
    return settings[name]


def read_plan(path: Path) -> list[dict[str, Any]]:
    """The blocks of a file: what stands above them holds for all, and a file without ``[[cell]]`` is one block.

    Raises SweepError where it is no TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SweepError(f"{path} is no TOML: {error}") from None
    return [content | cell for cell in _blocks(content.pop("cell", [{}]), f"{path}: write [[cell]] with two brackets")]


def _blocks(value: Any, instead: str) -> list[dict[str, Any]]:
    """A list of tables, one at least. Raises SweepError, which says what to write ``instead``."""
    if not isinstance(value, list) or not value or not all(isinstance(block, dict) for block in value):
        raise SweepError(f"{instead}, for there may be several")
    return value


def jobs_of(blocks: Iterable[Choices], given: Choices = {}) -> list[Job]:  # noqa: B006 - it is only read
    """Every run of every block, each once; what is ``given`` stands in the place of what the blocks say.

    Raises SweepError for a setting that there is not, and UserError for what does not fit together, before any run.
    """
    found: dict[str, Job] = {}
    for block in blocks:
        block = {_key(name): value for name, value in {**block, **given}.items()}
        instead = "write tests as a list, such as test = [{ shot = [5] }]"
        tests = tuple(map(_test, _blocks(block.pop("test"), instead))) if "test" in block else ()
        for config in _configs(block):
            config.checked()
            before = found.setdefault(repr(config), Job("", config))
            found[repr(config)] = replace(before, tests=before.tests + tests)
    names = _names([job.config for job in found.values()])
    return [replace(job, name=name) for name, job in zip(names, found.values(), strict=True)]


def jobs_of_cells(cells: Iterable[PaperCell], recipe: str = "fast", seed: int = 0) -> list[Job]:
    """What fills these cells of a paper's table."""
    return [
        Job(f"{cell.row.name}, {cell.column.title}", run_of(cell, recipe, seed), tuple(tests_of(cell)))
        for cell in cells
        if cell.row.ours is not None
    ]


def choices_of(words: Mapping[str, str]) -> dict[str, Any]:
    """Words of the command line as they would stand in a file: ``proto,matching`` is a list of two."""
    whole = {name for name, setting in _OF_RUN.items() if setting.kind is int or typing.get_origin(setting.kind)}
    return {name: word if name in whole else word.split(",") for name, word in words.items()}


def known_flags() -> set[str]:
    """Every option that the command line takes for a run, those of all models among them."""
    return {f"--{name.replace('_', '-')}" for name in (*_OF_RUN, *_options_of_models())}


def changed_jobs(jobs: Sequence[Job], given: Choices) -> list[Job]:
    """The jobs of a paper's table, each with every combination of the settings that are given in place of its own."""
    settings = [(_known(_key(name), _OF_RUN), value) for name, value in given.items()]
    choices = {setting.name: setting.choices(value) for setting, value in settings}
    found = []
    for job in jobs:
        untrained = METHODS.get(job.config.model).trains_on == "nothing"
        for chosen in _products({name: choices[name] for name in choices if not (untrained and name == "recipe")}):
            name = ", ".join([job.name, *(f"{name} {chosen[name]}" for name in chosen if len(choices[name]) > 1)])
            found.append(replace(job, name=name, config=replace(job.config, **chosen)))
    return found


def _products(choices: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    return (dict(zip(choices, values, strict=True)) for values in product(*choices.values()))


def _configs(block: Choices) -> Iterator[RunConfig]:
    for name in block.keys() - _OF_RUN.keys() - _options_of_models():
        if get_close_matches(name, _OF_RUN, n=1, cutoff=0.75):
            _known(name, _OF_RUN)
    as_list = {name: value if isinstance(value, list) else [value] for name, value in block.items()}
    choices = {name: _OF_RUN[name].choices(block[name]) if name in _OF_RUN else as_list[name] for name in block}
    for chosen in _products({name: choices[name] for name in sorted(block, key="seed".__eq__)}):  # seeds side by side
        fields = {_OF_RUN[name].name: value for name, value in chosen.items() if name in _OF_RUN}
        options = {name: value for name, value in chosen.items() if name not in _OF_RUN}
        yield RunConfig(**fields, **divided_options(fields.get("model", "proto"), fields.get("encoder"), options))


def _test(block: Choices) -> EvaluateConfig:
    """One more test of what a block trains."""
    block = {_key(name): value for name, value in block.items()}
    options = {name: value for name, value in block.items() if name in _options_of_models() - _OF_TEST.keys()}
    read = {name: _known(name, _OF_TEST, "setting of a test") for name in block if name not in options}
    return EvaluateConfig(
        **{setting.name: setting.read(block[name]) for name, setting in read.items()}, model_options=options
    )


def _names(configs: Sequence[RunConfig]) -> list[str]:
    """``proto 5-way 1-shot``, and behind it what else is not the same in all."""
    default = {item.name: item.default for item in option_fields(RunConfig)}
    said = [default | config.changed() | config.constructor_options() for config in configs]
    others = dict.fromkeys(name for one in said for name in one if name not in RunConfig.always)
    varied = [name for name in others if len({repr(one.get(name)) for one in said}) > 1]
    return [
        f"{config.model} {config.way}-way {config.shot}-shot"
        + "".join(f", {name.replace('_', '-')} {one[name]}" for name in varied if one.get(name) is not None)
        for config, one in zip(configs, said, strict=True)
    ]
