"""A training step never reads a number back from the device: on a GPU the loop would stand still at each.

Seen on the CPU by the operations that such a reading is made of.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from registered import Variant, batch_for, build, every_learner

READING = (
    "aten._local_scalar_dense",
    "aten.nonzero",
    "aten.masked_select",
    "aten.is_nonzero",
    "aten.equal",
    "aten._unique",
)


CHOOSING = ("triplet", "npair", "nca", "nce", "supcon", "proxy-nca", "proxy-anchor")
"""Losses over the pairs, triplets or classes that a batch happens to hold: their number is read back, once a step."""


class Readings(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations whose result, or the size of it, has to be known before the program goes on."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        by_mask = name.startswith(("aten.index.", "aten.index_put")) and any(
            index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]
        )
        if name.startswith(READING) or by_mask:
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "action", [lambda x: float(x[0]), lambda x: x[x > 0], lambda x: x.nonzero(), lambda x: bool((x > 0).all())]
)
def test_a_reading_is_seen(action: Any) -> None:
    with Readings() as readings:
        action(torch.tensor([1.0, -1.0]))
    assert readings.found


@every_learner
def test_a_step_reads_nothing_back(variant: Variant) -> None:
    method = build(variant)
    if variant[0] in CHOOSING:
        pytest.skip("it asks how many pairs there are")
    method.train()
    batch = batch_for(method)
    with Readings() as readings:
        loss = method.loss(batch)
        torch.autograd.backward(loss)
    assert not readings.found
