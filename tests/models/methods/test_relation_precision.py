"""Relation Networks tested in bfloat16, their pairs added up in fixed-point numbers, against full precision."""

from __future__ import annotations

import pytest
import torch
from test_method_relation import relation
from torch import Tensor

from fewshot.models.methods.relation import Relation, fixed_point


def scores_on(method: Relation, table: Tensor, support: Tensor, query: Tensor) -> tuple[Tensor, torch.dtype]:
    """Scores in bfloat16 of what is prepared, and what the queries were prepared as."""
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        of_support, of_query = method.prepare(table)
        return method.scored(of_support[support], of_query[query], prepared=True), of_query.dtype


@pytest.mark.parametrize(
    ("largest", "kind"), [(1.0, torch.int16), (1e3, torch.bfloat16)], ids=["fixed point", "too large for it"]
)
@pytest.mark.parametrize("size", [28, 46])
def test_scores_in_half_precision_are_near_those_in_full_precision(
    size: int, largest: float, kind: torch.dtype
) -> None:
    method = relation((1, size, size)).eval()
    torch.manual_seed(0)
    table = largest * torch.rand(30, *method.encoder.feature_shape)
    support, query = torch.randint(30, (2, 3, 2)), torch.randint(30, (2, 7))
    found, prepared_as = scores_on(method, table, support, query)
    assert prepared_as == kind
    with torch.inference_mode():
        expected = method.logits(table[support], table[query])
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.1 * expected.std() + 0.01 * expected.abs().max()


def test_support_too_large_for_fixed_point_numbers_takes_the_queries_along() -> None:
    method = relation().eval()
    torch.manual_seed(0)
    table = torch.rand(60, *method.encoder.feature_shape)
    support, query = torch.randint(60, (1, 3, 400)), torch.randint(60, (1, 7))  # 400 shots: their sum leaves the range
    found, prepared_as = scores_on(method, table, support, query)
    assert prepared_as == torch.int16
    with torch.inference_mode():
        expected = method.logits(table[support], table[query])
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_fixed_point_numbers_err_by_half_a_step_and_are_cut_off_below() -> None:
    numbers = torch.linspace(-15.9, 15.9, 2001).to(torch.bfloat16)
    fixed = fixed_point(numbers)
    assert fixed.dtype == torch.int16
    assert (fixed.double() / 1024 - numbers.double()).abs().max() <= 0.5 / 1024
    both = fixed_point(torch.tensor([-1e4, -16.0, 15.9375], dtype=torch.bfloat16))
    assert both.tolist() == [-16 * 1024, -16 * 1024, 16320]
    assert (both[:, None] + both).min() == -32 * 1024  # the least sum there can be: it does not wrap around


@pytest.mark.parametrize("number", [16.0, float("nan"), float("inf")])
def test_numbers_that_do_not_fit_stay_as_they_are(number: float) -> None:
    numbers = torch.tensor([0.5, number], dtype=torch.bfloat16)
    assert fixed_point(numbers) is numbers
    assert fixed_point(torch.tensor([0.5])).dtype == torch.float32
