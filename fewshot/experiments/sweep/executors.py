"""Who makes the runs: this process one after another, or several processes of this machine at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from abc import abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext, suppress
from queue import LifoQueue
from typing import Any, ClassVar, TypeVar

import torch

from episodes.errors import Interrupted
from fewshot.models.hardware import keep_freed_memory, take_gpu

T = TypeVar("T")


class Engine(Executor):
    """An executor of Python's that can also be stopped; ``at_once`` where it makes several runs at a time.

    A future raises BrokenExecutor where its worker ended without an answer: it is worth another try.
    """

    at_once: ClassVar[bool] = True

    def batch(self) -> AbstractContextManager[object]:
        """What is submitted within may be handed on together when it ends."""
        return nullcontext()

    @abstractmethod
    def stop(self) -> None:
        """Let all that runs save what it has, and begin no other."""


class InThisProcess(Engine):
    """Each when it is submitted. On Ctrl-C the training loop saves and raises Interrupted."""

    at_once = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Interrupted:
            raise
        except Exception as error:
            future.set_exception(error)
        return future

    def stop(self) -> None:
        raise KeyboardInterrupt


class Processes(Engine):
    """So many runs at a time on this machine, each in a process that is used again and has a pool of its own.

    So the end of one process breaks no other run. Threads are divided among them, and GPUs are dealt out.
    """

    def __init__(self, count: int) -> None:
        self._threads, self._count, self._stopped = ThreadPoolExecutor(count), count, False
        self._pools: dict[int, ProcessPoolExecutor] = {}
        self._free: LifoQueue[int] = LifoQueue()
        for slot in reversed(range(count)):
            self._free.put(slot)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return self._threads.submit(self._in_a_process, fn, *args, **kwargs)

    def stop(self) -> None:
        self._stopped = True
        for child in multiprocessing.active_children():
            with suppress(ProcessLookupError):
                os.kill(child.pid or 0, signal.SIGINT)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._threads.shutdown(wait, cancel_futures=cancel_futures)
        for pool in self._pools.values():
            pool.shutdown(wait)

    def _in_a_process(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        slot = self._free.get()
        try:
            if self._stopped:
                raise Interrupted
            if slot not in self._pools:
                spawn = multiprocessing.get_context("spawn")
                self._pools[slot] = ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(slot, self._count))
            return self._pools[slot].submit(_call, fn, *args, **kwargs).result()
        except BrokenProcessPool:
            del self._pools[slot]
            if self._stopped:
                raise Interrupted from None
            raise
        finally:
            self._free.put(slot)


def _begin(slot: int, count: int) -> None:
    """A process begins: in a session of its own, so that Ctrl-C reaches it once, from the one that started it."""
    if hasattr(os, "setsid"):
        os.setsid()
    signal.signal(signal.SIGINT, _leave)  # also where it is ignored, as behind nohup
    sys.stdout = sys.stderr  # standard output belongs to the command
    torch.set_num_threads(max(1, torch.get_num_threads() // count))
    take_gpu(slot)
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _call(fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Make a run, which Ctrl-C ends with what it has saved."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return fn(*args, **kwargs)
    finally:
        signal.signal(signal.SIGINT, _leave)


def _leave(*_: object) -> None:
    os._exit(130)


def _end_with_parent() -> None:
    """Nobody waits for what is made when the starting process was killed; its trainings have saved their state."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
