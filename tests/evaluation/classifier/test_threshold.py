from __future__ import annotations

import re

import numpy as np
import pytest

from episodes.errors import UserError
from fewshot.evaluation.classifier.threshold import Threshold, threshold_for_new


@pytest.mark.parametrize(("held_out", "share"), [(19, 0.05), (38, 0.05), (72, 0.05), (12, 0.1), (30, 0.25)])
def test_of_new_images_no_more_than_the_share_are_rejected(held_out: int, share: float) -> None:
    """Over 20,000 draws of held-out images and a new one alike; and nearly the share, for few images give steps."""
    draws = np.random.default_rng(0).standard_normal((20_000, held_out + 1))
    rejected = np.mean([new < threshold_for_new(known, (), share).least for *known, new in draws.tolist()])
    spread = 3 * (share * (1 - share) / len(draws)) ** 0.5
    assert share - 1 / (held_out + 1) - spread < rejected < share + spread


@pytest.mark.parametrize("held_out", [2, 9, 18])
def test_too_few_images_for_a_share_are_refused_with_one_that_they_allow(held_out: int) -> None:
    known = np.linspace(0.1, 0.9, held_out).tolist()
    with pytest.raises(UserError, match=f"{held_out} images were held out.*1 in 20 is") as caught:
        threshold_for_new(known, (), 0.05)
    advised = re.search(r"--reject (0\.\d+) or more", str(caught.value))
    assert advised is not None
    assert threshold_for_new(known, (), float(advised[1])).least == pytest.approx(0.1)
    with pytest.raises(UserError):
        threshold_for_new(known, (), float(advised[1]) - 0.002)


def test_it_says_what_it_cost_and_what_it_found() -> None:
    known, unknown = [0.1 * number for number in range(1, 21)], [0.05, 0.15, 0.25, 0.35]
    found = threshold_for_new(known, unknown, 0.1)
    assert found == Threshold(known[1], 20, 1, 4, 2)
    assert str(found) == (
        "unknown is what is known below 0.2000: so were 1 of 20 images while they were held out, "
        "and 2 of 4 while their whole class was"
    )
    assert str(threshold_for_new(known, (), 0.1)).endswith("1 of 20 images while they were held out")
