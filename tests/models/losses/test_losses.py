"""What holds for every loss, and each formula of a paper written again as plain loops in float64."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fewshot.models.losses import LOSSES, Loss
from fewshot.models.options import options_of
from loss_formulas import FORMULAS

CLASSES, DIM = 6, 5
every_loss = pytest.mark.parametrize("name", sorted(LOSSES))


def build(name: str, num_classes: int = CLASSES, dim: int = DIM, **options: Any) -> Loss:
    torch.manual_seed(0)
    return LOSSES.get(name)(dim, num_classes, **options).double()


def batch_of(loss: Loss, per_class: int = 3, num_classes: int = CLASSES, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random embeddings in random order; of a self-supervised loss two views of each image, one after the other."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(num_classes).repeat_interleave(per_class)
    if loss.self_supervised:
        labels = torch.arange(num_classes).repeat(2)
    else:
        labels = labels[torch.randperm(len(labels), generator=generator)]
    embeddings = torch.randn(len(labels), loss.dim, generator=generator, dtype=torch.float64)
    return (functional.normalize(embeddings, dim=-1) if loss.on_unit_sphere else embeddings), labels


@every_loss
def test_every_loss_has_its_formula_written_as_loops(name: str) -> None:
    assert name in FORMULAS


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, options) for name in sorted(FORMULAS) for options in FORMULAS[name].options],
    ids=str,
)
def test_a_loss_is_the_formula_of_its_paper(name: str, options: dict[str, Any]) -> None:
    loss = build(name, **options).requires_grad_(False)
    for seed in (1, 2):
        embeddings, labels = batch_of(loss, seed=seed)
        expected = FORMULAS[name].formula(loss, embeddings, labels, options)  # before a step changes the loss
        found = loss(embeddings, labels)
        assert found.dtype == torch.float64
        assert found.item() == pytest.approx(float(expected), rel=1e-6)


def equal_embeddings(loss: Loss, count: int) -> Tensor:
    return functional.normalize(torch.ones(count, loss.dim, dtype=torch.float64), dim=-1)


def zeroed(loss: Loss) -> Loss:
    """The loss with all that it learned at zero."""
    for parameter in loss.parameters():
        torch.nn.init.zeros_(parameter)
    return loss


@pytest.mark.parametrize("num_classes", [5, 20, 60, 64])
def test_a_softmax_over_classes_begins_at_the_logarithm_of_their_number(num_classes: int) -> None:
    for name in ("softmax", "cosine-softmax"):
        loss = zeroed(build(name, num_classes))
        found = loss(equal_embeddings(loss, 4), torch.arange(4)).item()
        assert found == pytest.approx(-math.log(1 / num_classes))
    begun = build("softmax", num_classes, 64)
    found = begun(*batch_of(begun, per_class=20, num_classes=num_classes)).item()
    assert found == pytest.approx(math.log(num_classes), rel=0.02)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 7.0),
        ({"reduction": "mean"}, 7 / 8),
        ({"squared": True}, 7.0),
        ({"multiclass": "crammer-singer"}, 1.0),
        ({"margin": 0.5}, 3.5),
        ({"margin": 0.5, "squared": True}, 1.75),
    ],
)
def test_a_hinge_begins_at_one_for_each_wrong_class(options: dict[str, Any], expected: float) -> None:
    loss = zeroed(build("hinge", 8, **options))
    assert loss(equal_embeddings(loss, 4), torch.arange(4)).item() == pytest.approx(expected)


@pytest.mark.parametrize("power", [1, 2])
def test_the_mean_hinge_is_the_one_of_pytorch(power: int) -> None:
    loss = build("hinge", reduction="mean", squared=power == 2, regularization=0.0)
    embeddings, labels = batch_of(loss)
    scores = loss.classify(embeddings)  # type: ignore[operator]
    expected = functional.multi_margin_loss(scores, labels, p=power)
    assert loss(embeddings, labels).item() == pytest.approx(expected.item())


def test_regularization_adds_half_the_squared_length_of_the_weights() -> None:
    plain, regular = build("hinge", regularization=0.0), build("hinge", regularization=0.2)
    added = regular(*batch_of(regular)) - plain(*batch_of(plain))
    assert added.item() == pytest.approx(0.1 * sum(w.item() ** 2 for w in regular.classify.weight.flatten()))  # type: ignore[union-attr, operator]


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("contrastive", {}, 1 / 2),  # 0 on positive pairs, margin^2 / 2 on negative ones
        ("contrastive", {"margin": 0.4, "selection": "hard"}, 0.08),
        ("triplet", {"selection": "all", "margin": 0.3}, 0.3),
        ("triplet", {"selection": "hard"}, 0.2),
        ("triplet", {"selection": "semi-hard"}, 0.0),  # no negative is farther than the positive
        ("npair", {"norm_weight": 0.0}, math.log(CLASSES)),
        ("nca", {}, -math.log(2 / 17)),
        ("supcon", {}, math.log(17)),
        ("nt-xent", {}, math.log(2 * CLASSES - 1)),
        ("infonce", {}, math.log(CLASSES)),
        ("proxy-nca", {}, math.log(CLASSES - 1)),
        ("proxy-nca", {"positive_in_denominator": True}, math.log(CLASSES)),
    ],
)
def test_equal_embeddings_cost_what_the_formula_says(name: str, options: dict[str, Any], expected: float) -> None:
    loss = build(name, **options)
    if name == "proxy-nca":
        torch.nn.init.ones_(loss.proxies)  # type: ignore[arg-type]
    embeddings, labels = batch_of(loss)
    found = loss(torch.ones_like(embeddings) / DIM**0.5, labels).item()
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("num_noise", [1, 10])
def test_noise_contrastive_log_odds_of_zero_cost_one_log_two_each(num_noise: int) -> None:
    loss = zeroed(build("nce", num_noise=num_noise))
    torch.nn.init.constant_(loss.shift, math.log(num_noise))  # type: ignore[arg-type]
    assert loss(*batch_of(loss)).item() == pytest.approx((1 + num_noise) * math.log(2))


def test_the_center_term_of_unit_embeddings_and_centers_at_zero_is_one_half() -> None:
    loss, light = (build("center", center_weight=weight) for weight in (1.0, 0.0))
    embeddings, labels = batch_of(loss)
    unit = functional.normalize(embeddings, dim=-1)
    assert (loss(unit, labels) - light(unit, labels)).item() == pytest.approx(0.5)


def test_centers_move_toward_their_images_in_training_alone() -> None:
    """Wen et al. 2016, eq. 4, as plain loops: half of the summed difference over one more than the images."""
    loss = build("center")
    embeddings, labels = batch_of(loss)
    loss.eval()(embeddings, labels)
    assert not loss.get_buffer("centers").any()
    loss.train()(embeddings, labels)
    first = loss.get_buffer("centers").clone()
    few = labels < 2
    loss(embeddings[few], labels[few])
    centers = loss.get_buffer("centers")
    assert torch.equal(centers[2:], first[2:]), "no image of their class in the batch"
    for center in range(2):
        images = [image for image, label in zip(embeddings, labels, strict=True) if label == center]
        at = torch.zeros(DIM, dtype=torch.float64)
        for _ in range(2):
            at = at - 0.5 * sum(at - image for image in images) / (1 + len(images))
        torch.testing.assert_close(centers[center], at)


def test_equal_proxies_cost_proxy_anchor_its_margins() -> None:
    """Cosine 1 everywhere: log(1 + 3 exp(-32 * 0.9)) for the positives, log(1 + 15 exp(32 * 1.1)) for the negatives."""
    loss = build("proxy-anchor")
    torch.nn.init.ones_(loss.library.proxies)  # type: ignore[union-attr, arg-type]
    embeddings, labels = batch_of(loss)
    found = loss(torch.ones_like(embeddings), labels).item()
    expected = math.log1p(3 * math.exp(-32 * 0.9)) + math.log1p(15 * math.exp(32 * 1.1))
    assert found == pytest.approx(expected, rel=1e-6)


@every_loss
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3], [2, 2, 2, 2], [0, 0, 1, 1], [0, 1, 0, 1]], ids=str)
def test_a_batch_with_nothing_to_compare_is_finite(name: str, equal: bool, labels: list[int]) -> None:
    """No positive pair, one class only, identical embeddings."""
    loss = build(name, 4)
    if loss.self_supervised:
        labels = [0, 1, 0, 1]
    generator = torch.Generator().manual_seed(0)
    embeddings = equal_embeddings(loss, 4) if equal else torch.randn(4, DIM, generator=generator).double()
    embeddings.requires_grad_()
    found = loss(embeddings, torch.tensor(labels))
    torch.autograd.backward(found)
    assert found.isfinite()
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@every_loss
def test_a_loss_forgets_the_order_of_the_batch(name: str) -> None:
    loss = build(name).eval()  # centers stay
    embeddings, labels = batch_of(loss, per_class=2)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(4))
    if loss.self_supervised:
        half = torch.randperm(len(labels) // 2, generator=torch.Generator().manual_seed(4))
        order = torch.cat([half, half + len(half)])
    found = loss(embeddings[order], labels[order]).item()
    if name == "npair":  # anchor and positive change places, which the formula tells apart
        assert found == pytest.approx(loss(embeddings, labels).item(), rel=0.5)
    else:
        assert found == pytest.approx(loss(embeddings, labels).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "option"), [(name, option) for name in sorted(LOSSES) for option in options_of(LOSSES.get(name))]
)
def test_every_option_changes_the_loss(name: str, option: str) -> None:
    known = options_of(LOSSES.get(name))[option]
    if known.choices:
        others = [word for word in known.choices if word != known.default]
    else:
        others = [not known.default] if known.kind is bool else [2 * known.default]
    plain = build(name)
    embeddings, labels = batch_of(plain)
    for other in others:
        chosen = build(name, **{option: other})
        if option == "class_norm":  # the lengths begin at 1
            torch.nn.init.constant_(chosen.norms, 2.0)  # type: ignore[arg-type]
        if option == "center_step":  # seen once the centers have moved
            chosen(embeddings, labels), plain(embeddings, labels)
        assert chosen(embeddings, labels).item() != pytest.approx(plain(embeddings, labels).item(), rel=1e-9)
