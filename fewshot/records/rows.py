"""What the tables have as a row: one configuration on the episodes of one protocol, all its training seeds together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import msgspec
import numpy as np
from msgspec.structs import replace

from episodes.datasets.cards import DATASETS
from fewshot.records.class_design import class_design
from fewshot.records.protocols import ProtocolName
from fewshot.records.record import RunRecord, plain
from fewshot.records.schema import Options
from fewshot.statistics.class_interval import class_interval
from fewshot.statistics.intervals import (
    Accuracies,
    Interval,
    Matrix,
    Spread,
    combined_interval,
    episode_interval,
    seed_interval,
    spread,
    unit_means,
)

Setting = Literal["inductive", "transductive", "semi-supervised", "self-supervised", "cross-domain", "external data"]
SETTINGS: dict[Setting, str] = {
    "inductive": "each query is classified alone",
    "transductive": "queries of an episode see each other: not comparable with inductive rows",
    "semi-supervised": "unlabeled images are used: not comparable with inductive rows",
    "self-supervised": "no label was used in training",
    "cross-domain": "trained on another data set, each query classified alone: not comparable with inductive rows",
    "external data": "embeddings or weights made elsewhere, from other data: not comparable with other rows",
}


READOUTS_COMPARED: frozenset[Setting] = frozenset({"transductive", "external data"})
"""Settings in which read-outs are what is compared; elsewhere a training is one row, by the rule of its method."""


@dataclass(frozen=True, order=True)
class Cell:
    """The very episodes that a record was measured on: only records of one cell are compared."""

    protocol: str
    num_episodes: int
    episode_seed: int
    digest: str

    @property
    def pixels(self) -> str:
        """Images and classes: ``omniglot-vinyals-28``."""
        return ProtocolName.parse(self.protocol).dataset_id


def cell_of(record: RunRecord) -> Cell:
    """The cell of a record."""
    return Cell(record.protocol, record.num_episodes, record.episode_seed, record.episodes_digest)


def setting_of(record: RunRecord) -> Setting:
    """What kind of information the record's method used."""
    if data_elsewhere(record):
        return "external data"
    if record.uses_unlabeled:
        return "semi-supervised"
    if record.transductive:
        return "transductive"
    if crosses_domains(record):
        return "cross-domain"
    return "self-supervised" if record.self_supervised else "inductive"


def crosses_domains(record: RunRecord) -> bool:
    """Whether the training was on another data set, none whose classes are of the same larger one (miniImageNet's are
    ImageNet's, as are tieredImageNet's: what is tested may have been trained on), and queries were classified alone."""
    trained, tested = record.trained.dataset, record.test.dataset
    if trained == tested or not {trained, tested} <= {*DATASETS} or record.uses_unlabeled or record.transductive:
        return False
    of = DATASETS.get(trained).classes_of
    return not of or of != DATASETS.get(tested).classes_of


def data_elsewhere(record: RunRecord) -> str:
    """What embeddings or weights from elsewhere were trained on; empty where nothing comes from elsewhere."""
    elsewhere = record.embeddings or record.trained.pretrained
    return elsewhere.trained_on if elsewhere is not None else ""


def knows_the_classes(record: RunRecord) -> bool:
    """Whether what comes from elsewhere was trained on the classes that are tested, as its data are described."""
    dataset = record.test.dataset
    classes_of = DATASETS.get(dataset).classes_of if dataset in DATASETS else ""
    return bool(classes_of) and classes_of.lower() in data_elsewhere(record).lower()


def is_ranked(record: RunRecord) -> bool:
    """Whether a record is a result: no smoke test, trained in full on images like the tested ones or on another data
    set, protocol current."""
    return record.recipe != "smoke" and not record.shortened and not why_not_ranked(record)


def why_not_ranked(record: RunRecord) -> str:
    """Why a record is not ranked, in a few words; empty where it is."""
    reasons = []
    if not record.protocol_name.is_current:
        reasons.append("older version of the protocol")
    if record.test.corruption or record.trained.corruption:
        reasons.append("damaged images")
    elif record.trained.dataset_id != record.test.dataset_id and setting_of(record) != "cross-domain":
        reasons.append("trained on other images")
    if record.shortened:
        reasons.append("shortened training")
    return ", ".join(reasons)


