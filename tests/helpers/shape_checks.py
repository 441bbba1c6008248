"""What the import hook of conftest.py puts around our functions: every call is held to its annotations.

beartype holds arguments and what is returned to the annotations; where these name arrays, jaxtyping remembers during a
call how long each axis is, so that two arrays that share one are compared. Its own decorator does the same with several
times the work, for the words of its errors: it binds the arguments, and checks them once more when the call has ended.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from types import FunctionType, SimpleNamespace
from typing import Any, get_args, get_type_hints

import jaxtyping
from beartype import BeartypeConf, beartype

# A whole number is welcome where a float is.
check = beartype(conf=BeartypeConf(is_pep484_tower=True, violation_type=jaxtyping.TypeCheckError))
_jaxtyped = jaxtyping.jaxtyped
_axes_of_a_call = jaxtyping.jaxtyped("context")


def install(*packages: str) -> None:
    """Check every function and data class of these packages, which are imported after this."""
    setattr(jaxtyping, "jaxtyped", by_need)  # noqa: B010 - mypy
    jaxtyping.install_import_hook(packages, f"{__name__}.check")


def by_need(*, typechecker: Any) -> Callable[[Any], Any]:
    """In the place of jaxtyping.jaxtyped, which the hook puts around everything."""

    def checked(thing: Any) -> Any:
        if dataclasses.is_dataclass(thing) and isinstance(thing, type):
            if isinstance(init := vars(thing).get("__init__"), FunctionType):
                setattr(thing, "__init__", checked(init))  # noqa: B010 - mypy
        elif isinstance(thing, FunctionType):
            if inspect.isgeneratorfunction(thing):  # between two values it yields, other calls are made
                return _jaxtyped(thing, typechecker=typechecker)
            hints = resolved(thing)
            held = without_shapes(thing, hints)
            return with_shapes(held) if any(map(names_an_array, hints.values())) else held
        return thing

    return checked


def without_shapes(function: FunctionType, hints: dict[str, Any]) -> Callable[..., Any]:
    """The function, each call of it held to these annotations by beartype alone."""
    copied = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    for name in ("__kwdefaults__", "__module__", "__qualname__"):
        setattr(copied, name, getattr(function, name))
    copied.__annotations__ = hints
    held: Callable[..., Any] = check(copied)
    return function if held is copied else functools.wraps(function)(held)


def with_shapes(held: Callable[..., Any]) -> Callable[..., Any]:
    """That function, the sizes of the axes compared within each call."""

    @functools.wraps(held)
    def within_one_call(*given: Any, **named: Any) -> Any:
        with _axes_of_a_call:
            try:
                return held(*given, **named)
            except jaxtyping.TypeCheckError:
                jaxtyping.print_bindings()  # type: ignore[no-untyped-call] # pytest shows it where a test fails
                raise

    return within_one_call


def resolved(function: FunctionType) -> dict[str, Any]:
    """The annotations of a function, read; what names something that is not imported while it runs says nothing."""
    hints: dict[str, Any] = {}
    for name, written in function.__annotations__.items():
        try:
            single = SimpleNamespace(__annotations__={name: written})
            hints |= get_type_hints(single, function.__globals__, include_extras=True)
        except Exception:  # as jaxtyping has it
            hints[name] = Any
    return hints


def names_an_array(hint: Any) -> bool:
    """Whether an array of jaxtyping stands somewhere in an annotation."""
    if isinstance(hint, list):  # the arguments of a Callable
        return any(map(names_an_array, hint))
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return True
    return any(map(names_an_array, get_args(hint)))
