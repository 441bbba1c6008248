"""Episodes scored in turns: every image of a class has its turn in the support."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from episodes.datasets.cards import DATASETS
from episodes.errors import UserError
from fewshot.experiments.config import RunConfig
from fewshot.models.batches import EpisodeImages
from fewshot.models.methods import METHODS
from fewshot.training.recipes import find_recipe
from registered import Variant, batch_for, build, every_method
from toy_classes import FewStrokes


def turned(batch: EpisodeImages, turn: int) -> EpisodeImages:
    """The same images divided otherwise, image by image as a reader of the definition would."""
    way, shot = batch.support.shape[1:3]
    supports, queries, labels = [], [], []
    for support, query, label in zip(batch.support, batch.query, batch.labels, strict=True):
        of_classes = [[*support[c], *(q for q, own in zip(query, label, strict=True) if own == c)] for c in range(way)]
        shifted = [images[turn:] + images[:turn] for images in of_classes]
        supports.append(torch.stack([torch.stack(images[:shot]) for images in shifted]))
        queries.append(torch.stack([image for images in shifted for image in images[shot:]]))
        labels.append(torch.arange(way).repeat_interleave(len(shifted[0]) - shot))
    return replace(batch, support=torch.stack(supports), query=torch.stack(queries), labels=torch.stack(labels))


@every_method
@pytest.mark.parametrize("shot", [1, 2])
def test_the_loss_in_turns_is_the_mean_over_all_divisions(variant: Variant, shot: int) -> None:
    method = build(variant).double().eval()
    if method.adapts or method.trains_on != "episodes":
        pytest.skip("it does not divide embeddings")
    batch = batch_for(method, 2, shot=shot, num_query=3)
    if getattr(method, "batch_norm", "") == "released":
        with pytest.raises(UserError, match="cannot change places: leave out --turns"):
            method.loss_over_rotations(batch)
        return
    expected = [method.loss(turned(batch, turn)).item() for turn in range(shot + 3)]
    assert len(set(expected)) > 1, "turns that were all alike would prove nothing"
    assert method.loss_over_rotations(batch).item() == pytest.approx(sum(expected) / len(expected), rel=1e-6)


def test_a_method_that_cannot_take_turns_is_told_so() -> None:
    with pytest.raises(UserError, match="leave out --turns"):
        RunConfig(model="softmax", recipe="smoke", turns=True).resolve(FewStrokes())


def test_the_fast_recipe_of_omniglot_takes_turns_and_the_papers_do_not() -> None:
    one, five = (find_recipe("fast", "omniglot", shot, "proto") for shot in (1, 5))
    assert one.turns
    assert five.turns
    assert (one.train_way, one.train_query, five.train_way, five.train_query) == (120, 2, 120, 2)
    assert one.optimizer == five.optimizer == "muon"
    paper = find_recipe("paper", "omniglot", 1, "proto")
    assert paper.turns is None
    assert paper.optimizer is None
    assert "omniglot" in DATASETS
    for model in METHODS:
        if METHODS.get(model).trains_on == "images" or METHODS.get(model).adapts:
            assert not find_recipe("fast", "omniglot", 1, model).turns
