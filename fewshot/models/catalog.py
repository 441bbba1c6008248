"""What can be chosen: names, titles and options, read from the source files, since importing torch takes seconds.

A test holds what is read here against what is registered. Where an installed package adds to a list, everything is
imported and asked, as that package must be.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

KINDS = {
    "episodic": "episodic: trained on episodes",
    "losses": "losses: trained on labeled batches",
    "semi-supervised": "semi-supervised: unlabeled images, too",
    "self-supervised": "self-supervised: trained without labels",
    "no training": "no training",
}
"""The groups of methods, in the order in which they are listed, with their headings."""


@dataclass(frozen=True)
class Described:
    """One thing that can be chosen. ``options`` are as the command line takes them."""

    name: str
    title: str
    source: str
    options: tuple[str, ...]
    kind: str = ""  # of a method: a key of KINDS
    trains_on: str = ""  # of a method: "episodes", "images" or "nothing"

    @property
    def paper_name(self) -> str:
        """What its paper calls it: the title up to the colon."""
        return self.title.partition(":")[0]


@cache
def paper_names() -> dict[str, str]:
    """What the papers call each method: ``{"proto": "Prototypical Networks"}``."""
    return {name: described.paper_name for name, described in _models().items()}


def trains_on(model: str) -> str:
    """What a method is trained on, as its class says; empty where no method is called so.

    Where the methods are imported, they are asked: a program may have registered one of its own.
    """
    if "fewshot.models.methods" in sys.modules:
        from fewshot.models.methods import METHODS

        return METHODS.get(model).trains_on if model in METHODS else ""
    return _models()[model].trains_on if model in _models() else ""


@cache
def _models() -> dict[str, Described]:
    return {described.name: described for described in models()}


@cache
def readout_names() -> dict[str, str]:
    """The same of each read-out."""
    return {described.name: described.paper_name for described in readouts()}


def models() -> list[Described]:
    """Every method. One that is trained by a loss has the title and the options of the loss."""
    return _described("methods", "losses")


def encoders() -> list[Described]:
    """Every encoder of ours and of installed packages; those of torchvision and timm are not listed."""
    return _described("encoders")


def readouts() -> list[Described]:
    """Every read-out."""
    return _described("readouts")


def _described(folder: str, *more: str) -> list[Described]:
    if any(entry_points(group=f"fewshot.{kind}") for kind in (folder, *more)):
        return _registered(folder)
    found = [described for kind in (folder, *more) for described in _written(kind)]
    return sorted(found, key=lambda described: described.name)


def _registered(folder: str) -> list[Described]:
    """As imported and asked."""
    from fewshot.models.options import options_of

    registry = getattr(importlib.import_module(f"fewshot.models.{folder}"), folder.upper())
    found = []
    for name in registry:
        entry = registry.get(name)
        options = tuple(map(str, options_of(entry).values()))
        says = {word: getattr(entry, word) for word in _TELLING} if folder == "methods" else {}
        found.append(Described(name, entry.title, getattr(entry, "source", ""), options, *_of_method(says)))
    return found


_TELLING: dict[str, Any] = {"trains_on": "episodes", "uses_unlabeled": False, "self_supervised": False}


def _of_method(says: Mapping[str, Any]) -> tuple[str, str]:
    """The group of a method and what it is trained on; of anything else nothing is said."""
    return (_kind(says), says["trains_on"]) if says else ("", "")


def _kind(says: Mapping[str, Any]) -> str:
    """The group of a method, by what its class says of itself."""
    if says["trains_on"] == "nothing":
        return "no training"
    if says["self_supervised"] or says["uses_unlabeled"]:
        return "self-supervised" if says["self_supervised"] else "semi-supervised"
    return "losses" if says["trains_on"] == "images" else "episodic"


def _written(folder: str) -> Iterator[Described]:
    """As the class statements in a folder say; of base classes those count that are written there, too."""
    files = sorted(Path(__file__).parent.joinpath(folder).glob("*.py"))
    statements = [node for path in files for node in ast.parse(path.read_text(encoding="utf-8")).body]
    classes = {node.name: node for node in statements if isinstance(node, ast.ClassDef)}
    for node in classes.values():
        for decorator in node.decorator_list:
            match decorator:
                case ast.Call(func=ast.Attribute(attr="register"), args=[ast.Constant(str(name))]):
                    yield _read(name, node, classes, folder)


def _read(name: str, node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], folder: str) -> Described:
    words: dict[str, Any] = {"title": "", "source": "", **_TELLING}
    if folder == "losses":
        words["trains_on"] = "images"
    options: tuple[str, ...] = ()
    for statement in _body(node, classes):
        match statement:
            case (
                ast.Assign(targets=[ast.Name(word)], value=ast.Constant(str() | bool() as value))
                | ast.AnnAssign(target=ast.Name(word), value=ast.Constant(str() | bool() as value))
            ):
                words[word] = value
            case ast.FunctionDef(name="__init__", args=arguments):
                options = tuple(_options(arguments))
    says = words if folder in ("methods", "losses") else {}
    return Described(name, words["title"], words["source"], options, *_of_method(says))


def _body(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[ast.stmt]:
    """The statements of a class after those of its ancestors."""
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _body(classes[base.id], classes)
    yield from node.body


def _options(arguments: ast.arguments) -> Iterator[str]:
    """The keywords that have a default, as `fewshot.models.options.Option` writes them."""
    defaults = [None] * (len(arguments.args) - len(arguments.defaults)) + [*arguments.defaults, *arguments.kw_defaults]
    for argument, default in zip(arguments.args + arguments.kwonlyargs, defaults, strict=True):
        if default is not None:
            flag = argument.arg.replace("_", "-")
            yield f"--{flag} {_values(argument.annotation)} (default {ast.literal_eval(default)})"


def _values(annotation: ast.expr | None) -> str:
    """``int`` for int and for int | None; the words of a Literal."""
    match annotation:
        case (
            ast.BinOp(left=left, op=ast.BitOr(), right=ast.Constant(None))
            | ast.BinOp(left=ast.Constant(None), op=ast.BitOr(), right=left)
        ):
            return _values(left)
        case ast.Subscript(value=ast.Name("Literal"), slice=choices):
            words = choices.elts if isinstance(choices, ast.Tuple) else [choices]
            return "|".join(str(ast.literal_eval(word)) for word in words)
    return ast.unparse(annotation) if annotation else ""
