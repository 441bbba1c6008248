"""fewshot doctor: what is on this machine, what is missing, and what to do about it."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from rich.table import Table
from rich.text import Text

from episodes.datasets.base import dataset_class
from episodes.datasets.cards import DATASETS
from episodes.files import cache_root, data_root
from fewshot.models.encoders.torchvision_import import import_torchvision
from fewshot.models.hardware import choose_device, describe_machine, has_fast_bf16, keep_freed_memory
from fewshot.models.learn2learn_adapter import why_not
from fewshot.training.logs import LOGS

PACKAGE = "fewshot-bench"
LEAST_MEMORY_GB = 3.0  # training on miniImageNet: PyTorch, the images, a batch of 100 of them
LEAST_DISK_GB = 2.0  # the decoded arrays of all data sets
_STYLES = {"ok": ("ok", "green"), "missing": ("missing", "yellow"), "problem": ("problem", "bold red")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``missing`` is optional and absent; ``problem`` stops or slows something."""

    what: str
    status: Literal["ok", "missing", "problem"]
    detail: str
    advice: str = ""


def examine(root: Path | None = None) -> list[Finding]:
    """Look at everything, the data sets in ``root`` or where they lie by default. Raises nothing, changes nothing."""
    folder = data_root(root)
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("Python", _python),
        ("PyTorch", _pytorch),
        ("torchvision", _torchvision),
        ("packages", _packages),
        ("device", _device),
        ("precision", _precision),
        ("memory", _memory),
        ("C allocator", _allocator),
        ("data folder", partial(_data_folder, folder)),
        ("array cache", partial(_cache, folder)),
        *((f"data set {name}", partial(_dataset, name, folder)) for name in DATASETS if name != "folder"),
        ("learn2learn", _learn2learn),
        *((name, partial(_log, name)) for name in LOGS),
    ]
    return [_guarded(what, check) for what, check in checks]


def render(findings: list[Finding]) -> Table:
    """The findings as a table for the terminal, the advice beneath what it is about."""
    table = Table(show_header=False, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for finding in findings:
        word, style = _STYLES[finding.status]
        detail = Text(finding.detail)
        if finding.advice:
            detail.append(f"\n-> {finding.advice}", style="bold")
        table.add_row(Text(word, style=style), Text(finding.what), detail)
    return table


def _guarded(what: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # a doctor who faints helps nobody
        return Finding(what, "problem", f"could not be examined: {type(error).__name__}: {error}")


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})")


def _pytorch() -> Finding:
    cuda = torch.version.cuda
    return Finding("PyTorch", "ok", f"{torch.__version__}, {f'CUDA {cuda}' if cuda else 'CPU'} build")


def _torchvision() -> Finding:
    try:
        torchvision = import_torchvision()
    except ImportError:
        return Finding("torchvision", "problem", "not installed", "`make setup`, or: pip install torchvision")
    except RuntimeError as error:
        advice = "install the torchvision that belongs to this PyTorch"
        return Finding("torchvision", "problem", f"does not import: {error}", advice)
    version = str(torchvision.__version__)
    if "+cu" in version and torch.version.cuda is None:
        version += ", a CUDA build beside a CPU build of PyTorch: its compiled operators are unused, all else works"
    return Finding("torchvision", "ok", version)


def _packages() -> Finding:
    """The requirements of this package itself, extras left out."""
    names, absent = [], []
    for requirement in importlib.metadata.requires(PACKAGE) or []:
        name = re.split(r"[^\w.-]", requirement)[0]
        if "extra ==" in requirement or name in ("torch", "torchvision"):
            continue
        try:
            names.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            absent.append(name)
    if absent:
        return Finding("packages", "problem", f"not installed: {', '.join(absent)}", "`make setup`")
    return Finding("packages", "ok", ", ".join(names))


