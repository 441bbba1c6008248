"""What the machine offers: device, precision, and a C allocator that keeps its memory."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import platform
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

import torch

from episodes.errors import UserError
from fewshot.models.options import check_choice

Precision = Literal["bf16", "fp32"]
DEVICES = ("auto", "cpu", "cuda")
PRECISIONS = ("auto", "bf16", "fp32")

T = TypeVar("T")


class HardwareError(UserError):
    """A device or precision that this machine does not have."""


def choose_device(wanted: str = "auto") -> torch.device:
    """``auto`` is the GPU where there is one. Raises HardwareError for a GPU that is not there."""
    has_gpu = torch.cuda.is_available()
    if wanted.startswith("cuda") and not has_gpu:
        raise HardwareError("--device cuda: PyTorch sees no CUDA GPU on this machine; use --device cpu or auto")
    if (number := check_device(wanted)) and number >= torch.cuda.device_count():
        raise HardwareError(
            f"--device {wanted}: the GPUs of this machine are cuda:0 to cuda:{torch.cuda.device_count() - 1}"
        )
    return torch.device(("cuda" if has_gpu else "cpu") if wanted == "auto" else wanted)


def check_device(wanted: str) -> int:
    """The number of the GPU in ``cuda:1``, else 0. Raises UserError for a word that names no device."""
    kind, colon, number = wanted.partition(":")
    if colon and kind == "cuda" and number.isdigit():
        return int(number)
    check_choice("device", wanted, DEVICES)
    return 0


def take_gpu(number: int) -> None:
    """What is computed on "the" GPU goes to this one from now on, counted around; without a GPU nothing happens."""
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())


def device_for_images(num_bytes: int, device: torch.device) -> torch.device:
    """Where images wait that are trained from on ``device``: there, unless they would fill half of what is free.

    From the processor's memory, or a mapped file, every step sends its own images over.
    """
    if device.type != "cuda":
        return device
    free, _ = torch.cuda.mem_get_info(device)
    return device if num_bytes <= free // 2 else torch.device("cpu")


def compiler_mode(device: torch.device) -> str | None:
    """How torch.compile treats a training step: as CUDA graphs on a GPU, whose small kernels are slow to start."""
    return "reduce-overhead" if device.type == "cuda" else None


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; emulated, it would be slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if has_avx2_at_most():  # or was told so: ATEN_CPU_CAPABILITY=avx2
        return False
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def choose_precision(wanted: str, device: torch.device) -> Precision:
    """``auto`` is bfloat16 where the hardware has it (weights and distances stay float32), else float32."""
    if wanted == "auto":
        return "bf16" if has_fast_bf16(device) else "fp32"
    if wanted not in ("bf16", "fp32"):
        raise HardwareError(f"unknown precision {wanted!r}. Valid: {', '.join(PRECISIONS)}.")
    return "bf16" if wanted == "bf16" else "fp32"


def autocast(device: torch.device, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """The context in which encoders run."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed blocks instead of returning them to the system; whether it could be told.

    A training step allocates and frees the same large blocks every time; handing them back costs page faults that
    take as long as the arithmetic. Only on Linux with glibc; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    largest = 2**31 - 1
    settings = ((mmap_threshold, largest), (trim_threshold, largest), (top_pad, 256 << 20))
    return all(mallopt(*setting) == 1 for setting in settings)


def has_avx2_at_most() -> bool:
    """Whether PyTorch computes with AVX2 here and no wider: arithmetic is dear, and memory no slower than elsewhere.

    It depends on what the processor is and never on a measurement: a training that goes on later rounds as before.
    """
    return torch.backends.cpu.get_cpu_capability() == "AVX2"


def side_by_side(action: Callable[[int], T], over: Sequence[int]) -> list[T]:
    """What ``action`` gives for each, in order; worked on by as many threads as PyTorch has, each on one at a time."""
    if torch.get_num_threads() == 1 or len(over) == 1:
        return [action(number) for number in over]
    inference = torch.is_inference_mode_enabled()

    def without_gradients(number: int) -> T:  # such modes belong to a thread
        with torch.inference_mode(inference), torch.no_grad():
            return action(number)

    return list(_threads(torch.get_num_threads()).map(without_gradients, over))


@functools.cache
def _threads(count: int) -> ThreadPoolExecutor:
    """So many threads that compute without further ones."""
    pool, all_here = ThreadPoolExecutor(count, "side-by-side"), threading.Barrier(count)

    def alone() -> None:
        torch.set_num_threads(1)
        torch.get_num_threads()  # what a thread has not asked for yet would follow the last setting of any thread
        all_here.wait()

    for started in [pool.submit(alone) for _ in range(count)]:
        started.result()
    torch.set_num_threads(count)  # of this thread and of those to come
    return pool


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """What a record keeps of the machine."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()
    return {
        "device": device.type,
        "name": name,
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def status_megabytes(name: str) -> float | None:
    """A line of what Linux says of this process's memory, such as ``VmHWM``; None on other systems."""
    with contextlib.suppress(OSError), open("/proc/self/status") as file:  # noqa: PTH123
        for line in file:
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 2**10
    return None


def peak_megabytes() -> float:
    """The most memory that this process ever held, with the pages of files."""
    if (peak_here := status_megabytes("VmHWM")) is not None:  # else what the starting process held would count, too
        return peak_here
    import resource  # which Windows has not

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
