"""The directive ``generated``: pages of the reference, made from registries, cards and structs."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from html import escape
from typing import Any, ClassVar

import commands
import msgspec
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import fewshot
from episodes.datasets.cards import DATASETS, Card
from episodes.registry import Registry
from fewshot.models.encoders import ENCODERS
from fewshot.models.losses import LOSSES
from fewshot.models.methods import METHODS
from fewshot.models.options import options_of
from fewshot.models.readouts import READOUTS
from fewshot.records.protocols import standard_protocols
from fewshot.records.record import RunRecord

GROUPS = {
    "Data and episodes": "fewshot.api.data episodes",
    "Methods and tests": "fewshot.api.methods fewshot.models fewshot.training fewshot.evaluation fewshot.experiments",
    "Pictures": "fewshot.api.pictures",
    "Records and tables": "fewshot.api.tables fewshot.records",
    "What there is": "fewshot.api.catalog",
}


def heading(text: str, mark: str = "-") -> Iterator[str]:
    """A heading of RST; ``-`` is one step below the title of a page, ``~`` two."""
    yield from ("", text, mark * len(text), "")


def doc_of(described: Any) -> list[str]:
    """Its docstring, line by line."""
    return (inspect.getdoc(described) or "").splitlines()


def listed(columns: list[str], rows: list[list[str]], kind: str = "") -> Iterator[str]:
    """A table, of a class of site.css if one is named."""
    yield from ("", ".. list-table::", "   :header-rows: 1", *([f"   :class: {kind}"] if kind else []), "")
    for row in [columns, *rows]:
        yield from (f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(row))
    yield ""


def api() -> Iterator[str]:
    """Every public name, beside those of its kind."""
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name in fewshot.__all__:
        groups[_group_of(name)].append(name)
    yield from overview({title: [f":py:obj:`~fewshot.{name}`" for name in found] for title, found in groups.items()})
    for title, found in groups.items():
        yield from heading(title)
        for name in found:
            kind = "class" if inspect.isclass(getattr(fewshot, name)) else "function"
            yield from (f".. auto{kind}:: fewshot.{name}", "")


def _group_of(name: str) -> str:
    home = getattr(fewshot, name).__module__
    for title, homes in GROUPS.items():
        if home.startswith(tuple(homes.split())):
            return title
    raise ValueError(f"GROUPS in docs/generated.py has no place for {name}")


def overview(names: dict[str, list[str]]) -> Iterator[str]:
    """What stands on the page: a row for each section, with a link to each name."""
    rows = [[f"`{title}`_", ", ".join(links)] for title, links in names.items()]
    yield from listed(["section", "names"], rows, "names")


def methods() -> Iterator[str]:
    """Every entry of the registries: what it is, its formula, source and options."""
    losses = {*LOSSES}
    sections: dict[str, dict[str, Any]] = {
        "Methods with a rule of their own": {name: METHODS.get(name) for name in METHODS if name not in losses},
        "Losses": all_of(LOSSES),
        "Read-outs of frozen embeddings": all_of(READOUTS),
        "Encoders": all_of(ENCODERS),
    }
    seen: set[str] = set()
    links: dict[str, list[str]] = {title: [] for title in sections}
    lines: list[str] = []
    for title, found in sections.items():
        lines += heading(title)
        for name, entry in found.items():
            anchor = f"{title} {name}" if name in seen else name  # an encoder may have the name of a method
            links[title].append(f"`{name} <#{nodes.make_id(anchor)}>`__")
            lines += [f".. _{anchor.lower()}:"] if name in seen else []
            lines += described(name, entry)
        seen |= {*found}
    yield from (*overview(links), *lines)


def all_of(registry: Registry[Any]) -> dict[str, Any]:
    """What a registry holds, by name."""
    return {name: registry.get(name) for name in registry}


def described(name: str, entry: Any) -> Iterator[str]:
    """A heading to link to and a line that says what it is, which opens formula, text, source and options."""
    yield from heading(name, "~")
    yield from commands.raw(f"<details><summary>{escape(entry.title)}</summary>")
    if formula := getattr(entry, "formula", ""):
        yield from (".. math::", "", f"   {formula}", "")
    yield from (*doc_of(entry), "")
    if source := getattr(entry, "source", ""):
        yield from (f"*Source:* {source}", "")
    if options := options_of(entry):
        yield from ("*Options:* " + ", ".join(f"``{option}``" for option in options.values()), "")
    yield from commands.raw("</details>")


def datasets() -> Iterator[str]:
    """Every card, and the protocols of the field's tables."""
    for card in all_of(DATASETS).values():
        yield from heading(card.name)
        yield from (f"**{card.title}**", "", f"*Source:* {card.source}", "")
        yield from (f"Class splits: {', '.join(f'``{split}``' for split in card.class_splits)}. {shape_of(card)}", "")
        if card.benchmarks:
            columns = ["in tables", "class split", "side in pixels", "test classes", "ways", "shots"]
            yield from listed(columns, [benchmark_row(benchmark) for benchmark in card.benchmarks])
    yield from heading("Protocols of the field's tables")
    for protocol in standard_protocols():
        yield f"* ``{protocol}``"


