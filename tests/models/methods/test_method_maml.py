"""MAML and ANIL against gradient descent written out: a network of plain function calls, a step at a time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from command_line import SMOKE, Fewshot, record_in
from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from fewshot.evaluation.evaluate import evaluate
from fewshot.models.batches import EpisodeImages
from fewshot.models.encoders.conv import Conv4, ConvBlock
from fewshot.models.methods.maml import AdaptedMethod, SupportNorm
from learn2learn_here import need_learn2learn
from toy_classes import constant_set, toy_batch, toy_method, toy_set

SPEC = EpisodeSpec(way=3, shot=2, num_query=2)
MODELS = ("maml", "anil")
IMPLEMENTATIONS = ("torch.func", "learn2learn")

Statistics = list[tuple[Tensor, Tensor]]


@pytest.fixture(params=IMPLEMENTATIONS)
def by_either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test runs by each of the two; that of learn2learn is skipped where it is absent."""
    if request.param == "torch.func":
        monkeypatch.setattr("fewshot.models.methods.maml.why_not", lambda: "not installed")
    else:
        need_learn2learn()


by_each_implementation = pytest.mark.usefixtures("by_either")


def adapted(model: str = "maml", **options: Any) -> AdaptedMethod:
    """Over an encoder of 8 numbers, in float64."""
    method = toy_method(model, options).double()
    assert isinstance(method, AdaptedMethod)
    return method


def weights_of(method: AdaptedMethod) -> list[Tensor]:
    """Of each block the kernel, the scale and the shift: Conv4's parameters in their order."""
    assert isinstance(method.encoder, Conv4)
    weights: list[Tensor] = []
    for block in method.encoder.blocks:
        assert isinstance(block, ConvBlock)
        weights += [block.convolution.weight, block.norm.weight, block.norm.bias]
    return weights


