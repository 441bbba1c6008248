"""The adapter to learn2learn: our image sets and episodes as its tasks, and its tasks as our episodes.

It is no dependency, since it is built from source: it is imported at the first use, without the end-of-life notice that
gym prints on that occasion, and where it is absent one message says how to install it.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import io
import warnings
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor
from torch.utils.data import Dataset

from episodes.errors import UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import Episode, EpisodeError, ImageSet, gather
from fewshot.models.encoders.torchvision_import import import_torchvision

BUILD_TOOLS = ("pip", "cython", "setuptools", "wheel")
NEEDS = ("gym", "requests", "scipy", "tqdm")
"""What learn2learn imports; more is on its own list of requirements and is never used here."""

RECIPE = (
    f"pip install --upgrade {' '.join(BUILD_TOOLS)}",
    f"pip install {' '.join(NEEDS)}",
    "pip install --no-build-isolation --no-deps -C--global-option=build_ext learn2learn==0.2.0",
)
"""Commands that install it. The C files in its archive are too old for Python 3.11; ``build_ext`` makes new ones."""


class Learn2LearnError(UserError):
    """learn2learn is absent or cannot be imported. The message says how to install it."""


@runtime_checkable
class Taskset(Protocol):
    """What is used of ``learn2learn.data.Taskset``; a task is the pair (data, labels)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Sequence[Tensor]: ...
    def sample(self) -> Sequence[Tensor]: ...


def how_to_install() -> str:
    """The commands, in one line."""
    return "`make setup` installs it, or by hand: " + " && ".join(RECIPE)


def what_is_absent() -> str:
    """What is not installed and how to install it, in one line; empty where everything is."""
    absent = [name for name in ("learn2learn", *NEEDS) if importlib.util.find_spec(name) is None]
    return f"{' and '.join(absent)} not installed; {how_to_install()}" if absent else ""


@functools.cache
def import_learn2learn() -> ModuleType:
    """learn2learn, imported at the first call (it takes seconds) and without a word on the terminal.

    What is kept off it is gym's notice of its end and the warnings of old code. Raises Learn2LearnError, with the way
    to install it, when it cannot be had.
    """
    if absent := what_is_absent():
        raise Learn2LearnError(absent)
    try:
        said = io.StringIO()
        with warnings.catch_warnings(), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            warnings.simplefilter("ignore")
            import_torchvision()
            return importlib.import_module("learn2learn")
    except Exception as error:  # a wrong build fails in many ways, and none of them may stop anything else
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise Learn2LearnError(f"learn2learn does not import ({reason}); {how_to_install()}") from error


def why_not() -> str:
    """Why learn2learn cannot be used and how to install it, in one line; empty where it can be used."""
    try:
        import_learn2learn()
    except Learn2LearnError as error:
        return str(error)
    return ""


def available() -> bool:
    """Whether learn2learn can be imported."""
    return not why_not()


def to_task_dataset(image_set: ImageSet, spec: EpisodeSpec, num_tasks: int = -1) -> Taskset:
    """Tasks that learn2learn draws itself from our images: ``spec.shot + spec.num_query`` images of each class.

    Its random numbers are those of Python's ``random`` module. A task is drawn when it is first asked for and then
    kept; with ``num_tasks`` -1 every access draws a new one. Raises EpisodeError when a class is too small.
    """
    _refuse_unlabeled(spec.num_unlabeled > 0)
    EpisodeSampler(image_set, spec, seed=0)  # its complaint about a class that is too small is clear, random's is not
    data = import_learn2learn().data
    dataset = _to_meta_dataset(image_set)
    transforms = [
        data.transforms.FusedNWaysKShots(dataset, n=spec.way, k=spec.shot + spec.num_query),
        data.transforms.LoadData(dataset),
        data.transforms.RemapLabels(dataset),
    ]
    taskset: Taskset = data.Taskset(dataset, transforms, num_tasks=num_tasks)
    return taskset


