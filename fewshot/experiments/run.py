"""run_readouts(config): the one place where data, method, loop and record meet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from episodes.datasets.base import Dataset
from episodes.datasets.opening import open_dataset
from episodes.errors import EpisodeError, UserError
from episodes.sampler import ClassBatchSampler, EpisodeSampler, TrainingSampler, split_labeled
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.evaluation.evaluate import evaluate
from fewshot.experiments.config import RunConfig
from fewshot.experiments.measure import Outcome, measure, readouts_named
from fewshot.experiments.resolve import (
    PRETRAINED,
    ResolvedRun,
    TrainingPlan,
    refuse_for_untrained,
    refuse_options_of_test,
)
from fewshot.models.encoders.library import find_encoder
from fewshot.models.encoders.pretrained import load_weights, own_side
from fewshot.models.factory import TrainedMethod, build_method, implementation_of, load_trained, place, start_from
from fewshot.models.methods import Method
from fewshot.models.readouts import centering_readouts
from fewshot.models.tensor_files import save_tensors
from fewshot.progress import Reporter
from fewshot.records.provenance import commit
from fewshot.records.record import TrainingLog, training_log, write_record
from fewshot.statistics.intervals import Interval
from fewshot.training.checkpoints import CHECKPOINT, LOG, sole_trainer
from fewshot.training.logs import Logs
from fewshot.training.loop import TrainingResult, train
from fewshot.training.recipes import Recipe
from fewshot.training.sample_grid import draw_samples

VAL_EPISODE_SEED = 1
OWN_SPLITS = 200
"""Random divisions of the user's own images into support and queries, where no number of episodes is said.

