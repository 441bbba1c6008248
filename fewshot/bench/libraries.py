"""One training step and one test episode, as we, plain PyTorch, easyfsl and learn2learn make them.

All do the same work: Conv4-64, Prototypical Networks, Adam, everything in memory. Each is measured in a process of its
own (`measure`), so that no allocator setting and no import of one reaches another.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.bench.basics import Workload, image_set, setting_named, synchronized
from fewshot.evaluation.evaluate import embed_all, score_episodes
from fewshot.models import learn2learn_adapter
from fewshot.models.encoders.torchvision_import import import_torchvision
from fewshot.models.factory import build_method, place
from fewshot.models.hardware import choose_device, choose_precision, keep_freed_memory
from fewshot.progress import Reporter
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import find_recipe
from fewshot.training.step import train_step

TEST_EPISODES = 10_000
_WARM_UP = 2
_LEARNING_RATE = 1e-3
_ENDLESS = 10**9  # tasks of a loader that is never read to its end

Action = Callable[[], object]


@dataclass(frozen=True)
class Contender:
    """Who takes a step. ``step`` and ``episode`` make what is timed; our own test is timed as a whole instead."""

    title: str
    training: str
    testing: str
    step: Callable[[Workload, ImageSet], Action]
    episode: Callable[[Workload, ImageSet], Action] | None
    why_not: Callable[[], str] = str


def measure(name: str, setting_name: str, root: str, budget: str) -> dict[str, Any]:
    """Milliseconds of a training step and seconds of 10,000 test episodes; ``budget`` seconds are spent on each."""
    contender, setting = CONTENDERS[name], setting_named(setting_name)
    if name == "ours":
        keep_freed_memory()  # part of what we do; the others keep the allocator as they find it
    train_set, pixels = image_set(setting, Path(root), "train", Reporter())
    step, steps = _median_seconds(contender.step(setting, train_set), float(budget))
    test_set, _ = image_set(setting, Path(root), "test", Reporter())
    if contender.episode is None:
        test, episodes = _our_test(setting, test_set), TEST_EPISODES
    else:
        one, episodes = _median_seconds(contender.episode(setting, test_set), float(budget))
        test = one * TEST_EPISODES
    return {
        "name": name,
        "title": contender.title,
        "training": contender.training,
        "testing": contender.testing,
        "setting": setting_name,
        "step_ms": 1000 * step,
        "steps": steps,
        "test_s": test,
        "test_episodes": episodes,
        "pixels": pixels,
    }


def _median_seconds(action: Action, budget: float) -> tuple[float, int]:
    """Median time of an action, repeated for ``budget`` seconds and three times at least; and how often it was."""
    for _ in range(_WARM_UP):
        action()
    times: list[float] = []
    while sum(times) < budget or len(times) < 3:
        start = time.perf_counter()
        action()
        synchronized()
        times.append(time.perf_counter() - start)
    return statistics.median(times), len(times)


def _our_step(setting: Workload, train_set: ImageSet) -> Action:
    device = choose_device()
    method = place(build_method("proto", {}, "conv4", {}, train_set.image_shape, seed=0), device)
    optimizer = optimizer_for(method, find_recipe("fast", setting.dataset, setting.train.shot))
    images, precision = train_set.images.to(device), choose_precision("auto", device)
    episodes = EpisodeSampler(train_set, setting.train, seed=0).steps(0, _ENDLESS)
    method.train()
    return lambda: train_step(method, optimizer, images, next(episodes), precision)


def _our_test(setting: Workload, test_set: ImageSet) -> float:
    """Seconds for all test episodes, embedding and scoring."""
    device = choose_device()
    precision = choose_precision("auto", device)
    method = place(build_method("proto", {}, "conv4", {}, test_set.image_shape, seed=0), device)
    embed_all(method, test_set.images[:256], precision)
    start = time.perf_counter()
    table = embed_all(method, test_set.images, precision)
    score_episodes(method, table, EpisodeSampler(test_set, setting.test, seed=0), TEST_EPISODES, precision)
    synchronized()
    return time.perf_counter() - start


def _plain_conv4(channels: int) -> nn.Module:
    """Conv4-64 as the papers write it: convolution with bias, batch norm, ReLU, pooling; float32, channels first."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((channels, 64, 64, 64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten()).to(choose_device())


def _stepping(network: nn.Module, loss_of_next: Callable[[], Tensor]) -> Action:
    """A plain training step with Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    network.train()

    def step() -> None:
        loss = loss_of_next()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _testing(network: nn.Module, logits_of_next: Callable[[], tuple[Tensor, Tensor]]) -> Action:
    """The accuracy of the next test episode."""
    network.eval()

    def test() -> float:
        with torch.no_grad():
            logits, labels = logits_of_next()
            return float((logits.argmax(-1) == labels).float().mean())

    return test


def _plain_logits(network: nn.Module, images: ImageSet, spec: EpisodeSpec) -> Callable[[], tuple[Tensor, Tensor]]:
    """The next episode, drawn with PyTorch's permutations and embedded in one pass; labels follow from its order."""
    generator = torch.Generator().manual_seed(0)
    device = choose_device()
    pixels = images.images.to(device)
    starts, sizes = images.class_starts.tolist(), images.class_sizes.tolist()
    labels = torch.arange(spec.way, device=device).repeat_interleave(spec.num_query)

    def following() -> tuple[Tensor, Tensor]:
        classes = torch.randperm(images.num_classes, generator=generator)[: spec.way].tolist()
        each = spec.shot + spec.num_query
        rows = [starts[c] + torch.randperm(sizes[c], generator=generator)[:each] for c in classes]
        embedded = network(pixels[torch.stack(rows).flatten().to(device)].float() / 255).unflatten(0, (spec.way, each))
        prototypes = embedded[:, : spec.shot].mean(1)
        return -torch.cdist(embedded[:, spec.shot :].flatten(0, 1), prototypes).square(), labels

    return following


