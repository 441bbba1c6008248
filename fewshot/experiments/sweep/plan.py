"""From a file, options or a paper's table to jobs: a product of choices, block by block."""

from __future__ import annotations

import math
import tomllib
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from episodes.errors import UserError
from episodes.registry import unknown_name_message
from fewshot.experiments.config import CommonConfig, EvaluateConfig, RunConfig, flag_of, option_fields
from fewshot.experiments.paper_plan import PaperCell, run_of, tests_of
from fewshot.experiments.resolve import divided_options
from fewshot.experiments.sweep.jobs import Job
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of

Choices = Mapping[str, Any]
"""A setting of `fewshot run`, or an option of a model, and its value; a list holds several."""


_IN_NAME = ("model", "way", "shot")


class SweepError(UserError):
    """A sweep that says what there is not."""


def _key(word: str) -> str:
    return word.removeprefix("--").replace("-", "_")


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
        if self.kind is int:
            values = [number for word in values for number in _numbers(word)]
        return [self.read(word) for word in values]


def _numbers(word: Any) -> Iterable[Any]:
    """``"0-2,7"`` -> 0, 1, 2, 7; what is no such text is left to the one who reads it."""
    if not isinstance(word, str):
        return [word]
    found: list[Any] = []
    for part in word.split(","):
        first, dash, last = part.partition("-")
        if dash and first.strip().isdigit() and last.strip().isdigit():
            found += range(int(first), int(last) + 1)
        else:
            found.append(part)
    return found


def _settings(config: type[CommonConfig]) -> dict[str, _Setting]:
    """The fields by their flags without dashes in front, written with - or _: ``train_way``, ``split``."""
    hints = get_type_hints(config)
    found = {}
    for item in option_fields(config):
        kind = next(
            kind for kind in (typing.get_args(hints[item.name]) or (hints[item.name],)) if kind is not type(None)
        )
        kind = tuple[int, ...] if typing.get_origin(kind) is tuple else kind
        found[_key(flag_of(item))] = _Setting(item.name, kind, item.metadata["limits"])
    return found


_OF_RUN, _OF_TEST = _settings(RunConfig), _settings(EvaluateConfig)


@cache
def _options_of_models() -> frozenset[str]:
    return frozenset(name for model in METHODS for name in options_of(METHODS.get(model)))


def read_plan(path: Path) -> list[dict[str, Any]]:
    """The blocks of a file: what stands above them holds for all, and a file without ``[[cell]]`` is one block.

    Raises SweepError where it is no TOML.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SweepError(f"{path} is no TOML: {error}") from None
    cells = content.pop("cell", [{}])
    if not isinstance(cells, list):
        raise SweepError(f"{path}: write [[cell]] with two brackets, for there may be several")
    return [content | cell for cell in cells]


def jobs_of(blocks: Iterable[Choices], given: Choices = {}) -> list[Job]:  # noqa: B006 - it is only read
    """Every run of every block, each once; what is ``given`` stands in the place of what the blocks say.

    Raises SweepError for a setting that there is not, and UserError for what does not fit together, before any run.
    """
    found: dict[str, Job] = {}
    for block in blocks:
        block = {_key(name): value for name, value in {**block, **given}.items()}
        tests = tuple(_test(test) for test in block.pop("test", []))
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
    whole = {name for name, setting in _OF_RUN.items() if setting.kind is int}
    return {name: word if name in whole else word.split(",") for name, word in words.items()}


def known_flags() -> set[str]:
    """Every option that the command line takes for a run, those of all models among them."""
    return {f"--{name.replace('_', '-')}" for name in (*_OF_RUN, *_options_of_models())}


def changed_jobs(jobs: Sequence[Job], given: Choices) -> list[Job]:
    """The jobs of a paper's table, each with every combination of the settings that are given in place of its own."""
    for name in given:
        if _key(name) not in _OF_RUN:
            raise SweepError(unknown_name_message("setting", name, _OF_RUN))
    choices = {_OF_RUN[_key(name)].name: _OF_RUN[_key(name)].choices(value) for name, value in given.items()}
    varied = [name for name, values in choices.items() if len(values) > 1]
    found = []
    for job in jobs:
        of_training = {"recipe"} if METHODS.get(job.config.model).trains_on == "nothing" else set()
        of_job = {name: values for name, values in choices.items() if name not in of_training}
        for values in product(*of_job.values()):
            chosen = dict(zip(of_job, values, strict=True))
            name = ", ".join([job.name, *(f"{name} {chosen[name]}" for name in varied if name in chosen)])
            found.append(replace(job, name=name, config=replace(job.config, **chosen)))
    return found


def _configs(block: Choices) -> Iterator[RunConfig]:
    for name in block.keys() - _OF_RUN.keys() - _options_of_models():
        if get_close_matches(name, _OF_RUN, n=1, cutoff=0.75):
            raise SweepError(unknown_name_message("setting", name, _OF_RUN))
    choices = {}
    for name in sorted(block, key="seed".__eq__):  # the seeds of one training side by side
        value = block[name]
        choices[name] = (
            _OF_RUN[name].choices(value) if name in _OF_RUN else value if isinstance(value, list) else [value]
        )
    for values in product(*choices.values()):
        chosen = dict(zip(choices, values, strict=True))
        fields = {_OF_RUN[name].name: value for name, value in chosen.items() if name in _OF_RUN}
        options = {name: value for name, value in chosen.items() if name not in _OF_RUN}
        yield RunConfig(**fields, **divided_options(fields.get("model", "proto"), fields.get("encoder"), options))


def _test(block: Choices) -> EvaluateConfig:
    """One more test of what a block trains."""
    block = {_key(name): value for name, value in block.items()}
    fields = {_OF_TEST[name].name: _OF_TEST[name].read(value) for name, value in block.items() if name in _OF_TEST}
    options = {name: value for name, value in block.items() if name not in _OF_TEST}
    if unknown := options.keys() - _options_of_models():
        raise SweepError(unknown_name_message("setting of a test", min(unknown), _OF_TEST))
    return EvaluateConfig(**fields, model_options=options)


def _names(configs: Sequence[RunConfig]) -> list[str]:
    """``proto 5-way 1-shot``, and behind it what else is not the same in all."""
    default = {item.name: item.default for item in option_fields(RunConfig)}
    said = [default | config.changed() | config.constructor_options() for config in configs]
    others = [name for name in dict.fromkeys(name for one in said for name in one) if name not in _IN_NAME]
    varied = [name for name in others if len({repr(one.get(name)) for one in said}) > 1]
    return [
        f"{config.model} {config.way}-way {config.shot}-shot"
        + "".join(f", {name.replace('_', '-')} {one[name]}" for name in varied if one.get(name) is not None)
        for config, one in zip(configs, said, strict=True)
    ]