def _device() -> Finding:
    device = choose_device()
    machine = describe_machine(device)
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory / 2**30
        return Finding("device", "ok", f"cuda: {machine['name']}, {memory:.0f} GiB")
    detail = f"cpu: {machine['name']}, {machine['cores']} cores, {machine['threads']} threads"
    if Path("/dev/nvidiactl").exists():
        cause = "this PyTorch is a CPU build" if torch.version.cuda is None else "PyTorch cannot use it"
        advice = "install the CUDA build of PyTorch" if torch.version.cuda is None else "check the driver: nvidia-smi"
        return Finding("device", "problem", f"{detail}; there is an NVIDIA GPU, but {cause}", advice)
    return Finding("device", "ok", detail)


def _precision() -> Finding:
    device = choose_device()
    if has_fast_bf16(device):
        return Finding("precision", "ok", f"bf16 (the {device.type} multiplies it in hardware) and fp32")
    return Finding("precision", "ok", f"fp32 (the {device.type} has no fast bf16)")


def _memory() -> Finding:
    free = _available_memory_gb()
    if free is None:
        return Finding("memory", "ok", "how much is free cannot be told on this system")
    if free < LEAST_MEMORY_GB:
        advice = f"{LEAST_MEMORY_GB:.0f} GB are enough for everything: close other programs"
        return Finding("memory", "problem", f"{free:.1f} GB available", advice)
    return Finding("memory", "ok", f"{free:.1f} GB available")


def _available_memory_gb(proc: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> float | None:
    """What the system would still give to a program, and no more than a container may take. None where unknown."""
    try:
        fields = dict(line.split(":", 1) for line in proc.read_text().splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        if limit != "max":
            available = min(available, int(limit) - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return available / 1e9


def _allocator() -> Finding:
    if preload := os.environ.get("LD_PRELOAD"):
        return Finding("C allocator", "ok", f"chosen by LD_PRELOAD: {preload}")
    if keep_freed_memory():
        return Finding("C allocator", "ok", "glibc, which keeps freed memory for the next training step")
    return Finding("C allocator", "ok", "not glibc, left as it is")


def _data_folder(folder: Path) -> Finding:
    where = "$FEWSHOT_DATA or --data chooses another"
    if folder.is_dir():
        return Finding("data folder", "ok", f"{folder} ({where})")
    return Finding("data folder", "missing", f"{folder} is not there yet; the first download makes it", where)


def _dataset(name: str, folder: Path) -> Finding:
    dataset = dataset_class(name)(folder)
    what = f"data set {name}"
    if dataset.is_present():
        return Finding(what, "ok", str(dataset.location() or "needs no files"))
    return Finding(what, "missing", f"not in {folder}", dataset.how_to_get())


def _cache(folder: Path) -> Finding:
    cache = cache_root(folder)
    existing = next(parent for parent in (cache, *cache.parents) if parent.is_dir())
    try:
        tempfile.TemporaryFile(dir=existing).close()  # to ask for permission would tell less than to try
    except OSError as error:
        advice = "point FEWSHOT_CACHE at a folder of yours"
        return Finding("array cache", "problem", f"{cache}: {error.strerror}", advice)
    free = shutil.disk_usage(existing).free / 1e9
    detail = f"{cache}, {free:.1f} GB free"
    if free < LEAST_DISK_GB:
        advice = f"{LEAST_DISK_GB:.0f} GB hold every data set: make room, or point FEWSHOT_CACHE at another disk"
        return Finding("array cache", "problem", detail, advice)
    return Finding("array cache", "ok", detail)


def _learn2learn() -> Finding:
    if reason := why_not():
        cause, _, advice = reason.partition("; ")
        return Finding("learn2learn", "missing", f"{cause} (only the comparison with it needs it)", advice)
    return Finding("learn2learn", "ok", importlib.metadata.version("learn2learn"))


def _log(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, "missing", f"not installed (only --log {name} needs it)", f"pip install {PACKAGE}[{name}]")
    return Finding(name, "ok", _version(name))


@functools.cache
def _version(package: str) -> str:
    """Of the distribution that a package came with."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # mlflow comes as mlflow-skinny, too; to look through all is slow
        return importlib.metadata.version(importlib.metadata.packages_distributions()[package][0])