def episodes_to_task_dataset(image_set: ImageSet, episodes: Episode) -> Taskset:
    """Our episodes as fixed tasks: task i is episode i of the batch, laid out as ``episode_to_task`` does."""
    _refuse_unlabeled(episodes.unlabeled is not None)
    data = import_learn2learn().data
    dataset = _to_meta_dataset(image_set)
    taskset = data.Taskset(dataset, num_tasks=len(episodes))
    for index in range(len(episodes)):
        rows, labels = _task_rows(episodes, index)
        descriptions = [data.DataDescription(row) for row in rows.tolist()]
        for description, label in zip(descriptions, labels.tolist(), strict=True):
            description.transforms.append(functools.partial(_image_and_label, dataset, label))
        taskset.sampled_descriptions[index] = descriptions  # where it keeps the tasks that were drawn before
    fixed: Taskset = taskset
    return fixed


def episode_to_task(
    table: Shaped[Tensor, "num_rows *item"], episode: Episode, index: int = 0
) -> tuple[Shaped[Tensor, "task *item"], Int64[Tensor, " task"]]:
    """One episode of a batch as a learn2learn task (data, labels): images or embeddings, whatever ``table`` holds.

    The support comes first, class after class, then the queries in the episode's order; ``partition_task`` of
    learn2learn therefore finds the same support.
    """
    _refuse_unlabeled(episode.unlabeled is not None)
    rows, labels = _task_rows(episode, index)
    return gather(table, rows), labels


def task_to_episode(labels: Int64[Tensor, " task"], shot: int, seed: int = 0) -> Episode:
    """The labels of a learn2learn task as one episode whose rows point into the data of that task.

    ``gather(data, episode.support)`` is then (1, way, shot, *item) and ``gather(data, episode.query)`` (1, queries,
    *item). As in ``partition_task`` the first ``shot`` images of a class are its support; the queries are put into an
    order drawn from ``seed``, since learn2learn sorts them by class. Label c of the episode is the c-th smallest label
    of the task. Raises EpisodeError when the classes differ in size or nothing is left to query.
    """
    values, own = torch.unique(labels, return_inverse=True)
    sizes = own.bincount()
    smallest, largest = int(sizes.min()), int(sizes.max())
    if smallest != largest or smallest <= shot:
        have = str(smallest) if smallest == largest else f"{smallest} to {largest}"
        raise EpisodeError(
            f"{shot} shot needs a task with as many images of each class, {shot + 1} or more, not {have}"
        )
    rows = own.argsort(stable=True).reshape(len(values), smallest)  # (way, shot + num_query)
    query = rows[:, shot:].reshape(-1)
    query = query[torch.randperm(len(query), generator=torch.Generator().manual_seed(seed))]
    return Episode(rows[:, :shot].unsqueeze(0), query.unsqueeze(0), own[query].unsqueeze(0))


class LabeledImages(Dataset[tuple[Tensor, int]]):
    """An image set as PyTorch's data sets go: item i is (image uint8 (channels, height, width), class id)."""

    def __init__(self, image_set: ImageSet) -> None:
        self.images = image_set.images
        self.class_ids: list[int] = image_set.class_ids.tolist()

    def __len__(self) -> int:
        return len(self.class_ids)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        return self.images[row], self.class_ids[row]


def _to_meta_dataset(image_set: ImageSet) -> Any:
    """A ``learn2learn.data.MetaDataset``, told which rows are whose so that it need not load every image."""
    starts = image_set.class_starts.tolist()
    rows_of_class = {
        class_id: list(range(*starts[class_id : class_id + 2])) for class_id in range(image_set.num_classes)
    }
    return import_learn2learn().data.MetaDataset(LabeledImages(image_set), labels_to_indices=rows_of_class)


def _task_rows(episode: Episode, index: int) -> tuple[Tensor, Tensor]:
    support, query = episode.support[index], episode.query[index]
    way, shot = support.shape
    support_labels = torch.arange(way, device=support.device).repeat_interleave(shot)
    return torch.cat([support.reshape(-1), query]), torch.cat([support_labels, episode.labels[index]])


def _image_and_label(dataset: Any, label: int, row: int) -> tuple[Tensor, int]:
    return dataset[row][0], label


def _refuse_unlabeled(asked: bool) -> None:
    if asked:
        raise EpisodeError("learn2learn's tasks hold no unlabeled images: leave num_unlabeled at 0")
