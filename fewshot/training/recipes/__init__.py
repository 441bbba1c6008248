"""How a method is trained on a data set: the paper's way, the fast way, and a smoke test. Each names its source."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec

from episodes.datasets.cards import DATASETS
from episodes.errors import UserError
from fewshot.models.catalog import trains_on

if TYPE_CHECKING:
    from fewshot.records.schema import StoredRecipe

RecipeName = Literal["fast", "paper", "smoke"]
SMOKE: RecipeName = "smoke"
RECIPES: tuple[RecipeName, ...] = ("fast", "paper", SMOKE)


@dataclass(frozen=True)
class Recipe:
    """A training schedule. ``train_way`` and ``train_shot`` of None mean: as in the test.

    ``labeled_share``, ``unlabeled`` and ``distractors`` are of semi-supervised training (Ren et al. 2018); None where a
    method sees no unlabeled images. ``batch_size`` and what follows are of training on images: there a "training
    episode" is a batch, and the validation episodes have ``val_way`` and ``val_shot`` whatever is tested later.
    """

    name: RecipeName
    source: str
    train_way: int | None
    train_query: int
    train_episodes: int
    learning_rate: float
    schedule: Literal["halving", "steps", "cosine"]
    val_way: int | None = None
    train_shot: int | None = None
    halve_every: int = 2000
    steps: tuple[int, ...] | None = None  # episodes from which on the rate is a tenth of what it was, with "steps"
    warmup: int = 0
    weight_decay: float = 0.0
    val_query: int = 15
    val_episodes: int = 1000
    validate_every: int = 500
    labeled_share: float | None = None  # of the images of each training class; None: all, and no unlabeled pool
    unlabeled: int | None = None  # unlabeled images per class, in training, validation and test
    distractors: int | None = None  # classes of which only unlabeled images are there
    batch_size: int | None = None  # images of a batch
    per_class: int | None = None  # images of each of its classes; None: all images in random order, epoch by epoch
    val_shot: int | None = None  # None: as in training
    momentum: float | None = None  # Nesterov's, or Adam's first one; None: 0.9
    turns: bool | None = None  # support rotation: each image of an episode is support once (Method.loss_over_rotations)
    optimizer: str | None = None  # muon: for the convolutions, Adam for the rest; nesterov: SGD; None: Adam for all
    half_size: float | None = None  # share of the training, from its start, on images of half the side
    augment: str | None = None  # name of episodes.augment.AUGMENTATIONS; None: images as they are

    def lasting(self, train_episodes: int) -> Recipe:
        """The same schedule over so many episodes: warm-up, steps and validations in proportion."""
        share = train_episodes / self.train_episodes
        names = ("validate_every", "halve_every") if self.schedule == "halving" else ("validate_every",)
        intervals = {name: max(1, round(getattr(self, name) * share)) for name in names}
        steps = None if self.steps is None else tuple(round(step * share) for step in self.steps)
        return replace(self, train_episodes=train_episodes, warmup=round(self.warmup * share), steps=steps, **intervals)

    def learning_rate_at(self, episode: int) -> float:
        """The learning rate of training episode ``episode`` (from 0)."""
        if episode < self.warmup:
            return self.learning_rate * (episode + 1) / self.warmup
        if self.schedule == "halving":
            return float(self.learning_rate * 0.5 ** (episode // self.halve_every))
        if self.schedule == "steps":
            return self.learning_rate * 0.1 ** sum(episode >= step for step in self.steps or ())
        share = (episode - self.warmup) / max(1, self.train_episodes - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def images_encoded(recipe: Recipe | StoredRecipe, model: str, options: Mapping[str, Any]) -> int:
    """Images that go through the encoder in a training step: each view and each pass counts. No way or shot is open."""
    from fewshot.models.methods import METHODS

    encoded = METHODS.get(model).images_encoded
    if recipe.batch_size:
        return encoded(options, 0, recipe.batch_size)
    assert recipe.train_way is not None
    assert recipe.train_shot is not None
    unlabeled = (recipe.unlabeled or 0) * (recipe.train_way + (recipe.distractors or 0))
    queries = recipe.train_way * (recipe.train_query or 0)
    return encoded(options, recipe.train_way * recipe.train_shot, queries + unlabeled)


@dataclass(frozen=True)
class _Entry:
    """What a table says about the cases that fit; ``log``: the trials that it came from (`fewshot tune`)."""

    conditions: Mapping[str, Any]
    fields: Mapping[str, Any]
    log: str = ""

    @property
    def models(self) -> list[str]:
        """Those that it is for; none where it is for all."""
        return _as_list(self.conditions.get("model", []))

    def fits(self, case: Mapping[str, Any]) -> bool:
        """Whether every condition names this case."""
        return all(
            case["shot"] >= wanted if name == "min_shot" else case[name] in _as_list(wanted)
            for name, wanted in self.conditions.items()
        )


@dataclass(frozen=True)
class _Table:
    """The recipes of one data set; ``family``: of which other images they are the default."""

    family: str
    entries: tuple[_Entry, ...]


_CONDITIONS = ("recipe", "model", "trains_on", "shot", "min_shot", "way", "encoder", "terms")
_KINDS = {name: kind for name, kind in get_type_hints(Recipe).items() if name != "name"}
_KINDS |= {"images_per_class": int, "options": dict[str, Any]}
_FOR_READERS = ("note", "log")
_UNSET = "unset"  # takes back what an entry above has said
_SHARED, _TUNED = "shared", "tuned"


class RecipeError(UserError):
    """A table of recipes that says what there is not."""


def read_table(path: Traversable) -> _Table:
    """One file of recipes. Raises RecipeError, which names file and key, for an unknown key or a value of another kind.

    Besides the fields of a recipe an entry holds the conditions under which it counts and, for readers, a ``note`` and
    the ``log`` of the trials that it came from (a file in results/). With ``images_per_class`` the queries are what the
    shots leave of so many; ``options`` are the method's own, where a user does not choose others.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path.name} is no TOML: {error}") from None
    if unknown := sorted(content.keys() - {"family", "entry"}):
        raise RecipeError(f"{path.name}: unknown key {unknown[0]!r}; valid: family, entry")
    entries = []
    for number, entry in enumerate(content.get("entry", ()), 1):
        conditions = {name: value for name, value in entry.items() if name in _CONDITIONS}
        fields = {name: value for name, value in entry.items() if name not in (*_CONDITIONS, *_FOR_READERS)}
        for name, value in fields.items():
            if name not in _KINDS:
                valid = ", ".join((*_CONDITIONS, *_KINDS, *_FOR_READERS))
                raise RecipeError(f"{path.name}, entry {number}: unknown key {name!r}; valid: {valid}")
            try:
                fields[name] = value if value == _UNSET else msgspec.convert(value, _KINDS[name])
            except msgspec.ValidationError as error:
                raise RecipeError(f"{path.name}, entry {number}: {name}: {error}") from None
        entries.append(_Entry(conditions, fields, entry.get("log", "")))
    return _Table(content.get("family", ""), tuple(entries))