@dataclass(frozen=True)
class Entry:
    """The records of one configuration on one cell, one for each training seed, by seed."""

    records: tuple[RunRecord, ...]

    @property
    def first(self) -> RunRecord:
        """The record of the lowest seed; what it says of the configuration, all say."""
        return self.records[0]

    @cached_property
    def accuracies(self) -> Accuracies:
        """Accuracy on every episode, the mean over the training seeds, (episodes,)."""
        return np.asarray(np.mean([record.accuracies for record in self.records], axis=0), np.float64)

    @cached_property
    def by_seed(self) -> Matrix:
        """Accuracy of every training on every independent unit, (seeds, units): what is compared and ranked."""
        return np.stack([unit_means(record.accuracies, record.unit) for record in self.records])

    @cached_property
    def spread(self) -> Spread:
        """How the accuracies of single episodes spread."""
        return spread(self.accuracies)

    @cached_property
    def over_episodes(self) -> Interval:
        """Of the mean over seeds, over what is drawn independently: episodes, or the alphabets of Lake's runs."""
        return episode_interval(self.accuracies, self.first.unit)

    @cached_property
    def over_classes(self) -> Interval | None:
        """Over classes, images and episodes; None where the test classes are not known."""
        design = class_design(self.first)
        return None if design is None else class_interval(self.accuracies, design)

    @cached_property
    def over_seeds(self) -> Interval | None:
        """Over training seeds; None where there is one seed only."""
        return seed_interval(self.by_seed.mean(axis=1)) if len(self.records) > 1 else None

    @cached_property
    def interval(self) -> Interval:
        """Over seeds and episodes together; of one training over episodes alone: not the spread of trainings."""
        return combined_interval(self.over_episodes, self.over_seeds) if self.over_seeds else self.over_episodes

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(record.seed for record in self.records)

    @property
    def validated_on(self) -> tuple[object, ...] | None:
        """The validation episodes that its trainings looked at; None where one looked at none, or at others."""
        looks = {_validated_on(record) for record in self.records}
        return looks.pop() if len(looks) == 1 else None

    @property
    def val_accuracy(self) -> float:
        """The accuracy on the validation classes, the mean over the seeds that validated; 0 where none did."""
        return self.val_accuracy_of(self.seeds)

    def val_accuracy_of(self, seeds: Collection[int]) -> float:
        """That of these training seeds alone; 0 where none of them validated."""
        found = (record.history.val_accuracy for record in self.records if record.seed in seeds)
        return float(np.mean([accuracy for accuracy in found if accuracy is not None] or [0.0]))

    @property
    def train_seconds(self) -> float:
        """Seconds of one training, the mean over seeds."""
        return float(np.mean([record.cost.training_seconds for record in self.records]))

    @property
    def model(self) -> str:
        """Name and options: ``relation relation-loss=cross-entropy``."""
        trained = self.first.trained
        before = trained.trained_as
        if elsewhere := data_elsewhere(self.first):
            seen = ", which has the tested classes" if knows_the_classes(self.first) else ""
            return f"{trained.model}{_options(trained.model_options)} (trained on {elsewhere}{seen})"
        weights = f" (weights of {before.model}{_options(before.model_options)})" if before else ""
        return f"{trained.model}{_options(trained.model_options)}{weights}"

    @property
    def encoder(self) -> str:
        """Name and options of the encoder."""
        return f"{self.first.trained.encoder}{_options(self.first.trained.encoder_options)}"

    @property
    def training(self) -> str:
        """Recipe and what tells it from its namesakes, whatever the shot: ``fast: 60-way, 10 % labeled``."""
        return self._described(shot=False, length=False)

    @property
    def schedule(self) -> str:
        """With the length, and the shot where the test has another: ``fast: 60-way 1-shot, 3,000 episodes``."""
        return self._described(shot=True, length=True)

    def _described(self, *, shot: bool, length: bool) -> str:
        test, recipe = self.first.test, self.first.trained.recipe
        episodes, batches = recipe.train_episodes, recipe.batch_size
        way = f"{recipe.train_way}-way" if recipe.train_way else ""
        if shot and not batches and recipe.train_shot not in (None, test.shot):
            way = f"{way} {recipe.train_shot}-shot".strip()
        words = [f"batches of {batches}" if batches else way]
        if recipe.support_rotation:
            words.append("in turns")
        if recipe.augment:
            words.append("flips" if recipe.augment == "flip" else f"augmented by {recipe.augment}")
        if recipe.half_size:
            words.append(f"{100 * recipe.half_size:.0f} % at half size")
        if recipe.optimizer:
            words.append(recipe.optimizer.capitalize())
        if recipe.labeled_share:
            words.append(f"{100 * recipe.labeled_share:.0f} % labeled")
        if test.distractors:
            words.append("distractors")
        if episodes and (length or self.first.shortened):
            only = "only " if self.first.shortened else ""
            words.append(f"{only}{episodes:,} {'batches' if batches else 'episodes'}")
        if setting_of(self.first) == "cross-domain":
            words.append(f"on {self.first.trained.dataset_id}")
        known = ", ".join(word for word in words if word)
        return f"{self.first.recipe}: {known}" if known else self.first.recipe

    @property
    def label(self) -> str:
        """Model, readout and recipe in one line."""
        readout = f" + {self.first.readout}" if self.first.readout else ""
        return f"{self.model}{readout} ({self.encoder}, {self.schedule})"