def _plain_step(setting: Workload, train_set: ImageSet) -> Action:
    network = _plain_conv4(setting.image_shape[0])
    following = _plain_logits(network, train_set, setting.train)
    return _stepping(network, lambda: functional.cross_entropy(*following()))


def _plain_episode(setting: Workload, test_set: ImageSet) -> Action:
    network = _plain_conv4(setting.image_shape[0])
    return _testing(network, _plain_logits(network, test_set, setting.test))


class _InMemory(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """What easyfsl's sampler and PyTorch's loader ask of a data set; the images wait as numbers from 0 to 1."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.labels = images.images.float() / 255, images.class_ids.tolist()

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row], self.labels[row]

    def get_labels(self) -> list[int]:
        return self.labels


def _takes_a_data_source(sampler: object, data_source: object = None) -> None:
    """What easyfsl 1.5 hands to PyTorch's Sampler as it begins; PyTorch dropped it, and it was never used."""


def _easyfsl_logits(setting: Workload, images: ImageSet, spec: EpisodeSpec) -> tuple[nn.Module, Any]:
    """easyfsl's Prototypical Networks behind its TaskSampler, in the order of its tutorials."""
    device = choose_device()
    held = _InMemory(images)
    import_torchvision()  # easyfsl imports it too; this one takes a torch it was not built for
    samplers, methods = (importlib.import_module(f"easyfsl.{part}") for part in ("samplers", "methods"))
    with mock.patch.object(torch.utils.data.Sampler, "__init__", _takes_a_data_source):
        sampler = samplers.TaskSampler(held, spec.way, spec.shot, spec.num_query, _ENDLESS)
    loader: Any = torch.utils.data.DataLoader(held, batch_sampler=sampler, collate_fn=sampler.episodic_collate_fn)
    network = methods.PrototypicalNetworks(_plain_conv4(setting.image_shape[0]))
    tasks: Iterator[list[Any]] = iter(loader)

    def following() -> tuple[Tensor, Tensor]:
        support, support_labels, query, query_labels, _ = next(tasks)
        network.process_support_set(support.to(device), support_labels.to(device))
        return network(query.to(device)), query_labels.to(device)

    return network, following


def _easyfsl_step(setting: Workload, train_set: ImageSet) -> Action:
    network, following = _easyfsl_logits(setting, train_set, setting.train)
    return _stepping(network, lambda: functional.cross_entropy(*following()))


def _easyfsl_episode(setting: Workload, test_set: ImageSet) -> Action:
    return _testing(*_easyfsl_logits(setting, test_set, setting.test))


def _learn2learn_logits(setting: Workload, images: ImageSet, spec: EpisodeSpec) -> tuple[nn.Module, Any]:
    """learn2learn's tasks, its CNN4Backbone, its partition of a task and its PrototypicalClassifier."""
    device, learn2learn = choose_device(), learn2learn_adapter.import_learn2learn()
    tasks = learn2learn_adapter.to_task_dataset(images, spec)
    backbone = learn2learn.vision.models.CNN4Backbone(hidden_size=64, channels=setting.image_shape[0], max_pool=True)
    network = nn.Sequential(backbone, nn.Flatten()).to(device)

    def following() -> tuple[Tensor, Tensor]:
        data, labels = tasks.sample()
        embedded = network(data.to(device).float() / 255)
        parts = learn2learn.data.partition_task(embedded, labels.to(device), shots=spec.shot)
        (support, support_labels), (query, query_labels) = parts
        return learn2learn.nn.PrototypicalClassifier(support, support_labels)(query), query_labels

    return network, following


def _learn2learn_step(setting: Workload, train_set: ImageSet) -> Action:
    network, following = _learn2learn_logits(setting, train_set, setting.train)
    return _stepping(network, lambda: functional.cross_entropy(*following()))


def _learn2learn_episode(setting: Workload, test_set: ImageSet) -> Action:
    return _testing(*_learn2learn_logits(setting, test_set, setting.test))


def _why_no_easyfsl() -> str:
    if importlib.util.find_spec("easyfsl") is None:
        return "easyfsl is not installed: `pip install easyfsl` (or the extra `peers`) brings it"
    return ""


_EACH_ALONE = "embeds the images of every episode anew; a sample of episodes is timed and scaled to 10,000"

CONTENDERS = {
    "ours": Contender(
        "fewshot-bench",
        "drawn, gathered, channels-last, bf16 where the hardware has it, pooling before ReLU, "
        "the first block of gray images on patches, freed memory kept",
        "embeds every test image once, then scores all 10,000 episodes on the table",
        _our_step,
        None,
    ),
    "plain": Contender(
        "plain PyTorch",
        "float32, channels first, convolution, batch norm, ReLU, pooling; drawn by randperm",
        _EACH_ALONE,
        _plain_step,
        _plain_episode,
    ),
    "easyfsl": Contender(
        "easyfsl",
        "TaskSampler and DataLoader over float images in memory, PrototypicalNetworks on the plain Conv4",
        _EACH_ALONE,
        _easyfsl_step,
        _easyfsl_episode,
        _why_no_easyfsl,
    ),
    "learn2learn": Contender(
        "learn2learn",
        "Taskset over images in memory, CNN4Backbone, partition_task, PrototypicalClassifier",
        _EACH_ALONE,
        _learn2learn_step,
        _learn2learn_episode,
        learn2learn_adapter.why_not,
    ),
}
