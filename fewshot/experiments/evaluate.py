"""evaluate_again(config): what was trained before, or embedded elsewhere, tested in every setting that is asked for."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from episodes.datasets.base import Dataset
from episodes.datasets.corruption import corrupted, corrupted_share
from episodes.datasets.omniglot.oneshot_runs import oneshot_runs
from episodes.datasets.opening import DEFAULT_DATASET, open_dataset
from episodes.errors import DataError, UserError
from episodes.sampler import EpisodeSampler
from episodes.spec import RUNS, EpisodeSpec
from episodes.types import Split
from fewshot.evaluation.embedding_cache import Embeddings
from fewshot.experiments.config import EvaluateConfig
from fewshot.experiments.convert import convert_checkpoint
from fewshot.experiments.external_embeddings import check_name, check_trained_on, measure_external
from fewshot.experiments.measure import OWN_RULE, EvaluationPlan, Outcome, measure, readouts_named, refuse_unreadable
from fewshot.experiments.resolve import DEFAULT_UNLABELED, check_hardware
from fewshot.models.factory import load_trained, read_trained
from fewshot.models.hardware import choose_device, choose_precision
from fewshot.models.methods import METHODS
from fewshot.models.tensor_files import CheckpointError
from fewshot.progress import Reporter
from fewshot.records.open_set import OpenSetRecord, OpenSetRule, open_set_protocol
from fewshot.records.provenance import versions
from fewshot.records.schema import trained_of


def evaluate_again(
    config: EvaluateConfig,
    dataset: Dataset | None = None,
    out: Path = Path("runs"),
    reporter: Reporter | None = None,
    *,
    root: Path | None = None,
) -> list[Outcome]:
    """Test a checkpoint, or embeddings made elsewhere: a record for each way, shot and read-out, under ``out``.

    Every image is embedded once. The data set is that of the training where none is named. Raises UserError for what
    does not fit together, before anything is measured.
    """
    reporter = reporter or Reporter()
    check_hardware(config)
    if config.embeddings is not None:
        return _of_embeddings(config, config.embeddings, dataset, root, out, reporter)
    if config.checkpoint is None:
        raise UserError("name a checkpoint, or embeddings made elsewhere")
    if config.name is not None or config.trained_on is not None:
        raise UserError("--name and --trained-on tell of embeddings made elsewhere: a checkpoint says both itself")
    return _of_checkpoint(config, config.checkpoint, dataset, root, out, reporter)


def _of_checkpoint(
    config: EvaluateConfig, checkpoint: Path, dataset: Dataset | None, root: Path | None, out: Path, reporter: Reporter
) -> list[Outcome]:
    """The weights of a checkpoint, under their own rule or another one."""
    command, config = config.to_command(), config.as_protocol()
    readouts, metadata = readouts_named(config.readout), read_trained(checkpoint)[1]
    model = config.as_model or metadata["model"]
    refuse_unreadable(model, METHODS.get(model), readouts)
    if config.as_model or config.model_options:
        checkpoint = convert_checkpoint(checkpoint, model, config.model_options, out)
    device = choose_device(config.device)
    trained = load_trained(checkpoint, device)
    dataset = dataset or _opened(config, metadata, root, reporter)
    if not corrupted_share(dataset):  # as asked for, else as in the training
        in_training = 0.0 if config.protocol == RUNS else metadata.get("damage", 0.0)  # the runs are as published
        dataset = corrupted(dataset, config.damage if config.damage is not None else in_training)
    test_set = dataset.load("test", reporter.data_progress)
    if test_set.image_shape != trained.method.encoder.image_shape:
        raise CheckpointError(
            f"{checkpoint} was trained on images of {trained.method.encoder.image_shape} (channels, height, width) "
            f"and those of {dataset.name} are {test_set.image_shape}: choose a data set of that size"
        )
    if config.protocol == RUNS and metadata["pixels"].startswith("omniglot-vinyals"):
        raise CheckpointError(
            f"{checkpoint} was trained on characters of Lake's 20 runs: train with `fewshot run --split lake`"
        )
    specs = episode_shapes(config, metadata["recipe"], uses_unlabeled=METHODS.get(model).uses_unlabeled)
    samplers = _samplers(config, dataset, specs, reporter)
    precision = choose_precision(config.precision, device)
    num_episodes = config.num_episodes(metadata["recipe"]["name"])
    plan = EvaluationPlan(dataset, samplers, num_episodes, precision, readouts, command, root)
    return measure(trained, plan, out, reporter)


def _samplers(
    config: EvaluateConfig, dataset: Dataset, specs: list[EpisodeSpec], reporter: Reporter
) -> list[EpisodeSampler]:
    if config.protocol == RUNS:
        return [oneshot_runs(dataset)]
    test_set = dataset.load("test", reporter.data_progress)
    return [EpisodeSampler(test_set, spec, config.episode_seed) for spec in specs]


def _of_embeddings(
    config: EvaluateConfig, path: Path, dataset: Dataset | None, root: Path | None, out: Path, reporter: Reporter
) -> list[Outcome]:
    """Embeddings of every test image, made elsewhere, with every read-out that is asked for."""
    if config.checkpoint is not None:
        raise UserError("--embeddings FILE stands in the place of CHECKPOINT: give one of them")
    of_training = ("as_model", "unlabeled", "distractors")
    if config.model_options or any(getattr(config, name) for name in of_training):
        raise UserError(
            "--as, unlabeled images and options of a model have no meaning for --embeddings: leave them out"
        )
    name, trained_on = check_name(config.name), check_trained_on(config.trained_on)
    command, config = config.to_command(), config.as_protocol()
    readouts = readouts_named(config.readout or "prototype")
    if OWN_RULE in readouts:
        raise UserError("embeddings have no rule of their own: name a read-out (see `fewshot list readouts`)")
    if config.precision != "auto":
        raise UserError("embeddings made elsewhere have their precision: leave out --precision")
    dataset = corrupted(dataset or _of_the_rows(config, root, reporter), config.damage)
    samplers = _samplers(config, dataset, episode_shapes(config, {}, uses_unlabeled=False), reporter)
    plan = EvaluationPlan(dataset, samplers, config.num_episodes(""), "fp32", readouts, command)
    return measure_external(path, name, trained_on, plan, choose_device(config.device), out, reporter)


def _of_the_rows(config: EvaluateConfig, root: Path | None, reporter: Reporter) -> Dataset:
    """The data set whose test images the embeddings are said to be of, and whose labels are used.

    It is Omniglot where none is named, which is said; another one never stands in for it. Raises UserError where it is
    not to be had.
    """
    try:
        dataset = open_dataset(
            config.dataset or DEFAULT_DATASET, root, config.class_split, reporter=reporter, size=config.size
        )
    except DataError as error:
        if config.dataset is not None:
            raise
        raise UserError(
            f"without --dataset, embeddings are taken as those of Omniglot's test images, and Omniglot is not here "
            f"({error}): name the data set that they are of with --dataset"
        ) from error
    if config.dataset is None:
        reporter.say(
            f"No --dataset is named: the embeddings are taken as those of the test images of {dataset.protocol_name}, "
            "and its labels are used."
        )
    return dataset


def open_set_again(
    config: EvaluateConfig, split: Split, shape: Mapping[str, Any], root: Path | None, out: Path, reporter: Reporter
) -> OpenSetRecord:
    """What ``evaluate_open_set`` finds for a checkpoint on ``split`` (``val`` to choose a rule, ``test`` to report).

    ``shape`` holds way, shot, query, unknown, episodes and seed. Raises UserError for a model without an embedding of
    each image alone.
    """
    from fewshot.evaluation.open_set import evaluate_open_set  # here: few starts need pandas and scikit-learn

    assert config.checkpoint is not None
    trained = load_trained(config.checkpoint, choose_device())
    refuse_unreadable(trained.metadata["model"], trained.method, ("prototype",))
    dataset = _opened(config, trained.metadata, root, reporter)
    images = dataset.load(split, reporter.data_progress)
    precision = choose_precision("auto", trained.method.encoder.mean.device)
    table = Embeddings(trained.method, dataset, precision, reporter, out / "embeddings").table(images)
    found = evaluate_open_set(table, images, progress=reporter.test_progress, **shape)
    way, shot, query, unknown = (shape[name] for name in ("way", "shot", "query", "unknown"))
    sampler = EpisodeSampler(images, EpisodeSpec(way + unknown, shot, query), shape["seed"])
    own = dataset.location() if dataset.name == "folder" else None
    words = {"dataset": own or dataset.name, "part": split, **shape}
    return OpenSetRecord(
        protocol=open_set_protocol(dataset.protocol_name, way, shot, query, unknown),
        dataset_id=dataset.protocol_name,
        part=split,
        **shape,
        episodes_digest=sampler.digest(shape["episodes"]),
        precision=precision,
        trained=trained_of(trained.metadata, str(config.checkpoint)),
        versions=versions(),
        command=shlex.join(
            ["fewshot", "open-set", str(config.checkpoint)]
            + [word for name, value in words.items() for word in (f"--{name}", str(value))]
        ),
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        rules=msgspec.convert(found.to_dict("records"), tuple[OpenSetRule, ...]),
    )


def _opened(config: EvaluateConfig, metadata: Mapping[str, Any], root: Path | None, reporter: Reporter) -> Dataset:
    """The data set that was asked for, else that of the training, in the shape of its images.

    A folder of the user's own has the class split of the training, too, where its images are those of the training.
    """
    same_data = config.dataset in (None, metadata["dataset"])

    def of_split(class_split: str | None) -> Dataset:
        shape = tuple(metadata["image_shape"])
        name = config.dataset or metadata["dataset"]
        return open_dataset(name, root, class_split, reporter=reporter, image_shape=shape, size=config.size)

    opened = of_split(config.class_split or (metadata["class_split"] if same_data else None))
    if opened.name != "folder" or metadata["dataset"] != "folder" or opened.protocol_name == metadata["pixels"]:
        return opened
    if config.class_split is None:
        with suppress(DataError):  # these images cannot be divided so
            if (divided := of_split(metadata["class_split"])).protocol_name == metadata["pixels"]:
                return divided
    reporter.note(
        f"these images ({opened.protocol_name}) are not those of the training ({metadata['pixels']}), or are divided "
        "otherwise: if classes of the training are among them, the accuracy says too much"
    )
    return opened


def episode_shapes(config: EvaluateConfig, recipe: Mapping[str, Any], *, uses_unlabeled: bool) -> list[EpisodeSpec]:
    """The test episodes that were asked for, each way with each shot; what was left open is as in training."""
    unlabeled = config.unlabeled or recipe.get("unlabeled", 0)
    distractors = config.distractors or recipe.get("distractors", 0)
    if not uses_unlabeled:
        if config.unlabeled or config.distractors:
            raise UserError("this model makes no use of unlabeled images: name one that does with --as")
        unlabeled = distractors = 0
    elif not unlabeled:
        unlabeled = DEFAULT_UNLABELED
    return [
        EpisodeSpec(way, shot, config.query, unlabeled, distractors, config.dirichlet)
        for way in config.way or (5,)
        for shot in config.shot or (recipe.get("train_shot") or 1,)
    ]
