"""Records -> boards and rows as the report names them: what may be compared with what, and how a row is called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from episodes.datasets.cards import benchmarks
from fewshot.records.protocols import ProtocolName
from fewshot.records.published import Published, target_of
from fewshot.records.record import RunRecord
from fewshot.records.rows import READOUTS_COMPARED, Entry, Setting, entries_by_cell, setting_of, why_not_ranked
from fewshot.reports.names import departures, images_name, method_and_readout, method_name, shape_name, typed_dataset


@dataclass(frozen=True)
class NamedRow(Entry):
    """The records of one configuration on the episodes of one board, with the name that they have on the page."""

    name: str

    @property
    def training_name(self) -> str:
        """The name without the read-out: what rows of one training share."""
        whole, plain = _base(self), method_name(self.first.model)
        return self.name.replace(whole, plain, 1)

    @property
    def setting(self) -> Setting:
        """inductive, self-supervised, transductive, ..."""
        return setting_of(self.first)

    @property
    def unranked(self) -> str:
        """Why it is not ranked, in a few words: shortened training, corrupted images; empty where it is."""
        return why_not_ranked(self.first)

    @property
    def is_ranked(self) -> bool:
        """Whether it may be called the best: inductive, trained in full, on images like the tested ones."""
        return self.setting == "inductive" and not self.unranked

    @property
    def length(self) -> str:
        """Of the training: ``3,000 episodes`` or ``3,000 batches``."""
        recipe = self.first.trained.recipe
        return f"{recipe.train_episodes:,} {'batches' if recipe.batch_size else 'episodes'}"

    @property
    def num_seeds(self) -> str:
        """``3 seeds``."""
        return f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"

    @property
    def published(self) -> Published | None:
        """The number that a paper prints for this model on such episodes."""
        return target_of(self.first)


@dataclass(frozen=True)
class Board:
    """Everything that was measured on the very same episodes, best first."""

    protocol: ProtocolName
    digest: str
    rows: tuple[NamedRow, ...]

    @property
    def dataset(self) -> str:
        """What people call it: Omniglot."""
        test = self.rows[0].first.test
        if self.is_own and (folder := Path(typed_dataset(self.rows[0].first.command)).name):
            return images_name(test.dataset_id).replace(test.clean_id, f"Your images in {folder}", 1)
        return images_name(test.dataset_id)

    @property
    def is_usual(self) -> bool:
        """Whether its episodes are those of the field's tables: 15 queries a class and nothing else."""
        return self.protocol.episodes == "q15" and self.protocol.is_current

    @property
    def details(self) -> str:
        """What departs from the usual episodes: `` (5 unlabeled a class, 14 queries a class)``; or nothing."""
        said = departures(self.protocol, self.num_episodes, self.rows[0].first.episode_seed)
        return f" ({', '.join(said)})" if said else ""

    @property
    def shape(self) -> str:
        """``5-way 1-shot``."""
        return shape_name(self.protocol.way, self.protocol.shot)

    @property
    def name(self) -> str:
        """``Omniglot, 5-way 1-shot``, with what departs from the usual episodes."""
        return f"{self.dataset}, {self.shape}{self.details}"

    @property
    def key(self) -> str:
        """For links and files."""
        name = self.protocol
        return f"{name.dataset_id}-{name.way}w{name.shot}s-{name.episodes}-{self.digest[:6]}"

    @property
    def num_episodes(self) -> int:
        return self.rows[0].first.num_episodes

    @cached_property
    def drawn(self) -> tuple[NamedRow, ...]:
        """Each training once, best first. No accuracy chooses its read-out: it is the rule of the method itself, else
        the nearest class mean. Where read-outs are what is compared, each is drawn."""
        found: dict[tuple[str, str], NamedRow] = {}
        for row in sorted(self.rows, key=lambda row: (row.first.readout != "", row.first.readout != "prototype")):
            key = row.training_name, row.first.readout if row.setting in READOUTS_COMPARED else ""
            found.setdefault(key, row)
        kept = {*map(id, found.values())}
        return tuple(row for row in self.rows if id(row) in kept)

    @property
    def is_own(self) -> bool:
        """Whether the images are the user's own."""
        return self.rows[0].first.test.dataset == "folder"

    @cached_property
    def ranked(self) -> tuple[NamedRow, ...]:
        """Those of which one is called the best; on one's own images encoders from elsewhere are, too."""
        settings = ("inductive", "external data") if self.is_own else ("inductive",)
        return tuple(row for row in self.rows if row.setting in settings and not row.unranked)


