"""The papers' own numbers, as data: every one with its source and how far it was checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

from episodes.datasets.cards import benchmarks
from fewshot.records.record import RunRecord

_VINYALS, _REN = "Vinyals et al. NeurIPS 2016", "Ren et al. ICLR 2018"

PAPER_OF_MODEL = {
    "proto": ("protonet", "Snell et al. NeurIPS 2017", "euclidean"),
    "gaussian-proto": ("gaussian-protonet", "Fort 2017", "radius covariance"),
    "matching": ("matching", _VINYALS, "cosine, no fine-tune"),
    "relation": ("relation", "Sung et al. CVPR 2018", ""),
    "siamese": ("siamese", _VINYALS, "conv siamese, cosine, no fine-tune"),
    "siamese-contrastive": ("siamese", _VINYALS, "conv siamese, cosine, no fine-tune"),
    "siamese-cosine": ("siamese", _VINYALS, "conv siamese, cosine, no fine-tune"),
    "soft-kmeans-proto": ("semi-protonet", _REN, "soft k-means, {distractors} distractors"),
    "cluster-proto": ("semi-protonet", _REN, "soft k-means + cluster, {distractors} distractors"),
    "masked-proto": ("semi-protonet", _REN, "masked soft k-means, {distractors} distractors"),
}
"""Our name of a model -> in published.csv: the method, the start of the source, the start of the variant."""

PAPER_OF_RUNS = {
    "siamese": ("siamese", "Koch et al. ICML-DL", "convolutional"),
    "proto": ("protonet", "Lake et al. 2019", ""),
    "hausdorff": ("reference", "Lake et al. Science 2015", "modified Hausdorff distance"),
}
"""The same for Lake's 20 published runs, whatever the size of the images."""

INDEPENDENT = {
    ("relation", "omniglot"): ("relation", "PaddleFSL", ""),
    ("relation", "miniimagenet"): ("relation", "Chen et al. ICLR 2019", "eval-mode BN"),
    ("matching", "miniimagenet"): ("matching", "Snell et al. NeurIPS 2017", "cosine, no FCE"),
}
"""Who measured a model on Conv4 where its paper lets queries see each other, or divides the classes otherwise."""

COMPARABLE_PIXELS = {name: benchmark.published_as for name, benchmark in benchmarks().items() if benchmark.published_as}
"""Protocols that a published table can be held against -> the data set's name in published.csv."""


@dataclass(frozen=True)
class Published:
    """A number that somebody printed. Accuracies are percentages; ``status`` recalled means: not read in a document."""

    method: str
    variant: str
    backbone: str
    dataset: str
    way: int
    shot: int
    accuracy: float
    ci95: float | None
    episodes: str  # as printed, such as 600 or 10x600; empty where it is not
    protocol: str
    source: str
    table: str
    kind: str
    status: str

    def __str__(self) -> str:
        interval = f" ± {self.ci95:.2f}" if self.ci95 is not None else ""
        doubt = "" if self.status == "verified" else ", from memory"
        return f"{self.accuracy:.2f}{interval} % ({self.source}, {self.table}, {self.variant}{doubt})"


@cache
def published() -> tuple[Published, ...]:
    """Every row of published.csv."""
    text = resources.files("fewshot.records").joinpath("published_data", "numbers.csv").read_text(encoding="utf-8")
    return tuple(
        Published(
            **{name: row[name] for name in ("method", "variant", "backbone", "dataset", "protocol", "source")},
            **{name: row[name] for name in ("episodes", "table", "kind", "status")},
            way=int(row["way"]),
            shot=int(row["shot"]),
            accuracy=float(row["accuracy"]),
            ci95=float(row["ci95"]) if row["ci95"] else None,
        )
        for row in csv.DictReader(text.splitlines())
        if row["way"] and row["shot"] and row["accuracy"]
    )


def published_target(model: str, pixels: str, way: int, shot: int, *, distractors: bool = False) -> Published | None:
    """The number a cell is held against, or None where the paper has none for this protocol.

    Where a paper has several variants that fit, it is the plain one, else the best; ``variant`` says which.
    """
    if model not in PAPER_OF_MODEL or pixels not in COMPARABLE_PIXELS:
        return None
    method, source, variant = PAPER_OF_MODEL[model]
    variant = variant.format(distractors="with" if distractors else "no")
    return _printed((method, source, variant), (COMPARABLE_PIXELS[pixels], way, shot))


def _printed(paper: tuple[str, str, str], cell: tuple[str, int, int], backbone: str = "") -> Published | None:
    """What a method, the start of its source and of its variant have for a data set, way and shot."""
    method, source, variant = paper
    matching = (
        row
        for row in published()
        if (row.method, row.dataset, row.way, row.shot) == (method, *cell)
        and row.source.startswith(source)
        and row.variant.startswith(variant)
        and row.backbone.startswith(backbone)
        and "NOT Ravi split" not in row.protocol
    )
    return max(matching, key=lambda row: (row.variant == variant, row.accuracy), default=None)


def target_of(record: RunRecord) -> Published | None:
    """The number a record is held against, or None where no paper has one for what was trained and tested.

    Of a prototypical network with few labels that is Ren's baseline: trained on labels alone, or also refined with
    unlabeled images in the test ("semi-supervised inference").
    """
    pixels, way, shot = record.pixels_way_shot
    if record.readout or record.trained.corruption:
        return None
    if record.protocol_name.published_as:
        paper = PAPER_OF_RUNS.get(record.model)
        return _printed(paper, ("omniglot-within-alphabet", way, shot)) if paper else None
    before = record.trained.trained_as
    variant = {(False, None): "supervised protonet baseline", (True, "proto"): "semi-supervised inference only"}.get(
        (record.uses_unlabeled, before.model if before else None)
    )
    independent = (record.model, COMPARABLE_PIXELS.get(pixels, ""))
    if independent in INDEPENDENT and not record.transductive:
        return _printed(INDEPENDENT[independent], (independent[1], way, shot), backbone="Conv4")
    few_labels = record.trained.recipe.labeled_share is not None
    if not few_labels or variant is None:
        return published_target(record.model, pixels, way, shot, distractors=record.has_distractors)
    with_or_without = "with distractors" if record.has_distractors else "no distractors"
    cell = ("semi-protonet", COMPARABLE_PIXELS.get(pixels), way, shot)
    return next(
        (
            row
            for row in published()
            if (row.method, row.dataset, row.way, row.shot) == cell
            and row.source.startswith(_REN)
            and row.variant in (variant, f"{variant}, {with_or_without}")
        ),
        None,
    )
