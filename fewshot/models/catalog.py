"""What can be chosen, read from the source files: names, titles and options, without importing torch.

A list of names is wanted at once, and importing every method takes seconds. A test holds what is read here against what
is registered.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fewshot.models.learn2learn_install import what_is_absent

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Described:
    """One thing that can be chosen. ``options`` are as the command line takes them."""

    name: str
    title: str
    source: str
    options: tuple[str, ...]
    unavailable: str = ""


@dataclass
class _Class:
    """What a class statement says of itself."""

    bases: list[str]
    registered: dict[str, str]  # by registry
    words: dict[str, str] = field(default_factory=dict)  # its attributes that are text
    methods: dict[str, ast.FunctionDef] = field(default_factory=dict)


def models() -> list[Described]:
    """Every method. One that is trained by a loss has the title and the options of the loss."""
    return _sorted(_registered("METHODS", "methods") + _registered("LOSSES", "losses"))


def encoders() -> list[Described]:
    """Every encoder of ours."""
    return _sorted(_registered("ENCODERS", "encoders"))


def readouts() -> list[Described]:
    """Every read-out."""
    return _sorted(_registered("READOUTS", "readouts"))


def _sorted(found: list[Described]) -> list[Described]:
    return sorted(found, key=lambda described: described.name)


def _registered(registry: str, where: str) -> list[Described]:
    classes = _classes(where)
    return [
        _described(entry.registered[registry], entry, classes)
        for entry in classes.values()
        if registry in entry.registered
    ]


def _described(name: str, entry: _Class, classes: dict[str, _Class]) -> Described:
    line = [*_ancestry(entry, classes)]
    words = {key: text for ancestor in reversed(line) for key, text in ancestor.words.items()}
    methods = {key: method for ancestor in reversed(line) for key, method in ancestor.methods.items()}
    options = tuple(_options(methods["__init__"])) if "__init__" in methods else ()
    missing = what_is_absent() if "unavailable" in methods else ""
    return Described(name, words.get("title", ""), words.get("source", ""), options, missing)


def _ancestry(entry: _Class, classes: dict[str, _Class]) -> Iterator[_Class]:
    """The class, then its ancestors, in so far as they stand in the same folder; the bases of a room say nothing."""
    yield entry
    for base in entry.bases:
        if base in classes:
            yield from _ancestry(classes[base], classes)


@cache
def _classes(where: str) -> dict[str, _Class]:
    """The classes of a file, or of every file of a folder; its base.py holds no entry, only what all have in common."""
    place = _HERE / where
    files = [place] if place.is_file() else sorted(path for path in place.glob("*.py") if path.stem != "base")
    found: dict[str, _Class] = {}
    for path in files:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = _class(node)
    return found


def _class(node: ast.ClassDef) -> _Class:
    made = _Class([ast.unparse(base) for base in node.bases], {})
    for decorator in node.decorator_list:
        match decorator:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=registry), attr="register"), args=[ast.Constant(name)]):
                made.registered[registry] = str(name)
    for statement in node.body:
        match statement:
            case ast.FunctionDef(name=name):
                made.methods[name] = statement
            case ast.Assign(targets=targets, value=ast.Constant(str(text))):
                made.words |= {ast.unparse(target): text for target in targets}
            case ast.AnnAssign(target=target, value=ast.Constant(str(text))):
                made.words[ast.unparse(target)] = text
    return made


def _options(constructor: ast.FunctionDef) -> Iterator[str]:
    """The keywords that have a default, as `fewshot.models.options.Option` writes them."""
    arguments = constructor.args
    positional = arguments.args[len(arguments.args) - len(arguments.defaults) :]
    keywords: list[tuple[ast.arg, ast.expr | None]] = [*zip(positional, arguments.defaults, strict=True)]
    keywords += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    for argument, default in keywords:
        if default is not None:
            flag = "--" + argument.arg.replace("_", "-")
            yield f"{flag} {_values(argument.annotation)} (default {_literal(default)})"


def _values(annotation: ast.expr | None) -> str:
    """``int`` for int and for int | None; the words of a Literal."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _values(right if isinstance(left, ast.Constant) and left.value is None else left)
        case ast.Subscript(value=ast.Name(id="Literal"), slice=choices):
            words = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return "|".join(str(_literal(word)) for word in words)
        case None:
            return ""
        case _:
            return ast.unparse(annotation)


def _literal(expression: ast.expr) -> Any:
    return ast.literal_eval(expression)
