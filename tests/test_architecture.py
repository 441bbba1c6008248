"""Which room may touch what. The rooms are read, not run: every import statement counts, wherever it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

from fewshot.methods import METHODS

ROOT = Path(__file__).parent.parent
PACKAGES = ("episodes", "fewshot")
FILES = [*(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
ALL_FILES = [*FILES, *sorted((ROOT / "tests").glob("*.py")), ROOT / "bootstrap.py"]


def module_name(path: Path) -> str:
    """``fewshot.methods`` for fewshot/methods/__init__.py."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in FILES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_in(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported; ``from package import module`` names the module, not only the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            modules = [name for name in inner if name in MODULES]
            yield from modules or [node.module]


def imports_of(module: str) -> set[str]:
    return set(imports_in(tree_of(MODULES[module])))


def inside(name: str, packages: tuple[str, ...]) -> bool:
    return name.split(".")[0] in packages


def modules_like(*patterns: str) -> list[str]:
    found = [name for name in MODULES if any(fnmatchcase(name, pattern) for pattern in patterns)]
    assert found, f"no module is called {patterns}"
    return found


ERRORS = ("episodes.errors", "episodes.registry")
NETWORKS = (
    "fewshot.encoders",
    "fewshot.first_block",
    "fewshot.distances",
    "fewshot.prototypes",
    "fewshot.losses",
    "fewshot.losses.*",
    "fewshot.library_encoders",
)
METHOD_FILES = [name for name in modules_like("fewshot.methods.*") if name != "fewshot.methods.base"]
LOOP = ("fewshot.training", "fewshot.steps", "fewshot.optimizers")
HELPERS = ("fewshot.checkpoints", "fewshot.hardware", "fewshot.recipes")
TABLES = (
    *("fewshot.records", "fewshot.leaderboard", "fewshot.papers", "fewshot.statistics", "fewshot.statistics_episodes"),
    *("fewshot.statistics_classes", "fewshot.statistics_paired", "fewshot.statistics_ranks", "fewshot.class_groups"),
    *("fewshot.protocol_versions", "fewshot.entries", "fewshot.comparison"),
    *("fewshot.documents", "fewshot.ranking", "fewshot.leaderboard_csv"),
)
REPORT = ("fewshot.report", "fewshot.report.*")

# Room -> what of our own it may import. What is not named here stands above these rooms and may use them all.
ROOMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "episodes": (("episodes", "episodes.*"), ("episodes.*",)),
    "networks": (NETWORKS, (*ERRORS, "fewshot.torchvision_compat", *NETWORKS)),
    "base of methods": (("fewshot.methods.base",), (*ERRORS, "episodes.types", *NETWORKS)),
    "methods": (
        tuple(METHOD_FILES),
        (*ERRORS, "episodes.types", *NETWORKS, "fewshot.methods.base", "fewshot.guest"),
    ),
    "read-outs": (("fewshot.readouts*",), (*ERRORS, "fewshot.distances", "fewshot.readouts*")),
    "training": (
        LOOP,
        ("episodes.*", "fewshot.methods.base", "fewshot.statistics", "fewshot.optimizers", "fewshot.steps", *HELPERS),
    ),
    "evaluation": (
        ("fewshot.evaluation",),
        ("episodes.*", "fewshot.methods.base", "fewshot.readouts.base", "fewshot.statistics", "fewshot.hardware"),
    ),
    "tables": (TABLES, (*ERRORS, "episodes.files", "episodes.draws", *TABLES)),
    "report": (REPORT, (*ERRORS, "episodes.files", *TABLES, *REPORT)),
    "plain helpers": (
        (*HELPERS, "fewshot.options", "fewshot.protocols", "fewshot.provenance", "fewshot.torchvision_compat"),
        (*ERRORS, "episodes.files", "episodes.types", "fewshot.protocol_versions"),
    ),
}

# Room -> what of others it may import, the standard library apart.
OUTSIDERS = {
    "episodes": {"torch", "torchvision", "numpy", "PIL", "platformdirs", "filelock", "jaxtyping"},
    "networks": {"torch", "torchvision", "timm", "pytorch_metric_learning", "jaxtyping"},
    "base of methods": {"torch", "jaxtyping"},
    "methods": {"torch", "jaxtyping"},
    "read-outs": {"torch", "jaxtyping"},
    "training": {"torch", "jaxtyping"},
    "evaluation": {"torch", "numpy", "jaxtyping"},
    "tables": {"numpy", "pandas", "scipy", "jinja2", "matplotlib"},
    "report": {"numpy", "jinja2", "matplotlib"},
}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    members, allowed = ROOMS[room]
    for module in MODULES:
        if any(fnmatchcase(module, pattern) for pattern in members):
            ours = {name for name in imports_of(module) if inside(name, PACKAGES)}
            wrong = {name for name in ours if not any(fnmatchcase(name, pattern) for pattern in allowed)}
            assert not wrong, f"{module} must not import {sorted(wrong)}"


@pytest.mark.parametrize("room", OUTSIDERS)
def test_a_room_uses_only_its_own_tools(room: str) -> None:
    members, _ = ROOMS[room]
    for module in MODULES:
        if any(fnmatchcase(module, pattern) for pattern in members):
            foreign = {name.split(".")[0] for name in imports_of(module) if not inside(name, PACKAGES)}
            wrong = foreign - OUTSIDERS[room] - sys.stdlib_module_names
            assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_the_rooms_are_where_the_table_says() -> None:
    """A module that moved or was renamed must not slip through a pattern that no longer finds it."""
    for module in ("fewshot.encoders", "fewshot.distances", "fewshot.training", "fewshot.evaluation", *TABLES):
        assert module in MODULES
    assert len(METHOD_FILES) >= 6


