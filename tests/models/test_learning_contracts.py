"""What holds for the training of every registered method. A new file is tested by registering."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from episodes.sampler import EpisodeSampler
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.methods import Method
from registered import (
    Variant,
    batch_for,
    build,
    embedded,
    every_learner,
    every_method,
    logits_of,
    spec_for,
    trained_a_little,
    variants,
)
from toy_classes import constant_set, toy_set


@every_learner
def test_every_parameter_learns(variant: Variant) -> None:
    """A gradient of exactly zero on some data may be chance (a hinge is closed); on ten episodes it is not."""
    method = build(variant)
    method.train()
    torch.autograd.backward(method.loss(batch_for(method, 10)))
    silent = []
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        if not parameter.grad.any():
            silent.append(name)
    assert not silent


@every_learner
def test_one_seed_trains_bit_identical_weights_and_another_seed_others(variant: Variant) -> None:
    methods = [build(variant, seed) for seed in (3, 3, 4)]
    losses = [trained_a_little(method) for method in methods]
    weights = [torch.cat([p.detach().flatten() for p in method.parameters()]) for method in methods]
    assert torch.equal(weights[0], weights[1])
    assert losses[0] == losses[1]
    assert not torch.equal(weights[0], weights[2])


@every_method
def test_building_a_method_leaves_the_global_random_state_alone(variant: Variant) -> None:
    before = torch.get_rng_state()
    build(variant, seed=7)
    assert torch.equal(torch.get_rng_state(), before)


@every_learner
def test_one_episode_is_learned_by_heart(variant: Variant) -> None:
    torch.manual_seed(0)
    method = build(variant)
    if method.self_supervised:
        pytest.skip("it is not told the classes")
    batch = batch_for(method, way=5, shot=1, num_query=3, image_set=toy_set(per_class=10, noise=120))
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-2)
    for _ in range(200):
        method.train()
        embedded_batch = method.embed_episode(batch)
        if (method.scored(*embedded_batch).argmax(-1) == batch.labels).all():
            return
        loss = method.loss(batch)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    pytest.fail(f"200 steps on one episode do not bring its accuracy to 1; the loss is still {loss:.3f}")


@every_method
@pytest.mark.parametrize("value", [0, 255])
def test_images_that_tell_nothing_are_classified_at_chance_exactly(variant: Variant, value: int) -> None:
    method = build(variant)
    sampler = EpisodeSampler(constant_set(value, per_class=10), spec_for(method), seed=0)
    counts = evaluate(method, sampler, 20).correct
    assert np.array_equal(counts, np.full(20, sampler.spec.num_query))


@every_method
def test_images_that_tell_nothing_cost_the_logarithm_of_the_way(variant: Variant) -> None:
    method = build(variant).train()
    if type(method).loss is not Method.loss or type(method).loss_of_embedded is not Method.loss_of_embedded:
        pytest.skip("its training loss is not the cross-entropy of the logits")
    for way in (2, 5):
        loss = method.loss(batch_for(method, way=way, image_set=constant_set(per_class=10)))
        assert loss.item() == pytest.approx(math.log(way), rel=1e-4)


@every_learner
@pytest.mark.parametrize(("way", "shot", "num_query"), [(2, 1, 1), (1, 1, 1), (4, 1, 2)])
@pytest.mark.parametrize("value", [None, 255])
def test_degenerate_episodes_have_a_finite_loss_and_gradient(
    variant: Variant, way: int, shot: int, num_query: int, value: int | None
) -> None:
    """The smallest episodes there are, also with all embeddings equal (a root at 0 has an infinite slope)."""
    method = build(variant).train()
    image_set = toy_set(per_class=10) if value is None else constant_set(value, per_class=10)
    loss = method.loss(batch_for(method, way=way, shot=shot, num_query=num_query, image_set=image_set))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


@every_learner
def test_bfloat16_in_the_encoder_moves_the_loss_a_little_and_loses_no_gradient(variant: Variant) -> None:
    method = build(variant).train()
    batch = batch_for(method)
    expected = method.loss(batch).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = method.loss(batch)
    torch.autograd.backward(loss)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=0.2, abs=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())


@pytest.mark.parametrize("variant", [v for v in variants() if v[1]], ids=str)
def test_every_word_of_an_option_changes_the_outcome(variant: Variant) -> None:
    """The losses in training, or what the same training is worth in evaluation."""
    default, chosen = build((variant[0], {})), build(variant)
    if trained_a_little(default) == trained_a_little(chosen):
        batch = batch_for(default)
        plain, other = (logits_of(method, *embedded(method, batch)) for method in (default, chosen))
        assert not torch.allclose(plain, other)
