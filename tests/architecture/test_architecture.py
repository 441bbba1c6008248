"""Which room may touch what. The rooms are read, not run: every import statement counts, wherever it stands."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from fewshot.models.methods import METHODS
from structure import MODULES, ROOT, circles, entries, floors, imports_in, inside, own_imports, tree_of

FILES = [*MODULES.values()]
ALL_FILES = [*FILES, *sorted((ROOT / "tests").rglob("*.py")), ROOT / "bootstrap.py"]


def imports_of(module: str) -> set[str]:
    return set(imports_in(tree_of(MODULES[module]), MODULES))


def modules_like(*patterns: str) -> list[str]:
    found = [name for name in MODULES if any(fnmatchcase(name, pattern) for pattern in patterns)]
    assert found, f"no module is called {patterns}"
    return found


# Bottom to top. A room imports from rooms below it and from itself, never from one above or beside it.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("episodes",),
    ("fewshot.statistics",),
    ("fewshot.models", "fewshot.records"),
    ("fewshot.training",),
    ("fewshot.evaluation",),
    ("fewshot.experiments",),
    ("fewshot.reports", "fewshot.bench"),
    ("fewshot.cli",),
    ("fewshot.api",),
)
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ANYWHERE = ("fewshot.progress",)  # a silent listener
TOP = ("fewshot", "fewshot.__main__")

# Room -> what of others it may import, the standard library apart.
OUTSIDERS = {
    "episodes": {"torch", "torchvision", "numpy", "scipy", "PIL", "platformdirs", "filelock", "jaxtyping"},
    "fewshot.statistics": {"numpy", "scipy"},
    "fewshot.models": {
        *("torch", "torchvision", "timm", "pytorch_metric_learning", "learn2learn", "jaxtyping"),
        *("numpy", "scipy", "safetensors"),
    },
    "fewshot.records": {"numpy", "msgspec"},
    "fewshot.training": {
        *("torch", "numpy", "jaxtyping", "PIL", "filelock", "msgspec"),
        *("tensorboard", "mlflow", "wandb", "trackio"),
    },
    "fewshot.evaluation": {"torch", "numpy", "pandas", "scipy", "sklearn", "onnx", "onnxscript", "jaxtyping"},
}


def room_of(module: str) -> str:
    return ".".join(module.split(".")[: 1 if module.startswith("episodes") else 2])


def test_every_module_is_in_a_room() -> None:
    assert {name for name in MODULES if room_of(name) not in FLOOR_OF} == {*TOP, *ANYWHERE}


@pytest.mark.parametrize("module", [name for name in MODULES if name not in TOP])
def test_no_import_climbs(module: str) -> None:
    ours = {name for name in imports_of(module) if inside(name) and name not in ANYWHERE}
    if module in ANYWHERE:
        wrong = {
            name
            for name in ours
            if not name.startswith(
                ("episodes.progress", "episodes.errors", "fewshot.training.loop", "fewshot.evaluation.result")
            )
        }
    else:
        room = room_of(module)
        wrong = {n for n in ours if room_of(n) != room and FLOOR_OF.get(room_of(n), 99) >= FLOOR_OF[room]}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_no_circles() -> None:
    assert circles(own_imports(MODULES)) == []
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert floors({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"c"}}) == 3


def test_a_folder_has_at_most_14_entries() -> None:
    many = {folder: number for folder, number in entries().items() if number > 14}
    assert many.keys() <= {"fewshot/models/methods", "fewshot/models/losses", "episodes/datasets"}  # one an idea


@pytest.mark.parametrize("room", OUTSIDERS)
def test_a_room_uses_only_its_own_tools(room: str) -> None:
    for module in MODULES:
        if room_of(module) == room:
            foreign = {name.split(".")[0] for name in imports_of(module) if not inside(name)}
            wrong = foreign - OUTSIDERS[room] - sys.stdlib_module_names
            assert not wrong, f"{module} must not import {sorted(wrong)}"


def test_methods_and_losses_know_no_loop_and_no_data_set() -> None:
    """What a method sees of episodes are their types, and what a loss sees are tensors."""
    for module in modules_like("fewshot.models.*"):
        assert not {n for n in imports_of(module) if n.startswith(("episodes.datasets", "episodes.images"))}, module
    for module in modules_like("fewshot.models.losses*", "fewshot.models.readouts*", "fewshot.models.encoders*"):
        ours = {name for name in imports_of(module) if inside(name)}
        kinds = (
            "fewshot.models.losses",
            "fewshot.models.readouts",
            "fewshot.models.encoders",
            "fewshot.models.dist",
            "fewshot.models.hard",
            "fewshot.models.options",
            "fewshot.models.shapes",
        )
        assert all(name.startswith((*kinds, "episodes.errors", "episodes.registry")) for name in ours), module


def test_evaluation_does_not_know_training() -> None:
    for module in modules_like("fewshot.evaluation.*"):
        assert not {name for name in imports_of(module) if name.startswith("fewshot.training")}, module


def test_the_reader_of_imports_sees_them_wherever_they_stand() -> None:
    code = """
