from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import pytest

from episodes.registry import Registry, UnknownNameError, origin_of
from installed_package import install


class Fruit(ABC):
    title: ClassVar[str]

    @abstractmethod
    def taste(self) -> str: ...


def filled() -> Registry[int]:
    registry: Registry[int] = Registry("model")
    for name in ("relation", "proto", "anil"):
        registry.register(name)(0)
    return registry


def test_a_typo_is_answered_with_the_near_name_and_all_valid_ones() -> None:
    wanted = r"unknown model 'porto'\. Did you mean 'proto'\? Valid: anil, proto, relation"
    with pytest.raises(UnknownNameError, match=wanted):
        filled().get("porto")


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        filled().register("proto")


def test_iteration_is_sorted() -> None:
    assert list(filled()) == ["anil", "proto", "relation"]


@pytest.fixture
def fruits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[type[Fruit]]:
    """A registry with one entry of ours, and installed packages of which most do something wrong."""
    plum = (
        "from test_registry import Fruit\nclass Plum(Fruit):\n  title = 'a plum'\n  def taste(self): return 'sweet'\n"
    )
    install(tmp_path, "orchard", {"orchard": plum}, {"fruits": "plum = orchard:Plum\napple = orchard:Plum"})
    install(tmp_path, "rotten", {"rotten": "raise OSError('worms\\ninside')"}, {"fruits": "pear = rotten:Pear"})
    stone = "from test_registry import Fruit\nclass Stone(Fruit): ..."
    install(tmp_path, "quarry", {"quarry": stone}, {"fruits": "stone = quarry:Stone\nsand = quarry:Fruit.__name__"})
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("orchard", "rotten", "quarry"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    registry: Registry[type[Fruit]] = Registry("fruit", "fruits", lambda: Fruit)

    @registry.register("apple")
    class Apple(Fruit):
        title = "an apple"

        def taste(self) -> str:
            return "sour"

    return registry


def test_installed_packages_add_entries_and_the_faults_of_one_stop_no_other(
    fruits: Registry[type[Fruit]], caplog: pytest.LogCaptureFixture
) -> None:
    assert fruits.get("apple")().taste() == "sour"
    assert not caplog.records, "for a name of ours nothing else is loaded"
    assert fruits.get("plum")().taste() == "sweet"
    assert [*fruits] == ["apple", "plum"]
    assert len(fruits) == 2
    assert "pear" not in fruits
    assert {record.getMessage() for record in caplog.records} == {
        f"warning: fruit 'apple' of orchard is left out: {__name__} has that name",
        "warning: fruit 'pear' of rotten cannot be used: OSError: worms inside",
        "warning: fruit 'stone' of quarry cannot be used: TypeError: Stone lacks taste, title",
        "warning: fruit 'sand' of quarry cannot be used: TypeError: 'Fruit' is no subclass of Fruit",
    }
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_an_entry_knows_the_package_it_comes_from(fruits: Registry[type[Fruit]], tmp_path: Path) -> None:
    sha256 = hashlib.sha256((tmp_path / "orchard.py").read_bytes()).hexdigest()
    assert origin_of(fruits.get("plum")) == {"package": "orchard", "version": "1.2", "sha256": sha256}
    assert origin_of(Registry) == {}
    assert origin_of(fruits.get("apple"))["package"] == __name__


def test_more_entries_are_asked_for_when_all_are(fruits: Registry[type[Fruit]]) -> None:
    quince: type[Fruit] = type("Quince", (Fruit,), {"title": "a quince"})
    fruits.add_later(lambda: [("quince", quince)])
    assert fruits.own() == ("apple",)
    assert [*fruits] == ["apple", "plum", "quince"]


def test_what_is_loaded_may_look_for_names_and_a_failure_is_not_the_last_word() -> None:
    registry: Registry[int] = Registry("number", own=lambda: [("one", 1), ("names", len(registry))])
    assert registry.get("names") == 0
    tries = iter([OSError("no such disk"), None])

    def failing_once() -> list[tuple[str, int]]:
        if error := next(tries):
            raise error
        return [("two", 2)]

    registry.add_later(failing_once)
    with pytest.raises(OSError, match="no such disk"):
        registry.get("two")
    assert registry.get("two") == 2


TOGETHER = """
import sys, threading, time
sys.setswitchinterval(1e-5)
from episodes.datasets.cards import DATASETS
barrier, seen = threading.Barrier(12), []
def ask():
    barrier.wait()
    try:
        seen.append((DATASETS.get("omniglot").name, *DATASETS))
    except BaseException as error:
        seen.append(error)
threads = [threading.Thread(target=ask) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(seen) == 12 and set(seen) == {("omniglot", *DATASETS)}, seen
assert len(DATASETS) > 10

import importlib
for package, name in ("encoders", "ENCODERS"), ("readouts", "READOUTS"), ("losses", "LOSSES"), ("methods", "METHODS"):
    package = f"fewshot.models.{package}"
    assert package not in sys.modules
    thread = threading.Thread(target=importlib.import_module, args=(package,))
    thread.start()
    while not hasattr(sys.modules.get(f"{package}.base"), name): time.sleep(1e-4)
    registry = getattr(sys.modules[f"{package}.base"], name)
    early = [*registry]
    thread.join()
    assert early == [*registry], f"{early} of {[*registry]}"
"""


def test_threads_that_ask_at_once_all_see_a_full_registry() -> None:
    """In a fresh process: data sets behind a barrier, the rest while another thread imports them."""
    done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr
    assert done.returncode == 0
