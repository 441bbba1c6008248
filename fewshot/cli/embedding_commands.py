"""The bodies of what has to do with embeddings made elsewhere: export the images, score what comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from episodes.datasets.corruption import corrupted
from episodes.datasets.opening import open_dataset
from episodes.errors import UserError
from episodes.images.export import export_images
from episodes.spec import EpisodeSpec
from episodes.types import SPLITS
from fewshot.cli.progress import TerminalReporter
from fewshot.cli.run_commands import print_outcomes
from fewshot.experiments.external_embeddings import check_name, measure_own
from fewshot.experiments.measure import OWN_RULE, readouts_named
from fewshot.models.hardware import DEVICES
from fewshot.models.options import check_choice

_OF_TRAINING = ("as_model", "model_options", "unlabeled", "distractors")


def own_embeddings_command(**choices: Any) -> None:
    """fewshot evaluate --embeddings."""
    if choices["checkpoint"] is not None:
        raise click.UsageError(
            "--embeddings FILE stands in the place of CHECKPOINT: give one of them", click.get_current_context()
        )
    if any(choices[name] for name in _OF_TRAINING):
        raise UserError(
            "--as, unlabeled images and options of a model have no meaning for --embeddings: leave them out"
        )
    name = check_name(choices["name"])
    readouts = readouts_named(choices["readout"] or "prototype")
    if OWN_RULE in readouts:
        raise UserError("embeddings have no rule of their own: name a read-out (see `fewshot list readouts`)")
    check_choice("device", choices["device"], DEVICES)
    specs = [
        EpisodeSpec(way, shot, choices["query"]) for way in choices["way"] or (5,) for shot in choices["shot"] or (1,)
    ]
    with TerminalReporter() as reporter:
        dataset = open_dataset(choices["dataset"], choices["data"], choices["class_split"], reporter=reporter)
        outcomes = measure_own(
            choices["embeddings"],
            name,
            corrupted(dataset, choices["damage"]),
            specs,
            choices["episodes"],
            choices["episode_seed"],
            choices["out"],
            reporter,
            readouts,
            device=choices["device"],
        )
    print_outcomes(outcomes, choices["as_json"])


def export_command(name: str, path: Path | None, root: Path | None, class_split: str | None, part: str) -> None:
    """fewshot data export."""
    split = check_choice("part", part, SPLITS)
    with TerminalReporter() as reporter:
        dataset = open_dataset(name, root, class_split, reporter=reporter)
        image_set = dataset.load(split, reporter.data_progress)
        path = path or Path(f"{dataset.protocol_name}-{split}.npz")
        export_images(image_set, dataset.protocol_name, path)
    images, classes = len(image_set.images), image_set.num_classes
    click.echo(f"{path}: {images:,} images of {classes:,} classes, {dataset.protocol_name} {split}")