def embed_by_hand(
    weights: list[Tensor], pixels: Tensor, statistics: Statistics | None = None
) -> tuple[Tensor, Statistics]:
    """Conv4 with batch norm by the statistics of these images, or by those that were found before; and these."""
    x, found = pixels.double() / 255, []
    for block in range(4):
        kernel, scale, shift = weights[3 * block : 3 * block + 3]
        x = functional.conv2d(x, kernel, padding=1)
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        found.append((mean, variance))
        if statistics is not None:
            mean, variance = statistics[block]
        x = (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()
        x = functional.max_pool2d((x * scale[:, None, None] + shift[:, None, None]).relu(), 2)
    return x.flatten(1), found


def adapted_by_hand(
    weights: list[Tensor], batch: EpisodeImages, rate: float, steps: int, *, first_order: bool = False
) -> Tensor:
    """Algorithm 2 of Finn et al. for one episode, from a head of zeros; the logits of the queries."""
    way, shot = batch.support.shape[1:3]
    support, labels = batch.support[0].flatten(0, 1), [c for c in range(way) for _ in range(shot)]
    head = [torch.zeros(way, 8, dtype=torch.float64, requires_grad=True), torch.zeros(way, dtype=torch.float64)]
    head[1].requires_grad_()
    parameters, statistics = [*weights, *head], None
    for _ in range(steps):
        embeddings, _ = embed_by_hand(parameters[:-2], support)
        log_probabilities = (embeddings @ parameters[-2].T + parameters[-1]).log_softmax(-1)
        loss = -torch.stack([row[label] for row, label in zip(log_probabilities, labels, strict=True)]).mean()
        gradients = torch.autograd.grad(loss, parameters, create_graph=not first_order)
        parameters = [p - rate * gradient for p, gradient in zip(parameters, gradients, strict=True)]
    _, statistics = embed_by_hand(parameters[:-2], support)
    embeddings, _ = embed_by_hand(parameters[:-2], batch.query[0], statistics)
    return embeddings @ parameters[-2].T + parameters[-1]


@by_each_implementation
@pytest.mark.parametrize("steps", [1, 3])
def test_adaptation_is_gradient_descent_on_the_support(steps: int) -> None:
    method, batch = adapted(test_steps=steps).eval(), toy_batch(SPEC)
    expected = adapted_by_hand(weights_of(method), batch, 0.1, steps)
    with torch.inference_mode():
        found = method.logits(*method.embed_episode(batch))[0]
    assert not found.requires_grad  # nothing of the episode stays in memory
    torch.testing.assert_close(found, expected.detach(), rtol=1e-6, atol=1e-9)


@by_each_implementation
@pytest.mark.parametrize("first_order", [False, True])
def test_the_gradient_runs_through_the_steps_unless_it_is_first_order(first_order: bool) -> None:
    """Over two episodes: the mean loss of the adapted networks, derived by the weights they started from."""
    method = adapted(inner_steps=2, first_order=first_order).train()
    batch = toy_batch(SPEC, count=2)
    loss, weights = method.loss(batch), weights_of(method)
    gradients = torch.autograd.grad(loss, weights)

    def by_hand(*, first_order: bool) -> Tensor:
        one_by_one = [
            EpisodeImages(batch.support[i : i + 1], batch.query[i : i + 1], batch.labels[i : i + 1]) for i in range(2)
        ]
        logits = [adapted_by_hand(weights, episode, 0.1, 2, first_order=first_order) for episode in one_by_one]
        return functional.cross_entropy(torch.cat(logits), batch.labels.flatten())

    assert loss.item() == pytest.approx(by_hand(first_order=first_order).item(), rel=1e-6)
    for found, expected in zip(gradients, torch.autograd.grad(by_hand(first_order=first_order), weights), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    others = torch.autograd.grad(by_hand(first_order=not first_order), weights)
    assert not torch.allclose(gradients[0], others[0], rtol=1e-2)


@by_each_implementation
def test_one_step_of_the_head_alone_has_a_closed_form() -> None:
    """From zero every class has probability 1/way, so a row becomes the class's sum less its share of all images."""
    method, batch = adapted("anil", test_steps=1, inner_learning_rate=0.3).eval(), toy_batch(SPEC)
    with torch.inference_mode():
        support, query, _ = method.embed_episode(batch)
        found = method.logits(support, query)[0]
        rows = 0.3 * (support[0].sum(1) - support[0].sum((0, 1)) / 3) / 6
        torch.testing.assert_close(found, query[0] @ rows.T, rtol=1e-6, atol=1e-12)


@by_each_implementation
def test_the_first_step_moves_the_head_alone_and_further_ones_the_encoder_too() -> None:
    """Equal rows send no gradient back; so for one step, and the same batch norm, MAML is ANIL."""
    batch = toy_batch(SPEC)
    for steps, same in ((1, True), (2, False)):
        method = adapted(test_steps=steps).eval()
        with torch.inference_mode():
            embeddings = [part.double() for part in embedded_by_support(method, batch)]
            of_head = adapted("anil", test_steps=steps).eval().logits(*embeddings)
            assert torch.allclose(method.logits(*method.embed_episode(batch)), of_head, rtol=1e-6) == same


def embedded_by_support(method: AdaptedMethod, batch: EpisodeImages) -> tuple[Tensor, Tensor]:
    support, statistics = embed_by_hand(weights_of(method), batch.support[0].flatten(0, 1))
    query, _ = embed_by_hand(weights_of(method), batch.query[0], statistics)
    return support.view(1, 3, 2, 8), query[None]


@by_each_implementation
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "options", [{"inner_learning_rate": 0.2}, {"inner_steps": 2}, {"first_order": True}, {"batch_norm": "transductive"}]
)
def test_every_option_changes_the_training_loss_or_its_gradient(model: str, options: dict[str, Any]) -> None:
    batch = toy_batch(SPEC)

    def learned(method: AdaptedMethod) -> Tensor:
        loss = method.train().loss(batch)
        return torch.cat([loss[None], torch.autograd.grad(loss, [*method.parameters()])[0].flatten()])

    if (model, options) == ("anil", {"batch_norm": "transductive"}):
        pytest.skip("in training its batch norm uses batch statistics either way; the contracts see the difference")
    assert not torch.allclose(learned(adapted(model)), learned(adapted(model, **options)), rtol=1e-4)


@by_each_implementation
@pytest.mark.parametrize("model", MODELS)
def test_training_takes_the_inner_steps_and_evaluation_the_test_steps(model: str) -> None:
    few, many = adapted(model, inner_steps=1, test_steps=4), adapted(model, inner_steps=4, test_steps=4)
    batch = toy_batch(SPEC)
    assert few.train().loss(batch).item() != many.train().loss(batch).item()
    for method in (few, many):
        method.load_state_dict(adapted(model).state_dict())
        method.eval()
    with torch.inference_mode():
        logits = [method.logits(*method.embed_episode(batch)) for method in (few, many)]
    assert torch.equal(*logits)
    with pytest.raises(UserError, match="must be 1 or more"):
        adapted(model, inner_steps=0)


@by_each_implementation
@pytest.mark.parametrize("model", MODELS)
def test_without_information_nothing_is_learned(model: str) -> None:
    """Identical images: the loss is the logarithm of the way, and no step makes a difference or breaks a gradient."""
    method = adapted(model).train()
    loss = method.loss(toy_batch(EpisodeSpec(5, 1, 2), image_set=constant_set()))
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(math.log(5), rel=1e-9)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in method.parameters())
    counts = evaluate(method, EpisodeSampler(constant_set(), EpisodeSpec(5, 1, 2), 0), 4).correct
    assert counts.tolist() == [2] * 4


