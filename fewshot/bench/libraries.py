"""The same work by us, by plain PyTorch in both layouts, and by easyfsl and learn2learn: in one run, as ratios.

All do Conv4-64, Prototypical Networks, Adam, everything in memory. Each is measured in a process of its own, so that no
allocator setting and no import of one reaches another.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from episodes.files import data_root
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet, Split
from fewshot.bench.basics import (
    SETTINGS,
    Action,
    Figure,
    Workload,
    best_seconds,
    figure,
    fresh_method,
    image_set,
    in_a_process,
    precision_here,
    seconds,
)
from fewshot.evaluation.evaluate import embed_all, score_episodes
from fewshot.models import learn2learn_adapter
from fewshot.models.encoders.torchvision_import import import_torchvision
from fewshot.models.hardware import choose_device, keep_freed_memory
from fewshot.progress import Reporter
from fewshot.training.optimizers import optimizer_for
from fewshot.training.recipes import find_recipe
from fewshot.training.step import train_step

TEST_EPISODES = 10_000
_LEARNING_RATE = 1e-3
_ENDLESS = 10**9  # tasks of a loader that is never read to its end
_QUICK, _FULL = (1, 1.0), (3, 4.0)  # rounds, and seconds for the step, the test and the embedding in each
_EMBEDDED, _AT_ONCE = 1024, 256  # images whose embedding is timed; how many plain networks take at a time
_PARTS: tuple[Split, Split] = ("train", "test")
_TIMES = ("step_ms", "test_s", "embedding_ms")

Following = Callable[[], tuple[Tensor, Tensor]]
"""Logits and labels of the next episode."""


@dataclass(frozen=True)
class Contender:
    """Who takes a step. ``opponent`` gives its network and what it makes of episode after episode; None: it is us."""

    title: str
    training: str
    testing: str
    opponent: Callable[[Workload, ImageSet, EpisodeSpec], tuple[nn.Module, Following]] | None
    why_not: Callable[[], str] = str


def measure_contenders(root: Path | None, reporter: Reporter, *, quick: bool = False) -> list[dict[str, Any]]:
    """Every contender's times in every setting: the best of the rounds, in which all take turns."""
    present = [name for name, contender in CONTENDERS.items() if not _left_out(name, contender.why_not(), reporter)]
    rounds, budget = _QUICK if quick else _FULL
    turns = [(setting, name) for setting in SETTINGS for _ in range(rounds) for name in present]
    best: dict[tuple[Workload, str], dict[str, Any]] = {}
    for number, turn in enumerate(turns):
        setting, name = turn
        reporter.say(f"  {setting.name}: {CONTENDERS[name].title} ({number + 1} of {len(turns)})")
        found = in_a_process(measure, name, setting, data_root(root), budget)
        before = best.get(turn, found)
        best[turn] = found | {key: min(found[key], before[key]) for key in _TIMES}
    return [*best.values()]


def _left_out(name: str, reason: str, reporter: Reporter) -> bool:
    if reason:
        reporter.say(f"{name} is not compared with: {reason}")
    return bool(reason)


def measure(name: str, setting: Workload, root: Path, budget: float) -> dict[str, Any]:
    """Milliseconds of a step and to embed 1,024 images, seconds of 10,000 test episodes; ``budget`` seconds on each."""
    contender = CONTENDERS[name]
    (train_set, pixels), (test_set, _) = (image_set(setting, root, part) for part in _PARTS)
    looked_at = test_set.images[:_EMBEDDED]
    embed: Action
    if contender.opponent is None:
        keep_freed_memory()  # part of what we do; the others keep the allocator as they find it
        step = best_seconds(our_step(setting, train_set), budget)
        embed = partial(embed_all, fresh_method("proto", test_set.image_shape), looked_at, precision_here())
        test = _our_test(setting, test_set)
    else:
        step = best_seconds(stepping(*contender.opponent(setting, train_set, setting.train)), budget)
        network, following = contender.opponent(setting, test_set, setting.test)
        test = TEST_EPISODES * best_seconds(scoring(network, following), budget)
        embed = _embedding(getattr(network, "backbone", network), looked_at)
    return {
        "name": name,
        "title": contender.title,
        "version": metadata.version(name if name in ("easyfsl", "learn2learn") else "torch"),
        "training": contender.training,
        "testing": contender.testing,
        "setting": setting.name,
        "step_ms": 1000 * step,
        "test_s": test,
        "embedding_ms": 1000 * best_seconds(embed, budget),
        "pixels": pixels,
    }


def our_step(setting: Workload, train_set: ImageSet) -> Action:
    """From drawing the episode to the optimizer, as a training does it."""
    method = fresh_method("proto", train_set.image_shape)
    optimizer = optimizer_for(method, find_recipe("fast", setting.dataset, setting.train.shot))
    images, precision = train_set.images.to(choose_device()), precision_here()
    episodes = EpisodeSampler(train_set, setting.train, seed=0).steps(0, _ENDLESS)
    method.train()
    return lambda: train_step(method, optimizer, images, next(episodes), precision)


