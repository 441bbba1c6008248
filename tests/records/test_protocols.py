from __future__ import annotations

import pytest

from episodes.spec import EpisodeSpec
from fewshot.records.protocols import VERSION, ProtocolName, ProtocolNameError, standard_protocols
from fewshot.records.published import COMPARABLE_PIXELS


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (EpisodeSpec(5, 1, 15), "omniglot-vinyals-28/5w1s/q15@v1"),
        (EpisodeSpec(20, 5, 10), "omniglot-vinyals-28/20w5s/q10@v1"),
        (EpisodeSpec(5, 1, 14, num_unlabeled=5), "omniglot-vinyals-28/5w1s/q14u5@v1"),
        (EpisodeSpec(5, 1, 14, num_unlabeled=5, num_distractor=5), "omniglot-vinyals-28/5w1s/q14u5d5@v1"),
        (EpisodeSpec(5, 1, 15, dirichlet=2), "omniglot-vinyals-28/5w1s/q15dirichlet2@v1"),
        (EpisodeSpec(5, 1, 14, 5, 5, dirichlet=10), "omniglot-vinyals-28/5w1s/q14dirichlet10u5d5@v1"),
    ],
)
def test_the_name_says_what_is_measured(spec: EpisodeSpec, name: str) -> None:
    assert str(ProtocolName.of("omniglot-vinyals-28", spec)) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cifar-fs-bertinetto-32/5w1s/q15@v1", ProtocolName("cifar-fs-bertinetto-32", 5, 1, 15)),
        ("omniglot-vinyals-28/5w1s/q14u5d5@v1", ProtocolName("omniglot-vinyals-28", 5, 1, 14, 5, 5)),
        ("omniglot-vinyals-28/5w1s/q15dirichlet2@v1", ProtocolName("omniglot-vinyals-28", 5, 1, 15, dirichlet=2)),
        ("a/5w1s/q14dirichlet10u5d5@v1", ProtocolName("a", 5, 1, 14, 5, 5, dirichlet=10)),
        ("omniglot-lake-105/20w1s/runs@v1", ProtocolName("omniglot-lake-105", 20, 1, published_as="runs")),
        ("folder-my@images.v2-84/5w1s/q15@v0", ProtocolName("folder-my@images.v2-84", 5, 1, 15, version=0)),
    ],
)
def test_a_name_is_read_as_it_was_written(text: str, name: ProtocolName) -> None:
    assert ProtocolName.parse(text) == name
    assert str(name) == text
    assert name.is_current == (name.version == VERSION)


@pytest.mark.parametrize(
    "text", ["", "omniglot", "a/5w1s/q15", "a/5w1s@v1", "a/0w1s/q15@v1", "a/b/5w1s/q15@v1", "a/5w1s/q15dirichlet@v1"]
)
def test_what_is_no_name_is_said(text: str) -> None:
    with pytest.raises(ProtocolNameError, match="is no protocol's name"):
        ProtocolName.parse(text)


def test_standard_protocols_have_distinct_names_and_cover_what_papers_report() -> None:
    names = [str(protocol) for protocol in standard_protocols()]
    assert len(set(names)) == len(names)
    assert {name.split("/")[0] for name in names} >= set(COMPARABLE_PIXELS)
