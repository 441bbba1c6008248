"""run(config) -> RunRecord: the one place where data, method, loop and record meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from episodes.datasets.base import Dataset
from episodes.datasets.corruption import corrupted_share
from episodes.datasets.omniglot.oneshot_runs import oneshot_runs
from episodes.errors import UserError
from episodes.sampler import ClassBatchSampler, EpisodeSampler, TrainingSampler, split_labeled
from episodes.spec import EpisodeSpec
from episodes.types import ImageSet
from fewshot.evaluation.evaluate import evaluate
from fewshot.experiments.config import RunConfig, resolve, training_identity
from fewshot.experiments.measure import OWN_RULE, Outcome, measure
from fewshot.experiments.untrained import write_untrained
from fewshot.models.factory import Trained, build_method, implementation_of, load_trained, place, start_from
from fewshot.models.hardware import Precision, choose_device, choose_precision
from fewshot.models.methods import METHODS, Method
from fewshot.models.tensor_files import CheckpointError, save_tensors
from fewshot.progress import Reporter
from fewshot.records.provenance import commit, short_hash
from fewshot.statistics.intervals import Interval
from fewshot.training.checkpoints import sole_trainer
from fewshot.training.loop import TrainingResult, train
from fewshot.training.recipes import Recipe
from fewshot.training.sample_grid import draw_samples

_VAL_EPISODE_SEED = 1


def run(
    config: RunConfig, dataset: Dataset, out: Path, reporter: Reporter | None = None, *, fresh: bool = False
) -> Outcome:
    """Train (or find the finished training), select on val, test, write the record under ``out``; record and path."""
    (outcome,) = run_readouts(config, dataset, out, reporter, fresh=fresh)
    return outcome


def run_readouts(
    config: RunConfig,
    dataset: Dataset,
    out: Path,
    reporter: Reporter | None = None,
    readouts: Sequence[str] = (OWN_RULE,),
    *,
    fresh: bool = False,
) -> list[Outcome]:
    """One training, tested with each read-out; a record for each. An empty name is the method's own rule."""
    reporter = reporter or Reporter()
    commit()  # looked up now: what is committed while this trains is not what trains
    device = choose_device(config.device)
    precision = choose_precision(config.precision, device)
    published_runs = oneshot_runs(dataset) if config.runs else None  # refuses before anything is decoded
    train_set, val_set, test_set = (dataset.load(split, reporter.data_progress) for split in ("train", "val", "test"))
    for image_set in (train_set, val_set, test_set):
        if fits := dataset.what_fits(image_set):
            reporter.say(fits)
    config = resolve(config, train_set, val_set)
    test_sampler = published_runs or EpisodeSampler(test_set, config.spec, config.episode_seed)  # refuses now
    if METHODS.get(config.model).trains_on == "nothing":
        trained = write_untrained(config, dataset, train_set, out, device)
    else:
        trained = obtain_training(config, dataset, train_set, val_set, out, reporter, device, precision, fresh=fresh)
    return measure(trained, dataset, [test_sampler], config.episodes, out, reporter, precision, readouts)


def obtain_training(
    config: RunConfig,
    dataset: Dataset,
    train_set: ImageSet,
    val_set: ImageSet,
    out: Path,
    reporter: Reporter,
    device: torch.device,
    precision: Precision,
    *,
    fresh: bool,
) -> Trained:
    """The finished training of this identity, made now where there is none yet."""
    recipe = config.recipe
    sampler = training_sampler(train_set, config)
    val_sampler = EpisodeSampler(val_set, _validation_spec(recipe), _VAL_EPISODE_SEED)
    method = _untrained(config, train_set)
    identity = training_identity(config, dataset, train_set, val_set, precision)
    folder = out / "checkpoints" / f"{config.model}-{dataset.protocol_name}-{recipe.name}-{short_hash(identity)}"
    checkpoint, state_path = folder / "checkpoint.safetensors", folder / "state.safetensors"
    if checkpoint.exists() and not fresh:
        reporter.say(f"already trained: {checkpoint} (--fresh trains anew)")
        return load_trained(checkpoint, device)
    place(method, device)

    def validate(candidate: Method) -> Interval:
        draw_samples(candidate, folder)
        return evaluate(candidate, val_sampler, recipe.val_episodes, precision).interval

    with sole_trainer(folder):
        if fresh:  # not before the folder is ours: another process may be training into it
            checkpoint.unlink(missing_ok=True)
            state_path.unlink(missing_ok=True)
        result = train(
            method, sampler, recipe, validate, precision=precision, compiled=config.compiled, state_path=state_path,
            on_progress=reporter.training_progress,
        )  # fmt: skip
        metadata = (
            identity
            | implementation_of(method)
            | {
                "image_shape": list(train_set.image_shape),
                "num_classes": train_set.num_classes,
                "dataset": dataset.name,
                "class_split": dataset.class_split,
                "damage": corrupted_share(dataset),
                "shortened": config.shortened,
                "commit": commit(),
                "training": _training_summary(result),
            }
        )
        save_tensors(checkpoint, method.state_dict(), metadata)
        state_path.unlink(missing_ok=True)
    return Trained(method, checkpoint, metadata)