def boards_of(records: Iterable[RunRecord]) -> list[Board]:
    """Every board, those of the best-known data sets first. Smoke tests are left out."""
    found = entries_by_cell(record for record in records if record.recipe != "smoke")
    names = _names(list(found.values()))
    boards = []
    for cell, rows in found.items():
        named = tuple(NamedRow(row.records, names[id(row)]) for row in rows)
        boards.append(Board(ProtocolName.parse(cell.protocol), cell.digest, named))
    place = {name: number for number, name in enumerate(benchmarks())}

    def order(board: Board) -> tuple[object, ...]:
        test = board.rows[0].first.test
        images = place.get(test.clean_id, 99), test.clean_id, test.corruption
        return *images, not board.is_usual, board.protocol.episodes, -board.num_episodes, board.protocol, board.digest

    return sorted(boards, key=order)


def _traits(row: Entry) -> dict[str, str]:
    """What tells two rows of one model apart, in the order in which it is said."""
    trained, recipe = row.first.trained, row.first.trained.recipe
    before = trained.trained_as
    elsewhere = trained.dataset_id != row.first.test.dataset_id
    return {
        "options": row.model.partition(" (weights of")[0].removeprefix(row.first.model).strip(" ()"),
        "trained as": f"trained as {before.model}" if before else "",
        "images": f"trained on {trained.dataset_id}" if elsewhere else "",
        "encoder": row.encoder,
        "recipe": f"{recipe.name} recipe",
        "train way": f"{recipe.train_way}-way",
        "train shot": f"{recipe.train_shot}-shot",
        "optimizer": (recipe.optimizer or "adam").title(),
        "rate": f"rate {recipe.learning_rate or 0:g}",
        "length": f"only {recipe.train_episodes:,} episodes" if trained.shortened else "",
        "labels": f"{100 * recipe.labeled_share:g} % labeled" if recipe.labeled_share else "all labeled",
        "distractors": "distractors" if row.first.has_distractors else "no distractors",
        "queries": f"{recipe.train_query} queries",
    }


def _base(row: Entry) -> str:
    """Method and read-out."""
    return method_and_readout(row.first.model, row.first.readout)


def _names(boards: Sequence[Sequence[Entry]]) -> dict[int, str]:
    """A short name for each row (by its ``id``): the model, and as few of its traits as tell it from its namesakes.

    Recipes may differ from board to board (train shot as in the test), so namesakes are looked for within a board; what
    tells them apart on one board is said on every board of the same images, whatever the read-out: rows of one training
    share their name but for it. Where only the length of a full training does, the longest keeps the plain name.
    """
    families: dict[tuple[str, str], list[list[Entry]]] = defaultdict(list)
    for rows in boards:
        by_base: dict[str, list[Entry]] = defaultdict(list)
        for row in rows:
            by_base[_base(row)].append(row)
        for namesakes in by_base.values():
            families[rows[0].first.test.dataset_id, namesakes[0].first.model].append(namesakes)
    names: dict[int, str] = {}
    for members in families.values():
        telling = _telling([[_traits(row) for row in namesakes] for namesakes in members])
        for namesakes in members:
            taken: set[str] = set()
            for row in sorted(namesakes, key=lambda row: -row.first.trained.recipe.train_episodes):
                traits = _traits(row)
                name = ", ".join([_base(row), *(traits[trait] for trait in telling if traits[trait])])
                while name in taken:
                    name += f", {row.first.trained.recipe.train_episodes:,} episodes"
                names[id(row)] = name
                taken.add(name)
    return names


def _telling(boards: Sequence[Sequence[dict[str, str]]]) -> list[str]:
    """The first traits, in order, that tell the members of every board apart; only those that add something."""

    def told_apart(traits: list[str]) -> int:
        return sum(len({tuple(of[trait] for trait in traits) for of in members}) for members in boards)

    chosen: list[str] = []
    for trait in boards[0][0]:
        if told_apart([*chosen, trait]) > told_apart(chosen):
            chosen.append(trait)
    return chosen
