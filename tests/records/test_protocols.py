from __future__ import annotations

import pytest

from episodes.spec import EpisodeSpec
from fewshot.records.protocols import Protocol, standard_protocols
from fewshot.records.published import COMPARABLE_PIXELS


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (EpisodeSpec(5, 1, 15), "omniglot-vinyals-28/5w1s/q15@v1"),
        (EpisodeSpec(20, 5, 10), "omniglot-vinyals-28/20w5s/q10@v1"),
        (EpisodeSpec(5, 1, 14, num_unlabeled=5), "omniglot-vinyals-28/5w1s/q14u5@v1"),
        (EpisodeSpec(5, 1, 14, num_unlabeled=5, num_distractor=5), "omniglot-vinyals-28/5w1s/q14u5d5@v1"),
    ],
)
def test_the_name_says_what_is_measured(spec: EpisodeSpec, name: str) -> None:
    assert Protocol("omniglot-vinyals-28", spec, 10_000, 0).name == name


def test_standard_protocols_have_distinct_names_and_cover_what_papers_report() -> None:
    names = [protocol.name for protocol in standard_protocols()]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} >= set(COMPARABLE_PIXELS)
