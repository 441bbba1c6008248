"""A name for everything that can be chosen (data sets, methods, losses, ...), here and in installed packages."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import inspect
import logging
import pkgutil
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import is_dataclass
from functools import partial
from importlib.metadata import Distribution, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from episodes.errors import UserError

T = TypeVar("T")

log = logging.getLogger(__name__)

_DISTRIBUTIONS: dict[str, Distribution] = {}  # by module: of what entry points brought


class UnknownNameError(UserError):
    """A name that is not registered. The message lists the valid ones and the nearest."""


def unknown_name_message(kind: str, name: str, known: Iterable[str]) -> str:
    """One line that says what is wrong, what was probably meant, and what is valid."""
    names = sorted(known)
    bare = {name.lstrip("-"): name for name in names}  # that both begin with dashes makes no two options alike
    near = difflib.get_close_matches(name.lstrip("-"), bare, n=1, cutoff=0.5)
    hint = f" Did you mean {bare[near[0]]!r}?" if near else ""
    return f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names)}."


class Registry(Generic[T]):
    """Maps names to objects; refuses duplicates, answers a typo with near names, iterates sorted.

    With a ``group`` (``fewshot.methods``) an installed package adds entries by entry points of that group: its name is
    the name here, its object is what is filed. They are loaded when a name is looked for that is not one of our own, or
    when all names are; a package that fails, gives no subclass of ``base``, or takes a name that is taken, is one
    warning and stops nothing else. ``own`` are entries of ours that are found in the same way, before those. Where
    entries are no classes but objects (the cards of data sets), ``base`` is their class.

    Several threads may ask at once: each gets all entries, or waits until they are there.
    """

    def __init__(
        self,
        kind: str,
        group: str = "",
        base: Callable[[], type] = lambda: object,
        *,
        own: Callable[[], Iterable[tuple[str, T]]] | None = None,
    ) -> None:
        self.kind, self._base = kind, base
        self._entries: dict[str, T] = {}
        self._more = [own] if own else []
        self._filing = threading.Lock()
        self._thread = threading.local()  # ``loads`` is true in a thread that loads the rest
        self._warned: set[str] = set()
        if group:
            self.add_later(partial(self._plugged, group))

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that files an object under ``name``. Raises ValueError when the name is taken."""
        if name in self._entries:
            raise ValueError(f"{self.kind} {name!r} is registered twice")

        def add(entry: T) -> T:
            self._entries[name] = entry
            return entry

        return add

    def own(self) -> tuple[str, ...]:
        """The names registered so far, without those of installed packages."""
        return tuple(sorted(self._entries))

    def add_later(self, more: Callable[[], Iterable[tuple[str, T]]]) -> None:
        """Entries to be asked for together with those of installed packages."""
        self._more.append(more)

    def get(self, name: str) -> T:
        """The object called ``name``. Raises UnknownNameError with the valid names."""
        if name not in self:
            raise UnknownNameError(unknown_name_message(self.kind, name, self._entries))
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, T]:
        """Every entry. Threads that ask at once load the rest side by side, and the first to end files it.

        A lock held while modules are imported could wait for a thread that imports one of them and asks here.
        """
        if getattr(self._thread, "loads", False):  # what is loaded may look for names, too
            return self._entries
        self._thread.loads = True
        try:
            while waiting := tuple(self._more):
                self._file(waiting[0], list(waiting[0]()))
        finally:
            self._thread.loads = False
        return self._entries

    def _file(self, more: Callable[[], Iterable[tuple[str, T]]], found: list[tuple[str, T]]) -> None:
        with self._filing:
            if more not in self._more:  # another thread was first
                return
            for name, entry in found:
                taken = self._entries.setdefault(name, entry)
                if taken is not entry:
                    ours, theirs = (origin_of(one).get("package", "fewshot-bench") for one in (taken, entry))
                    log.warning("warning: %s %r of %s is left out: %s has that name", self.kind, name, theirs, ours)
            self._more.remove(more)  # last: whoever sees it gone sees its entries

    def _plugged(self, group: str) -> Iterator[tuple[str, T]]:
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            try:
                entry = point.load()
                _refuse_unfit(entry, self._base())
            except Exception as error:  # it is not ours, and may fail in any way
                package = point.dist.name if point.dist else point.module
                reason = " ".join(f"{type(error).__name__}: {error}".split())
                self._warn_once(f"warning: {self.kind} {point.name!r} of {package} cannot be used: {reason}")
                continue
            if point.dist:
                _DISTRIBUTIONS[_module_of(entry)] = point.dist
            yield point.name, entry

    def _warn_once(self, message: str) -> None:
        with self._filing:
            told = message in self._warned
            self._warned.add(message)
        if not told:
            log.warning("%s", message)


def _refuse_unfit(entry: object, base: type) -> None:
    """Raises TypeError for what is no class of this base, or lacks what the base leaves open, and no object of it."""
    if is_dataclass(base) and isinstance(entry, base):
        return
    if not (isinstance(entry, type) and issubclass(entry, base)):
        raise TypeError(f"{entry!r} is no subclass of {base.__name__}")
    lacking = sorted(getattr(entry, "__abstractmethods__", ()))
    lacking += [name for name, kind in base.__annotations__.items() if "ClassVar" in kind and not hasattr(entry, name)]
    if lacking:
        raise TypeError(f"{entry.__name__} lacks {', '.join(lacking)}")


def _module_of(entry: object) -> str:
    """The module of a class, or of the class that a data set's card names."""
    return str(getattr(entry, "module", entry.__module__))


def origin_of(entry: object) -> dict[str, str]:
    """Where a class comes from that is none of ours: ``package``, ``version`` and ``sha256`` of its source file.

    Empty for a class of this project. Where no package is known, it is the module, without a version.
    """
    module = _module_of(entry)
    if module.partition(".")[0] in ("episodes", "fewshot"):
        return {}
    distribution = _DISTRIBUTIONS.get(module)
    origin = {
        "package": distribution.name if distribution else module,
        "version": distribution.version if distribution else "",
    }
    with contextlib.suppress(OSError, TypeError):  # a class typed in at a prompt has no file
        origin["sha256"] = hashlib.sha256(Path(inspect.getfile(cast(type, entry))).read_bytes()).hexdigest()
    return origin


def origins(**entries: object) -> dict[str, dict[str, str]]:
    """Where those of the ``entries`` come from that are none of ours, under the names given here; None is passed by."""
    return {name: origin for name, entry in entries.items() if entry is not None and (origin := origin_of(entry))}


def entries_of_package(package: str) -> Callable[[], Iterable[tuple[str, Any]]]:
    """For ``own`` of a registry whose entries file themselves while a package is imported: waits until all of it is.

    Without it a thread that has the registry, but not yet the package, would see the modules of another thread's import
    appear one by one.
    """

    def imported() -> Iterable[tuple[str, Any]]:
        importlib.import_module(package)
        return ()

    return imported


def import_submodules(package: str, path: Iterable[str]) -> None:
    """Import every module of a folder, so that a new file registers itself."""
    for module in sorted(pkgutil.iter_modules(path), key=lambda found: found.name):
        importlib.import_module(f"{package}.{module.name}")
