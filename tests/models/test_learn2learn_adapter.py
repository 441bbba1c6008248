"""The adapter to learn2learn, against learn2learn's own sampling, partition and classifier."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError, ImageSet, gather
from fewshot.models import learn2learn_adapter as adapter
from learn2learn_here import need_learn2learn

SPEC = EpisodeSpec(way=4, shot=2, num_query=3)
SIZES = (5, 9, 6, 7, 5, 8)


@pytest.fixture
def image_set() -> ImageSet:
    """Six classes of different sizes; every pixel of an image is its row number, so that pixels tell rows."""
    starts = np.concatenate(([0], np.cumsum(SIZES)))
    images = torch.arange(sum(SIZES), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return ImageSet(images, starts, tuple("abcdef"), "toy", "train")


@pytest.fixture
def learn2learn() -> ModuleType:
    return need_learn2learn()


def rows_in(data: Tensor) -> Tensor:
    return data.reshape(len(data), -1)[:, 0].long()


def nearest_prototype_by_loops(support: Tensor, query: Tensor) -> tuple[list[int], list[list[float]]]:
    """Snell et al. (2017), eq. 1-2, written out: support (way, shot, dim), query (queries, dim)."""
    predictions, scores = [], []
    for image in query.tolist():
        distances = []
        for images_of_class in support.tolist():
            prototype = [sum(numbers) / len(numbers) for numbers in zip(*images_of_class, strict=True)]
            distances.append(sum((a - b) ** 2 for a, b in zip(image, prototype, strict=True)))
        predictions.append(distances.index(min(distances)))
        scores.append([-distance for distance in distances])
    return predictions, scores


@pytest.mark.usefixtures("learn2learn")
@pytest.mark.parametrize("num_tasks", [-1, 30])
def test_its_tasks_hold_shot_plus_query_distinct_images_of_each_class(image_set: ImageSet, num_tasks: int) -> None:
    random.seed(1)
    taskset = adapter.to_task_dataset(image_set, SPEC, num_tasks)
    seen = set()
    for index in range(30):
        data, labels = taskset[index]
        assert data.dtype == torch.uint8
        assert data.shape == (4 * 5, 1, 2, 2)
        assert Counter(labels.tolist()) == dict.fromkeys(range(4), 5)
        rows = rows_in(data)
        assert len(set(rows.tolist())) == 20
        class_of_label = {(int(label), int(image_set.class_ids[row])) for label, row in zip(labels, rows, strict=True)}
        assert len(class_of_label) == len({class_id for _, class_id in class_of_label}) == 4
        seen |= {class_id for _, class_id in class_of_label}
    assert seen == set(range(6))


def test_tasks_agree_with_its_own_transforms_on_a_data_set_it_books_itself(
    learn2learn: ModuleType, image_set: ImageSet
) -> None:
    """NWays and KShots, which are other code than the fused transform, on bookkeeping made by looking at every item."""
    data = learn2learn.data
    plain = data.MetaDataset(list_dataset := adapter.LabeledImages(image_set))
    ours = adapter._to_meta_dataset(image_set)
    assert dict(plain.labels_to_indices) == dict(ours.labels_to_indices)
    assert dict(plain.indices_to_labels) == dict(ours.indices_to_labels)
    assert (plain.labels, len(plain)) == (ours.labels, len(ours)) == (list(range(6)), len(list_dataset))
    for dataset in (plain, ours):
        transforms = [
            data.transforms.NWays(dataset, n=4),
            data.transforms.KShots(dataset, k=5),
            data.transforms.LoadData(dataset),
        ]
        images, class_ids = data.Taskset(dataset, transforms, num_tasks=3)[0]
        assert class_ids.tolist() == image_set.class_ids[rows_in(images)].tolist()
        assert sorted(Counter(class_ids.tolist()).values()) == [5, 5, 5, 5]


def test_a_task_becomes_an_episode_with_the_split_of_partition_task(
    learn2learn: ModuleType, image_set: ImageSet
) -> None:
    random.seed(2)
    data, labels = adapter.to_task_dataset(image_set, SPEC, 5)[3]
    (support, support_labels), (query, query_labels) = learn2learn.data.partition_task(data, labels, shots=2)
    episode = adapter.task_to_episode(labels, shot=2)
    assert episode.support.shape == (1, 4, 2)
    assert torch.equal(gather(data, episode.support)[0].flatten(0, 1), support)
    assert support_labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    ours = zip(rows_in(gather(data, episode.query)[0]).tolist(), episode.labels[0].tolist(), strict=True)
    theirs = zip(rows_in(query).tolist(), query_labels.tolist(), strict=True)
    assert sorted(ours) == sorted(theirs)


def test_queries_of_a_task_are_put_into_random_order() -> None:
    labels = torch.arange(4).repeat_interleave(10)
    orders = [adapter.task_to_episode(labels, shot=1, seed=seed).labels[0].tolist() for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_labels_that_are_not_counted_from_zero_are_ranked() -> None:
    episode = adapter.task_to_episode(torch.tensor([70, 5, 70, 5, 5, 70]), shot=2)
    assert episode.support.tolist() == [[[1, 3], [0, 2]]]
    assert sorted(zip(episode.query[0].tolist(), episode.labels[0].tolist(), strict=True)) == [(4, 0), (5, 1)]


@pytest.mark.parametrize(("labels", "have"), [([0, 0, 1, 1], "not 2"), ([0, 0, 0, 1, 1, 1, 1], "not 3 to 4")])
def test_a_task_that_is_no_episode_is_refused_in_words(labels: list[int], have: str) -> None:
    with pytest.raises(EpisodeError, match=f"2 shot needs a task .* 3 or more, {have}"):
        adapter.task_to_episode(torch.tensor(labels), shot=2)


@pytest.mark.usefixtures("learn2learn")
def test_our_episodes_become_its_fixed_tasks_and_come_back(image_set: ImageSet) -> None:
    episodes = EpisodeSampler(image_set, SPEC, seed=3).batch(0, 6)
    taskset = adapter.episodes_to_task_dataset(image_set, episodes)
    assert len(taskset) == 6
    for index in (5, 0, 3, 3):
        data, labels = taskset[index]
        plain_data, plain_labels = adapter.episode_to_task(image_set.images, episodes, index)
        assert torch.equal(data, plain_data)
        assert torch.equal(labels, plain_labels)
        back = adapter.task_to_episode(labels, SPEC.shot)
        assert torch.equal(rows_in(data)[back.support[0]], episodes.support[index])
        there = zip(episodes.query[index].tolist(), episodes.labels[index].tolist(), strict=True)
        again = zip(rows_in(data)[back.query[0]].tolist(), back.labels[0].tolist(), strict=True)
        assert sorted(there) == sorted(again)
    assert torch.equal(taskset.sample()[1][:8], torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))


def test_its_prototypical_classifier_predicts_as_the_nearest_class_mean_does(
    learn2learn: ModuleType, image_set: ImageSet
) -> None:
    embeddings = torch.randn(sum(SIZES), 8, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    for episode in EpisodeSampler(image_set, EpisodeSpec(4, 2, 3), seed=5).batches(8, 1):
        data, labels = adapter.episode_to_task(embeddings, episode)
        num_support = episode.support.numel()
        theirs = learn2learn.nn.PrototypicalClassifier(data[:num_support], labels[:num_support])(data[num_support:])
        ours, scores = nearest_prototype_by_loops(
            gather(embeddings, episode.support)[0], gather(embeddings, episode.query)[0]
        )
        assert theirs.argmax(dim=1).tolist() == ours
        torch.testing.assert_close(theirs, torch.tensor(scores, dtype=torch.float64), rtol=1e-9, atol=1e-9)


def test_unlabeled_images_and_classes_that_are_too_small_are_refused(image_set: ImageSet) -> None:
    with pytest.raises(EpisodeError, match="no unlabeled images"):
        adapter.to_task_dataset(image_set, EpisodeSpec(2, 1, 1, num_unlabeled=1))
    with pytest.raises(EpisodeError, match="needs 6 images of each class"):
        adapter.to_task_dataset(image_set, EpisodeSpec(2, 1, 5))
    episode = EpisodeSampler(image_set, EpisodeSpec(2, 1, 1, num_unlabeled=1), seed=0)[0]
    with pytest.raises(EpisodeError, match="no unlabeled images"):
        adapter.episode_to_task(image_set.images, episode)
    with pytest.raises(EpisodeError, match="no unlabeled images"):
        adapter.episodes_to_task_dataset(image_set, episode)


@pytest.mark.usefixtures("learn2learn")
def test_the_import_is_late_and_silent() -> None:
    code = """
import sys
from fewshot.models import learn2learn_adapter as adapter
assert 'learn2learn' not in sys.modules and 'gym' not in sys.modules
assert adapter.import_learn2learn() is adapter.import_learn2learn() and adapter.available()
"""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_absence_is_said_in_one_line_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter.import_learn2learn.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gym" else object())
    assert not adapter.available()
    reason = adapter.why_not()
    assert reason.startswith("gym not installed")
    assert "--no-build-isolation --no-deps -C--global-option=build_ext learn2learn==0.2.0" in reason
    assert "\n" not in reason
    with pytest.raises(adapter.Learn2LearnError, match="make setup"):
        adapter.import_learn2learn()


def test_a_broken_build_is_said_and_not_thrown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"{name}:\nundefined symbol: _PyLong_AsByteArray")

    adapter.import_learn2learn.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr("fewshot.models.learn2learn_adapter.import_torchvision", lambda: None)
    monkeypatch.setattr("fewshot.models.learn2learn_adapter.importlib.import_module", fail)
    assert "does not import (ImportError: learn2learn: undefined symbol: _PyLong_AsByteArray)" in adapter.why_not()
