"""The structure of the house, read from its import statements; as a script it prints lines, floors, circles, entries.

``python tests/architecture/structure.py [CHECKOUT]`` works on any commit, so that before and after can be compared.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("episodes", "fewshot")


def module_name(path: Path, root: Path = ROOT) -> str:
    """``fewshot.models.methods`` for fewshot/models/methods/__init__.py."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def modules_of(root: Path = ROOT) -> dict[str, Path]:
    """Every module of our packages by name."""
    return {module_name(path, root): path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))}


MODULES = modules_of()


@cache
def tree_of(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"))


def _typing_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def imports_in(tree: ast.AST, modules: dict[str, Path], *, typing: bool = True) -> Iterator[str]:
    """Every module that is imported, wherever the statement stands; ``from package import module`` names the module.

    Without ``typing`` imports for annotations alone are left out: they are not made when the program runs.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from [name for name in inner if name in modules] or [node.module]
        elif typing or not _typing_only(node):
            yield from imports_in(node, modules, typing=typing)


def inside(name: str) -> bool:
    """Whether a module is one of ours."""
    return name.split(".")[0] in PACKAGES


def own_imports(modules: dict[str, Path]) -> dict[str, set[str]]:
    """Module -> modules of ours that it imports when the program runs."""
    return {
        name: {found for found in imports_in(tree_of(path), modules, typing=False) if inside(found)} - {name}
        for name, path in modules.items()
    }


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or around corners (Tarjan's strong components).

    A package that imports its own modules to register them is no circle where they import its ``base`` alone.
    """
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while True:
                group.append(stack.pop())
                if group[-1] == node:
                    break
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return found


def floors(graph: dict[str, set[str]]) -> int:
    """Modules on the longest way down through the imports; those of a circle stand on one floor."""
    group_of = {name: min(group) for group in circles(graph) for name in group}
    below: dict[str, set[str]] = {}
    for name, found in graph.items():
        own = group_of.get(name, name)
        below.setdefault(own, set()).update({group_of.get(other, other) for other in found} - {own})

    @cache
    def height(name: str) -> int:
        return 1 + max((height(other) for other in below.get(name, ())), default=0)

    return max(height(name) for name in below)


def entries(root: Path = ROOT) -> dict[str, int]:
    """Files and folders in each folder of our packages, caches apart."""
    folders = {path.parent for path in modules_of(root).values()}
    return {
        str(folder.relative_to(root)): sum(
            not entry.name.startswith(("__pycache__", ".")) for entry in folder.iterdir()
        )
        for folder in sorted(folders)
    }


def report(root: Path) -> str:
    """Lines, floors, circles and entries, to be printed."""
    modules = modules_of(root)
    graph = own_imports(modules)
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in modules.values())
    text = [f"{lines:,} lines in {len(modules)} modules on {floors(graph)} floors"]
    text += [f"circle: {', '.join(group)}" for group in circles(graph)] or ["no circles"]
    return "\n".join(text + [f"{number:4} entries in {folder}" for folder, number in entries(root).items()])


if __name__ == "__main__":
    sys.setrecursionlimit(10_000)
    print(report(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT).resolve()))
