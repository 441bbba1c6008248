"""fewshot fit, predict, export: a classifier of the user's own images; open-set: how well the unknown are told."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fewshot.cli.options import PATH, SEED, Finite, data_option, json_option, out_option

if TYPE_CHECKING:
    from fewshot.evaluation.classifier.fitting import Fitted
    from fewshot.evaluation.classifier.new_photos import Prediction

_MOST_COLUMNS = 20  # of a confusion matrix that is printed
UNKNOWN = "(unknown)"
"""What stands in the place of a class where an image is rejected."""


@click.command(short_help="Fit a classifier to a few labeled images of each class.")
@click.argument("photos", type=PATH)
@click.option("-o", "--output", type=PATH, required=True, help="The file to write (.safetensors).")
@click.option(
    "--encoder",
    default="lite0",
    show_default=True,
    help="lite0, timm:NAME or torchvision:NAME with --weights, or a checkpoint.safetensors of `fewshot run`.",
)
@click.option("--weights", type=PATH, help="Pretrained weights (.safetensors or .pth).")
@click.option("--encoder-data", help="With --weights: what they were trained on, such as ImageNet-1k.")
@click.option("--readout", default="logistic", show_default=True, help="logistic, svm, cosine or prototype.")
@click.option("--json", "as_json", is_flag=True, help="Print what to expect as JSON on standard output.")
def fit(photos: Path, output: Path, encoder: str, readout: str, as_json: bool, **of_encoder: Any) -> None:
    """Fit a classifier to PHOTOS, a folder with a folder for each class (or a CSV file: filename,label).

    Prints the accuracy to expect on new images of these classes, measured on images held out of the fit in turn, and
    which classes are taken for which.
    """
    from fewshot.cli.output import print_json
    from fewshot.cli.progress import TerminalReporter
    from fewshot.evaluation.classifier.model import fit_photos, named_encoder, photos_of, save_classifier

    with TerminalReporter() as reporter:
        named = named_encoder(encoder, of_encoder["weights"], of_encoder["encoder_data"])
        images = photos_of(photos, named.encoder.image_shape, reporter)
        classifier, fitted = fit_photos(named, images, readout, reporter)
    save_classifier(classifier, output)
    if as_json:
        print_json(_expectation(fitted, images.class_names))
        return
    click.echo(f"{output}: {readout} on {encoder}, {images.num_classes} classes, {len(images.images)} images")
    for line in _expectation_lines(fitted, images.class_names):
        click.echo(line)


def _expectation(fitted: Fitted, names: tuple[str, ...]) -> dict[str, Any]:
    """What to expect, as plain data."""
    found = fitted.expected
    about: dict[str, Any] = {"classes": list(names), "temperature": fitted.temperature, "chance": 1 / len(names)}
    if found is None:
        return about | {"accuracy": None}
    return about | {
        "accuracy": found.accuracy,
        "folds": found.folds,
        "images": len(found.labels),
        "confusion": found.confusion(len(names)).tolist(),
        "most_confused": found.confused(names),
        "auroc_unknown_class": found.auroc if len(found.unknown) else None,
    }


def _expectation_lines(fitted: Fitted, names: tuple[str, ...]) -> Iterable[str]:
    found = fitted.expected
    if found is None:
        yield "accuracy to expect: not known, since a class has a single image and none can be held out"
        return
    chance = 100 / len(names)
    yield (
        f"accuracy to expect: {found.percent()} (chance {chance:.1f} %), by {found.folds}-fold cross-validation on "
        f"{len(found.labels)} images"
    )
    if len(found.unknown):
        yield f"images of an unknown class: told from known ones with AUROC {found.auroc:.2f} (`predict --reject`)"
    pairs = ", ".join(f"{first} / {second} {count}" for first, second, count in found.confused(names))
    yield f"most confused: {pairs or 'none'}"
    if len(names) <= _MOST_COLUMNS:
        yield from _confusion_lines(found.confusion(len(names)), names)


def _confusion_lines(confusion: Any, names: Sequence[str]) -> Iterable[str]:
    """A row for each true class, a column for each that it was taken for, in the same order."""
    width = min(24, max(map(len, names)))
    yield "true class, and how many of its images were taken for each class in this order:"
    for name, row in zip(names, confusion.tolist(), strict=True):
        yield f"  {name[:width]:<{width}}  {' '.join(f'{count:>3}' if count else '  .' for count in row)}"


@click.command(short_help="Classify new images.")
@click.argument("classifier", type=PATH)
@click.argument("new", nargs=-1, required=True, type=PATH)
@click.option(
    "--reject",
    type=Finite(0, 1, min_open=True, max_open=True),
    help="Call an image unknown where only this share of known ones is as strange, such as 0.05.",
)
@click.option("--out", type=PATH, help="The file to write [default: standard output].")
@click.option("--json", "as_json", is_flag=True, help="JSON with the probability of every class, instead of CSV.")
def predict(classifier: Path, new: tuple[Path, ...], reject: float | None, out: Path | None, as_json: bool) -> None:
    """Classify NEW images (files, or folders of them) with what `fewshot fit` wrote: file, class and probability."""
    from episodes.errors import UserError
    from episodes.files import write_atomically
    from fewshot.cli.output import print_problems
    from fewshot.cli.progress import TerminalReporter
    from fewshot.evaluation.classifier.model import load_classifier
    from fewshot.evaluation.classifier.new_photos import image_files, predictions

    files, problems = image_files(new), list[str]()
    saved = load_classifier(classifier)
    threshold = None if reject is None else saved.threshold(reject)
    with TerminalReporter() as reporter:
        found = [*predictions(saved, files, threshold, reporter, problems)]
    if not found:
        raise UserError(f"none of the {len(files)} files can be read: {'; '.join(problems)}")
    print_problems(problems)
    if threshold is not None:
        click.echo(str(threshold), err=out is None)
    text = _as_json(found, saved.class_names) if as_json else _as_csv(found)
    if out is None:
        click.echo(text, nl=False)
        return
    write_atomically(out, text.encode())
    click.echo(f"{out}: {len(found)} predictions")


def _as_csv(found: Sequence[Prediction]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("file", "class", "probability", "known"))
    for one in found:
        writer.writerow((one.file, one.label or UNKNOWN, f"{one.probability:.4f}", f"{one.known:.4f}"))
    return file.getvalue()


def _as_json(found: Sequence[Prediction], names: tuple[str, ...]) -> str:
    import json

    rows = [
        {
            "file": one.file,
            "class": one.label,
            "probability": one.probability,
            "known": one.known,
            "probabilities": dict(zip(names, one.probabilities, strict=True)),
        }
        for one in found
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


@click.command(short_help="Write a classifier as one ONNX file.")
@click.argument("classifier", type=PATH)
@click.argument("onnx", type=PATH)
def export(classifier: Path, onnx: Path) -> None:
    """Write what `fewshot fit` wrote as one ONNX file: normalization, encoder, classifier and class names.

    Its input is uint8 (n, channels, side, side), its outputs are probabilities (n, classes) and how well an image is
    known (n,).
    """
    from fewshot.evaluation.classifier.model import load_classifier
    from fewshot.evaluation.classifier.onnx import export_onnx

    saved = load_classifier(classifier)
    export_onnx(saved, onnx)
    click.echo(f"{onnx}: images {('n', *saved.image_shape)} -> probabilities (n, {len(saved.class_names)})")


@click.command("open-set", short_help="Measure how well images of unknown classes are told from known ones.")
@click.argument("checkpoint", type=PATH)
@click.option("--dataset", help="Name of a data set, or a folder of your own images [default: that of the training].")
@click.option("--part", default="test", show_default=True, help="train, val or test.")
@click.option("--way", type=click.IntRange(2), default=5, show_default=True, help="Known classes of an episode.")
@click.option("--shot", type=click.IntRange(1), default=5, show_default=True, help="Support images per known class.")
@click.option("--query", type=click.IntRange(1), default=15, show_default=True, help="Queries per class.")
@click.option("--unknown", type=click.IntRange(1), default=5, show_default=True, help="Classes with queries alone.")
@click.option("--episodes", type=click.IntRange(2, 1_000_000), default=600, show_default=True, help="Episodes.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Which episodes.")
@click.option(
    "--record",
    type=PATH,
    help="Write a record into this file, such as results/open-set/NAME.json.",
)
@data_option
@out_option
@json_option
def open_set(checkpoint: Path, dataset: str | None, part: str, record: Path | None, **choices: Any) -> None:
    """Score queries of known and unknown classes by the embeddings of CHECKPOINT: AUROC and FPR95 of each rule.

    AUROC is the chance that a query of a known class scores above one of an unknown class (50 % is chance), FPR95 the
    share of unknown queries that pass where 95 % of the known do. The intervals are over episodes.
    """
    from msgspec import to_builtins

    from episodes.errors import UserError
    from episodes.files import write_atomically
    from episodes.types import SPLITS
    from fewshot.cli.output import print_json
    from fewshot.cli.progress import TerminalReporter
    from fewshot.experiments.config import EvaluateConfig
    from fewshot.experiments.evaluate import open_set_again
    from fewshot.models.options import check_choice
    from fewshot.records.open_set import open_set_bytes

    shape = {name: choices[name] for name in ("way", "shot", "query", "unknown", "episodes", "seed")}
    config, split = EvaluateConfig(checkpoint=checkpoint, dataset=dataset), check_choice("part", part, SPLITS)
    if record is not None and split != "test":
        raise UserError(f"--part {split}: records are of the test classes, leave out --record or --part")
    with TerminalReporter() as reporter:
        found = open_set_again(config, split, shape, choices["data"], choices["out"], reporter)
    if record is not None:
        write_atomically(record, open_set_bytes(found))
    if choices["as_json"]:
        print_json(to_builtins(found))
        return
    click.echo(f"{'rule':<20} {'AUROC %':>16} {'FPR95 %':>16}")
    for row in found.rules:
        auroc = f"{100 * row.auroc:.2f} ± {100 * row.auroc_ci95:.2f}"
        fpr95 = f"{100 * row.fpr95:.2f} ± {100 * row.fpr95_ci95:.2f}"
        click.echo(f"{row.rule:<20} {auroc:>16} {fpr95:>16}")
