"""Records -> cells and rows as the report names them: what may be compared with what, and how a row is called."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from episodes.datasets.cards import benchmarks
from fewshot.records import rows as entries
from fewshot.records.published import Published, target_of
from fewshot.records.record import RunRecord
from fewshot.records.rows import block_of, entries_by_cell, trained_on, why_apart
from fewshot.statistics.intervals import Accuracies, CoveringInterval

GROUPS = ("inductive", "self-supervised", "transductive", "semi-supervised", "external data")


def spoken(rest: str) -> str:
    """``q14u5d5@v1`` -> `` (5 unlabeled a class, 5 distractor classes, 14 queries a class)``; nothing for q15@v1."""
    counts = {letter: int(number) for letter, number in re.findall(r"([a-z])(\d+)", rest.partition("@")[0])}
    words = {"u": "unlabeled a class", "d": "distractor classes", "q": "queries a class"}
    said = [f"{counts[letter]} {word}" for letter, word in words.items() if letter in counts and rest != "q15@v1"]
    return f" ({', '.join(said)})" if said else ""


@dataclass(frozen=True)
class Entry:
    """One row of a cell with its name on the page."""

    name: str
    row: entries.Entry

    @property
    def record(self) -> RunRecord:
        """The record of the first seed, for what all seeds share."""
        return self.row.first

    @property
    def training_name(self) -> str:
        """The name without the read-out: what rows of one training share."""
        return self.name.replace(f" + {self.record.readout}", "", 1) if self.record.readout else self.name

    @property
    def accuracies(self) -> Accuracies:
        """Accuracy of every episode, the mean over the training seeds, (episodes,)."""
        return self.row.accuracies

    @property
    def interval(self) -> CoveringInterval:
        """Over episodes, for these trainings."""
        return self.row.interval

    @property
    def group(self) -> str:
        """inductive, self-supervised, transductive or semi-supervised."""
        return block_of(self.record)

    @property
    def apart(self) -> str:
        """Why it is not ranked, in a few words: shortened, damaged images, older protocol; empty where it is."""
        return why_apart(self.record)

    @property
    def train_seconds(self) -> float:
        """Seconds of one training, the mean over seeds; 0 where no record says."""
        return self.row.train_seconds or 0.0

    @property
    def train_length(self) -> str:
        """``3,000 episodes`` or ``3,000 batches``."""
        recipe = self.record.config["recipe"]
        return f"{recipe.get('train_episodes', 0):,} {'batches' if recipe.get('batch_size') else 'episodes'}"

    @property
    def seeds(self) -> str:
        """``0`` or ``0, 1, 2``."""
        return ", ".join(map(str, self.row.seeds))

    @property
    def published(self) -> Published | None:
        """The number that the paper of this model prints for this cell."""
        return target_of(self.record)


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
        pixels, damaged, share = self.pixels.partition("-damaged-")
        known = benchmarks().get(pixels)
        return (known.display_name if known else pixels) + (f", {share} % of the images damaged" if damaged else "")

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
    def best_readouts(self) -> tuple[Entry, ...]:
        """Each training with its most accurate read-out, best first: what is drawn."""
        found: dict[str, Entry] = {}
        for entry in self.entries:
            found.setdefault(entry.training_name, entry)
        return tuple(found.values())

    @cached_property
    def ranked(self) -> tuple[Entry, ...]:
        """What stands in the ranking: inductive and not apart; where there is none, what stands apart."""
        inductive = [entry for entry in self.entries if entry.group == "inductive"]
        return tuple([entry for entry in inductive if not entry.apart] or inductive)


def cells_of(records: Iterable[RunRecord]) -> list[Cell]:
    """Every cell, those of the best-known data sets first. Smoke tests are left out."""
    found = entries_by_cell(record for record in records if record.recipe != "smoke")
    names = _names(list(found.values()))
    cells = []
    for of, rows in found.items():
        named = tuple(Entry(names[id(row)], row) for row in rows)
        pixels, way, shot = rows[0].first.pixels_way_shot
        cells.append(Cell(pixels, way, shot, of.protocol.split("/")[-1], of.digest, named))
    rank = {name: place for place, name in enumerate(benchmarks())}
    return sorted(
        cells, key=lambda c: (rank.get(c.pixels, 99), c.pixels, c.rest != "q15@v1", c.rest, c.way, c.shot, c.digest)
    )


def _traits(row: entries.Entry) -> dict[str, str]:
    """What tells two rows of one model apart, in the order in which it is said."""
    record, recipe = row.first, row.first.config["recipe"]
    before = record.config.get("trained_as")
    elsewhere = trained_on(record) != record.pixels_way_shot[0]
    return {
        "trained as": f"trained as {before['model']}" if before else "",
        "pixels": f"trained on {trained_on(record)}" if elsewhere else "",
        "encoder": row.encoder,
        "recipe": f"{record.recipe} recipe",
        "train way": f"{recipe.get('train_way')}-way",
        "train shot": f"{recipe.get('train_shot')}-shot",
        "optimizer": (recipe.get("optimizer") or "adam").title(),
        "rate": f"rate {recipe.get('learning_rate', 0):g}",
        "length": f"only {_length(row):,} episodes" if record.shortened else "",
        "labels": f"{100 * recipe['labeled_share']:g} % labeled" if recipe.get("labeled_share") else "all labeled",
        "distractors": "distractors" if record.has_distractors else "no distractors",
        "queries": f"{recipe.get('train_query')} queries",
    }


def _model(row: entries.Entry) -> str:
    """Model and options."""
    return row.model.partition(" (weights of")[0]


def _base(row: entries.Entry) -> str:
    """Model, options, read-out."""
    return f"{_model(row)} + {row.first.readout}" if row.first.readout else _model(row)


def _names(cells: Sequence[Sequence[entries.Entry]]) -> dict[int, str]:
    """A short name for each row (by its ``id``): the model, and as few of its traits as tell it from its namesakes.

    Recipes may differ from cell to cell (train shot as in the test), so namesakes are looked for within a cell; what
    tells them apart in one cell is said in every cell of the same pixels, whatever the read-out: rows of one training
    share their name but for it. Where only the length of a full training
    does, the longest keeps the plain name.
    """
    families: dict[tuple[str, str], list[list[entries.Entry]]] = defaultdict(list)
    for rows in cells:
        by_base: dict[tuple[str, str], list[entries.Entry]] = defaultdict(list)
        for row in rows:
            by_base[row.first.pixels_way_shot[0], _base(row)].append(row)
        for (pixels, _), namesakes in by_base.items():
            families[pixels, _model(namesakes[0])].append(namesakes)
    names: dict[int, str] = {}
    for members in families.values():
        telling = _telling([[_traits(row) for row in namesakes] for namesakes in members])
        for namesakes in members:
            base = _base(namesakes[0])
            taken: set[str] = set()
            for row in sorted(namesakes, key=lambda row: -_length(row)):
                traits = _traits(row)
                name = ", ".join([base, *(traits[trait] for trait in telling if traits[trait])])
                while name in taken:
                    name += f", {_length(row):,} episodes"
                names[id(row)] = name
                taken.add(name)
    return names


def _length(row: entries.Entry) -> int:
    return int(row.first.config["recipe"].get("train_episodes", 0))


def _telling(cells: Sequence[Sequence[dict[str, str]]]) -> list[str]:
    """The first traits, in order, that tell the members of every cell apart; only those that add something."""

    def told_apart(traits: list[str]) -> int:
        return sum(len({tuple(of[trait] for trait in traits) for of in members}) for members in cells)

    chosen: list[str] = []
    for trait in cells[0][0]:
        if told_apart([*chosen, trait]) > told_apart(chosen):
            chosen.append(trait)
    return chosen
