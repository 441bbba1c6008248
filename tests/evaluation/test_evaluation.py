"""evaluate(): the table of embeddings gives what scoring image by image gives, and counts what it should."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes.datasets.strokes.dataset import Strokes
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError, ImageSet
from fewshot.evaluation import evaluate as evaluation
from fewshot.evaluation.evaluate import drawn_rows, embed_all, embed_drawn, evaluate, score_episodes
from fewshot.models.encoders.conv import Conv4
from fewshot.models.hardware import has_fast_bf16
from fewshot.models.methods import Method
from fewshot.statistics.intervals import episode_interval
from toy_classes import GRAY, constant_set, toy_method, toy_set

SPEC = EpisodeSpec(way=4, shot=2, num_query=3)

Rule = Callable[[Tensor, Tensor], Tensor]


class Puppet(Method):
    """Embeds an image as its first pixel and scores by a rule that a test hands in."""

    title = source = "a test's"

    def __init__(self, rule: Rule) -> None:
        super().__init__(Conv4(GRAY, width=1))
        self.rule, self.num_embedded = rule, 0

    def embed(self, images: Tensor) -> Tensor:
        self.num_embedded += len(images)
        return images[:, 0, 0, :1].float()

    def logits(self, support: Tensor, query: Tensor, unlabeled: Tensor | None = None) -> Tensor:
        return self.rule(support, query)


def numbered_set(num_classes: int = 8, per_class: int = 6) -> ImageSet:
    """Every pixel of an image is the number of its class."""
    toy = constant_set(num_classes=num_classes, per_class=per_class)
    toy.images[:] = toy.class_ids.view(-1, 1, 1, 1).to(torch.uint8)
    return toy


def same_class(support: Tensor, query: Tensor) -> Tensor:
    return (query[:, :, None, 0] == support[:, None, :, 0, 0]).float()


def accuracy_of(rule: Rule, spec: EpisodeSpec = SPEC, num_episodes: int = 300) -> float:
    return evaluate(Puppet(rule), EpisodeSampler(numbered_set(), spec, seed=0), num_episodes).interval.mean


def scored_image_by_image(method: Method, sampler: EpisodeSampler, num_episodes: int) -> list[int]:
    """One forward pass for every single image of every episode, one call for every query."""
    images, correct = sampler.image_set.images, []
    method.eval()
    with torch.inference_mode():
        for index in range(num_episodes):
            episode = sampler[index]
            support = torch.stack(
                [torch.stack([method.embed(images[row][None])[0] for row in rows]) for rows in episode.support[0]]
            )
            hits = 0
            for row, label in zip(episode.query[0], episode.labels[0], strict=True):
                logits = method.logits(support[None], method.embed(images[row][None])[None])
                hits += int(logits[0, 0].argmax() == label)
            correct.append(hits)
    return correct


def test_the_table_of_embeddings_gives_what_scoring_image_by_image_gives() -> None:
    method = toy_method(width=16)
    sampler = EpisodeSampler(toy_set(noise=130), SPEC, seed=3)
    counts = evaluate(method, sampler, 12).correct
    expected = scored_image_by_image(method, sampler, 12)
    assert 0 < sum(expected) < 12 * SPEC.num_queries
    assert abs(counts.astype(int) - expected).sum() <= 1  # one near tie may fall the other way by rounding


def test_embeddings_of_the_table_are_those_of_single_images() -> None:
    method, images = toy_method(width=16), toy_set().images
    table = embed_all(method, images, "fp32")
    with torch.inference_mode():
        alone = torch.cat([method.embed(image[None]) for image in images])
    torch.testing.assert_close(table, alone, rtol=1e-5, atol=1e-5 * float(alone.max()))


def test_sizes_of_chunks_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    method, sampler = toy_method(width=16), EpisodeSampler(toy_set(noise=130), SPEC, seed=3)
    expected = evaluate(method, sampler, 40).correct
    monkeypatch.setattr(evaluation, "_SCORING_CHUNK_ELEMENTS", 1)
    assert np.array_equal(evaluate(method, sampler, 40).correct, expected)
    monkeypatch.setattr(evaluation, "embedding_batch_size", lambda method: 7)
    assert abs(evaluate(method, sampler, 40).correct.astype(int) - expected).sum() <= 1


def test_every_image_is_embedded_once_however_many_episodes_there_are() -> None:
    puppet, image_set = Puppet(same_class), numbered_set()
    evaluate(puppet, EpisodeSampler(image_set, SPEC, seed=0), 500)
    assert puppet.num_embedded == len(image_set.images)


def test_few_episodes_of_a_large_set_embed_the_images_that_they_draw_and_no_others() -> None:
    image_set, puppet = numbered_set(30, 20), Puppet(same_class)
    sampler = EpisodeSampler(image_set, SPEC, seed=0)
    evaluate(puppet, sampler, 3)
    assert puppet.num_embedded == len(sampler.rows(3)) < len(image_set.images) / 5
    method, toys = toy_method(width=16), EpisodeSampler(toy_set(40, noise=130), SPEC, seed=3)
    some, whole = evaluate(method, toys, 5), embed_all(method, toys.image_set.images, "fp32")
    assert np.array_equal(some.correct, evaluate(method, toys, 5, table=whole).correct)
    rows = drawn_rows([toys], 5)
    assert rows is not None
    table = embed_drawn(method, toys.image_set.images, rows, "fp32")
    torch.testing.assert_close(table[rows], whole[rows])
    assert table.shape == whole.shape
    assert len(np.unique(table.numpy(), axis=0)) == len(rows)  # what nobody draws is a copy


def test_who_knows_the_class_is_always_right_and_who_avoids_it_always_wrong() -> None:
    assert accuracy_of(same_class) == 1
    assert accuracy_of(lambda support, query: -same_class(support, query)) == 0


def test_who_knows_one_class_of_four_is_right_a_quarter_of_the_time() -> None:
    """The others are told to be class 0 too, so exactly the queries of label 0 count."""

    def always_first(support: Tensor, query: Tensor) -> Tensor:
        return torch.eye(support.shape[1])[0].expand(*query.shape[:2], -1)

    counts = evaluate(Puppet(always_first), EpisodeSampler(numbered_set(), SPEC, seed=0), 50).correct
    assert counts.tolist() == [SPEC.num_query] * 50


def test_the_position_of_a_query_tells_nothing_of_its_class() -> None:
    """An oracle of the order answers class-major, as queries lie before they are shuffled; it is right by chance."""

    def by_position(support: Tensor, query: Tensor) -> Tensor:
        way, queries = support.shape[1], query.shape[1]
        answers = torch.arange(way).repeat_interleave(queries // way)
        return torch.eye(way)[answers].expand(len(query), -1, -1)

    interval = evaluate(Puppet(by_position), EpisodeSampler(numbered_set(), SPEC, seed=0), 2000).interval
    assert abs(interval.mean - 1 / SPEC.way) < 1.5 * interval.half_width


def test_wrong_labels_bring_accuracy_down_to_chance() -> None:
    """Blind baseline: what a class is called is drawn anew for each image, and even who knows it is right by chance."""
    image_set = numbered_set(num_classes=12, per_class=12)
    order = torch.randperm(len(image_set.images), generator=torch.Generator().manual_seed(0))
    image_set.images[:] = image_set.images[order]
    noise = torch.Generator().manual_seed(1)

    def same_class_or_guess(support: Tensor, query: Tensor) -> Tensor:
        hits = same_class(support, query)
        return hits + torch.rand(hits.shape, generator=noise)

    sampler = EpisodeSampler(image_set, SPEC, seed=0)
    interval = evaluate(Puppet(same_class_or_guess), sampler, 2000).interval
    assert abs(interval.mean - 1 / SPEC.way) < 0.02


def test_counts_are_kept_for_each_episode_and_give_the_interval() -> None:
    method, sampler = toy_method(width=16), EpisodeSampler(toy_set(noise=130), SPEC, seed=3)
    found = evaluate(method, sampler, 40)
    accuracies = found.correct / SPEC.num_queries
    assert found.correct.shape == (40,)
    assert found.num_queries == SPEC.num_queries == 12
    assert found.interval.mean == pytest.approx(accuracies.mean())
    assert found.interval.half_width == pytest.approx(2.0227 * math.sqrt(accuracies.var(ddof=1) / 40), rel=1e-4)
    assert found.interval.n == 40
    assert found.seconds > 0


def test_more_episodes_begin_with_the_same_ones() -> None:
    method, sampler = toy_method(width=16), EpisodeSampler(toy_set(noise=130), SPEC, seed=3)
    assert np.array_equal(evaluate(method, sampler, 30).correct[:10], evaluate(method, sampler, 10).correct)


def test_another_episode_seed_means_other_episodes() -> None:
    method, image_set = toy_method(width=16), toy_set(noise=130)
    counts = [evaluate(method, EpisodeSampler(image_set, SPEC, seed), 40).correct.tolist() for seed in (0, 0, 1)]
    assert counts[0] == counts[1] != counts[2]


def test_evaluation_changes_no_weight_and_no_statistic() -> None:
    method = toy_method().train()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    evaluate(method, EpisodeSampler(toy_set(), SPEC, seed=0), 5)
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())


def test_evaluation_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    evaluate(toy_method(), EpisodeSampler(toy_set(), SPEC, seed=0), 5)
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_reaches_its_total_in_both_halves() -> None:
    last: dict[str, tuple[int, int]] = {}

    def note(what: str, done: int, total: int) -> None:
        assert done > last.get(what, (0, 0))[0]
        last[what] = (done, total)

    image_set = toy_set()
    evaluate(toy_method(), EpisodeSampler(image_set, SPEC, seed=0), 600, progress=note)
    assert last == {"embedding": (len(image_set.images),) * 2, "testing": (600, 600)}


def test_no_images_is_an_error_and_no_empty_table() -> None:
    with pytest.raises(ValueError, match="no images"):
        embed_all(toy_method(), torch.empty(0, *GRAY, dtype=torch.uint8), "fp32")


def test_one_episode_has_an_infinite_interval_and_none_has_no_accuracy() -> None:
    assert episode_interval(np.array([0.5])).half_width == math.inf
    with pytest.raises(ValueError, match="no episodes"):
        episode_interval(np.array([]))


def test_images_mapped_from_a_file_are_scored_as_images_in_memory(tmp_path: Path) -> None:
    image_set = toy_set(noise=130)
    np.save(tmp_path / "images.npy", image_set.images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    method, sampler = toy_method(), EpisodeSampler(image_set, SPEC, seed=0)
    table = embed_all(method, mapped, "fp32")
    assert np.array_equal(score_episodes(method, table, sampler, 20), evaluate(method, sampler, 20).correct)


@pytest.mark.skipif(not has_fast_bf16(torch.device("cpu")), reason="this processor has no bfloat16 arithmetic")
def test_bfloat16_leaves_the_accuracy_where_it_was() -> None:
    """On the same episodes the difference is within its own 95 % interval, or below a tenth of a percent point."""
    image_set = Strokes(num_classes=100).load("test")
    sampler = EpisodeSampler(image_set, EpisodeSpec(5, 1, 15), seed=0)
    method = toy_method(width=64)
    fp32, bf16 = (evaluate(method, sampler, 1000, precision) for precision in ("fp32", "bf16"))
    assert 0.4 < fp32.interval.mean < 0.95
    assert not np.array_equal(fp32.correct, bf16.correct)  # it did run in another precision
    difference = episode_interval((bf16.correct.astype(float) - fp32.correct) / fp32.num_queries)
    assert abs(difference.mean) < max(difference.half_width, 0.001)
    assert abs(difference.mean) < fp32.interval.half_width


def test_embeddings_made_in_bfloat16_are_kept_in_float32() -> None:
    assert embed_all(toy_method(), toy_set().images, "bf16").dtype == torch.float32


def test_more_queries_than_a_count_can_hold_are_refused_before_anything_is_embedded() -> None:
    image_set = numbered_set(num_classes=256, per_class=2)
    sampler = EpisodeSampler(image_set, EpisodeSpec(256, 1, 1), seed=0)
    sampler.spec = EpisodeSpec(256, 1, 256)
    puppet = Puppet(same_class)
    with pytest.raises(EpisodeError, match=r"65,536 queries .* at most 65,535"):
        evaluate(puppet, sampler, 1)
    assert puppet.num_embedded == 0


def test_a_processor_gathers_16_megabytes_at_once_and_a_gpu_64() -> None:
    for device, floats in (("cpu", 4 << 20), ("cuda", 16 << 20)):
        assert evaluation._episodes_at_once(1 << 17, torch.device(device)) == floats >> 17
    assert evaluation._episodes_at_once(1 << 30, torch.device("cpu")) == 1
