"""The public functions of ``import fewshot as fs``: what the command line does, for notebooks and scripts.

Images are uint8 tensors (num_images, channels, height, width). Accuracies are fractions. Mistakes raise
``episodes.errors.UserError`` or one of its kinds, with a message that says what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from episodes.spec import EpisodeSpec
from fewshot.experiments.config import RunConfig

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor, nn

    from episodes.datasets.base import Dataset
    from episodes.types import ImageSet, Split
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.models.methods import Method


def list_datasets() -> list[str]:
    """Names for ``load_dataset``; a path to your own images works, too.

    >>> "omniglot" in list_datasets()
    True
    """
    from episodes.datasets.cards import DATASETS

    return [name for name in DATASETS if name != "folder"]


def list_methods() -> list[str]:
    """Names for ``build`` and ``RunConfig(model=...)``, with those of installed packages.

    >>> "proto" in list_methods()
    True
    """
    from fewshot.models.methods import METHODS

    return [*METHODS]


def list_losses() -> list[str]:
    """Names of the losses; each is a method of the same name, too.

    >>> "triplet" in list_losses()
    True
    """
    from fewshot.models.losses import LOSSES

    return [*LOSSES]


def list_encoders() -> list[str]:
    """Names of the built-in encoders; every name that torchvision or timm knows works, too.

    >>> "conv4" in list_encoders()
    True
    """
    from fewshot.models.encoders import ENCODERS

    return [*ENCODERS]


def list_readouts() -> list[str]:
    """Ways to classify frozen embeddings.

    >>> "simpleshot" in list_readouts()
    True
    """
    from fewshot.models.readouts import READOUTS

    return [*READOUTS]


def list_protocols() -> list[str]:
    """The cells of the field's tables, by the names that stand in records.

    >>> "omniglot-vinyals-28/5w1s/q15@v1" in list_protocols()
    True
    """
    from fewshot.records.protocols import standard_protocols

    return [protocol.name for protocol in standard_protocols()]


def list_paper_tables() -> list[str]:
    """Names for ``paper_table``.

    >>> "snell2017-table1" in list_paper_tables()
    True
    """
    from fewshot.records.paper_tables import paper_table_names

    return [*paper_table_names()]


class Data:
    """The three splits of a data set, each an ImageSet, read when it is first asked for.

    ``train``, ``val`` and ``test`` are disjoint sets of classes.
    """

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    @property
    def name(self) -> str:
        """Data set, class split and side: ``omniglot-vinyals-28``."""
        return self.dataset.protocol_name

    def split(self, name: Split) -> ImageSet:
        """The ImageSet of one split. Raises DataError where files are missing."""
        return self.dataset.load(name)

    @cached_property
    def train(self) -> ImageSet:
        """The classes to train on."""
        return self.split("train")

    @cached_property
    def val(self) -> ImageSet:
        """The classes to choose on."""
        return self.split("val")

    @cached_property
    def test(self) -> ImageSet:
        """The classes to report."""
        return self.split("test")

    def __repr__(self) -> str:
        return f"Data({self.name}: .train .val .test)"


def load_dataset(
    name: str | Path = "omniglot", *, split: str | None = None, size: int | None = None, root: Path | str | None = None
) -> Data:
    """A data set by name, or your own images by the path of their folder or CSV file.

    ``split`` names the division of classes, ``size`` the side in pixels, ``root`` the folder of all data sets (else
    $FEWSHOT_DATA, else the user's data folder). What can be downloaded is. Raises DataError with what to do.

    >>> load_dataset("strokes").test
    ImageSet(strokes-standard-28 test: 240 classes, 4,800 images 1x28x28)
    """
    from episodes.datasets.opening import open_dataset

    return Data(open_dataset(str(name), None if root is None else Path(root), split, size=size))


def show_episode(
    images: ImageSet, *, way: int = 5, shot: int = 1, query: int = 5, seed: int = 0, index: int = 0
) -> Image:
    """Episode ``index`` of ``seed`` as a picture: a row per class, support and queries side by side.

    A notebook shows what is returned; ``.save("episode.png")`` keeps it. Raises EpisodeError where the images do not
    allow such an episode.
    """
    from episodes.sampler import EpisodeSampler
    from fewshot.reports.plots.episodes import episode_picture

    episode = EpisodeSampler(images, EpisodeSpec(way, shot, query), seed).batch(index, 1)
    title = f"{images.dataset} {images.split}: {way}-way {shot}-shot, {query} queries a class, seed {seed}"
    return episode_picture(images, episode, title)


def build(
    method: str = "proto",
    *,
    data: Data | ImageSet,
    encoder: str | nn.Module | None = None,
    seed: int = 0,
    encoder_options: dict[str, Any] | None = None,
    **options: Any,
) -> Method:
    """A method with fresh weights, for images like those of ``data``.

    ``encoder`` is a name or any ``nn.Module`` from (n, channels, height, width) to (n, dim); without one it is the
    method's own. ``options`` are the method's, such as ``distance="cosine"``. Raises UserError for an unknown name or
    option.

    >>> strokes = load_dataset("strokes")
    >>> type(build("proto", data=strokes)).__name__
    'Prototypical'
    """
    from fewshot.models.factory import build_method, place
    from fewshot.models.hardware import choose_device
    from fewshot.models.methods import METHODS

    images = data.train if isinstance(data, Data) else data
    made = build_method(
        method,
        options,
        encoder if encoder is not None else METHODS.get(method).default_encoder,
        encoder_options or {},
        images.image_shape,
        seed,
        images.num_classes,
    )
    return place(made, choose_device())


def train(
    method: Method,
    data: Data,
    recipe: str | Recipe = "fast",
    *,
    way: int = 5,
    shot: int = 1,
    seed: int = 0,
    state: Path | None = None,
    quiet: bool = False,
) -> TrainingResult:
    """Train ``method`` on ``data.train`` and leave in it the weights that were best on ``data.val``.

    ``recipe`` is ``"fast"``, ``"paper"``, ``"smoke"`` or a Recipe of your own; what it leaves open is as in a test of
    ``way`` and ``shot``. The test classes are not read. With ``state``, a file, an interrupted training goes on from
    there. Progress is shown in a terminal and in a notebook unless ``quiet``. The result holds the history of
    validations and the chosen one. Raises UserError for a recipe that does not fit.
    """
    from episodes.sampler import EpisodeSampler
    from fewshot.cli.progress import TerminalReporter
    from fewshot.evaluation.evaluate import evaluate as evaluated
    from fewshot.experiments.resolve import allowed, fitted
    from fewshot.experiments.run import VAL_EPISODE_SEED, training_sampler, validation_spec
    from fewshot.models.hardware import choose_precision
    from fewshot.models.options import check_choice
    from fewshot.progress import Reporter
    from fewshot.training.loop import train as trained
    from fewshot.training.recipes import RECIPES, find_recipe

    kind, device = type(method), method.encoder.mean.device
    name = _registered_name(kind)
    if isinstance(recipe, str):
        chosen = check_choice("recipe", recipe, RECIPES)
        recipe = find_recipe(chosen, data.dataset.name, shot, name or "proto", way)
    recipe = fitted(allowed(recipe, name or kind.__name__, kind), kind, way, shot, data.train, data.val)
    sampler = EpisodeSampler(data.val, validation_spec(recipe), VAL_EPISODE_SEED)
    num_episodes, precision = recipe.val_episodes, choose_precision("auto", device)
    with nullcontext(Reporter()) if quiet else TerminalReporter() as reporter:
        return trained(
            method,
            training_sampler(data.train, recipe, seed),
            recipe,
            lambda candidate: evaluated(candidate, sampler, num_episodes, precision).interval,
            precision=precision,
            state_path=state,
            on_progress=reporter.training_progress,
        )


def _registered_name(kind: type[Method]) -> str | None:
    """The name of a method's class; None where it is not registered."""
    from fewshot.models.methods import METHODS

    return next((name for name in METHODS if METHODS.get(name) is kind), None)


def evaluate(
    method: Method,
    images: ImageSet,
    *,
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    unlabeled: int = 0,
    distractors: int = 0,
    episodes: int = 10_000,
    seed: int = 0,
) -> Evaluation:
    """Accuracy of ``method`` on the first ``episodes`` episodes of ``seed``, the same here and on the command line.

    ``query`` counts the queries of each class, ``unlabeled`` the unlabeled images of each class and of ``distractors``
    further classes. ``.interval`` is the mean with its 95 % interval over episodes, ``.correct`` (episodes,) counts
    correct queries; ``.per_class()``, ``.confusion()``, ``.calibration()`` and ``.to_frame()`` say where it errs.
    Raises EpisodeError where the images do not allow such episodes.
    """
    from fewshot.evaluation.evaluate import evaluate_images

    return evaluate_images(
        method,
        images,
        way=way,
        shot=shot,
        query=query,
        unlabeled=unlabeled,
        distractors=distractors,
        episodes=episodes,
        seed=seed,
    )


def evaluate_embeddings(
    embeddings: npt.ArrayLike | Tensor,
    images: ImageSet,
    *,
    readout: str = "prototype",
    way: int = 5,
    shot: int = 1,
    query: int = 15,
    episodes: int = 10_000,
    seed: int = 0,
    train_embeddings: npt.ArrayLike | Tensor | None = None,
) -> Evaluation:
    """Accuracy of a read-out on embeddings made elsewhere: row i of ``embeddings`` (num_images, dim) embeds image i.

    ``simpleshot`` centers on the mean of ``train_embeddings`` (num_train_images, dim). Raises UserError where the rows
    are not one for each image, or hold something else than finite numbers.

    >>> strokes = load_dataset("strokes")
    >>> pixels = strokes.test.images.flatten(1)
    >>> evaluate_embeddings(pixels, strokes.test, episodes=200).interval.mean > 0.3
    True
    """
    from episodes.sampler import EpisodeSampler
    from fewshot.evaluation.evaluate import evaluate_readout
    from fewshot.models.readouts import READOUTS

    rule = READOUTS.get(readout)()
    table = _table(embeddings, "embeddings", len(images.images))
    mean = None
    if train_embeddings is not None:
        mean = _table(train_embeddings, "train_embeddings", None).mean(dim=0)
    elif rule.needs_train_mean:
        from episodes.errors import UserError

        raise UserError(f"read-out {readout} centers on the training images: give train_embeddings")
    sampler = EpisodeSampler(images, EpisodeSpec(way, shot, query), seed)
    return evaluate_readout(rule, table, mean, sampler, episodes, keep_predictions=True)


def _table(rows: npt.ArrayLike | Tensor, name: str, wanted: int | None) -> Tensor:
    """Rows of finite numbers in single precision, (num_rows, dim)."""
    import torch

    from episodes.errors import UserError

    table = torch.as_tensor(rows, dtype=torch.float32)
    if table.ndim != 2 or 0 in table.shape or wanted not in (None, len(table)):
        number = "num_images" if wanted is None else f"{wanted:,}"
        raise UserError(f"{name} must be ({number}, dim), a row for each image, not {tuple(table.shape)}")
    if not bool(torch.isfinite(table).all()):
        raise UserError(f"{name} holds numbers that are not finite")
    return table


def run(config: RunConfig, *, out: Path | str = "runs", root: Path | None = None, fresh: bool = False) -> RunRecord:
    """Train as ``config`` says (or find the finished training), select on val, test, and write the record.

    What `fewshot run` does: records and checkpoints go under ``out``, and ``record.command`` is the line that does the
    same. A configuration of several read-outs gives the first one's record; all are written. Raises UserError for what
    does not fit together.
    """
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.run import run_readouts

    with TerminalReporter() as reporter:
        return run_readouts(config, None, Path(out), reporter, root=root, fresh=fresh)[0][0]


def load_records(folder: Path | str | None = None, problems: list[str] | None = None) -> list[RunRecord]:
    """The records in a folder, in the order of their file names; without one the published records.

    Those are in ``results/runs``, or came with the package. Where a list of ``problems`` is given, a file that is no
    record is left out and named there; else it raises RecordError.
    """
    from fewshot.records.record import read_records

    return read_records([_published() if folder is None else Path(folder)], problems)


def _published() -> Path:
    from fewshot.records.shipped import published_runs

    return published_runs(Path("results"))


def leaderboard(records: Iterable[RunRecord] | None = None, *, smoke: bool = False) -> pd.DataFrame:
    """A row for each configuration on each protocol, ranked where it may be; of the published records by default.

    Accuracies and half widths of 95 % intervals are percentages. What is not ranked says why. ``smoke`` ranks smoke
    tests instead.
    """
    from fewshot.reports.frame import leaderboard_frame

    return leaderboard_frame(load_records() if records is None else records, smoke=smoke)


def compare(*words: str, folder: Path | str | None = None, recipe: str | None = None) -> pd.DataFrame:
    """Methods on the same episodes, pair by pair, a row for each pair and protocol.

    A word is a method among the records of ``folder`` (the published ones by default), ``method+readout``, or the path
    of a record. ``difference``, ``low`` and ``high`` are percentage points, first minus second, with the 95 % interval
    over episodes; ``p_holm`` is corrected for all pairs of the protocol; ``how_first`` and ``how_second`` say by which
    rule each configuration was chosen. Raises ComparisonError where nothing was measured on the same episodes.
    """
    import pandas as pd

    from fewshot.records.comparison import compare as compared

    return pd.DataFrame(
        {
            "protocol": found.cell.protocol,
            "first": found.names[pair.first],
            "second": found.names[pair.second],
            "difference": 100 * pair.difference.mean,
            "low": 100 * pair.difference.low,
            "high": 100 * pair.difference.high,
            "wins": pair.difference.wins,
            "ties": pair.difference.ties,
            "losses": pair.difference.losses,
            "effect_size": pair.difference.effect_size,
            "p_holm": pair.p_holm,
            "verdict": pair.verdict,
            "how_first": found.how[pair.first],
            "how_second": found.how[pair.second],
        }
        for found in compared(words, _published() if folder is None else Path(folder), recipe)
        for pair in found.pairs
    )


def paper_table(name: str, records: Iterable[RunRecord] | None = None) -> pd.DataFrame:
    """A paper's table, a row for each cell: the printed number, ours and the gap, in percent.

    ``status`` says whether the printed number was read in a document (verified) or recalled. Ours comes from
    ``records``, by default the published ones. Raises PaperTableError for an unknown name.

    >>> table = paper_table("snell2017-table1", records=[])
    >>> table.loc[0, "published"].item()
    98.8
    """
    import pandas as pd

    from fewshot.experiments.paper_plan import fill
    from fewshot.records.paper_tables import paper_table as table_named

    cells = fill(table_named(name), load_records() if records is None else records)
    return pd.DataFrame(
        {
            "row": cell.row.name,
            "way": cell.column.way,
            "shot": cell.column.shot,
            "published": cell.published and cell.published.accuracy,
            "published_ci95": cell.published and cell.published.ci95,
            "status": cell.published and cell.published.status,
            "ours": cell.ours and cell.ours.accuracy,
            "ci95": cell.ours and cell.ours.ci95,
            "gap": cell.gap,
            "verdict": cell.verdict,
        }
        for cell in cells
    )