@cache
def _tables() -> dict[str, _Table]:
    files = (file for file in resources.files(__name__).iterdir() if file.name.endswith(".toml"))
    return {file.name.removesuffix(".toml"): read_table(file) for file in files}


def find_recipe(
    name: RecipeName,
    dataset: str,
    shot: int,
    model: str = "proto",
    way: int = 5,
    encoder: str | None = None,
    terms: str | None = None,
) -> Recipe:
    """The recipe of that name for a data set, a model and a test, within the ``terms`` of a comparison if any.

    A data set without a table of its own has the fast recipes of its family, and they say so. Raises UserError for an
    unknown data set, and where the papers have no recipe. Koch's encoder has a fast recipe of its own; for all others
    the encoder makes no difference.
    """
    fields, source = recipe_fields(name, dataset, shot, model, way, encoder, terms)
    fields.pop("options", None)
    if "source" not in fields or (name == "paper" and source):
        raise UserError(f"no paper gives a whole recipe for {model} on {dataset}: use --recipe fast")
    if name == "fast" and source:
        fields["source"] = source
    return Recipe(**{"name": name, "train_way": None} | {key: val for key, val in fields.items() if val != _UNSET})


def recipe_fields(
    name: str, dataset: str, shot: int, model: str, way: int, encoder: str | None, terms: str | None
) -> tuple[dict[str, Any], str]:
    """What the entries that fit say, later ones before earlier ones; what the source of a family's table is called.

    Among it are the ``options`` of the method; those that a user gives go before them.
    """
    owner, source = _owner_of(dataset)
    case = {"recipe": name, "model": model, "shot": shot, "way": way, "encoder": encoder, "terms": terms}
    case["trains_on"] = "images" if trains_on(model) == "images" else "episodes"
    fields: dict[str, Any] = {}
    for entry in (*_tables()[owner].entries, *_tables()[_SHARED].entries, *_tuned(owner)):
        if entry.fits(case):
            fields |= entry.fields
            if "images_per_class" in entry.fields:
                fields["train_query"] = max(1, fields.pop("images_per_class") - shot)
    return fields, source


def _tuned(dataset: str) -> tuple[_Entry, ...]:
    """What came of tuning on a data set, in a file of its own (``omniglot.tuned.toml``): it is said last."""
    table = _tables().get(f"{dataset}.{_TUNED}")
    return () if table is None else table.entries


def _owner_of(dataset: str) -> tuple[str, str]:
    """Whose table it is: the data set's own, or that of its family, and then what its source is called."""
    card, tables = DATASETS.get(dataset), _tables()
    if dataset in tables:
        return dataset, ""
    for of, table in tables.items():
        if table.family == card.family:
            return of, f"this project: the recipe of {of}, not tuned on {dataset}"
    families = ", ".join(sorted(table.family for table in tables.values() if table.family))
    raise UserError(f"no recipe is for images of the family {card.family!r}, as {dataset} has them; valid: {families}")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
