"""Distances and similarities against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fewshot.models.distances import cosine_similarity, squared_euclidean


def random_pair(*batch: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(*batch, 4, 6, generator=generator, dtype=dtype)
    return left, torch.randn(*batch, 3, 6, generator=generator, dtype=dtype)


def by_loops(left: Tensor, right: Tensor, compare: Callable[[list[float], list[float]], float]) -> Tensor:
    return torch.tensor([[compare(a, b) for b in right.tolist()] for a in left.tolist()], dtype=torch.float64)


def squared(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    inner = sum(x * y for x, y in zip(a, b, strict=True))
    return inner / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


@pytest.mark.parametrize(("ours", "theirs"), [(squared_euclidean, squared), (cosine_similarity, cosine)])
def test_every_pair_is_what_the_definition_says(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[list[float], list[float]], float]
) -> None:
    left, right = random_pair()
    torch.testing.assert_close(ours(left, right), by_loops(left, right, theirs), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("function", [squared_euclidean, cosine_similarity])
@pytest.mark.parametrize("batch", [(5,), (2, 3)])
def test_leading_axes_are_carried_along(function: Callable[[Tensor, Tensor], Tensor], batch: tuple[int, ...]) -> None:
    left, right = random_pair(*batch)
    result = function(left, right)
    assert result.shape == (*batch, 4, 3)
    last = (-1,) * len(batch)
    torch.testing.assert_close(result[last], function(left[last], right[last]))


def test_the_distance_is_squared_and_not_its_root() -> None:
    assert squared_euclidean(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]])).item() == 25


def test_a_distance_is_never_negative_even_where_digits_cancel() -> None:
    far = 1000 + torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
    distances = squared_euclidean(far, far)
    assert distances.min() >= 0
    assert distances.diagonal().max() < distances.mean()


def test_a_distance_does_not_depend_on_where_both_lie() -> None:
    query, support = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.1, 0.0], [3.0, 0.0]])
    for offset in (0.0, 1e3, 1e5, 1e7):
        left, right = query + offset, support + offset  # in single precision: 0.1 is 0.1016 at 1e5
        exact = (left.double()[:, None] - right.double()).square().sum(-1)
        torch.testing.assert_close(squared_euclidean(left, right).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("exponent", range(16, 39))
def test_of_distances_that_leave_single_precision_no_finite_one_is_wrong(exponent: int) -> None:
    """The rest is infinite or no number, and an evaluation refuses a best score that is."""
    left, right = (found.float() * 10.0**exponent for found in random_pair(50))
    found = squared_euclidean(left, right).double()
    lengths = left.double().square().sum(-1)[..., None] + right.double().square().sum(-1)[..., None, :]
    exact = (left.double()[..., None, :] - right.double()[..., None, :, :]).square().sum(-1)
    finite = found.isfinite()
    assert ((found - exact).abs() < 1e-5 * lengths)[finite].all()
    nearest = (-found).max(-1)
    known = nearest.values.isfinite()
    assert torch.equal(nearest.indices[known], exact.argmin(-1)[known])
    assert bool(finite.all()) == (exponent < 19)
    assert bool(known.any()) == (exponent < 20)


@pytest.mark.parametrize("function", [squared_euclidean, cosine_similarity])
@pytest.mark.parametrize("value", [0.0, 2.0])
def test_equal_vectors_have_a_finite_gradient(function: Callable[[Tensor, Tensor], Tensor], value: float) -> None:
    left = torch.full((3, 5), value, requires_grad=True)
    right = torch.full((2, 5), value, requires_grad=True)
    result = function(left, right)
    torch.autograd.backward(result.sum())
    assert result.isfinite().all()
    assert left.grad is not None
    assert right.grad is not None
    assert left.grad.isfinite().all()
    assert right.grad.isfinite().all()


def test_cosine_ignores_length_and_is_zero_for_a_vector_without_any() -> None:
    left, right = random_pair()
    torch.testing.assert_close(cosine_similarity(7 * left, right / 3), cosine_similarity(left, right))
    assert cosine_similarity(left, left).diagonal().tolist() == pytest.approx([1.0] * 4)
    assert cosine_similarity(torch.zeros(1, 6, dtype=torch.float64), right).tolist() == [[0.0] * 3]


@pytest.mark.parametrize("function", [squared_euclidean, cosine_similarity])
def test_autocast_takes_no_digit_away(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    left, right = random_pair(2, dtype=torch.float32)
    expected = function(left, right)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(function(left, right), expected)
