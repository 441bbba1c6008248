"""No accuracy of numbers that lost their digits: offset, scale, a large column, ties, and what is not finite."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.evaluation.evaluate import NotFiniteError, evaluate, evaluate_readout, score_episodes
from fewshot.models.distances import squared_euclidean
from fewshot.models.factory import load_trained
from fewshot.models.methods import Method
from fewshot.models.readouts import READOUTS
from fewshot.models.readouts.base import UnfitEmbeddingsError
from fewshot.models.tensor_files import CheckpointError, save_tensors
from registered import Variant, build, every_method, spec_for
from toy_classes import constant_set, toy_method, toy_set

IMAGES = toy_set(8, 12)
SPEC = EpisodeSpec(way=5, shot=2, num_query=5)
SAMPLER = EpisodeSampler(IMAGES, SPEC, 0)
SCALES = (1e-30, 1e-20, 1e-10, 1e10, 1e20, 1e30)
OFFSETS = (1.0, 1e2, 1e4, 1e6)
EPISODES = 20

_TOO_NEAR = r"differ by [1-9]e-0[45] at most: center them, or choose another"
REFUSING = dict.fromkeys(("alpha-tim", "tim", "transductive-finetune"), _TOO_NEAR)
REFUSING["finetune"] = r"up to 1e\+05 long: bring them to a length near 1"

every_readout = pytest.mark.parametrize("name", sorted(READOUTS))


def embeddings(dim: int = 16, image_set: ImageSet = IMAGES) -> Tensor:
    """Classes that overlap, in double precision, (images, dim)."""
    generator = torch.Generator().manual_seed(0)
    centers = torch.randn(image_set.num_classes, dim, generator=generator, dtype=torch.float64)
    noise = torch.randn(len(image_set.images), dim, generator=generator, dtype=torch.float64)
    return centers[image_set.class_ids] + noise


def counts(name: str, table: Tensor, sampler: EpisodeSampler = SAMPLER) -> list[int]:
    mean = table.mean(0) + 0.1 * (table[1] - table[0])  # no rule is given the very center of the rows
    return [int(n) for n in evaluate_readout(READOUTS.get(name)(), table, mean, sampler, EPISODES).correct]


@pytest.mark.parametrize("name", [name for name in READOUTS if "scale" in READOUTS.get(name).invariant_to])
def test_a_scale_changes_no_answer_of_a_read_out(name: str) -> None:
    expected = counts(name, embeddings())
    assert 5 * 5 * EPISODES * 0.5 < sum(expected) < 5 * 5 * EPISODES
    for scale in SCALES:
        assert counts(name, scale * embeddings()) == expected, scale
        alike = np.array(counts(name, scale * embeddings().float())) - expected
        assert abs(alike).sum() <= 1, scale  # float32 embeddings are others by their rounding
    for scale in (1e-300, 1e300):
        assert counts(name, scale * embeddings()) == expected, scale


@pytest.mark.parametrize("name", [name for name in READOUTS if "offset" in READOUTS.get(name).invariant_to])
def test_an_offset_changes_no_answer_of_a_read_out(name: str) -> None:
    expected = counts(name, embeddings())
    for offset in OFFSETS:
        assert counts(name, embeddings() + offset) == expected, offset
    single = (embeddings() + 1e4).float()
    assert counts(name, single) == counts(name, single.double() - 1e4)


@every_method
def test_what_a_rule_says_that_it_does_not_mind_changes_none_of_its_answers(variant: Variant) -> None:
    method = build(variant)
    if not method.invariant_to:
        pytest.skip("both matter to it")
    torch.manual_seed(0)
    sampler = EpisodeSampler(IMAGES, spec_for(method, way=5), 0)
    table = embeddings(16 * method.encoder.dim)[:, : method.encoder.dim * (2 if "separate" in str(variant) else 1)]

    def scored(moved: Tensor) -> list[int]:
        return [int(n) for n in score_episodes(method, moved, sampler, EPISODES)]

    expected = scored(table)
    assert sum(expected) > 0
    if "scale" in method.invariant_to:
        assert [scored(scale * table) for scale in SCALES] == [expected] * len(SCALES)
    if "offset" in method.invariant_to:
        assert [scored(table + offset) for offset in OFFSETS] == [expected] * len(OFFSETS)


@every_readout
def test_one_large_constant_column_does_not_bring_a_read_out_to_chance(name: str) -> None:
    table = embeddings()
    table[:, 3] = 1e5
    without = sum(counts(name, torch.cat([table[:, :3], table[:, 4:]], dim=1)))
    for rows in (table, table.float()):
        if name in REFUSING:
            with pytest.raises(UnfitEmbeddingsError, match=REFUSING[name]):
                counts(name, rows)
        else:
            assert sum(counts(name, rows)) > 0.9 * without


@pytest.mark.parametrize("scale", [1e20, 1e-25])
def test_finetune_refuses_embeddings_that_its_steps_cannot_follow(scale: float) -> None:
    with pytest.raises(UnfitEmbeddingsError, match="steps of a fixed size"):
        counts("finetune", scale * embeddings())


@every_readout
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e6, -3.7e20])
def test_constant_embeddings_score_chance_in_every_episode(name: str, value: float) -> None:
    if name == "finetune" and abs(value) > 100:
        return  # refused, see above
    table = torch.full((len(IMAGES.images), 16), value, dtype=torch.float64)
    for rows in (table, table.float()):
        assert counts(name, rows) == [5] * EPISODES


class Tied(Method):
    """Two classes of each episode score alike, all others less: the true one is among them."""

    title = source = "a test's"

    def logits(self, support: Tensor, query: Tensor, unlabeled: Tensor | None = None) -> Tensor:
        own = (query[:, :, None] - support.mean(2)[:, None]).square().sum(-1).argmin(-1)
        scores = torch.zeros(*own.shape, support.shape[1])
        scores.scatter_(-1, own[..., None], 1)
        return scores.scatter_(-1, (own[..., None] + 1) % support.shape[1], 1)


def test_a_tie_of_two_counts_one_half_whichever_is_first() -> None:
    images = constant_set()
    images = dataclasses.replace(images, images=images.images * 0 + images.class_ids.view(-1, 1, 1, 1).byte() * 20)
    sampler = EpisodeSampler(images, EpisodeSpec(5, 1, 1), 0)
    found = evaluate(Tied(toy_method().encoder), sampler, 200).correct
    assert set(found.tolist()) == {2, 3}  # of 5 queries, 2.5
    assert abs(float(found.mean()) - 2.5) < 0.02


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_embeddings_that_are_no_numbers_are_refused(wrong: float) -> None:
    method, table = toy_method(), embeddings(64)
    table[7, 3] = wrong
    said = "1 of 96 embeddings hold NaN or infinite numbers"
    with pytest.raises(NotFiniteError, match=said):
        evaluate(method, SAMPLER, 5, table=table)
    with pytest.raises(NotFiniteError, match=said):
        evaluate_readout(READOUTS.get("prototype")(), table, None, SAMPLER, 5)


def test_scores_that_are_no_numbers_are_refused() -> None:
    method = toy_method("soft-kmeans-proto")
    with pytest.raises(NotFiniteError, match="overflow in single precision"):
        evaluate(method, SAMPLER, 5, table=1e25 * embeddings(method.encoder.dim))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    state = toy_method().state_dict()
    state[next(iter(state))].fill_(float("nan"))
    save_tensors(tmp_path / "w.safetensors", state, {"model": "proto"})
    with pytest.raises(CheckpointError, match="holds NaN or infinite weights"):
        load_trained(tmp_path / "w.safetensors", torch.device("cpu"))


def test_the_distance_far_from_zero_is_that_near_zero() -> None:
    query, support = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.125, 0.0], [3.0, 0.0]])
    assert torch.equal(squared_euclidean(query + 2**17, support + 2**17), squared_euclidean(query, support))
