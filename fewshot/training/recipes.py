"""How a method is trained on a data set: the paper's way, the fast way, and a smoke test. Each names its source."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from episodes.errors import UserError

RecipeName = Literal["fast", "paper", "smoke"]
RECIPES: tuple[RecipeName, ...] = ("fast", "paper", "smoke")


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
    schedule: Literal["halving", "cosine"]
    val_way: int | None = None
    train_shot: int | None = None
    halve_every: int = 2000
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
    momentum: float | None = None  # Adam's first one; None: 0.9
    turns: bool | None = None  # whether each image of an episode has its turn in the support (Method.loss_in_turns)
    optimizer: str | None = None  # muon: for the convolutions, Adam for the rest; None: Adam for all
    augment: str | None = None  # name of episodes.augment.AUGMENTATIONS; None: images as they are

    def learning_rate_at(self, episode: int) -> float:
        """The learning rate of training episode ``episode`` (from 0)."""
        if episode < self.warmup:
            return self.learning_rate * (episode + 1) / self.warmup
        if self.schedule == "halving":
            return float(self.learning_rate * 0.5 ** (episode // self.halve_every))
        share = (episode - self.warmup) / max(1, self.train_episodes - self.warmup)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


_SNELL = "Snell et al. 2017, section 3"
_OWN = "this project: chosen on the validation classes"
_REN = "Ren et al. 2018, appendix; 10 % of the images labeled"
SEMI_SUPERVISED = ("soft-kmeans-proto", "cluster-proto", "masked-proto")

_SNELL_OMNIGLOT = Recipe("paper", f"{_SNELL}.1", 60, 5, 20_000, 1e-3, "halving", val_way=20)
_SNELL_MINI = Recipe("paper", f"{_SNELL}.2", 30, 15, 40_000, 1e-3, "halving", val_way=5)
_FORT_OMNIGLOT = replace(_SNELL_OMNIGLOT, source="Fort 2017, section 4", train_query=19)
_SUNG_OMNIGLOT = Recipe(
    "paper", "Sung et al. 2018, section 4.1, and the released code", None, 19, 1_000_000, 1e-3, "halving",
    halve_every=100_000, validate_every=5000,
)  # fmt: skip
_SUNG_MINI = replace(
    _SUNG_OMNIGLOT,
    source="Sung et al. 2018, section 4.2, and the released code",
    train_query=15,
    train_episodes=500_000,
)
_REN_OMNIGLOT = Recipe(
    "paper", _REN, 5, 1, 20_000, 1e-3, "halving", halve_every=4000, val_way=5, weight_decay=5e-5,
    labeled_share=0.1, validate_every=1000,
)  # fmt: skip
_REN_MINI = replace(
    _REN_OMNIGLOT, source="Ren et al. 2018, appendix; 40 % of the images labeled", train_query=5,
    train_episodes=200_000, halve_every=25_000, labeled_share=0.4, validate_every=5000,
)  # fmt: skip

_FAST_OMNIGLOT = Recipe("fast", _OWN, 60, 5, 3000, 1e-2, "cosine", val_way=20, warmup=200)
_FAST_MINI = Recipe("fast", _OWN, 20, 5, 20_000, 1e-3, "cosine", val_way=5, warmup=200, validate_every=1000)
_FAST_STROKES = Recipe("fast", _OWN, 60, 5, 1000, 1e-2, "cosine", val_way=20, warmup=100, validate_every=250)
_FAST_FOLDER = Recipe("fast", _OWN, None, 5, 2000, 3e-3, "cosine", warmup=100, val_query=5, val_episodes=500)
_FAST_FEW_LABELS = replace(
    _FAST_OMNIGLOT, train_query=1, train_episodes=550, val_way=5, warmup=55, weight_decay=1.0, validate_every=110,
    labeled_share=0.1, turns=True, optimizer="muon",
)  # fmt: skip

_BATCHES_OMNIGLOT = Recipe(
    "fast", _OWN, None, 0, 2000, 3e-3, "cosine", val_way=20, warmup=200, batch_size=256, val_shot=1
)
_BATCHES = {
    "omniglot": _BATCHES_OMNIGLOT,
    "miniimagenet": replace(_BATCHES_OMNIGLOT, train_episodes=20_000, val_way=5, validate_every=1000, batch_size=64),
    "strokes": replace(_BATCHES_OMNIGLOT, train_episodes=1000, warmup=100, validate_every=250),
    "folder": replace(
        _BATCHES_OMNIGLOT, train_episodes=1000, warmup=100, val_way=5, val_query=5, val_episodes=500, batch_size=64,
        validate_every=250,
    ),
}  # fmt: skip
_DCGAN = {"learning_rate": 2e-4, "schedule": "halving", "halve_every": 10**9, "warmup": 0, "momentum": 0.5}
_PER_CLASS = {  # images of each class in a batch; None: batches without regard to classes
    **dict.fromkeys(("softmax", "cosine-softmax", "hinge", "center", "proxy-nca", "proxy-anchor"), None),
    **dict.fromkeys(("contrastive", "triplet", "nca", "supcon", "nce"), 4),
    **dict.fromkeys(("nt-xent", "infonce", "gan"), None),
    "npair": 2,
}
_TWO_VIEWS = ("nt-xent", "infonce")
_AUGMENT = {
    (model, dataset): name
    for model in _TWO_VIEWS
    for dataset, name in (
        ("omniglot", "ink"),
        ("strokes", "ink"),
        ("miniimagenet", "photo-strong"),
        ("folder", "photo"),
    )
} | {(model, "miniimagenet"): "photo" for model in _PER_CLASS if model not in (*_TWO_VIEWS, "gan")}
TRAINED_ON_IMAGES = tuple(_PER_CLASS)

_FAST = {"omniglot": _FAST_OMNIGLOT, "miniimagenet": _FAST_MINI, "strokes": _FAST_STROKES, "folder": _FAST_FOLDER}
_IN_TURNS = ("proto", "gaussian-proto", "matching", "siamese", "siamese-contrastive", "siamese-cosine")
_MANY_CLASSES = ("proto", "gaussian-proto", "matching")  # in turns, three images of a class tell as much as six
_FAST_OF_MODEL = {
    ("relation", "omniglot"): replace(
        _FAST_OMNIGLOT, train_way=20, train_episodes=6000, learning_rate=3e-3, optimizer="muon", weight_decay=1.0
    ),
    ("relation", "miniimagenet"): replace(_FAST_MINI, train_way=5),
} | {(model, "omniglot"): _FAST_FEW_LABELS for model in SEMI_SUPERVISED}
_FAST_OF_MODEL |= {
    (model, "omniglot"): replace(_FAST_OMNIGLOT, turns=True, optimizer="muon", weight_decay=1.0) for model in _IN_TURNS
}
# Photos have fewer classes and more images of each: six of 20 classes in turns teach more than three of 60.
_FAST_MINI_IN_TURNS = replace(
    _FAST_MINI, train_episodes=8000, learning_rate=3e-3, validate_every=500, turns=True, optimizer="muon",
    weight_decay=1.0, augment="flip",
)  # fmt: skip
_FAST_OF_MODEL |= {(model, "miniimagenet"): _FAST_MINI_IN_TURNS for model in ("proto", "matching")}
# Koch's twin has no batch norm and a layer of thousands of inputs behind sigmoids: steps of Adam that suit Conv4
# saturate them at once, and its 105x105 images cost many times as much.
_FAST_OF_KOCH: dict[str, Any] = {
    "train_way": 20,
    "train_query": 1,
    "train_episodes": 4000,
    "learning_rate": 1e-4,
    "optimizer": None,
    "weight_decay": 0.0,
}
_CHEN_MINI = replace(
    _BATCHES["miniimagenet"], name="paper", source="Chen et al. 2019, section 4.2, and the released code",
    train_episodes=960_000, learning_rate=1e-3, schedule="halving", halve_every=10**9, warmup=0, batch_size=16,
    augment="photo", validate_every=24_000,
)  # fmt: skip
_PAPER = {
    ("proto", "omniglot"): _SNELL_OMNIGLOT,
    ("proto", "strokes"): _SNELL_OMNIGLOT,
    ("proto", "miniimagenet"): _SNELL_MINI,
    ("gaussian-proto", "omniglot"): _FORT_OMNIGLOT,
    ("softmax", "miniimagenet"): _CHEN_MINI,
    ("cosine-softmax", "miniimagenet"): _CHEN_MINI,
    ("relation", "omniglot"): _SUNG_OMNIGLOT,
    ("relation", "miniimagenet"): _SUNG_MINI,
} | {
    (model, dataset): recipe
    for model in SEMI_SUPERVISED
    for dataset, recipe in (("omniglot", _REN_OMNIGLOT), ("miniimagenet", _REN_MINI))
}
_RELATION_QUERIES = {(5, 1): 19, (5, 5): 15, (20, 1): 10, (20, 5): 5}  # of Sung et al., by way and shot


def find_recipe(
    name: RecipeName, dataset: str, shot: int, model: str = "proto", way: int = 5, encoder: str | None = None
) -> Recipe:
    """The recipe of that name for a data set, a model and a test. Raises UserError where the papers have none.

    Koch's encoder has a fast recipe of its own; for all others the encoder makes no difference.
    """
    if name == "paper":
        return _paper_recipe(dataset, shot, model, way)
    on_images = model in _PER_CLASS
    if on_images:
        recipe = replace(_BATCHES[dataset], per_class=_PER_CLASS[model], augment=_AUGMENT.get((model, dataset)))
        if model == "gan":  # Radford et al. 2016, section 4; a look at every epoch of Omniglot
            changes: dict[str, Any] = _DCGAN | {"batch_size": 128}
            recipe = replace(recipe, **changes)
    else:
        recipe = _FAST_OF_MODEL.get((model, dataset), _FAST[dataset])
    if name == "fast" and on_images:
        return recipe
    if name == "fast" and encoder == "koch":
        return replace(recipe, **_FAST_OF_KOCH)
    if name == "fast":
        if (
            recipe.turns and dataset == "omniglot" and model in _MANY_CLASSES
        ):  # at five shots, too, this beats five shots of fewer classes on val
            recipe = replace(recipe, train_way=120, train_shot=1, train_query=2)
        if recipe.turns and dataset == "miniimagenet":
            recipe = replace(recipe, train_query=max(1, 6 - shot))
        return replace(recipe, train_episodes=_length(model, dataset, shot) * recipe.train_episodes)
    return replace(
        recipe,
        name="smoke",
        source="no paper: a few episodes, to see that everything runs",
        train_way=None,
        train_episodes=20,
        warmup=5,
        val_way=2 if on_images else None,  # a training on images knows nothing of the test
        val_episodes=50,
        validate_every=10,
    )


def _length(model: str, dataset: str, shot: int) -> int:
    """How much longer a training for more shots is than one for a single shot.

    More shots leave fewer errors to learn from: Omniglot's 5-shot numbers take twice the episodes. Relation's fast
    recipe is as long as that at one shot already, and in turns every image is classified, however many the shots.
    """
    return 2 if dataset == "omniglot" and shot > 1 and model not in ("relation", *_IN_TURNS) else 1


def _paper_recipe(dataset: str, shot: int, model: str, way: int) -> Recipe:
    if (model, dataset) not in _PAPER:
        raise UserError(f"no paper gives a whole recipe for {model} on {dataset}: use --recipe fast")
    recipe = _PAPER[model, dataset]
    if (model, dataset) == ("proto", "miniimagenet") and shot > 1:  # 30-way at one shot, 20-way at five
        return replace(recipe, train_way=20)
    if model == "relation":
        queries = _RELATION_QUERIES if dataset == "omniglot" else {(5, 5): 10}
        return replace(recipe, train_query=queries.get((way, shot), recipe.train_query))
    return recipe
