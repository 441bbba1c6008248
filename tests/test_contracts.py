"""What holds for every registered method and encoder. A new file is tested by registering."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toy_classes import COLOR, GRAY, constant_set, toy_batch, toy_set

from episodes.sampler import EpisodeSampler
from episodes.types import EpisodeSpec, ImageSet
from fewshot.building import build_method
from fewshot.checkpoints import load_tensors, save_tensors
from fewshot.cli import cli, parse_model_options
from fewshot.encoders import ENCODERS, ImageShape
from fewshot.evaluation import evaluate
from fewshot.methods import METHODS, EpisodeImages, Method
from fewshot.methods.base import episode_images
from fewshot.options import checked_options, options_of

Variant = tuple[str, dict[str, Any]]


def variants() -> list[Variant]:
    """Every method as it is by default, and once with every other word that one of its options takes."""
    found: list[Variant] = []
    for name in METHODS:
        found.append((name, {}))
        for option in options_of(METHODS.get(name)).values():
            words = option.choices or ((not option.default,) if option.kind is bool else ())
            found += [(name, {option.name: word}) for word in words if word != option.default]
    return found


every_method = pytest.mark.parametrize("variant", variants(), ids=lambda v: "-".join([v[0], *map(str, v[1].values())]))
every_encoder = pytest.mark.parametrize("encoder", sorted(ENCODERS))


def build(variant: Variant, seed: int = 0, image_shape: ImageShape = GRAY) -> Method:
    """The method over its own encoder, made narrow where the encoder has a width."""
    name, options = variant
    encoder = METHODS.get(name).default_encoder
    narrow = {"width": 16} if "width" in options_of(ENCODERS.get(encoder)) else {}
    method = build_method(name, options, encoder, narrow, image_shape, seed)
    method.trained = True  # what is untrained may refuse to be evaluated; here nothing is made of its accuracy
    return method


def spec_for(method: Method, way: int = 4, shot: int = 2, num_query: int = 3) -> EpisodeSpec:
    """Episodes with unlabeled images and a distractor class for the methods that use them."""
    return EpisodeSpec(way, shot, num_query, *((2, 1) if method.uses_unlabeled else ()))


def batch_for(method: Method, count: int = 1, image_set: ImageSet | None = None, **counts: int) -> EpisodeImages:
    chosen = image_set or toy_set(per_class=10)
    return toy_batch(spec_for(method, **counts), count, image_set=chosen)


def embedded(method: Method, batch: EpisodeImages) -> tuple[Tensor, Tensor, Tensor | None]:
    with torch.inference_mode():
        return method.eval().embed_episode(batch)


def logits_of(method: Method, support: Tensor, query: Tensor, unlabeled: Tensor | None) -> Tensor:
    with torch.inference_mode():
        return method.eval().logits(support, query, unlabeled)


def assert_near(found: Tensor, expected: Tensor) -> None:
    scale = max(1.0, float(expected.abs().max()))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * scale)


def trained_a_little(method: Method, steps: int = 3) -> list[float]:
    """The losses of a few gradient steps, each on an episode of its own."""
    image_set = toy_set(per_class=10)
    sampler = EpisodeSampler(image_set, spec_for(method), seed=1)
    optimizer = torch.optim.Adam(method.parameters(), lr=1e-3)
    losses = []
    method.train()
    for index in range(steps):
        loss = method.loss(episode_images(image_set.images, sampler[index]))
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", sorted(METHODS))
def test_a_method_says_in_one_line_what_it_is_and_where_it_comes_from(name: str) -> None:
    method_class = METHODS.get(name)
    for text in (method_class.title, method_class.source):
        assert 10 < len(text) < 120
        assert "\n" not in text
    assert method_class.default_encoder in ENCODERS
    assert (method_class.__doc__ or "").strip()


@every_method
def test_logits_are_one_score_for_every_query_and_class(variant: Variant) -> None:
    method = build(variant)
    logits = logits_of(method, *embedded(method, batch_for(method, 3)))
    assert logits.shape == (3, 12, 4)
    assert logits.isfinite().all()
    assert logits.dtype == torch.float32


@every_method
def test_episodes_of_a_batch_do_not_mix(variant: Variant) -> None:
    method = build(variant)
    if method.sees_whole_episode:
        pytest.skip("its embeddings depend on the batch by design; evaluate gives it one episode at a time")
    support, query, unlabeled = embedded(method, batch_for(method, 3))
    alone = logits_of(method, support[1:2], query[1:2], None if unlabeled is None else unlabeled[1:2])
    assert_near(logits_of(method, support, query, unlabeled)[1:2], alone)


def assert_symmetric(method: Method, found: Tensor, expected: Tensor) -> None:
    """Equal, but for a method that reads the support as a sequence (Vinyals et al. 2016, full-context embeddings)."""
    if any(isinstance(module, nn.LSTM) for module in method.modules()):
        assert not torch.allclose(found, expected, rtol=1e-4, atol=1e-5), "it reads no sequence: drop the exception"
    else:
        assert_near(found, expected)


@every_method
def test_permuting_the_classes_permutes_the_columns(variant: Variant) -> None:
    method = build(variant)
    support, query, unlabeled = embedded(method, batch_for(method))
    order = torch.tensor([2, 0, 3, 1])
    expected = logits_of(method, support, query, unlabeled)[:, :, order]
    assert_symmetric(method, logits_of(method, support[:, order], query, unlabeled), expected)


@every_method
def test_permuting_the_queries_permutes_the_rows(variant: Variant) -> None:
    method = build(variant)
    support, query, unlabeled = embedded(method, batch_for(method))
    order = torch.randperm(query.shape[1], generator=torch.Generator().manual_seed(0))
    expected = logits_of(method, support, query, unlabeled)[:, order]
    assert_near(logits_of(method, support, query[:, order], unlabeled), expected)


@every_method
def test_order_of_the_images_of_a_class_changes_nothing(variant: Variant) -> None:
    method = build(variant)
    support, query, unlabeled = embedded(method, batch_for(method, shot=3))
    expected = logits_of(method, support, query, unlabeled)
    assert_symmetric(method, logits_of(method, support[:, :, [2, 0, 1]], query, unlabeled), expected)


@every_method
def test_order_of_the_unlabeled_images_changes_nothing(variant: Variant) -> None:
    method = build(variant)
    if not method.uses_unlabeled:
        pytest.skip("it uses no unlabeled images")
    support, query, unlabeled = embedded(method, batch_for(method))
    assert unlabeled is not None
    expected = logits_of(method, support, query, unlabeled)
    assert_near(logits_of(method, support, query, unlabeled.flip(1)), expected)


@every_method
def test_the_flag_transductive_says_whether_queries_see_each_other(variant: Variant) -> None:
    """The pixels of all other queries are replaced; the first query's logits move, or do not."""
    method, batch = build(variant), batch_for(build(variant))
    others = toy_batch(spec_for(method), seed=5, image_set=toy_set(per_class=10, seed=9)).query
    replaced = EpisodeImages(
        batch.support, torch.cat([batch.query[:, :1], others[:, 1:]], dim=1), batch.labels, batch.unlabeled
    )
    before = logits_of(method, *embedded(method, batch))[:, 0]
    after = logits_of(method, *embedded(method, replaced))[:, 0]
    scale = max(1.0, float(before.abs().max()))
    moved = not torch.allclose(before, after, rtol=1e-4, atol=1e-4 * scale)
    assert moved == method.transductive


