"""Options of methods and encoders: the keywords of their constructors, checked against the signature."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar, Union

from episodes.errors import UserError
from episodes.registry import unknown_name_message

Choice = TypeVar("Choice", bound=str)


class OptionError(UserError):
    """An option that does not exist or does not take this value. The message names what is valid."""


@dataclass(frozen=True)
class Range:
    """Values of an option from ``low`` to ``high``, both above zero, to be searched on a logarithmic scale."""

    low: float
    high: float


Search: TypeAlias = Mapping[str, Range | tuple[Any, ...]]
"""What is tried of an option of a method, or of a field of its recipe: a range, or values to choose from."""


@dataclass(frozen=True)
class Option:
    """One keyword of a constructor. ``choices`` is empty unless it takes one of a few words."""

    name: str
    kind: type
    default: Any
    choices: tuple[Any, ...] = ()

    @property
    def flag(self) -> str:
        """As typed on the command line: ``--relation-loss``."""
        return "--" + self.name.replace("_", "-")

    def __str__(self) -> str:
        values = "|".join(map(str, self.choices)) or self.kind.__name__
        return f"{self.flag} {values} (default {self.default})"


_KNOWN: dict[type, dict[str, Option]] = {}  # signatures are read once: sweeps ask for thousands


def options_of(target: type) -> dict[str, Option]:
    """The options of a method or encoder: keyword parameters that have a default.

    A class may name another one as ``options_from``: what it hands its own keywords on to.
    """
    target = getattr(target, "options_from", target)
    if target in _KNOWN:
        return _KNOWN[target]
    hints = typing.get_type_hints(inspect.getattr_static(target, "__init__"))  # its own or its parent's
    found = {}
    for parameter in inspect.signature(target).parameters.values():
        if parameter.default is not inspect.Parameter.empty:
            kind, choices = _kind_of(hints[parameter.name])
            found[parameter.name] = Option(parameter.name, kind, parameter.default, choices)
    return _KNOWN.setdefault(target, found)


def _kind_of(hint: Any) -> tuple[type, tuple[Any, ...]]:
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        return type(choices[0]), choices
    if typing.get_origin(hint) in (Union, types.UnionType):  # int | None: None is the default, not a value to type
        return _kind_of(next(item for item in typing.get_args(hint) if item is not type(None)))
    return hint, ()


def checked_options(target: type, chosen: Mapping[str, Any], what: str) -> dict[str, Any]:
    """``chosen`` with words turned into the types of the signature. Raises OptionError, naming what is valid."""
    known = options_of(target)
    for name in chosen:
        if name not in known:
            if not known:
                raise OptionError(f"{what} has no options, so --{name.replace('_', '-')} is not one of them")
            flags = [option.flag for option in known.values()]
            raise OptionError(unknown_name_message(f"option of {what}", "--" + name.replace("_", "-"), flags))
    return {name: _converted(known[name], value, what) for name, value in chosen.items()}


def non_default_options(target: type, chosen: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The checked options that differ from their defaults: saying a default aloud changes nothing."""
    known = options_of(target)
    checked = checked_options(target, chosen, what)
    return {name: value for name, value in checked.items() if value != known[name].default}


def _converted(option: Option, value: Any, what: str) -> Any:
    if value is None and option.default is None:
        return value
    try:
        converted = _to_kind(option.kind, value)
    except (TypeError, ValueError):
        raise OptionError(f"{option.flag} of {what} takes {option.kind.__name__}, not {value!r}") from None
    if option.choices and converted not in option.choices:
        raise OptionError(unknown_name_message(f"value of {option.flag}", str(value), map(str, option.choices)))
    return converted


def _to_kind(kind: type, value: Any) -> Any:
    """``value`` as ``kind``, where nothing of it is lost. Raises ValueError or TypeError."""
    if kind is bool and not isinstance(value, bool):
        word = str(value).lower()
        if word not in ConfigParser.BOOLEAN_STATES:  # true, yes, on, 1, false, no, off, 0
            raise ValueError(value)
        return ConfigParser.BOOLEAN_STATES[word]
    if kind is int and isinstance(value, float) and not value.is_integer():
        raise ValueError(value)
    return kind(value)


def check_choice(what: str, value: str, valid: tuple[Choice, ...]) -> Choice:
    """``value`` where it is valid; else a UserError that names the near one and all valid ones."""
    for choice in valid:
        if choice == value:
            return choice
    raise UserError(unknown_name_message(what, value, valid))