@by_each_implementation
@pytest.mark.parametrize("model", MODELS)
def test_evaluation_changes_no_weight_and_leaves_no_gradient(model: str) -> None:
    method = toy_method(model)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    random_state = torch.get_rng_state()
    evaluate(method, EpisodeSampler(toy_set(), EpisodeSpec(4, 1, 3), 0), 20)
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())
    assert all(parameter.grad is None for parameter in method.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


@by_each_implementation
def test_a_support_norm_knows_the_first_images_alone() -> None:
    norm = SupportNorm(nn.BatchNorm2d(4)).double()
    images = torch.randn(6, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    plain = nn.BatchNorm2d(4).double()
    torch.testing.assert_close(norm(images), plain(images))
    norm.num_support = 2
    torch.testing.assert_close(norm(images)[:2], plain(images[:2]))
    others = torch.cat([images[:3], 5 * images[3:]])
    assert torch.equal(norm(images)[:3], norm(others)[:3])
    assert {name.rpartition(".")[2] for name in adapted().state_dict() if ".norm." in name} == {"weight", "bias"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("batch_norm", ["inductive", "transductive"])
@pytest.mark.parametrize(("steps", "first_order"), [(1, False), (4, False), (4, True)])
def test_the_two_implementations_agree(model: str, batch_norm: str, steps: int, first_order: bool) -> None:
    """In double precision: logits in evaluation and in training, and the gradient of every weight."""
    need_learn2learn()
    batch, found = toy_batch(SPEC, count=2), []
    for implementation in IMPLEMENTATIONS:
        options = {"inner_steps": steps, "test_steps": steps + 1, "batch_norm": batch_norm, "first_order": first_order}
        method = adapted(model, **options)
        method.implementation = implementation
        with torch.inference_mode():
            tested = method.eval().scored(*method.embed_episode(batch))
        loss = method.train().loss(batch)
        gradients = torch.autograd.grad(loss, [*method.parameters()], materialize_grads=True)
        found.append([tested.clone(), loss.detach(), *gradients, *method.buffers()])
    assert any(gradient.any() for gradient in found[0][2:])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("model", MODELS)
def test_it_runs_from_the_command_line_and_its_record_names_the_implementation(
    fewshot: Fewshot, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    """Of the training and of the test, which may be made where another one is installed."""
    with monkeypatch.context() as absent:
        absent.setattr("fewshot.models.methods.maml.why_not", lambda: "not installed")
        record = record_in(fewshot(*SMOKE, "--model", model, "--inner-steps", "2"))
    assert (record.model, record.transductive, record.num_episodes) == (model, False, 20)
    assert (record.trained.implementation, record.test.implementation) == ("torch.func", "torch.func")
    need_learn2learn()
    again = record_in(fewshot("evaluate", record.trained.checkpoint, "--episodes", "20", "--query", "5"))
    assert (again.trained.implementation, again.test.implementation) == ("torch.func", "learn2learn")
