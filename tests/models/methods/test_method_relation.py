"""Relation Networks against Sung et al. 2018: concatenated maps, pair by pair, convolved by loops over the pixels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.batches import EpisodeImages, episode_images
from fewshot.models.factory import build_method, load_trained
from fewshot.models.methods import Method
from fewshot.models.methods.base import UntrainedError
from fewshot.models.methods.relation import PairConvolution, Relation, RelationModule
from fewshot.models.tensor_files import save_tensors
from fewshot.training.loop import train
from toy_classes import COLOR, GRAY, QUICK, constant_set, toy_batch, toy_set

SPEC = EpisodeSpec(way=4, shot=2, num_query=3)


def relation(image_shape: tuple[int, int, int] = GRAY, *, trained: bool = True, **options: Any) -> Relation:
    """Over an encoder of 8 channels; its batch norms remember statistics that are not those they were born with."""
    method = build_method("relation", options, "relation", {"width": 8}, image_shape, seed=0)
    generator = torch.Generator().manual_seed(1)
    for module in method.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            assert module.running_var is not None
            module.running_mean.copy_(torch.rand(module.running_mean.shape, generator=generator) - 0.5)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) + 0.5)
    method.trained = trained
    assert isinstance(method, Relation)
    return method


def maps(way: int = 3, shot: int = 2, size: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    support = torch.rand(2, way, shot, 8, size, size, generator=generator, dtype=torch.float64)
    return support, torch.rand(2, 4, 8, size, size, generator=generator, dtype=torch.float64)


def concatenated_kernel(pairs: PairConvolution) -> Tensor:
    """One kernel over the support's channels and, behind them, the query's."""
    return torch.cat([pairs.of_support.weight, pairs.of_query.weight], dim=1).detach()


def convolution_by_loops(image: Tensor, kernel: Tensor, padding: int) -> Tensor:
    """3x3 convolution of one image (channels, height, width), one output pixel and one tap at a time."""
    padded = functional.pad(image, (padding,) * 4)
    height, width = padded.shape[1] - 2, padded.shape[2] - 2
    result = torch.zeros(len(kernel), height, width, dtype=image.dtype)
    for y in range(height):
        for x in range(width):
            for row in range(3):
                for column in range(3):
                    result[:, y, x] += kernel[:, :, row, column] @ padded[:, y + row, x + column]
    return result


def block_by_loops(image: Tensor, kernel: Tensor, norm: nn.BatchNorm2d, padding: int) -> Tensor:
    """Convolution, batch norm on its running statistics, ReLU, and the maximum of each 2x2 square."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    x = convolution_by_loops(image, kernel, padding)
    for channel in range(len(x)):
        scale = norm.weight[channel].item() / math.sqrt(norm.running_var[channel].item() + norm.eps)
        x[channel] = (x[channel] - norm.running_mean[channel]) * scale + norm.bias[channel].item()
    x = x.clamp_min(0)
    height, width = x.shape[1] // 2, x.shape[2] // 2
    squares = [[x[:, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((1, 2)) for j in range(width)] for i in range(height)]
    return torch.stack([torch.stack(row, dim=-1) for row in squares], dim=-2)


def score_by_loops(module: RelationModule, support: list[Tensor], query: Tensor) -> float:
    """The score of one query and one class before the sigmoid: figure 3 of the paper, its text for five shots."""
    summed = torch.zeros_like(query)
    for image in support:
        summed = summed + image
    padding = int(module.convolution.padding[0])
    x = torch.cat([summed, query])  # (2 channels, height, width)
    x = block_by_loops(x, concatenated_kernel(module.pairs), module.norm1, padding)
    x = block_by_loops(x, module.convolution.weight.detach(), module.norm2, padding)
    hidden = (module.hidden.weight @ x.flatten() + module.hidden.bias).clamp_min(0)
    return (module.score.weight @ hidden + module.score.bias).item()


@pytest.mark.parametrize("size", [5, 11])
def test_scores_are_those_of_concatenated_maps_pair_by_pair(size: int) -> None:
    """5x5 maps, as of 28x28 images, are padded; larger ones are not."""
    torch.manual_seed(0)
    module = RelationModule(8, (size, size), width=6).double().eval()
    for norm in (module.norm1, module.norm2):
        assert norm.running_mean is not None
        norm.running_mean.normal_()
    support, query = maps(shot=2, size=size)
    scores = module(support.sum(2), query)
    assert scores.shape == (2, 4, 3)
    for row, column in ((0, 0), (0, 2), (3, 1)):
        expected = score_by_loops(module, [*support[1, column]], query[1, row])
        assert scores[1, row, column].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("padding", [0, 1])
def test_a_split_convolution_is_one_over_concatenated_maps(padding: int) -> None:
    torch.manual_seed(0)
    pairs = PairConvolution(8, 6, padding).double()
    support, query = maps(shot=1)
    found = pairs(support[:, :, 0], query).unflatten(0, (2, 4, 3))
    for row in range(4):
        for column in range(3):
            both = torch.cat([support[:, column, 0], query[:, row]], dim=1)
            expected = functional.conv2d(both, concatenated_kernel(pairs), padding=padding)
            torch.testing.assert_close(found[:, row, column], expected, rtol=1e-9, atol=1e-12)


def test_batch_statistics_are_those_of_all_pairs() -> None:
    """In training a batch norm sees every pair of every episode, each pair once."""
    torch.manual_seed(0)
    module = RelationModule(8, (5, 5), width=6).double().train()
    support, query = maps(shot=1)
    pairs = [torch.cat([s[c, 0], image]) for s, q in zip(support, query, strict=True) for image in q for c in range(3)]
    x = functional.conv2d(torch.stack(pairs), concatenated_kernel(module.pairs), padding=1)
    x = functional.max_pool2d(functional.batch_norm(x, None, None, training=True).relu(), 2)
    x = functional.conv2d(x, module.convolution.weight, padding=1)
    x = functional.max_pool2d(functional.batch_norm(x, None, None, training=True).relu(), 2)
    expected = module.score(module.hidden(x.flatten(1)).relu()).view(2, 4, 3)
    torch.testing.assert_close(module(support[:, :, 0], query), expected, rtol=1e-6, atol=1e-9)


def test_support_maps_are_summed_and_not_averaged() -> None:
    method = relation().double().eval()
    support, query = maps(shot=3)
    logits = method.logits(support, query)
    total = support.sum(2, keepdim=True)
    torch.testing.assert_close(logits, method.logits(total, query))
    assert not torch.allclose(logits, method.logits(total / 3, query), rtol=1e-3)


def loss_by_loops(scores: Tensor, labels: Tensor) -> float:
    """The mean of ``(r_ij - 1(y_i == y_j))^2`` over all pairs; the paper's equation 2 is the sum."""
    total, count = 0.0, 0
    for row, label in zip(scores.flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True):
        for column, score in enumerate(row):
            total += (1 / (1 + math.exp(-score)) - (column == label)) ** 2
            count += 1
    return total / count


def test_the_loss_is_the_squared_error_of_the_relation_scores() -> None:
    method, batch = relation().double().train(), toy_batch(SPEC, count=2)
    scores = method.scored(*method.embed_episode(batch))
    assert method.loss(batch).item() == pytest.approx(loss_by_loops(scores, batch.labels), rel=1e-6)


@pytest.mark.parametrize(("loss", "value"), [("mse", 0.25), ("cross-entropy", math.log(4))])
def test_all_scores_one_half_cost_a_quarter_or_the_logarithm_of_the_way(loss: str, value: float) -> None:
    method = relation(relation_loss=loss).train()
    nn.init.zeros_(method.relation.score.weight)
    nn.init.zeros_(method.relation.score.bias)
    assert method.loss(toy_batch(SPEC)).item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("spec", [EpisodeSpec(4, 1, 2), EpisodeSpec(2, 5, 1)])
@pytest.mark.parametrize(
    "options", [{}, {"relation_loss": "cross-entropy"}, {"batch_norm": "transductive"}, {"batch_norm": "released"}]
)
def test_identical_images_give_a_finite_loss_and_gradient(options: dict[str, Any], spec: EpisodeSpec) -> None:
    method = relation(**options).train()
    loss = method.loss(toy_batch(spec, image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in method.parameters())


def other_queries(batch: EpisodeImages) -> EpisodeImages:
    """All queries but the first replaced."""
    others = toy_batch(SPEC, seed=7, image_set=toy_set(seed=8)).query
    return EpisodeImages(batch.support, torch.cat([batch.query[:, :1], others[:, 1:]], dim=1), batch.labels)


@pytest.mark.parametrize(("batch_norm", "sees"), [("inductive", False), ("transductive", True)])
def test_queries_see_each_other_through_batch_statistics_alone(batch_norm: str, sees: bool) -> None:
    method, batch = relation(batch_norm=batch_norm).eval(), toy_batch(SPEC)
    with torch.inference_mode():
        first, second = (method.logits(*method.embed_episode(b))[0, 0] for b in (batch, other_queries(batch)))
    assert method.transductive == method.embeds_per_episode == sees
    assert torch.allclose(first, second, rtol=1e-4) != sees


def test_transductive_batch_norm_keeps_no_statistics() -> None:
    kept = [name for name in relation(batch_norm="transductive").state_dict() if "running" in name or "num_b" in name]
    assert not kept
    assert sum("running_mean" in name for name in relation().state_dict()) == 6


@pytest.mark.parametrize("size", [28, 46])
def test_what_is_prepared_once_for_each_image_gives_the_scores_of_the_episode(size: int) -> None:
    """Maps of 5x5, whose last row and column no window takes in, and of 10x10, without padding."""
    method = relation((1, size, size)).double().eval()
    torch.manual_seed(0)
    table = torch.rand(30, *method.encoder.feature_shape, dtype=torch.float64)
    support, query = torch.randint(30, (2, 3, 2)), torch.randint(30, (2, 7))
    with torch.inference_mode():
        of_support, of_query = method.prepare(table)
        found = method.scored(of_support[support], of_query[query], prepared=True)
        torch.testing.assert_close(found, method.logits(table[support], table[query]), rtol=1e-9, atol=1e-12)
    assert found.std() > 0


class Counting(Relation):
    """Notes how many images are embedded together."""

    def embed(self, images: Tensor) -> Tensor:
        self.embedded = [*getattr(self, "embedded", []), len(images)]
        return super().embed(images)


def counted(batch_norm: str, queries_at_once: int = 0) -> tuple[list[int], list[int], ImageSet]:
    method, image_set = relation(batch_norm=batch_norm, queries_at_once=queries_at_once), toy_set(noise=130)
    method.__class__ = Counting
    counts = evaluate(method, EpisodeSampler(image_set, SPEC, seed=3), 6).correct
    assert isinstance(method, Counting)
    return counts.tolist(), method.embedded, image_set


def test_transductive_batch_norm_is_evaluated_episode_by_episode() -> None:
    counts, embedded, image_set = counted("transductive")
    assert embedded == [4 * 2 + 4 * 3] * 6
    method, sampler = relation(batch_norm="transductive").eval(), EpisodeSampler(image_set, SPEC, seed=3)
    expected = []
    with torch.inference_mode():
        for index in range(6):
            batch = episode_images(image_set.images, sampler[index])
            hits = method.logits(*method.embed_episode(batch)).argmax(-1) == batch.labels
            expected.append(int(hits.sum()))
    assert counts == expected
    assert 0 < sum(counts) < 6 * SPEC.num_queries


@pytest.mark.parametrize("at_once", [0, 1, 2])
def test_as_released_support_and_parts_of_the_queries_are_embedded_apart(at_once: int) -> None:
    """Sung's released test, episode by episode: so many queries of each class at a time, the support for itself."""
    counts, embedded, image_set = counted("released", at_once)
    parts = {0: [3], 1: [1, 1, 1], 2: [2, 1]}[at_once]
    assert embedded == [images for part in parts for images in (4 * 2, 4 * part)] * 6
    method, sampler = relation(batch_norm="released").eval(), EpisodeSampler(image_set, SPEC, seed=3)
    expected = []
    for index in range(6):
        batch, hits, taken = episode_images(image_set.images, sampler[index]), 0, 0
        for part in parts:
            of_classes = [(batch.labels[0] == label).nonzero().flatten()[taken : taken + part] for label in range(4)]
            places, taken = torch.cat(of_classes), taken + part
            with torch.inference_mode():
                support = torch.unflatten(torch.stack([method.embed(batch.support[0].flatten(0, 1))]), 1, (4, 2))
                scores = method.logits(support, method.embed(batch.query[0, places])[None])
            hits += int((scores[0].argmax(-1) == batch.labels[0, places]).sum())
        expected.append(hits)
    assert counts == expected
    assert 0 < sum(counts) < 6 * SPEC.num_queries


def test_the_predictions_of_parts_stay_with_their_queries() -> None:
    sampler = EpisodeSampler(toy_set(noise=130), SPEC, seed=3)
    found = evaluate(relation(batch_norm="released", queries_at_once=2), sampler, 6, keep_predictions=True)
    assert found.predictions is not None
    assert np.array_equal(found.predictions.images, np.concatenate([sampler[index].query for index in range(6)]))
    right = found.predictions.predicted == found.predictions.class_ids
    assert right.sum(axis=1).tolist() == found.correct.tolist()


@pytest.mark.parametrize("options", [{"queries_at_once": 3}, {"batch_norm": "released", "queries_at_once": -1}])
def test_a_part_of_the_queries_is_refused_where_it_means_nothing(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="--queries-at-once"):
        relation(**options)


def test_inductive_batch_norm_embeds_every_image_once() -> None:
    _, embedded, image_set = counted("inductive")
    assert sum(embedded) == len(image_set.images)


@pytest.mark.parametrize(("image_shape", "numbers"), [(GRAY, 64), (COLOR, 576)])
def test_the_linear_layers_are_as_wide_as_in_the_paper(image_shape: tuple[int, int, int], numbers: int) -> None:
    module = relation(image_shape).relation
    assert (module.hidden.in_features, module.hidden.out_features, module.score.in_features) == (numbers, 8, 8)


def test_rectangular_images_are_welcome() -> None:
    method = relation((1, 28, 40)).eval()
    images = torch.randint(256, (4, 1, 28, 40), dtype=torch.uint8)
    embeddings = method.embed(images).view(1, 4, 1, *method.encoder.feature_shape)
    assert method.logits(embeddings[:, :2], embeddings[:, 2:, 0]).shape == (1, 2, 2)


def test_what_cannot_be_compared_is_refused_in_words() -> None:
    with pytest.raises(UserError, match=r"Relation works on feature maps and Conv4 gives flat embeddings.*relation"):
        build_method("relation", {}, "conv4", {}, GRAY, seed=0)
    with pytest.raises(UserError, match=r"Prototypical works on flat embeddings .* choose --encoder conv4"):
        build_method("proto", {}, "relation", {}, GRAY, seed=0)
    with pytest.raises(UserError, match="maps of 4x4 or more"):
        build_method("relation", {}, "relation", {}, (1, 20, 20), seed=0)
    with pytest.raises(UserError, match="10x10 or more, not 8x8"):
        build_method("relation", {}, "relation", {}, (1, 8, 8), seed=0)


def test_an_untrained_relation_module_is_refused_until_it_is_trained_or_loaded(tmp_path: Path) -> None:
    sampler = EpisodeSampler(toy_set(), SPEC, seed=0)
    method = relation(trained=False)
    with pytest.raises(UntrainedError, match="relation module of this Relation was never trained"):
        evaluate(method, sampler, 3)
    looks = []

    def validate(candidate: Method) -> Any:
        looks.append(evaluate(candidate, sampler, 3).interval)  # not refused while it trains
        return looks[-1]

    state = tmp_path / "state.safetensors"
    train(method, EpisodeSampler(toy_set(), EpisodeSpec(4, 1, 2), seed=0), QUICK, validate, state_path=state)
    assert looks
    assert np.isfinite(evaluate(method, sampler, 3).interval.mean)
    resumed = relation(trained=False)
    train(resumed, EpisodeSampler(toy_set(), EpisodeSpec(4, 1, 2), seed=0), QUICK, validate, state_path=state)
    assert resumed.trained
    names = {"model": "relation", "model_options": {}, "encoder": "relation", "encoder_options": {"width": 8}}
    metadata = names | {"image_shape": [*GRAY], "seed": 0}
    save_tensors(tmp_path / "checkpoint.safetensors", method.state_dict(), metadata)
    loaded = load_trained(tmp_path / "checkpoint.safetensors", torch.device("cpu")).method
    assert np.array_equal(evaluate(loaded, sampler, 3).correct, evaluate(method, sampler, 3).correct)