def _our_test(setting: Workload, test_set: ImageSet) -> float:
    """Seconds for all test episodes, embedding and scoring."""
    method, precision = fresh_method("proto", test_set.image_shape), precision_here()
    sampler = EpisodeSampler(test_set, setting.test, seed=0)
    embed_all(method, test_set.images[:_AT_ONCE], precision)

    def test() -> None:
        table = embed_all(method, test_set.images, precision)
        score_episodes(method, table, sampler, TEST_EPISODES, precision)

    return seconds(test)


def _plain_conv4(channels: int) -> nn.Module:
    """Conv4-64 as the papers write it: convolution with bias, batch norm, ReLU, pooling; float32."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise((channels, 64, 64, 64, 64)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten()).to(choose_device())


def stepping(network: nn.Module, following: Following) -> Action:
    """A plain training step with Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=_LEARNING_RATE)
    network.train()

    def step() -> None:
        loss = functional.cross_entropy(*following())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def scoring(network: nn.Module, following: Following) -> Callable[[], float]:
    """The accuracy of the next test episode."""
    network.eval()

    def test() -> float:
        with torch.no_grad():
            logits, labels = following()
            return float((logits.argmax(-1) == labels).float().mean())

    return test


def _embedding(network: nn.Module, images: Tensor) -> Action:
    network.eval()

    def embed() -> None:
        with torch.no_grad():
            for part in torch.split(images.to(choose_device()), _AT_ONCE):
                network(part.float() / 255)

    return embed


def _plain(
    setting: Workload, images: ImageSet, spec: EpisodeSpec, layout: torch.memory_format = torch.contiguous_format
) -> tuple[nn.Module, Following]:
    """Episodes drawn with PyTorch's permutations and embedded in one pass; labels follow from their order."""
    generator, device = torch.Generator().manual_seed(0), choose_device()
    network = _plain_conv4(setting.image_shape[0]).to(memory_format=layout)  # type: ignore[call-overload]
    network.register_forward_pre_hook(lambda _, given: (given[0].contiguous(memory_format=layout),))
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

    return network, following


class _InMemory(learn2learn_adapter.LabeledImages):
    """What easyfsl's sampler and PyTorch's loader ask of a data set; the images wait as numbers from 0 to 1."""

    def __init__(self, images: ImageSet) -> None:
        super().__init__(images)
        self.images = self.images.float() / 255

    def get_labels(self) -> list[int]:
        return self.class_ids


def _takes_a_data_source(sampler: object, data_source: object = None) -> None:
    """What easyfsl 1.5 hands to PyTorch's Sampler as it begins; PyTorch dropped it, and it was never used."""


def _easyfsl(setting: Workload, images: ImageSet, spec: EpisodeSpec) -> tuple[nn.Module, Following]:
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


def _learn2learn(setting: Workload, images: ImageSet, spec: EpisodeSpec) -> tuple[nn.Module, Following]:
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


def _why_no_easyfsl() -> str:
    if importlib.util.find_spec("easyfsl") is None:
        return "easyfsl is not installed: `pip install easyfsl` (or the extra `peers`) brings it"
    return ""


_EACH_ALONE = "embeds the images of every episode anew; the time of one is taken 10,000 times"
_PLAIN = "float32, {}, convolution, batch norm, ReLU, pooling; drawn by randperm"

CONTENDERS = {
    "ours": Contender(
        "fewshot-bench",
        "drawn, gathered, channels-last, bf16 where the hardware has it, pooling before ReLU, "
        "the first block of gray images on patches, freed memory kept",
        "embeds every test image once, then scores all 10,000 episodes on the table",
        None,
    ),
    "plain": Contender("plain PyTorch", _PLAIN.format("channels first"), _EACH_ALONE, _plain),
    "plain-channels-last": Contender(
        "plain PyTorch, channels-last",
        _PLAIN.format("channels last"),
        _EACH_ALONE,
        partial(_plain, layout=torch.channels_last),
    ),
    "easyfsl": Contender(
        "easyfsl",
        "TaskSampler and DataLoader over float images in memory, PrototypicalNetworks on the plain Conv4",
        _EACH_ALONE,
        _easyfsl,
        _why_no_easyfsl,
    ),
    "learn2learn": Contender(
        "learn2learn",
        "Taskset over images in memory, CNN4Backbone, partition_task, PrototypicalClassifier",
        _EACH_ALONE,
        _learn2learn,
        learn2learn_adapter.why_not,
    ),
}


def ratios(measured: list[dict[str, Any]]) -> list[Figure]:
    """How many times faster our step, our test and our embedding are than those of each other contender."""
    ours = {line["setting"]: line for line in measured if line["name"] == "ours"}
    kinds = {
        "step_ms": ("step", "ms", "training"),
        "test_s": ("10,000 test episodes", "s", "testing"),
        "embedding_ms": ("embedding 1,024 images", "ms", "training"),
    }
    return [
        figure(
            f"{line['setting']}: {what} against {line['title']}",
            line[key] / own[key],
            "times faster",
            f"{line['title']} {line[key]:,.0f} {unit}, ours {own[key]:,.1f} {unit}; {line[how]}",
        )
        for line in measured
        if (own := ours[line["setting"]]) is not line
        for key, (what, unit, how) in kinds.items()
    ]
