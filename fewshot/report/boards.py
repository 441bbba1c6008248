"""Records -> cells and entries: what may be compared with what, and how a row is called."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fewshot.papers import Published, published_target
from fewshot.records import RunRecord
from fewshot.statistics import Interval, interval_over_episodes

GROUPS = ("inductive", "self-supervised", "transductive", "semi-supervised")
DATASET_NAMES = {
    "omniglot-vinyals-28": "Omniglot",
    "miniimagenet-ravi-84": "miniImageNet",
    "omniglot-lake-28": "Omniglot, Lake's alphabets",
    "omniglot-lake-105": "Omniglot, Lake's alphabets, 105 pixels",
    "strokes-standard-28": "Strokes (drawn by the program)",
}


def spoken(rest: str) -> str:
    """``q14u5d5@v1`` -> `` (5 unlabeled a class, 5 distractor classes, 14 queries a class)``; nothing for q15@v1."""
    counts = {letter: int(number) for letter, number in re.findall(r"([a-z])(\d+)", rest.partition("@")[0])}
    words = {"u": "unlabeled a class", "d": "distractor classes", "q": "queries a class"}
    said = [f"{counts[letter]} {word}" for letter, word in words.items() if letter in counts and rest != "q15@v1"]
    return f" ({', '.join(said)})" if said else ""


@dataclass(frozen=True)
class Entry:
    """One model under one training recipe in one cell: its records, one for each training seed."""

    name: str
    records: tuple[RunRecord, ...]

    @property
    def record(self) -> RunRecord:
        """The record of the first seed, for what all seeds share."""
        return self.records[0]

    @cached_property
    def accuracies(self) -> npt.NDArray[np.float64]:
        """Accuracy of every episode, the mean over the training seeds, (episodes,)."""
        return np.asarray(np.mean([record.counts / record.num_queries for record in self.records], axis=0))

    @cached_property
    def interval(self) -> Interval:
        """Over episodes, for these trainings."""
        return interval_over_episodes(self.accuracies)

    @property
    def group(self) -> str:
        """inductive, self-supervised, transductive or semi-supervised."""
        record = self.record
        if record.uses_unlabeled:
            return "semi-supervised"
        if record.transductive:
            return "transductive"
        return "self-supervised" if record.self_supervised else "inductive"

    @property
    def shortened(self) -> bool:
        """Whether it was trained for fewer episodes than its recipe says."""
        return self.record.shortened

    @property
    def train_seconds(self) -> float:
        """Seconds of one training, the mean over seeds; 0 where a record does not say."""
        return float(np.mean([record.seconds.get("training", 0.0) for record in self.records]))

    @property
    def seeds(self) -> str:
        """``0`` or ``0, 1, 2``."""
        return ", ".join(str(seed) for seed in sorted(record.seed for record in self.records))

    @property
    def published(self) -> Published | None:
        """The number that the paper of this model prints for this cell."""
        record = self.record
        return published_target(record.model, *record.pixels_way_shot, distractors=record.has_distractors)


@dataclass(frozen=True)
class Cell:
    """Everything that was measured on the very same episodes, best first."""

    pixels: str
    way: int
    shot: int
    rest: str  # what follows way and shot in the protocol's name: q15@v1
    digest: str
    entries: tuple[Entry, ...]

    @property
    def dataset(self) -> str:
        """For people: Omniglot."""
        return DATASET_NAMES.get(self.pixels, self.pixels)

    @property
    def name(self) -> str:
        """``Omniglot, 5-way 1-shot``, with what departs from the usual number of queries."""
        return f"{self.dataset}, {self.shape}{spoken(self.rest)}"

    @property
    def shape(self) -> str:
        """``5-way 1-shot``."""
        return f"{self.way}-way {self.shot}-shot"

    @property
    def key(self) -> str:
        """For links and files."""
        return f"{self.pixels}-{self.way}w{self.shot}s-{self.rest.partition('@')[0]}-{self.digest[:6]}"

    @property
    def num_episodes(self) -> int:
        return self.entries[0].record.num_episodes

    @cached_property
    def ranked(self) -> tuple[Entry, ...]:
        """What stands in the ranking: inductive, fully trained; where there is none, the shortened trainings."""
        inductive = [entry for entry in self.entries if entry.group == "inductive"]
        return tuple([entry for entry in inductive if not entry.shortened] or inductive)


def cells_of(records: Iterable[RunRecord]) -> list[Cell]:
    """Every cell, those of the best-known data sets first. Smoke tests are left out."""
    kept = [record for record in records if record.recipe != "smoke"]
    names = _names(kept)
    grouped: dict[tuple[str, str], list[RunRecord]] = defaultdict(list)
    for record in kept:
        grouped[record.protocol, record.episodes_digest].append(record)
    cells = [_cell(digest, members, names) for (_, digest), members in grouped.items()]
    known = list(DATASET_NAMES)
    rank = {name: known.index(name) for name in known}
    return sorted(
        cells, key=lambda c: (rank.get(c.pixels, 99), c.pixels, c.rest != "q15@v1", c.rest, c.way, c.shot, c.digest)
    )


def _cell(digest: str, records: Sequence[RunRecord], names: dict[str, str]) -> Cell:
    by_name: dict[str, dict[int, RunRecord]] = defaultdict(dict)
    for record in sorted(records, key=lambda record: (record.date, record.command)):  # of two, the newer one stays
        by_name[names[_identity(record)]][record.seed] = record
    entries = [Entry(name, tuple(of[seed] for seed in sorted(of))) for name, of in by_name.items()]
    entries.sort(key=lambda entry: (-entry.interval.mean, entry.name))
    first = records[0]
    pixels, way, shot = first.pixels_way_shot
    return Cell(pixels, way, shot, first.protocol.split("/")[-1], digest, tuple(entries))


def _traits(record: RunRecord) -> dict[str, str]:
    """What tells two rows of one model apart, in the order in which it is said."""
    config, recipe = record.config, record.config["recipe"]
    encoder = " ".join([config["encoder"], *_options(config.get("encoder_options", {}))])
    short = f"only {recipe['train_episodes']:,} episodes" if record.shortened else ""
    trained_as = config.get("trained_as")
    return {
        "trained as": f"trained as {trained_as['model']}" if trained_as else "",
        "encoder": encoder,
        "recipe": f"{record.recipe} recipe",
        "train way": f"{recipe.get('train_way')}-way",
        "train shot": f"{recipe.get('train_shot')}-shot",
        "rate": f"rate {recipe.get('learning_rate', 0):g}",
        "length": short,
        "labels": f"{100 * recipe['labeled_share']:g} % labeled" if recipe.get("labeled_share") else "all labeled",
        "distractors": "distractors" if record.has_distractors else "no distractors",
        "damage": f"trained on {100 * config['damage']:g} % damaged" if config.get("damage") else "",
        "pixels": f"trained on {config['pixels']}" if config.get("pixels") != record.pixels_way_shot[0] else "",
        "queries": f"{recipe.get('train_query')} queries",
    }


def _options(options: dict[str, object]) -> list[str]:
    return [
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in sorted(options.items())
    ]


def _base(record: RunRecord) -> str:
    readout = [f"+ {record.readout}"] if record.readout else []
    return " ".join([record.model, *_options(record.config["model_options"]), *readout])


def _identity(record: RunRecord) -> str:
    """One string for what all seeds of a row share, the test apart; training for 1 or 5 shots is one row."""
    return json.dumps([_base(record), record.pixels_way_shot, _traits(record), _length(record)])


def _names(records: Sequence[RunRecord]) -> dict[str, str]:
    """A short name for each identity: the model, and as few of its traits as tell it from its namesakes.

    Recipes may differ from cell to cell (train shot as in the test), so namesakes are looked for within a cell; what
    tells them apart in one cell is said in every cell of the same pixels. Where only the length of a full training
    does, the longest keeps the plain name.
    """
    families: dict[tuple[str, str], dict[str, dict[str, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        family = record.pixels_way_shot[0], _base(record)
        families[family][record.protocol].setdefault(_identity(record), record)
    names: dict[str, str] = {}
    for (_, base), cells in families.items():
        telling = _telling([[_traits(record) for record in namesakes.values()] for namesakes in cells.values()])
        for namesakes in cells.values():
            taken: set[str] = set()
            for identity, record in sorted(namesakes.items(), key=lambda item: -_length(item[1])):
                traits = _traits(record)
                name = ", ".join([base, *(traits[trait] for trait in telling if traits[trait])])
                names[identity] = f"{name}, {_length(record):,} episodes" if name in taken else name
                taken.add(name)
    return names


def _length(record: RunRecord) -> int:
    return int(record.config["recipe"]["train_episodes"])


def _telling(cells: Sequence[Sequence[dict[str, str]]]) -> list[str]:
    """The first traits, in order, that tell the members of every cell apart; only those that add something."""

    def told_apart(traits: list[str]) -> int:
        return sum(len({tuple(of[trait] for trait in traits) for of in members}) for members in cells)

    chosen: list[str] = []
    for trait in cells[0][0]:
        if told_apart([*chosen, trait]) > told_apart(chosen):
            chosen.append(trait)
    return chosen
