"""Matching Networks against the formulas of Vinyals et al. 2016, written as plain loops over Python floats."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.methods.base import UntrainedError
from fewshot.models.methods.matching import FullContext, Matching
from fewshot.training.optimizers import optimizer_for
from fewshot.training.step import train_step
from toy_classes import QUICK, constant_set, toy_batch, toy_method, toy_set

Vector = list[float]


def matching(**options: object) -> Matching:
    """Over an encoder of 8 numbers."""
    method = toy_method("matching", options)
    assert isinstance(method, Matching)
    return method


def embeddings(way: int = 4, shot: int = 3, dim: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    support = torch.randn(2, way, shot, dim, generator=generator, dtype=torch.float64)
    return support, torch.randn(2, 6, dim, generator=generator, dtype=torch.float64)


def inner(a: Vector, b: Vector) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: Vector, b: Vector) -> float:
    return inner(a, b) / math.sqrt(inner(a, a) * inner(b, b))


def minus_squared_distance(a: Vector, b: Vector) -> float:
    return -sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def softmax(scores: Vector) -> Vector:
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def mixture(support: Tensor, query: Vector, similarity: str, scale: float) -> Vector:
    """Equation 1 for one query: the attention on each support image, added to the probability of its label."""
    compare = cosine if similarity == "cosine" else minus_squared_distance
    labeled = [(image, label) for label, images in enumerate(support.tolist()) for image in images]
    attention = softmax([scale * compare(query, image) for image, _ in labeled])
    probabilities = [0.0] * len(support)
    for weight, (_, label) in zip(attention, labeled, strict=True):
        probabilities[label] += weight
    return probabilities


@pytest.mark.parametrize("scale", [1.0, 7.5])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("shot", [1, 3])
def test_probabilities_are_attention_times_one_hot_labels(distance: str, scale: float, shot: int) -> None:
    support, query = embeddings(shot=shot)
    logits = matching(distance=distance, scale=scale).logits(support, query)
    for episode in range(2):
        expected = [mixture(support[episode], point, distance, scale) for point in query[episode].tolist()]
        torch.testing.assert_close(
            logits[episode].exp(), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-300
        )


@pytest.mark.parametrize("shot", [1, 3])
def test_the_loss_is_the_negative_log_likelihood_of_the_mixture(shot: int) -> None:
    """With the encoder in float64, over two episodes of real pixels; equation 2."""
    method = matching(scale=5.0).double().train()
    batch = toy_batch(EpisodeSpec(4, shot, 3), count=2)
    support, query, _ = method.embed_episode(batch)
    total = 0.0
    for episode in range(2):
        for point, label in zip(query[episode].tolist(), batch.labels[episode].tolist(), strict=True):
            total -= math.log(mixture(support[episode].detach(), point, "cosine", 5.0)[label])
    assert method.loss(batch).item() == pytest.approx(total / batch.labels.numel(), rel=1e-6)


def test_the_mixture_is_no_softmax_of_summed_similarities() -> None:
    support, query = embeddings()
    cosines = torch.cosine_similarity(query[0, :, None, None], support[0], dim=-1)  # (queries, way, shot)
    sums = cosines.sum(-1)
    assert not torch.allclose(matching().logits(support, query)[0].softmax(-1), sums.softmax(-1), rtol=1e-2)


@pytest.mark.parametrize("shot", [1, 3])
def test_identical_embeddings_are_worth_the_logarithm_of_the_way(shot: int) -> None:
    support = torch.ones(1, 5, shot, 8)
    logits = matching().logits(support, torch.ones(1, 3, 8))
    torch.testing.assert_close(logits, torch.full((1, 3, 5), -math.log(5)))


def test_a_scale_of_one_leaves_the_attention_nearly_flat() -> None:
    """The query is one of two opposite support images: the odds are exp(2 scale), whatever the lengths."""
    support, query = torch.tensor([[[[1.0, 0.0]], [[-3.0, 0.0]]]]), torch.tensor([[[2.0, 0.0]]])
    for scale in (1.0, 10.0):
        probability = matching(scale=scale).logits(support, query).exp()[0, 0, 0]
        assert probability.item() == pytest.approx(1 / (1 + math.exp(-2 * scale)))


def test_with_squared_distance_one_shot_is_prototypical_networks_and_three_shots_are_not() -> None:
    ours, theirs = matching(distance="euclidean").double(), toy_method("proto").double()
    for shot, equal in ((1, True), (3, False)):
        support, query = embeddings(shot=shot)
        by_attention = ours.logits(support, query).softmax(-1)
        by_prototypes = theirs.logits(support, query).softmax(-1)
        assert torch.allclose(by_attention, by_prototypes, rtol=1e-9) == equal
        batch = toy_batch(EpisodeSpec(4, shot, 3), count=2)
        losses = [method.train().loss(batch).item() for method in (ours, theirs)]
        assert (losses[0] == pytest.approx(losses[1], rel=1e-9)) == equal


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def lstm_step(
    x: Vector, recurrent: Vector, cell: Vector, weights: tuple[list[Vector], list[Vector], Vector]
) -> tuple[Vector, Vector]:
    """``LSTM(x, h, c)``, one number of one gate at a time; ``recurrent`` may be longer than the cell."""
    of_input, of_recurrent, bias = weights
    size, hidden, after = len(cell), [0.0] * len(cell), [0.0] * len(cell)
    for unit in range(size):
        rows = [gate * size + unit for gate in range(4)]
        i, f, g, o = (inner(of_input[row], x) + inner(of_recurrent[row], recurrent) + bias[row] for row in rows)
        after[unit] = sigmoid(f) * cell[unit] + sigmoid(i) * math.tanh(g)
        hidden[unit] = sigmoid(o) * math.tanh(after[unit])
    return hidden, after


def support_by_loops(context: FullContext, images: list[Vector]) -> list[Vector]:
    """``g(x_i, S) = forward h_i + backward h_i + g'(x_i)`` (appendix A.2)."""
    lstm, total = context.support_lstm, [list(image) for image in images]
    for suffix, order in (("", range(len(images))), ("_reverse", reversed(range(len(images))))):
        of_input, of_hidden, bias_input, bias_hidden = (
            getattr(lstm, f"{name}_l0{suffix}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        weights = (of_input.tolist(), of_hidden.tolist(), (bias_input + bias_hidden).tolist())
        hidden, cell = [0.0] * len(images[0]), [0.0] * len(images[0])
        for index in order:
            hidden, cell = lstm_step(images[index], hidden, cell, weights)
            total[index] = [a + b for a, b in zip(total[index], hidden, strict=True)]
    return total


def query_by_loops(context: FullContext, point: Vector, support: list[Vector]) -> Vector:
    """Equations 3-6 of appendix A.1, with the recurrent weights on the pair [h, r]."""
    cell_weights = context.query_cell
    dim = len(point)
    of_both = cell_weights.weight_ih.detach().tolist()  # (4 dim, 2 dim): on x, and on r
    of_hidden = cell_weights.weight_hh.detach().tolist()
    of_input = [row[:dim] for row in of_both]
    of_pair = [on_h + row[dim:] for on_h, row in zip(of_hidden, of_both, strict=True)]
    bias = (cell_weights.bias_ih + cell_weights.bias_hh).tolist()
    h, c = list(point), [0.0] * dim
    for _ in range(context.read_steps):
        attention = softmax([inner(h, image) for image in support])
        read = [sum(a * image[unit] for a, image in zip(attention, support, strict=True)) for unit in range(dim)]
        raw, c = lstm_step(point, h + read, c, (of_input, of_pair, bias))
        h = [a + b for a, b in zip(raw, point, strict=True)]
    return h


@pytest.mark.parametrize("read_steps", [1, 2, 5])
def test_full_context_embeddings_are_those_of_the_appendix(read_steps: int) -> None:
    method = matching(fce=True, read_steps=read_steps).double()
    assert method.context is not None
    support, query = embeddings(way=3, shot=2)
    images, points = method.context(support.flatten(1, 2), query)
    for episode in range(2):
        expected = support_by_loops(method.context, support[episode].flatten(0, 1).tolist())
        torch.testing.assert_close(images[episode], torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-9)
        found = [query_by_loops(method.context, point, expected) for point in query[episode].tolist()]
        torch.testing.assert_close(points[episode], torch.tensor(found, dtype=torch.float64), rtol=1e-6, atol=1e-9)
        logits = method.logits(support, query)[episode]
        as_support = torch.tensor(expected, dtype=torch.float64).view(3, 2, 8)
        probabilities = [mixture(as_support, point, "cosine", 1.0) for point in found]
        torch.testing.assert_close(logits.exp(), torch.tensor(probabilities, dtype=torch.float64), rtol=1e-6, atol=0)


def test_every_read_step_reads() -> None:
    """Already one step depends on the support, and each further one changes the query."""
    support, query = embeddings(way=3, shot=1)
    other = support.clone()
    other[:, 0] += 1
    seen = []
    for steps in (1, 2, 3):
        context = matching(fce=True, read_steps=steps).double().context
        assert context is not None
        points = context(support.flatten(1, 2), query)[1]
        assert not torch.allclose(points, context(other.flatten(1, 2), query)[1], rtol=1e-3)
        seen.append(points)
    assert not torch.allclose(seen[0], seen[1], rtol=1e-3)
    assert not torch.allclose(seen[1], seen[2], rtol=1e-4)


def test_full_context_embeddings_read_the_support_in_order() -> None:
    support, query = embeddings(shot=1)
    turned = support.flip(1)
    for fce, same in ((False, True), (True, False)):
        method = matching(fce=fce, scale=10.0).double()
        assert torch.allclose(method.logits(support, query), method.logits(turned, query).flip(-1)) == same


@pytest.mark.parametrize("options", [{}, {"distance": "euclidean"}, {"fce": True}, {"separate_encoders": True}])
@pytest.mark.parametrize("shot", [1, 5])
def test_identical_images_give_a_finite_loss_and_gradient(options: dict[str, object], shot: int) -> None:
    method = matching(**options).train()
    loss = method.loss(toy_batch(EpisodeSpec(3, shot, 1), image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in method.parameters())


def test_separate_encoders_begin_as_one_and_part_in_training() -> None:
    shared, separate = matching(scale=10.0), matching(scale=10.0, separate_encoders=True)
    batch = toy_batch(EpisodeSpec(4, 2, 3))
    for method in (shared, separate):
        method.train()
    assert separate.loss(batch).item() == pytest.approx(shared.loss(batch).item(), rel=1e-6)
    optimizer, image_set = torch.optim.Adam(separate.parameters(), lr=1e-3), toy_set()
    train_step(separate, optimizer, image_set.images, EpisodeSampler(image_set, EpisodeSpec(4, 2, 3), 0)[0], "fp32")
    assert separate.query_encoder is not None
    weights = zip(separate.encoder.parameters(), separate.query_encoder.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in weights)


def test_separate_encoders_embed_the_support_with_one_and_the_queries_with_the_other() -> None:
    method = matching(separate_encoders=True)
    assert method.query_encoder is not None
    with torch.no_grad():
        for parameter in method.query_encoder.parameters():
            parameter.mul_(1.5).add_(0.1)
    batch = toy_batch(EpisodeSpec(4, 2, 3))
    with torch.inference_mode():
        method.eval()
        support = method.encoder(batch.support.flatten(0, 2)).view(1, 4, 2, 8)
        query = method.query_encoder(batch.query[0])[None]
        found = method.logits(*method.embed_episode(batch))
        torch.testing.assert_close(found, matching().logits(support, query))
        assert not torch.allclose(found, matching().logits(support, method.encoder(batch.query[0])[None]))


def test_an_untrained_full_context_embedding_is_refused_and_bare_attention_is_not() -> None:
    image_set = toy_set()
    sampler = EpisodeSampler(image_set, EpisodeSpec(4, 2, 3), seed=0)
    assert evaluate(matching(), sampler, 5).interval.n == 5
    method = matching(fce=True)
    with pytest.raises(
        UntrainedError, match=r"full-context embedding of this Matching was never trained.*`fewshot run`"
    ):
        evaluate(method, sampler, 5)
    train_step(method, optimizer_for(method, QUICK), image_set.images, sampler[0], "fp32")
    assert evaluate(method, sampler, 5).interval.n == 5


def test_no_read_step_is_refused() -> None:
    with pytest.raises(UserError, match="--read-steps must be 1 or more"):
        matching(fce=True, read_steps=0)