@every_method
def test_the_flag_uses_unlabeled_says_whether_unlabeled_images_move_the_logits(variant: Variant) -> None:
    method = build(variant)
    batch = toy_batch(EpisodeSpec(4, 2, 3, 2, 1), image_set=toy_set(per_class=10))
    support, query, unlabeled = embedded(method, batch)
    with_unlabeled = logits_of(method, support, query, unlabeled)
    without = logits_of(method, support, query, None)
    assert torch.equal(with_unlabeled, without) != method.uses_unlabeled


@every_method
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


@every_method
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


@every_method
def test_one_episode_is_learned_by_heart(variant: Variant) -> None:
    torch.manual_seed(0)
    method = build(variant)
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
@pytest.mark.parametrize("value", [0, 128, 255])
def test_images_that_tell_nothing_are_classified_at_chance_exactly(variant: Variant, value: int) -> None:
    method = build(variant)
    sampler = EpisodeSampler(constant_set(value, per_class=10), spec_for(method), seed=0)
    counts = evaluate(method, sampler, 20).correct
    assert np.array_equal(counts, np.full(20, sampler.spec.num_query))


@every_method
def test_images_that_tell_nothing_cost_the_logarithm_of_the_way(variant: Variant) -> None:
    method = build(variant).train()
    if type(method).loss is not Method.loss:
        pytest.skip("its training loss is not the cross-entropy of the logits")
    for way in (2, 5):
        loss = method.loss(batch_for(method, way=way, image_set=constant_set(per_class=10)))
        assert loss.item() == pytest.approx(math.log(way), rel=1e-4)


