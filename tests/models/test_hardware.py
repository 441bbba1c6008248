"""What the machine is asked for, and what is said where it does not have it."""

from __future__ import annotations

import itertools
import platform
import subprocess
import sys

import pytest
import torch

from fewshot.models import hardware
from fewshot.models.hardware import (
    HardwareError,
    autocast,
    choose_device,
    choose_precision,
    describe_machine,
    device_for_images,
    has_fast_bf16,
    keep_freed_memory,
)

CPU = torch.device("cpu")


def pretend_gpu(monkeypatch: pytest.MonkeyPatch, present: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present)


@pytest.mark.parametrize(("present", "chosen"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, present: bool, chosen: str) -> None:
    pretend_gpu(monkeypatch, present)
    assert choose_device("auto") == choose_device() == torch.device(chosen)
    assert choose_device("cpu") == CPU


def test_a_gpu_that_is_not_there_is_refused_with_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu(monkeypatch, False)
    with pytest.raises(HardwareError, match=r"no CUDA GPU .* use --device cpu or auto") as error:
        choose_device("cuda")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("num_bytes", "stay"), [(0, True), (500, True), (501, False)])
def test_images_stay_off_a_gpu_that_they_would_fill(
    monkeypatch: pytest.MonkeyPatch, num_bytes: int, stay: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    gpu = torch.device("cuda")
    assert device_for_images(num_bytes, gpu) == (gpu if stay else CPU)
    assert device_for_images(num_bytes, CPU) == CPU


@pytest.mark.parametrize(("fast", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_auto_precision_is_bfloat16_where_it_is_fast(monkeypatch: pytest.MonkeyPatch, fast: bool, chosen: str) -> None:
    monkeypatch.setattr(hardware, "has_fast_bf16", lambda device: fast)
    assert choose_precision("auto", CPU) == chosen
    assert [choose_precision(wanted, CPU) for wanted in ("fp32", "bf16")] == ["fp32", "bf16"]


def test_an_unknown_precision_is_answered_with_the_valid_ones() -> None:
    with pytest.raises(HardwareError, match=r"unknown precision 'fp16'\. Valid: auto, bf16, fp32"):
        choose_precision("fp16", CPU)


def test_whether_bfloat16_is_fast_is_asked_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}
    for name in answers:
        monkeypatch.setattr(torch.cpu, name, lambda name=name: answers[name])
    assert not has_fast_bf16(CPU)
    for name, most in itertools.product(answers, ("AVX512", "AVX2")):  # what PyTorch is told to use at most
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda most=most: most)
        answers[name] = True
        assert has_fast_bf16(CPU) == (most == "AVX512")
        answers[name] = False


def test_bfloat16_is_used_within_the_context_and_float32_without() -> None:
    left = torch.ones(2, 2)
    with autocast(CPU, "bf16"):
        assert (left @ left).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (left @ left).dtype == torch.float32
    assert (left @ left).dtype == torch.float32


def test_the_machine_is_described_in_words_and_numbers() -> None:
    described = describe_machine(CPU)
    assert described["device"] == "cpu"
    assert described["system"] == platform.system()
    assert described["threads"] == torch.get_num_threads()
    assert isinstance(described["cores"], int)
    assert described["cores"] >= 1
    assert str(described["name"]).strip()


def test_freed_memory_is_kept_on_linux_with_glibc_and_nothing_happens_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "libc_ver", lambda: ("musl", ""))
    assert not keep_freed_memory()


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc", reason="needs Linux with glibc"
)
def test_a_block_that_was_freed_costs_no_page_fault_when_it_is_taken_again() -> None:
    """In a process of its own: the setting cannot be taken back."""
    code = (
        "import resource, torch\n"
        "from fewshot.models.hardware import keep_freed_memory\n"
        "def faults():\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(20): torch.empty(16 << 20, dtype=torch.uint8).fill_(1)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
        "plain = faults(); assert keep_freed_memory(); faults(); print(plain, faults())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    plain, kept = map(int, done.stdout.split())
    assert kept < plain / 10