def _untrained(config: RunConfig, train_set: ImageSet) -> Method:
    assert config.encoder is not None
    shape, num_classes = train_set.image_shape, train_set.num_classes
    method = build_method(
        config.model, config.model_options, config.encoder, config.encoder_options, shape, config.seed, num_classes
    )
    if config.initial is not None:
        start_from(method, config.initial)
    if not [*method.parameters()]:
        raise UserError(
            f"model {config.model} with --encoder {config.encoder} has nothing to train: --model untrained tests it"
        )
    return method


def _validation_spec(recipe: Recipe) -> EpisodeSpec:
    """The episodes of validation."""
    shot = recipe.val_shot or recipe.train_shot
    assert shot is not None
    assert recipe.val_way is not None
    return EpisodeSpec(recipe.val_way, shot, recipe.val_query, recipe.unlabeled or 0, recipe.distractors or 0)


def training_sampler(train_set: ImageSet, config: RunConfig) -> TrainingSampler:
    """Labeled batches, or episodes of the recipe's shape.

    With a labeled share, labeled and unlabeled images come from pools that the seed divides.
    """
    recipe, seed = config.recipe, config.seed
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


def evaluate_checkpoint(
    checkpoint: Path,
    dataset: Dataset,
    spec: EpisodeSpec,
    num_episodes: int,
    episode_seed: int,
    out: Path,
    reporter: Reporter,
    *,
    device: str = "auto",
    precision: str = "auto",
) -> Outcome:
    """Test a trained method on the test classes of ``dataset`` and write the record under ``out``."""
    (outcome,) = evaluate_settings(
        checkpoint, dataset, [spec], num_episodes, episode_seed, out, reporter, device=device, precision=precision
    )
    return outcome


def evaluate_settings(
    checkpoint: Path,
    dataset: Dataset,
    specs: Sequence[EpisodeSpec],
    num_episodes: int,
    episode_seed: int,
    out: Path,
    reporter: Reporter,
    readouts: Sequence[str] = (OWN_RULE,),
    *,
    runs: bool = False,
    device: str = "auto",
    precision: str = "auto",
) -> list[Outcome]:
    """Test a trained method in each setting with each read-out, every image embedded once; a record for each.

    With ``runs`` the episodes are Lake's 20 published runs, in place of ``specs``.
    """
    place_on = choose_device(device)
    trained = load_trained(checkpoint, place_on)
    test_set = dataset.load("test", reporter.data_progress)
    if test_set.image_shape != trained.method.encoder.image_shape:
        raise CheckpointError(
            f"{checkpoint} was trained on images of {trained.method.encoder.image_shape} (channels, height, width) "
            f"and those of {dataset.name} are {test_set.image_shape}: choose a data set of that size"
        )
    samplers = [EpisodeSampler(test_set, spec, episode_seed) for spec in specs]
    if runs:
        if trained.metadata["pixels"].startswith("omniglot-vinyals"):
            raise CheckpointError(
                f"{checkpoint} was trained on characters of Lake's 20 runs: train with `fewshot run --split lake`"
            )
        samplers = [oneshot_runs(dataset)]
    chosen = choose_precision(precision, place_on)
    return measure(trained, dataset, samplers, num_episodes, out, reporter, chosen, readouts)