@every_method
@pytest.mark.parametrize(("way", "shot", "num_query"), [(2, 1, 1), (1, 1, 1), (4, 1, 2)])
@pytest.mark.parametrize("value", [None, 0, 255])
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


@every_method
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


@every_method
def test_weights_come_back_from_a_file_to_the_bit(variant: Variant, tmp_path: Path) -> None:
    method, other = build(variant, seed=0), build(variant, seed=1)
    trained_a_little(method)
    save_tensors(tmp_path / "weights.safetensors", method.state_dict(), {})
    other.load_state_dict(load_tensors(tmp_path / "weights.safetensors")[0])
    parts = embedded(method, batch_for(method))
    again = embedded(other, batch_for(method))
    assert torch.equal(logits_of(method, *parts), logits_of(other, *again))


@every_method
def test_color_images_of_84_pixels_are_welcome(variant: Variant) -> None:
    method = build(variant, image_shape=COLOR)
    batch = batch_for(method, way=2, shot=1, num_query=1, image_set=toy_set(4, 4, COLOR))
    logits = logits_of(method, *embedded(method, batch))
    assert logits.shape == (1, 2, 2)
    assert logits.isfinite().all()


@pytest.mark.parametrize("variant", [v for v in variants() if v[1]], ids=str)
def test_every_word_of_an_option_changes_the_outcome(variant: Variant) -> None:
    """The losses in training, or what the same training is worth in evaluation."""
    default, chosen = build((variant[0], {})), build(variant)
    if trained_a_little(default) == trained_a_little(chosen):
        batch = batch_for(default)
        plain, other = (logits_of(method, *embedded(method, batch)) for method in (default, chosen))
        assert not torch.allclose(plain, other)


@pytest.mark.parametrize("name", [*METHODS, *ENCODERS])
def test_every_option_can_be_typed_on_the_command_line(name: str) -> None:
    """None hides behind an option of `fewshot run`, and none is taken for a misspelt one."""
    target = METHODS.get(name) if name in METHODS else ENCODERS.get(name)
    flags = {flag for parameter in cli.commands["run"].params for flag in parameter.opts if flag.startswith("--")}
    known = {option.flag for option in options_of(target).values()}
    assert not known & flags
    for option in options_of(target).values():
        words = parse_model_options((option.flag, str(option.default)), flags, known)
        assert checked_options(target, words, name) == {option.name: option.default}


@every_encoder
@pytest.mark.parametrize("image_shape", [GRAY, COLOR])
def test_an_encoder_gives_the_shape_it_promises(encoder: str, image_shape: ImageShape) -> None:
    network = ENCODERS.get(encoder)(image_shape)
    images = toy_set(2, 2, image_shape).images
    for training in (True, False):
        features = network.train(training)(images)
        assert features.shape == (4, *network.feature_shape)
        assert features.isfinite().all()
    assert network.dim == math.prod(network.feature_shape)


@every_encoder
def test_an_encoder_says_in_one_line_what_it_is(encoder: str) -> None:
    title = ENCODERS.get(encoder).title
    assert 10 < len(title) < 120
    assert "\n" not in title


@every_encoder
def test_an_encoder_embeds_each_image_alone_in_evaluation(encoder: str) -> None:
    torch.manual_seed(0)
    network = ENCODERS.get(encoder)(GRAY).eval()
    images = toy_set(3, 2).images
    with torch.inference_mode():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    assert_near(together, alone)


@every_encoder
def test_every_parameter_of_an_encoder_learns(encoder: str) -> None:
    torch.manual_seed(0)
    network = ENCODERS.get(encoder)(GRAY)
    features = network(toy_set().images)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((features * weights).sum())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 1e-5 * weights.abs().max(), f"{name} does not learn"