def best_on_val(entries: Iterable[Entry]) -> Entry:
    """The row that did best on the validation classes, of those that looked at the same validation episodes as most.

    Rows are held against each other on the training seeds that all of them have, where there are such: one lucky
    training does not go before the mean of three. What the rows did in the test decides nothing.
    """
    by_look: dict[object, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.label):
        by_look.setdefault(entry.validated_on, []).append(entry)
    most = max(by_look.values(), key=len)
    shared = set.intersection(*({*entry.seeds} for entry in most))
    return max(most, key=lambda entry: entry.val_accuracy_of(shared or entry.seeds))


def _validated_on(record: RunRecord) -> tuple[object, ...] | None:
    recipe = record.trained.recipe
    if record.history.val_accuracy is None:
        return None
    shot = recipe.val_shot or recipe.train_shot
    return record.trained.val_images, recipe.val_way, shot, recipe.val_query, recipe.val_episodes


def _options(options: Options) -> str:
    return "".join(f" {name.replace('_', '-')}={plain(value)}" for name, value in sorted(options.items()))


def configuration_of(record: RunRecord) -> bytes:
    """What the records of one row share: everything but the seed, the machine and the day."""
    trained, test = record.trained, record.test
    rule = (trained.model, trained.model_options, trained.trained_as, record.readout, record.transductive)
    weights = () if trained.pretrained is None else (trained.pretrained,)
    network = (trained.encoder, trained.encoder_options, trained.init, *weights)
    images = (trained.dataset_id, trained.class_split, trained.shortened, test.unlabeled, test.distractors)
    of_source = replace(trained.recipe, source="")
    terms = (trained.terms,) if trained.terms else ()
    made_elsewhere = record.embeddings and (record.embeddings.sha256, record.embeddings.trained_on)
    return msgspec.json.encode((rule, network, images, of_source, made_elsewhere, *terms), order="sorted")


def entries_by_cell(records: Iterable[RunRecord]) -> dict[Cell, list[Entry]]:
    """The entries of every cell, best first. Of two records of one seed and configuration the later one counts."""
    found: dict[Cell, dict[bytes, dict[int, RunRecord]]] = {}
    for record in sorted(records, key=lambda record: record.date):
        found.setdefault(cell_of(record), {}).setdefault(configuration_of(record), {})[record.seed] = record
    return {
        cell: sorted(
            (Entry(tuple(seeds[seed] for seed in sorted(seeds))) for seeds in configurations.values()),
            key=lambda entry: (-float(np.mean(entry.accuracies)), entry.label),
        )
        for cell, configurations in sorted(found.items())
    }
