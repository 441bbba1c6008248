"""What holds for every registered method and encoder. A new file is tested by registering."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from episodes.spec import EpisodeSpec
from fewshot.cli.options import flags_of, parse_model_options
from fewshot.cli.run import run
from fewshot.models.batches import EpisodeImages
from fewshot.models.encoders.base import ENCODERS, ImageShape
from fewshot.models.encoders.library import LibraryEncoder
from fewshot.models.methods import METHODS, Method
from fewshot.models.options import checked_options, options_of
from fewshot.models.tensor_files import load_tensors, save_tensors
from registered import (
    Variant,
    assert_near,
    batch_for,
    build,
    build_encoder,
    embedded,
    every_learner,
    every_method,
    logits_of,
    spec_for,
    trained_a_little,
)
from toy_classes import COLOR, GRAY, toy_batch, toy_set

every_encoder = pytest.mark.parametrize("encoder", sorted(ENCODERS))


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
    if method.embeds_per_episode:
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


@every_learner
def test_weights_come_back_from_a_file_to_the_bit(variant: Variant, tmp_path: Path) -> None:
    method, other = build(variant, seed=0), build(variant, seed=1)
    trained_a_little(method)
    save_tensors(tmp_path / "weights.safetensors", method.state_dict(), {})
    other.load_state_dict(load_tensors(tmp_path / "weights.safetensors")[0])
    parts = embedded(method, batch_for(method))
    again = embedded(other, batch_for(method))
    assert torch.equal(logits_of(method, *parts), logits_of(other, *again))


@every_learner
def test_color_images_of_84_pixels_are_welcome(variant: Variant) -> None:
    method = build(variant, image_shape=COLOR)
    batch = batch_for(method, way=2, shot=1, num_query=1, image_set=toy_set(4, 4, COLOR))
    logits = logits_of(method, *embedded(method, batch))
    assert logits.shape == (1, 2, 2)
    assert logits.isfinite().all()


@pytest.mark.parametrize("name", [*METHODS, *ENCODERS])
def test_every_option_can_be_typed_on_the_command_line(name: str) -> None:
    """None hides behind an option of `fewshot run`, and none is taken for a misspelt one."""
    target = METHODS.get(name) if name in METHODS else ENCODERS.get(name)
    flags = flags_of(run)
    known = {option.flag for option in options_of(target).values()}
    assert not known & flags
    for option in options_of(target).values():
        words = parse_model_options((option.flag, str(option.default)), flags, known)
        assert checked_options(target, words, name) == {option.name: option.default}


@every_encoder
@pytest.mark.parametrize("image_shape", [GRAY, COLOR])
def test_an_encoder_gives_the_shape_it_promises(encoder: str, image_shape: ImageShape) -> None:
    network = build_encoder(encoder, image_shape)
    images = toy_set(2, 2, network.image_shape).images
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
    network = build_encoder(encoder, GRAY).eval()
    images = toy_set(3, 2, network.image_shape).images
    with torch.inference_mode():
        together, alone = network(images), torch.cat([network(image[None]) for image in images])
    assert_near(together, alone)


@every_encoder
def test_every_parameter_of_an_encoder_learns(encoder: str) -> None:
    torch.manual_seed(0)
    network = build_encoder(encoder, GRAY)
    if not [*network.parameters()]:
        pytest.skip("it has none")
    features = network(toy_set(4, 3, network.image_shape).images)
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    torch.autograd.backward((features * weights).sum())
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if isinstance(network, LibraryEncoder) and parameter.ndim == 1:
            continue  # as published: the next batch norm takes biases away again
        assert parameter.grad.abs().max() > 1e-5 * weights.abs().max(), f"{name} does not learn"