def test_the_reader_of_imports_sees_them_wherever_they_stand() -> None:
    code = """
import a.b as c
from episodes import sampler
from episodes.types import Episode
def late():
    if True:
        from fewshot.methods import siamese, relation
        import torch
"""
    assert set(imports_in(ast.parse(code))) == {
        "a.b",
        "episodes.sampler",
        "episodes.types",
        "fewshot.methods.siamese",
        "fewshot.methods.relation",
        "torch",
    }


def test_only_the_command_line_and_the_bench_stand_above_the_experiment() -> None:
    above = {module for module in MODULES if "fewshot.experiment" in imports_of(module)}
    bodies = {module for module in MODULES if module.endswith("commands")}
    assert above <= {"fewshot.cli", "fewshot.bench", "fewshot.reproduce", "fewshot.compare"} | bodies
    words = {*modules_like("fewshot.cli*"), "fewshot.__main__", "fewshot.reproduce"}
    for top in ("fewshot.cli", *bodies):
        assert {module for module in MODULES if top in imports_of(module)} <= words | bodies


def test_tables_and_the_command_lines_help_load_no_torch() -> None:
    """Nor does anything that they import. In a process of its own, since this one has torch already."""
    modules = ", ".join((*TABLES, "fewshot.cli"))
    code = f"import sys, {modules}; print([name for name in ('torch', 'torchvision', 'PIL') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def names_in(tree: ast.AST) -> set[str]:
    """Every name, attribute and string constant (docstrings apart) of a piece of code."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                found.add(name)
            case ast.Constant(value=str(text)) if not text.count(" "):
                found.add(text)
    return found


def test_only_the_training_loop_changes_weights() -> None:
    """The bench measures the loop's own step; those that it is compared with take theirs in a file of their own."""
    for module, path in MODULES.items():
        if module not in (*LOOP, "fewshot.contenders"):
            attributes = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
            assert not attributes & {"backward", "optim", "zero_grad"}, module


def test_the_training_loop_knows_neither_a_method_by_name_nor_the_test_split() -> None:
    assert not names_in(tree_of(MODULES["fewshot.training"])) & {"test", *METHODS}


def test_evaluation_knows_no_loss() -> None:
    assert not {name for name in names_in(tree_of(MODULES["fewshot.evaluation"])) if "loss" in name.lower()}


def test_device_names_are_spelled_in_one_place() -> None:
    """Below the command line and its bench and doctor, tensors decide."""
    spelled = {module for module, path in MODULES.items() if "cuda" in names_in(tree_of(path))}
    assert spelled <= {"fewshot.hardware", "fewshot.bench", "fewshot.doctor", "fewshot.cli", "fewshot.commands"}


GLOBAL_GENERATORS = (
    *("torch.manual_seed", "torch.seed", "torch.random.manual_seed", "torch.set_rng_state", "torch.random.seed"),
    *("torch.cuda.manual_seed", "torch.cuda.manual_seed_all", "torch.default_generator.*"),
    *("random.*", "np.random.[!dGP]*", "numpy.random.[!dGP]*"),  # default_rng, Generator and Philox own their state
)


def seeders_in(tree: ast.AST) -> set[str]:
    """Calls that move a generator which everybody shares."""
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {call for call in calls if any(fnmatchcase(call, pattern) for pattern in GLOBAL_GENERATORS)}


def functions_in(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def test_global_random_state_is_set_in_two_functions_that_give_it_back() -> None:
    found = {
        (module, function.name): seeders_in(function)
        for module, path in MODULES.items()
        for function in functions_in(tree_of(path))
        if seeders_in(function)
    }
    assert found == {
        ("fewshot.building", "build_method"): {"torch.manual_seed"},
        ("fewshot.training", "_prepare_step"): {"torch.manual_seed"},
    }
    for module in ("fewshot.building", "fewshot.training"):
        assert "fork_rng" in names_in(tree_of(MODULES[module]))
    assert seeders_in(ast.parse("random.seed(1); np.random.rand(3); np.random.default_rng(0)")) == {
        "random.seed",
        "np.random.rand",
    }


def test_episodes_draw_nothing_from_the_generators_of_others() -> None:
    for module in modules_like("episodes", "episodes.*"):
        assert not imports_of(module) & {"random", "secrets"}, module
        attributes = {
            ast.unparse(node) for node in ast.walk(tree_of(MODULES[module])) if isinstance(node, ast.Attribute)
        }
        assert not {name for name in attributes if name.startswith(("np.random", "torch.rand"))}, module


@pytest.mark.parametrize("path", ALL_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_one_idea_of_at_most_300_lines_in_functions_of_at_most_50(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    lengths = {
        function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions_in(tree_of(path))
    }
    assert not {name: length for name, length in lengths.items() if length > 50}


def test_no_module_is_named_for_holding_anything_at_all() -> None:
    assert not {path.stem for path in ALL_FILES} & {"utils", "util", "helpers", "misc", "common", "tools"}


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, path in MODULES.items() if not ast.get_docstring(tree_of(path))] == []