def shape_of(card: Card) -> str:
    """Channels and size of the images in a sentence."""
    channels, height, width = card.image_shape
    return f"Images of {width} by {height} pixels, {'gray' if channels == 1 else 'in color'}."


def benchmark_row(benchmark: Any) -> list[str]:
    """A division of classes, as it stands in tables."""
    numbers = [benchmark.side, f"{benchmark.num_test_classes:,}", *map(comma, (benchmark.ways, benchmark.shots))]
    return [benchmark.display_name, f"``{benchmark.class_split}``", *map(str, numbers)]


def comma(numbers: tuple[int, ...]) -> str:
    """As they are said: 5, 20."""
    return ", ".join(map(str, numbers)) or "not in the field's tables"


def records() -> Iterator[str]:
    """Every struct that a record is made of, field by field."""
    waiting: list[type] = [RunRecord]
    seen: list[type] = []
    while waiting:
        struct = waiting.pop(0)
        seen.append(struct)
        comments = comments_of(struct)
        rows = []
        for field in msgspec.structs.fields(struct):
            waiting += [part for part in structs_in(field.type) if part not in (*seen, *waiting)]
            words = (f"``{field.encode_name}``", comments.get(field.name, ""), kind_of(struct, field), usual(field))
            rows.append([*words])
        yield from heading(struct.__name__)
        yield from doc_of(struct)
        yield from listed(["field", "meaning", "kind", "when left out"], rows)


def structs_in(kind: Any) -> Iterator[type]:
    """The structs that a type speaks of."""
    if inspect.isclass(kind) and issubclass(kind, msgspec.Struct):
        yield kind
    for part in getattr(kind, "__args__", ()):
        yield from structs_in(part)


def kind_of(struct: type, field: msgspec.structs.FieldInfo) -> str:
    """The type as it is written; the name of a struct leads to its section."""
    written = inspect.get_annotations(next(base for base in struct.__mro__ if field.name in base.__annotations__))
    found = [*structs_in(field.type)]
    return f"`{found[0].__name__}`_" if len(found) == 1 else f"``{written[field.name]}``"


def usual(field: msgspec.structs.FieldInfo) -> str:
    """The default."""
    if field.required:
        return "required"
    return f"``{field.default_factory() if field.default is msgspec.NODEFAULT else field.default!r}``"


def comments_of(struct: type) -> dict[str, str]:
    """What stands behind a field in the source."""
    lines = inspect.getsource(struct).splitlines()
    fields = [node for node in ast.walk(ast.parse("\n".join(lines))) if isinstance(node, ast.AnnAssign)]
    return {ast.unparse(field.target): lines[field.lineno - 1].partition("  # ")[2] for field in fields}


def command_line() -> Iterator[str]:
    """All commands in a table, then each for itself."""
    found = commands.visible()
    rows = [
        [f"`{name} <fewshot {name}_>`_", commands.code(found[name].get_short_help_str(limit=200))] for name in found
    ]
    yield from listed(["command", "what it does"], rows)
    yield from ("``fewshot --version`` prints the version. Ctrl-C is safe: the same command goes on.", "")
    for name, command in found.items():
        yield from heading(f"fewshot {name}")
        yield f".. program:: fewshot {name}"
        yield ""
        yield from commands.described(command)
        yield from commands.usage(name, command)
        yield from commands.folds(command)


class Generated(SphinxDirective):
    """``.. generated:: methods``, within RST."""

    required_arguments = 1
    pages: ClassVar = {page.__name__: page for page in (api, methods, datasets, records, command_line)}

    def run(self) -> list[nodes.Node]:
        """The nodes of the page."""
        name = self.arguments[0]
        lines = [line for text in self.pages[name]() for line in text.split("\n")]
        content = StringList(lines, source=f"generated {name}")
        return self.parse_text_to_nodes(content, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_directive("generated", Generated)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
