"""What a record is made of, field by field; and the door through which every older layout comes in.

msgspec checks the types: strictly, in one line that names the field, in less time than it takes to read the JSON, and
it brings no dependency of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from episodes.errors import UserError

SCHEMA = 2

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Number = Annotated[float, Meta(ge=0)]  # not NaN; infinite where a single episode gives no interval
Options = dict[str, bool | int | float | str | None]


class RecordError(UserError):
    """A record that cannot be read or written. The message says which and why."""


class Part(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a record. What is as usual is not written."""


class StoredRecipe(Part, frozen=True, kw_only=True):
    """The training schedule as it was carried out; fewshot.training.recipes.Recipe says what each field means."""

    name: str
    source: str
    train_episodes: Count
    train_way: Positive | None = None
    train_shot: Positive | None = None
    train_query: Count | None = None
    learning_rate: Number | None = None
    schedule: str | None = None
    halve_every: Positive | None = None
    steps: tuple[Count, ...] | None = None
    warmup: Count | None = None
    weight_decay: Number | None = None
    momentum: Number | None = None
    val_way: Positive | None = None
    val_shot: Positive | None = None
    val_query: Positive | None = None
    val_episodes: Positive | None = None
    validate_every: Positive | None = None
    labeled_share: Share | None = None
    unlabeled: Count | None = None
    distractors: Count | None = None
    batch_size: Positive | None = None
    per_class: Positive | None = None
    support_rotation: bool | None = None  # stored as turns before schema 2
    half_size: Share | None = None
    optimizer: str | None = None
    augment: str | None = None


class Rule(Part, frozen=True, kw_only=True):
    """A model and its options, where they are not their defaults."""

    model: str
    model_options: Options


class PretrainedEncoder(Part, frozen=True, kw_only=True):
    """Weights from elsewhere, with which the encoder began."""

    file: str
    sha256: str
    trained_on: str


class Trained(Part, frozen=True, kw_only=True):
    """What was trained, on which images, and how: what the checkpoint says of itself, and where it was."""

    model: str  # under whose rule the weights are tested; trained_as says where that was another in training
    model_options: Options
    encoder: str
    encoder_options: Options
    dataset: str = ""
    class_split: str = ""
    dataset_id: str  # images, class split and side: omniglot-vinyals-28 (Dataset.protocol_name)
    image_shape: tuple[Positive, Positive, Positive] | None = None  # channels, height, width
    num_classes: Positive | None = None  # of the training classes
    train_images: str | None = None  # fingerprint of their pixels
    val_images: str | None = None  # likewise
    corruption: Share = 0.0  # share of the images that lost their detail on purpose
    recipe: StoredRecipe
    shortened: bool  # fewer training episodes than the recipe says
    seed: Count  # of the initial weights and the training episodes
    precision: str | None = None  # in which the encoder computed
    compiled: bool = False  # by --compile
    implementation: str | None = None  # of a method that has more than one
    packages: dict[str, dict[str, str]] = {}  # where what is none of ours comes from: model, encoder, readout, dataset
    init: str | None = None  # the checkpoint it started from (InitialWeights.description)
    pretrained: PretrainedEncoder | None = None
    terms: str = ""  # those of the comparison that the training kept, such as comparison@v1
    version: Count | None = None  # of the training code: another would give other weights (TRAINING_VERSION)
    trained_as: Rule | None = None
    commit: str  # of this program when it was trained
    checkpoint: str  # empty where nothing was learned here


class EpisodeSettings(Part, frozen=True, kw_only=True):
    """The test episodes, and the images that they were drawn from."""

    way: Positive
    shot: Positive
    query: Positive
    unlabeled: Count = 0
    distractors: Count = 0  # classes of which only unlabeled images are there
    dirichlet: Count = 0  # ProtocolName.dirichlet
    dataset: str
    class_split: str
    dataset_id: str
    num_classes: Positive | None = None
    corruption: Share = 0.0
    precision: str | None = None
    implementation: str | None = None

    @property
    def clean_id(self) -> str:
        """The data set id without what corruption adds to it."""
        return self.dataset_id.removesuffix(f"-damaged-{100 * self.corruption:g}")


class StoredValidation(Part, frozen=True, kw_only=True):
    """The model after some training episodes, on the validation classes."""

    episode: Count
    accuracy: Share
    ci95: Number
    loss: float
    seconds: Number = 0.0


class History(Part, frozen=True, kw_only=True):
    """The course of the training and the checkpoint that validation selected; empty where nothing was trained."""

    validations: tuple[StoredValidation, ...] = ()
    selected_episode: Count | None = None
    val_accuracy: Share | None = None
    val_ci95: Number | None = None


class Cost(Part, frozen=True, kw_only=True):
    """Seconds of the training, its validations among it, and of the test."""

    training_seconds: Number
    test_seconds: Number
    validation_seconds: Number | None = None