The interval is over the images: with 12 classes of 8 it is as wide after 200 as after 500.
"""


def run_readouts(
    config: RunConfig,
    dataset: Dataset | None = None,
    out: Path = Path("runs"),
    reporter: Reporter | None = None,
    *,
    root: Path | None = None,
    fresh: bool = False,
) -> list[Outcome]:
    """Train (or find the finished training), select on val, test with each read-out; records and paths, under ``out``.

    The data set is opened by its name, in ``root`` or where data sets lie by default, unless it is given.
    """
    reporter = reporter or Reporter()
    if fresh:
        refuse_for_untrained(config.model, ["fresh"])
    resolved = _resolved(config, dataset, reporter, root, test=True)
    assert resolved.test is not None
    with _logs(resolved, out, reporter) as logs:
        if resolved.training is None:
            trained, steps = write_untrained(resolved, out), 0
        else:
            trained = obtain_training(resolved, resolved.training, out, reporter, logs, fresh=fresh)
            steps = resolved.training.recipe.train_episodes
        outcomes = measure(trained, resolved.test, out, reporter)
        for record, _ in outcomes:
            name = "/".join(filter(None, ["test", f"{record.test.way}w{record.test.shot}s", record.readout]))
            logs.write(steps, {f"{name}/accuracy": record.accuracy, f"{name}/ci95": record.ci95})
    return outcomes


def _logs(resolved: ResolvedRun, out: Path, reporter: Reporter) -> Logs:
    config = resolved.config
    settings = resolved.metadata() | {"command": replace(config, log=()).to_command()}
    return Logs(config.log, out / "logs", resolved.folder(out).name, settings, reporter.say)


def run_without_test(
    config: RunConfig,
    dataset: Dataset | None = None,
    out: Path = Path("runs"),
    reporter: Reporter | None = None,
    *,
    root: Path | None = None,
    fresh: bool = False,
) -> TrainingLog:
    """Train (or find the finished training) and select on val; the test classes are never read. No record is written.

    The log lies beside the checkpoint. A later ``run`` of the same configuration finds the training finished.
    """
    reporter = reporter or Reporter()
    refuse_options_of_test(config)
    refuse_for_untrained(config.model, ["no_test"])
    resolved = _resolved(config, dataset, reporter, root, test=False)
    assert resolved.training is not None
    with _logs(resolved, out, reporter) as logs:
        trained = obtain_training(resolved, resolved.training, out, reporter, logs, fresh=fresh)
    log = training_log(trained.metadata, trained.checkpoint, resolved.images())
    write_record(log, trained.checkpoint.with_name(LOG))
    return log


def _resolved(
    config: RunConfig, dataset: Dataset | None, reporter: Reporter, root: Path | None, *, test: bool
) -> ResolvedRun:
    commit()  # looked up now: what is committed while this trains is not what trains
    config.checked()  # every word, before any data are looked for
    return config.resolve(dataset or opened(config, root, reporter), reporter, test=test)


def opened(config: RunConfig, root: Path | None, reporter: Reporter) -> Dataset:
    """The data set of a configuration, its images as the encoder was made for where they may have any size."""
    side = own_side(find_encoder(config.encoder)) if config.encoder else None
    return open_dataset(
        config.dataset,
        root,
        config.class_split,
        reporter=reporter,
        image_shape=(3, side, side) if side else None,
        size=config.size,
        own_split="test-only" if config.model == PRETRAINED else None,
    )


def suited(config: RunConfig, dataset: Dataset, said: Collection[str], reporter: Reporter) -> RunConfig:
    """The configuration with what was not ``said`` made to fit the user's images: all classes, nearly all images.

    A quarter of the smallest class, at least one image, are queries and the others are support. Where all read-outs
    are asked for, those are left out that center on training images, of which there are none.
    """
    if dataset.name != "folder":
        return config
    photos = dataset.load("test", reporter.data_progress)
    fewest = int(photos.class_sizes.min())
    shot = config.shot if "shot" in said else max(1, fewest - max(1, fewest // 4))
    shape: dict[str, Any] = {
        "way": photos.num_classes,
        "shot": shot,
        "query": max(1, fewest - shot),
        "episodes": OWN_SPLITS,
    }
    config = replace(config, **{name: value for name, value in shape.items() if name not in said})
    reporter.note(
        f"{config.episodes:,} random splits of the same {len(photos.images):,} images: {config.shot} of each class are "
        f"support and {config.query} are queries"
    )
    words = (config.readout or "").split(",")
    if "all" not in words:
        return config
    centered = [name for name in centering_readouts() if name not in words]
    if not centered:
        return config
    reporter.note(f"left out, since they center on training images and there are none: {', '.join(centered)}")
    kept = [name or "own" for name in readouts_named(config.readout) if name not in centered]
    return replace(config, readout=",".join(kept))


def write_untrained(resolved: ResolvedRun, out: Path) -> TrainedMethod:
    """A method with the weights that its seed gives it, and its checkpoint under ``out``: one for all tests."""
    method = _built(resolved, resolved.dataset.image_shape)
    method.trained = True  # as far as it ever will be
    metadata = resolved.metadata() | {"training": {"history": [], "seconds": 0.0}}
    checkpoint = resolved.folder(out) / CHECKPOINT
    save_tensors(checkpoint, method.state_dict(), metadata)
    return TrainedMethod(place(method, resolved.device), checkpoint, metadata)


def obtain_training(
    resolved: ResolvedRun, training: TrainingPlan, out: Path, reporter: Reporter, logs: Logs, *, fresh: bool
) -> TrainedMethod:
    """The finished training of this identity, made now where there is none yet."""
    recipe, folder = training.recipe, resolved.folder(out)
    try:
        sampler = training_sampler(training.train_set, recipe, resolved.config.seed)
        val_sampler = validation_sampler(training.val_set, recipe)
    except EpisodeError as error:
        raise EpisodeError(f"{error} (of the training's episodes: --train-way, --train-shot, --train-query)") from None
    method = initial_method(resolved, training)
    checkpoint, state_path = folder / CHECKPOINT, folder / "state.safetensors"
    if checkpoint.exists() and not fresh and not state_path.exists():  # with a state, an anew training was cut off
        reporter.say(f"already trained: {checkpoint} (--fresh trains anew)")
        return load_trained(checkpoint, resolved.device)
    place(method, resolved.device)

    def validate(candidate: Method) -> Interval:
        draw_samples(candidate, folder)
        return evaluate(candidate, val_sampler, recipe.val_episodes, resolved.precision).interval

    with sole_trainer(folder):
        if fresh:  # not before the folder is ours: another process may be training into it
            state_path.unlink(missing_ok=True)  # a finished checkpoint stays until the new one takes its name
        result = train(
            method,
            sampler,
            recipe,
            validate,
            precision=resolved.precision,
            compiled=resolved.config.compiled,
            state_path=state_path,
            on_progress=logs.beside(reporter.training_progress, recipe),
        )
        about = {"num_classes": training.train_set.num_classes, "training": _training_summary(result)}
        metadata = resolved.metadata() | implementation_of(method) | about
        save_tensors(checkpoint, method.state_dict(), metadata)
        state_path.unlink(missing_ok=True)
    return TrainedMethod(method, checkpoint, metadata)


def _built(resolved: ResolvedRun, image_shape: tuple[int, int, int], num_classes: int = 1) -> Method:
    config = resolved.config
    assert config.encoder is not None
    method = build_method(
        config.model,
        config.model_options,
        config.encoder,
        config.encoder_options,
        image_shape,
        config.seed,
        num_classes,
    )
    if resolved.pretrained is not None:
        load_weights(method.encoder, resolved.pretrained)
    return method


def initial_method(resolved: ResolvedRun, training: TrainingPlan) -> Method:
    """The method as its training begins."""
    method = _built(resolved, training.train_set.image_shape, training.train_set.num_classes)
    if training.initial is not None:
        start_from(method, training.initial)
    if not [*method.parameters()]:
        model, encoder = resolved.config.model, resolved.config.encoder
        raise UserError(f"model {model} with --encoder {encoder} has nothing to train: --model untrained tests it")
    return method


def validation_sampler(val_set: ImageSet, recipe: Recipe) -> EpisodeSampler:
    """The episodes of validation."""
    shot = recipe.val_shot or recipe.train_shot
    assert shot is not None
    assert recipe.val_way is not None
    unlabeled = (recipe.unlabeled or 0, recipe.distractors or 0)
    return EpisodeSampler(val_set, EpisodeSpec(recipe.val_way, shot, recipe.val_query, *unlabeled), VAL_EPISODE_SEED)


def training_sampler(train_set: ImageSet, recipe: Recipe, seed: int) -> TrainingSampler:
    """Labeled batches, or episodes of the recipe's shape.

    With a labeled share, labeled and unlabeled images come from pools that the seed divides.
    """
    if recipe.batch_size is not None:
        return ClassBatchSampler(train_set, recipe.batch_size, seed, per_class=recipe.per_class)
    assert recipe.train_way is not None
    assert recipe.train_shot is not None
    unlabeled_counts = (recipe.unlabeled or 0, recipe.distractors or 0)
    spec = EpisodeSpec(recipe.train_way, recipe.train_shot, recipe.train_query, *unlabeled_counts)
    if recipe.labeled_share is None:
        return EpisodeSampler(train_set, spec, seed)
    labeled, unlabeled = split_labeled(train_set, recipe.labeled_share, seed)
    return EpisodeSampler(train_set, spec, seed, labeled=labeled, unlabeled=unlabeled if spec.num_unlabeled else None)


def _training_summary(result: TrainingResult) -> dict[str, Any]:
    return {
        "history": [asdict(validation) for validation in result.history],
        "selected_episode": result.selected.episode,
        "val_accuracy": result.selected.accuracy,
        "val_ci95": result.selected.ci95,
        "seconds": round(result.seconds, 1),
        "validation_seconds": round(result.validation_seconds, 2),
    }
