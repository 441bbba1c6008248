"""RunConfig and EvaluateConfig: what is trained and what is measured, as typed, as stored, and as a command.

A field with a help text is an option of the command line; nothing else has to be written for it. No torch is imported
here, so that help is printed at once; what the words mean is worked out in `fewshot.experiments.resolve`.
"""

from __future__ import annotations

import dataclasses
import functools
import shlex
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from episodes.errors import UserError
from fewshot.training.recipes import SMOKE, Recipe

if TYPE_CHECKING:
    from episodes.datasets.base import Dataset
    from fewshot.experiments.resolve import ResolvedRun
    from fewshot.progress import Reporter

LARGEST_SEED = 2**64 - 1
TEST_EPISODES, SMOKE_EPISODES = 10_000, 200
Config = TypeVar("Config", bound="CommonConfig")


def option(default: Any, text: str, *, flag: str = "", rank: int = 3, **limits: Any) -> Any:
    """A field that is an option of the command line.

    ``limits`` are those of click.IntRange and click.FloatRange (min, max, min_open, max_open); options of a low
    ``rank`` come first; ``flag`` where the option is not called as the field is.
    """
    return field(default=default, metadata={"help": text, "flag": flag, "rank": rank, "limits": limits})


@dataclass(frozen=True, kw_only=True, repr=False)
class CommonConfig:
    """What is said of a test, whether a training comes before it or not."""

    verb: ClassVar[str]
    always: ClassVar[tuple[str, ...]] = ("model", "way", "shot")  # in a command even where they are the default
    of_test: ClassVar[tuple[str, ...]] = (
        "protocol",
        "query",
        "dirichlet",
        "episodes",
        "episode_seed",
        "readout",
    )  # of it alone
    not_offered: ClassVar[tuple[str, ...]] = ()  # fields that are no option of this command

    dataset: str | None = option(
        None, "Name of a data set, or a folder (or CSV file) of your own images [default: omniglot].", rank=1
    )
    class_split: str | None = option(
        None, "Which classes are train, val and test (see `fewshot list datasets`).", flag="--split", rank=1
    )
    size: int | None = option(None, "Side of the images: omniglot's 28 or 105, or for your own.", rank=1, min=1)
    protocol: str = option(
        "episodes", "episodes (drawn here), or runs (Lake's 20 published runs of 20-way 1-shot; with --split lake)."
    )
    query: int = option(15, "Test queries per class.", min=1)
    dirichlet: int | None = option(
        None,
        "Unbalanced test queries: their shares of the classes are of a Dirichlet distribution of this concentration "
        "(Veilleux et al. 2021 take 2) [default: as many queries in each class].",
        min=1,
    )
    unlabeled: int | None = option(None, "Unlabeled images per class, for semi-supervised models.", min=1)
    distractors: int | None = option(None, "Classes of an episode with unlabeled images only.", min=1)
    episodes: int | None = option(None, "Test episodes [default: 10,000; 200 with the recipe smoke].", min=2)
    episode_seed: int = option(0, "Which test episodes.", min=0, max=LARGEST_SEED)
    damage: float | None = option(
        None,
        "Share of the images that is down-sampled four times and back (Fort 2017) [default: 0, or as trained].",
        min=0,
        max=1,
    )
    readout: str | None = option(
        None,
        "How frozen embeddings are classified: one, several with commas, or all (see `fewshot list readouts`) "
        "[default: the model's own rule].",
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:1.")
    precision: str = option("auto", "auto, bf16 or fp32, for the encoder.")
    model_options: Mapping[str, Any] = field(default_factory=dict)

    def num_episodes(self, recipe: str) -> int:
        """Of the test: as asked for, else few for a smoke test."""
        return self.episodes or (SMOKE_EPISODES if recipe == SMOKE else TEST_EPISODES)

    def __repr__(self) -> str:
        """What is not left at its default, as it is written in Python."""
        default = {item.name: item.default for item in dataclasses.fields(self)}
        said = {name: getattr(self, name) for name in default if getattr(self, name) not in (default[name], {})}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def changed(self) -> dict[str, Any]:
        """The options that are not left at their default, by name."""
        return {f.name: value for f in option_fields(type(self)) if (value := getattr(self, f.name)) != f.default}

    def to_command(self) -> str:
        """A line for the shell that does the same; typed there, it is parsed to an equal configuration."""
        return shlex.join(["fewshot", *self.to_words()])

    def to_words(self) -> list[str]:
        """The words of ``to_command`` behind ``fewshot``."""
        chosen = self.changed()
        words = [self.verb, *self.arguments()]
        for item in option_fields(type(self)):
            if item.name in chosen or item.name in self.always:
                words += as_words(flag_of(item), getattr(self, item.name))
        for name, value in self.constructor_options().items():
            words += as_words(f"--{name.replace('_', '-')}", value)
        return words

    def as_protocol(self: Config) -> Config:
        """With the protocol "runs": way, shot, queries and number of episodes are those of Lake's runs.

        Raises UserError where others were asked for, or images are to be damaged.
        """
        from episodes.datasets.omniglot.oneshot_runs import NUM_RUNS, WAY
        from episodes.spec import RUNS
        from fewshot.models.options import check_choice

        if check_choice("protocol", self.protocol, ("episodes", RUNS)) == "episodes":
            return self
        if self.damage:
            raise UserError("Lake's runs are tested as they were published: leave out --damage")
        settings = {"way": WAY, "shot": 1}
        theirs: dict[str, Any] = {"query": 1, "episodes": NUM_RUNS, "episode_seed": 0, "dirichlet": None}
        theirs |= {name: (value,) for name, value in settings.items()} if self.verb == "evaluate" else settings
        changed = self.changed()
        if wrong := [name for name, value in theirs.items() if changed.get(name, value) != value]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
            raise UserError(f"Lake's runs are {NUM_RUNS} trials of 20-way 1-shot, one query a class: leave out {flags}")
        return replace(self, **theirs)

    def arguments(self) -> list[str]:
        """What stands behind the verb without a flag."""
        return []

    def constructor_options(self) -> dict[str, Any]:
        """Options of the model (and its encoder), which are not fields here."""
        return dict(self.model_options)


@dataclass(frozen=True, kw_only=True, repr=False)
class RunConfig(CommonConfig):
    """One training and its test: ``fewshot run``.

    What is None is filled by ``resolve``: from the recipe, the model or the test. ``recipe`` is a name, or a schedule
    of your own, which only Python can say.
    """

    verb: ClassVar[str] = "run"

    model: str = option("proto", "The method (see `fewshot list models`).", rank=0)
    encoder: str | None = option(
        None, "The network, ours or of torchvision or timm (see `fewshot list encoders`) [default: the model's]."
    )
    encoder_options: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | None = option(
        None, "Pretrained weights (.safetensors or .pth) for --encoder timm:NAME or torchvision:NAME."
    )
    encoder_data: str | None = option(
        None, "With --weights: what they were trained on, such as ImageNet-1k; the tables say it."
    )
    init: Path | None = option(None, "Checkpoint whose encoder weights this training starts from.")
    way: int = option(5, "Classes of a test episode.", rank=2, min=2)
    shot: int = option(1, "Support images per class.", rank=2, min=1)
    recipe: str | Recipe = option("fast", "fast, paper (the paper's own) or smoke (a few episodes; never ranked).")
    seed: int = option(0, "Initial weights and training episodes.", min=0, max=LARGEST_SEED)
    train_way: int | None = option(None, "Classes of a training episode [default: the recipe's].", min=2)
    train_shot: int | None = option(None, "Support images per class in training [default: as in the test].", min=1)
    train_query: int | None = option(None, "Queries per class in training [default: the recipe's].", min=1)
    train_episodes: int | None = option(
        None, "Training episodes; fewer than the recipe's is kept apart [default: the recipe's].", min=1
    )
    labeled_share: float | None = option(
        None,
        "Share of the training images that has labels (semi-supervised) [default: all].",
        min=0,
        max=1,
        min_open=True,
        max_open=True,
    )
    batch_size: int | None = option(None, "Images of a training batch, for models trained on images.", min=1)
    per_class: int | None = option(None, "Images of each class in it [default: the recipe's].", min=1)
    augment: str | None = option(
        None, "Change training images at random: none, flip, ink, ink-light, photo or photo-strong."
    )
    half_size: float | None = option(
        None,
        "Progressive resizing: the share of the training, from its start, on images of half the side "
        "[default: the recipe's].",
        min=0,
        max=1,
    )
    turns: bool | None = option(None, "Score each training episode in turns, every image once in the support.")
    optimizer: str | None = option(
        None, "adam, muon (for the convolutions, Adam for the rest) or nesterov (SGD) [default: the recipe's]."
    )
    weight_decay: float | None = option(
        None,
        "Added to the gradient; with muon, of the convolutions alone [default: the recipe's, or --optimizer's own].",
        min=0,
    )
    learning_rate: float | None = option(None, "The highest [default: the recipe's].", min=0, min_open=True)
    budget: float | None = option(
        None,
        "Share of the training episodes, with warm-up and validations in proportion; kept apart [default: all].",
        min=0,
        max=1,
        min_open=True,
    )
    terms: str | None = option(
        None, "Keep the terms of a comparison, such as comparison@v1: its budget, its encoder, its final test."
    )
    compiled: bool = option(
        False, "Compile the training step: CUDA graphs on a GPU; on a processor mostly slower.", flag="--compile"
    )
    log: tuple[str, ...] = option(
        (),
        "Curves and result for tensorboard, mlflow, wandb or trackio, several with commas; see docs/howto/sweeps.md.",
    )

    def overrides(self) -> dict[str, Any]:
        """The fields of the recipe that are given here, in its place."""
        of_recipe = {item.name for item in dataclasses.fields(Recipe)}
        return {name: value for name, value in self.changed().items() if name in of_recipe}

    def checked(self) -> RunConfig:
        """The same with everything filled in that needs no data. Raises UserError for what does not fit together."""
        from fewshot.experiments.resolve import checked

        return checked(self)

    def resolve(self, dataset: Dataset, reporter: Reporter | None = None, *, test: bool = True) -> ResolvedRun:
        """The configuration on its data, every open place filled; its ``identity`` names the training.

        Without ``test`` the test classes are not read.

        Raises UserError for an unknown name, for options that the model does not read, and for episodes that cannot be
        drawn from these images.
        """
        from fewshot.experiments.resolve import resolve

        return resolve(self, dataset, reporter, test=test)

    def to_command(self) -> str:
        if isinstance(self.recipe, str):
            return super().to_command()
        imports = "from pathlib import PosixPath; from fewshot import Recipe, RunConfig, run"
        return shlex.join(["python", "-c", f"{imports}; run({self!r})"])

    def constructor_options(self) -> dict[str, Any]:
        return {**self.model_options, **self.encoder_options}


@dataclass(frozen=True, kw_only=True, repr=False)
class TuneConfig(RunConfig):
    """Trials of one method on the validation classes: ``fewshot tune``. What is said here of the training is not tried.

    What is None is as the comparison has it for these images (see `terms`), else 8 trials at a quarter of the recipe.
    """

    verb: ClassVar[str] = "tune"
    not_offered: ClassVar[tuple[str, ...]] = CommonConfig.of_test

    trials: int | None = option(None, "Trials in all, the present recipe the first [default: 8].", rank=0, min=1)

    def of_run(self) -> RunConfig:
        """The training that is tuned."""
        return RunConfig(**{item.name: getattr(self, item.name) for item in dataclasses.fields(RunConfig)})


@dataclass(frozen=True, kw_only=True, repr=False)
class EvaluateConfig(CommonConfig):
    """A test of what was trained before: ``fewshot evaluate``. Exactly one of ``checkpoint`` and ``embeddings``.

    Every way with every shot and every read-out gives a record.
    """

    verb: ClassVar[str] = "evaluate"

    checkpoint: Path | None = None
    embeddings: Path | None = option(
        None, "Instead of a checkpoint: test embeddings made elsewhere (.npz, see README).", rank=0
    )
    name: str | None = option(None, "With --embeddings: what their model is called in the tables.", rank=0)
    trained_on: str | None = option(
        None, "With --embeddings: what data their model was trained on, such as ImageNet; the tables say it.", rank=0
    )
    as_model: str | None = option(
        None, "Another model that these weights serve, such as soft-kmeans-proto for proto's.", flag="--as"
    )
    way: tuple[int, ...] | None = option(None, "Classes of a test episode; also 5,20 [default: 5].", rank=2, min=2)
    shot: tuple[int, ...] | None = option(None, "Support images per class; also 1,5 [default: trained].", rank=2, min=1)

    def arguments(self) -> list[str]:
        return [] if self.checkpoint is None else [str(self.checkpoint)]


def option_fields(config: type[CommonConfig]) -> tuple[dataclasses.Field[Any], ...]:
    """The fields that are options of the command line, in the order of help and command."""
    of: Any = config  # mypy takes a class whose objects have no hash for one that has none itself
    return _option_fields(of)


@functools.cache
def _option_fields(config: type[CommonConfig]) -> tuple[dataclasses.Field[Any], ...]:
    offered = (item for item in dataclasses.fields(config) if item.name not in config.not_offered)
    found = [item for item in offered if "help" in item.metadata]
    return tuple(sorted(found, key=lambda item: item.metadata["rank"]))


def kinds_of(config: type[CommonConfig]) -> dict[str, Any]:
    """The type of each field by its name, where it is said: of ``int | None`` int."""
    hints = typing.get_type_hints(config)
    several = {name: () if typing.get_origin(hint) is tuple else typing.get_args(hint) for name, hint in hints.items()}
    return {name: next((kind for kind in several[name] if kind is not type(None)), hints[name]) for name in hints}


def flag_of(item: dataclasses.Field[Any]) -> str:
    """As typed: ``--train-way``."""
    return item.metadata["flag"] or f"--{item.name.replace('_', '-')}"


def as_words(flag: str, value: Any) -> list[str]:
    """A flag and its value as typed; nothing where there is no value, ``--no-turns`` for a flag that is denied."""
    match value:
        case None:
            return []
        case bool():
            return [flag if value else f"--no-{flag[2:]}"]
        case tuple():
            return [flag, ",".join(map(str, value))]
        case _:
            return [flag, str(value)]
