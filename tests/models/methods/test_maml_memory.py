"""What scoring many episodes at once holds in memory: never the gradient graph of more than one."""

from __future__ import annotations

import weakref

import pytest
import torch
from test_method_maml import MODELS, SPEC, adapted
from torch import Tensor

from fewshot.models import learn2learn_adapter as guest
from fewshot.models.methods.maml import AdaptedMethod
from toy_classes import toy_batch


@pytest.mark.skipif(bool(guest.why_not()), reason="needs learn2learn")
@pytest.mark.parametrize("model", MODELS)
def test_the_graph_of_an_episode_is_gone_before_the_next_one_is_scored(
    model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = adapted(model).eval()
    scored: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    score_one = AdaptedMethod._episode_logits

    def watched(self: AdaptedMethod, support: Tensor, query: Tensor, learning: bool) -> Tensor:
        alive.append(sum(reference() is not None for reference in scored))
        logits = score_one(self, support, query, learning)
        assert logits.requires_grad, "there is a graph to let go of"
        scored.append(weakref.ref(logits))
        return logits

    monkeypatch.setattr(AdaptedMethod, "_episode_logits", watched)
    with torch.inference_mode():
        method.scored(*method.embed_episode(toy_batch(SPEC, 4)))
    assert alive[1:] == [1, 1, 1] or alive[1:] == [0, 0, 0], "at most the one that is being let go of"
