"""What scoring many episodes at once holds in memory: never the gradient graph of more than one."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from test_method_maml import IMPLEMENTATIONS, SPEC, adapted
from torch import Tensor

from fewshot.models.methods import maml
from learn2learn_here import need_learn2learn
from toy_classes import toy_batch


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_graph_of_an_episode_is_gone_before_the_next_one_is_scored(
    implementation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if implementation == "learn2learn":
        need_learn2learn()
    method = adapted("maml").eval()
    method.implementation = implementation
    scored: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    name = f"_adapt_by_{implementation.replace('.', '_')}"
    adapt_one = getattr(maml, name)

    def watched(*arguments: Any) -> Tensor:
        alive.append(sum(reference() is not None for reference in scored))
        logits: Tensor = adapt_one(*arguments)
        assert logits.requires_grad, "there is a graph to let go of"
        scored.append(weakref.ref(logits))
        return logits

    monkeypatch.setattr(maml, name, watched)
    with torch.inference_mode():
        method.scored(*method.embed_episode(toy_batch(SPEC, 4)))
    assert alive[1:] == [1, 1, 1] or alive[1:] == [0, 0, 0], "at most the one that is being let go of"
