"""Building, training and testing a method."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from episodes.spec import EpisodeSpec
from fewshot.api.data import Data
from fewshot.experiments.config import RunConfig

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor, nn

    from episodes.types import ImageSet
    from fewshot.evaluation.evaluate import Evaluation
    from fewshot.models.methods import Method
    from fewshot.records.record import RunRecord, TrainingLog
    from fewshot.training.loop import TrainingResult
    from fewshot.training.recipes import Recipe


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

    >>> strokes = fs.load_dataset("strokes")
    >>> type(fs.build("proto", data=strokes)).__name__
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
    log: Sequence[str] = (),
    quiet: bool = False,
) -> TrainingResult:
    """Train ``method`` on ``data.train`` and leave in it the weights that were best on ``data.val``.

    ``recipe`` is ``"fast"``, ``"paper"``, ``"smoke"`` or a Recipe of your own; what it leaves open is as in a test of
    ``way`` and ``shot``. The test classes are not read. With ``state``, a file, an interrupted training goes on from
    there. ``log`` names tools that get the curves, such as ``["wandb"]``, under ``runs/logs``. Progress is shown unless
    ``quiet``. The result holds all validations and the chosen one. Raises UserError for a recipe that does not fit.
    """
    from fewshot.cli.progress import TerminalReporter
    from fewshot.evaluation.evaluate import evaluate as evaluated
    from fewshot.experiments.resolve import allowed, fitted
    from fewshot.experiments.run import training_sampler, validation_sampler
    from fewshot.models.hardware import choose_precision
    from fewshot.models.methods import METHODS
    from fewshot.models.options import check_choice
    from fewshot.progress import Reporter
    from fewshot.training.logs import Logs, check_logs
    from fewshot.training.loop import train as trained
    from fewshot.training.recipes import RECIPES, find_recipe

    check_logs(log)
    kind, precision = type(method), choose_precision("auto", method.encoder.mean.device)
    name = _registered_name(kind) or kind.__name__
    if isinstance(recipe, str):
        model, chosen = name if name in METHODS else "proto", check_choice("recipe", recipe, RECIPES)
        recipe = find_recipe(chosen, data.dataset.name, shot, model, way)
    recipe = fitted(allowed(recipe, name, kind), kind, way, shot, data.train, data.val)
    sampler, episodes = validation_sampler(data.val, recipe), recipe.val_episodes
    about = (Path("runs/logs"), f"{name}-{data.name}-{recipe.name}-{seed}", asdict(recipe) | {"seed": seed})
    with nullcontext(Reporter()) if quiet else TerminalReporter() as reporter, Logs(log, *about, reporter.say) as logs:
        return trained(
            method,
            training_sampler(data.train, recipe, seed),
            recipe,
            lambda candidate: evaluated(candidate, sampler, episodes, precision).interval,
            precision=precision,
            state_path=state,
            on_progress=logs.beside(reporter.training_progress, recipe),
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
    readout: str | None = None,
    train_images: ImageSet | None = None,
) -> Evaluation:
    """Accuracy of ``method`` on the first ``episodes`` episodes of ``seed``, the same here and on the command line.

    ``query`` counts the queries of each class, ``unlabeled`` the unlabeled images of each class and of ``distractors``
    further classes. With ``readout``, such as ``"simpleshot"``, the method only embeds and that rule classifies; some
    of them center on ``train_images``. ``.interval`` is the mean with its 95 % interval over episodes, ``.correct``
    (episodes,) counts correct queries; ``.per_class()``, ``.confusion()``, ``.calibration()`` and ``.to_frame()`` say
    where it errs. Raises EpisodeError where the images do not allow such episodes, UserError for a read-out that lacks
    what it needs.
    """
    from episodes.errors import UserError
    from episodes.sampler import EpisodeSampler
    from fewshot.evaluation.evaluate import evaluate
    from fewshot.experiments.measure import refuse_unreadable
    from fewshot.models.hardware import choose_precision
    from fewshot.models.readouts import READOUTS

    if readout is not None:
        refuse_unreadable(_registered_name(type(method)) or type(method).__name__, method, [readout])
        if unlabeled or distractors:
            raise UserError("a read-out makes no use of unlabeled images: leave out unlabeled and distractors")
        if READOUTS.get(readout).needs_train_mean and train_images is None:
            raise UserError(f"read-out {readout} centers on the training images: give train_images=data.train")
        center = None if train_images is None else embed(method, train_images)
        asked: dict[str, Any] = {"way": way, "shot": shot, "query": query, "episodes": episodes, "seed": seed}
        return evaluate_embeddings(embed(method, images), images, readout=readout, train_embeddings=center, **asked)
    sampler = EpisodeSampler(images, EpisodeSpec(way, shot, query, unlabeled, distractors), seed)
    precision = choose_precision("auto", method.encoder.mean.device)
    return evaluate(method, sampler, episodes, precision, keep_predictions=True)


def embed(encoder: Method | str | Path, images: ImageSet) -> npt.NDArray[np.float32]:
    """The embedding of each image, (num_images, dim): by a method, by ``"lite0"``, or by a checkpoint.safetensors.

    Raises UserError where the images have another shape than the encoder takes.

    >>> strokes = fs.load_dataset("strokes")
    >>> fs.embed(fs.build("proto", data=strokes, encoder_options={"width": 4}), strokes.val).shape[0]
    2400
    """
    from episodes.errors import UserError
    from fewshot.evaluation.classifier.model import named_encoder
    from fewshot.evaluation.evaluate import embed_all, refuse_not_finite
    from fewshot.models.hardware import choose_precision
    from fewshot.models.methods import Method
    from fewshot.models.methods.pretrained import Pretrained

    method = encoder if isinstance(encoder, Method) else Pretrained(named_encoder(str(encoder)).encoder)
    if images.image_shape != method.encoder.image_shape:
        wanted, found = ("x".join(map(str, shape)) for shape in (method.encoder.image_shape, images.image_shape))
        raise UserError(f"the encoder takes images of {wanted} and these are {found}: fs.load_dataset takes a size")
    table = embed_all(method, images.images, choose_precision("auto", method.encoder.mean.device))
    refuse_not_finite(table)
    rows: npt.NDArray[np.float32] = table.flatten(1).float().numpy(force=True)
    return rows


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

    >>> strokes = fs.load_dataset("strokes")
    >>> pixels = strokes.test.images.flatten(1)
    >>> fs.evaluate_embeddings(pixels, strokes.test, episodes=200).interval.mean > 0.3
    True
    """
    from episodes.errors import UserError
    from episodes.sampler import EpisodeSampler
    from fewshot.evaluation.embedding_cache import mean_of
    from fewshot.evaluation.evaluate import evaluate_readout
    from fewshot.evaluation.finite_rows import finite_rows
    from fewshot.models.readouts import READOUTS

    rule = READOUTS.get(readout)()
    table = finite_rows(embeddings, "embeddings", len(images.images))
    mean = None
    if train_embeddings is not None:
        mean = mean_of(finite_rows(train_embeddings, "train_embeddings", None))
        if len(mean) != table.shape[1]:
            raise UserError(f"train_embeddings have {len(mean)} numbers each and embeddings {table.shape[1]}")
    elif rule.needs_train_mean:
        raise UserError(f"read-out {readout} centers on the training images: give train_embeddings")
    sampler = EpisodeSampler(images, EpisodeSpec(way, shot, query), seed)
    return evaluate_readout(rule, table, mean, sampler, episodes, keep_predictions=True)


@overload
def run(
    config: RunConfig, *, out: Path | str = ..., root: Path | None = ..., fresh: bool = ..., test: Literal[True] = ...
) -> RunRecord: ...
@overload
def run(
    config: RunConfig, *, out: Path | str = ..., root: Path | None = ..., fresh: bool = ..., test: Literal[False]
) -> TrainingLog: ...
def run(
    config: RunConfig,
    *,
    out: Path | str = "runs",
    root: Path | None = None,
    fresh: bool = False,
    test: bool = True,
) -> RunRecord | TrainingLog:
    """Train as ``config`` says (or find the finished training), select on val, test, and write the record.

    What `fewshot run` does: records and checkpoints go under ``out``, and ``record.command`` is the line that does the
    same. A configuration of several read-outs gives the first one's record; all are written. Without ``test`` the test
    classes are never read: what comes back is the log of the training, with the accuracy on the validation classes.
    Raises UserError for what does not fit together.
    """
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.run import run_readouts, run_without_test

    with TerminalReporter() as reporter:
        if not test:
            return run_without_test(config, None, Path(out), reporter, root=root, fresh=fresh)
        return run_readouts(config, None, Path(out), reporter, root=root, fresh=fresh)[0][0]