class Hardware(Part, frozen=True, kw_only=True):
    """The machine of the test."""

    device: str = "cpu"
    name: str = "an unnamed machine"
    cores: Positive | None = None
    threads: Positive | None = None
    system: str = ""
    architecture: str = ""


class ExternalEmbeddings(Part, frozen=True, kw_only=True):
    """A file of embeddings that a model elsewhere made, trained on who knows what."""

    file: str
    sha256: str
    dim: Positive
    trained_on: str = "not said"


_RENAMED = {"pixels": "dataset_id", "damage": "corruption"}
_OF_TEST = {
    "test_pixels": "dataset_id",
    "num_test_classes": "num_classes",
    "test_damage": "corruption",
    "test_precision": "precision",
    "test_implementation": "implementation",
    "test_dataset": "dataset",
    "test_class_split": "class_split",
}
_OF_EPISODES = ("way", "shot", "query", "unlabeled", "distractors", "dirichlet")
_TWICE = ("model", "seed", "shortened", "commit")


def trained_fields(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Trained, from the metadata of a checkpoint."""
    recipe = dict(_section(metadata, "recipe"))
    if "turns" in recipe:
        recipe["support_rotation"] = recipe.pop("turns")
    found = {_RENAMED.get(name, name): value for name, value in metadata.items() if name != "training"}
    return found | {"recipe": recipe}


def history_fields(training: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of History, from what a checkpoint says of its training, the seconds apart."""
    return {"validations" if name == "history" else name: value for name, value in training.items()}


def trained_of(metadata: Mapping[str, Any], checkpoint: str) -> Trained:
    """What the metadata of a checkpoint say was trained. Raises RecordError where they are none."""
    try:
        return msgspec.convert(trained_fields(metadata) | {"checkpoint": checkpoint}, Trained)
    except msgspec.ValidationError as error:
        raise RecordError(f"the metadata of the checkpoint are damaged: {error}") from error


def upgrade(stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a file of any schema holds, in the layout of today's. Raises RecordError for an unknown schema."""
    schema = stored.get("schema")
    if schema == SCHEMA:
        return dict(stored)
    if schema != 1:
        raise RecordError(f"its schema is {schema!r}: this version reads 1 to {SCHEMA}")
    top, config = dict(stored), dict(_section(stored, "config"))
    training, recipe = dict(_section(stored, "training")), _section(config, "recipe")
    seconds = {f"{name}_seconds": value for name, value in _section(stored, "seconds").items()}
    seconds |= {name: training.pop(name) for name in ("validation_seconds",) if name in training}
    if training.pop("seconds", seconds.get("training_seconds")) != seconds.get("training_seconds"):
        raise RecordError("it contradicts itself: seconds of the training are said twice and differ")
    for name in _TWICE:
        if config.setdefault(name, stored.get(name)) != stored.get(name):
            raise RecordError(f"it contradicts itself: {name} is {stored.get(name)!r} and {config[name]!r} in config")
    if recipe.get("name") != stored.get("recipe"):
        raise RecordError(f"it contradicts itself: recipe is {stored.get('recipe')!r} and {recipe.get('name')!r}")
    test = {name: config.pop(name) for name in _OF_EPISODES if name in config}
    test |= {new: config.pop(old) for old, new in _OF_TEST.items() if old in config}
    of_test = ("unlabeled", "distractors") if stored.get("uses_unlabeled") else ()  # then as in training
    test = {name: recipe[name] for name in of_test if recipe.get(name)} | test
    test.setdefault("corruption", config.get("damage", 0.0))
    test = _tested_on(str(test.get("dataset_id")), config) | test
    renamed = {"embeddings": config.pop("embeddings")} if "embeddings" in config else {}
    for name in ("config", "training", "seconds", "machine", "recipe", *_TWICE):
        top.pop(name, None)
    return (
        top
        | renamed
        | {
            "schema": SCHEMA,
            "trained": trained_fields(config),
            "test": test,
            "history": history_fields(training),
            "cost": seconds,
            "hardware": stored.get("machine"),
        }
    )


def _section(stored: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = stored.get(name)
    if not isinstance(found, Mapping):
        raise RecordError(f"`{name}` must be an object, not {found!r}" if name in stored else f"`{name}` is missing")
    return found


def _tested_on(dataset_id: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Data set and split of the test, which schema 1 does not name: those of the training, or read from the id.

    The data sets of those days have no dash in their names.
    """
    known = str(config.get("pixels")).partition("-damaged-")[0]
    if "dataset" in config and dataset_id.partition("-damaged-")[0] == known:
        return {"dataset": config["dataset"], "class_split": config["class_split"]}
    name, class_split, *_ = [*dataset_id.split("-"), ""]
    return {"dataset": name, "class_split": "auto" if name == "folder" else class_split}