import a.b as c
from episodes import sampler
from episodes.types import Episode
def late():
    if TYPE_CHECKING:
        from fewshot.models.methods import siamese, relation
        import torch
"""
    late = {"fewshot.models.methods.siamese", "fewshot.models.methods.relation", "torch"}
    always = {"a.b", "episodes.sampler", "episodes.types"}
    assert set(imports_in(ast.parse(code), MODULES)) == always | late
    assert set(imports_in(ast.parse(code), MODULES, typing=False)) == always


def test_records_statistics_and_the_command_lines_help_load_no_torch() -> None:
    """Nor does anything that they import. In a process of its own, since this one has torch already."""
    modules = ", ".join((*modules_like("fewshot.records*", "fewshot.statistics*"), "fewshot.cli.main"))
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


LOOP = ("fewshot.training.loop", "fewshot.training.step", "fewshot.training.optimizers")


def test_only_the_training_loop_changes_weights() -> None:
    """The bench measures the loop's own step; those that it is compared with take theirs in a file of their own."""
    for module, path in MODULES.items():
        if module not in (*LOOP, "fewshot.bench.libraries"):
            attributes = {node.attr for node in ast.walk(tree_of(path)) if isinstance(node, ast.Attribute)}
            assert not attributes & {"backward", "optim", "zero_grad"}, module


def test_the_training_loop_knows_neither_a_method_by_name_nor_the_test_split() -> None:
    assert not names_in(tree_of(MODULES["fewshot.training.loop"])) & {"test", *METHODS}


def test_evaluation_knows_no_loss() -> None:
    assert not {n for n in names_in(tree_of(MODULES["fewshot.evaluation.evaluate"])) if "loss" in n.lower()}


def test_device_names_are_spelled_in_one_place() -> None:
    """Below the command line and its bench and doctor, tensors decide."""
    spelled = {module for module, path in MODULES.items() if "cuda" in names_in(tree_of(path))}
    below = {name for name in spelled if not name.startswith(("fewshot.cli", "fewshot.bench"))}
    assert below <= {"fewshot.models.hardware"}


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
        ("fewshot.models.factory", "build_method"): {"torch.manual_seed"},
        ("fewshot.training.loop", "_prepare_step"): {"torch.manual_seed", "torch.default_generator.manual_seed"},
    }
    for module in ("fewshot.models.factory", "fewshot.training.loop"):
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
def test_a_file_is_one_idea_of_at_most_400_lines_in_functions_of_at_most_50(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    lengths = {
        function.name: (function.end_lineno or 0) - function.lineno + 1 for function in functions_in(tree_of(path))
    }
    assert not {name: length for name, length in lengths.items() if length > 50}


def test_no_module_is_named_for_holding_anything_at_all() -> None:
    assert not {path.stem for path in ALL_FILES} & {"utils", "util", "helpers", "misc", "common", "tools"}


def test_every_module_says_what_it_is_for() -> None:
    assert [module for module, path in MODULES.items() if not ast.get_docstring(tree_of(path))] == []
