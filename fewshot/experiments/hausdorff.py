"""The modified Hausdorff distance between drawings: no learning at all, and a check that Lake's runs are read right.

Dubuisson and Jain, ICPR 1994; as the classification demo of Lake et al. (2015) uses it: 38.8 % of the trials wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.spatial import KDTree

from episodes.datasets.base import Dataset
from episodes.datasets.omniglot.oneshot_runs import NUM_RUNS, oneshot_runs
from episodes.progress import Progress, silent
from episodes.sampler import EpisodeSampler
from fewshot.evaluation.evaluate import Evaluation
from fewshot.experiments.measure import (
    OWN_RULE,
    Cell,
    EvaluationPlan,
    Measured,
    Outcome,
    about_model,
    new_record,
    record_path,
)
from fewshot.experiments.resolve import NO_TRAINING
from fewshot.progress import Reporter
from fewshot.records.record import write_record

MODEL = "hausdorff"
_INK = 127  # of 255; the published drawings are black and white

Points = npt.NDArray[np.float64]


def ink_points(image: npt.NDArray[np.uint8]) -> Points:
    """Row and column of every inked pixel of one drawing (height, width), less their mean: (points, 2)."""
    points = np.argwhere(image > _INK).astype(np.float64)
    return np.asarray(points - points.mean(axis=0), np.float64)


def modified_hausdorff(left: KDTree, right: KDTree) -> float:
    """The mean distance from a point of one drawing to the nearest of the other, the larger of both directions."""
    to_right = right.query(left.data)[0]
    to_left = left.query(right.data)[0]
    return float(max(np.mean(to_right), np.mean(to_left)))


def correct_trials(runs: EpisodeSampler, num_runs: int, progress: Progress = silent) -> npt.NDArray[np.uint16]:
    """Queries of each run whose nearest support drawing is of their character, (num_runs,)."""
    pixels = runs.image_set.images[:, 0].numpy()
    correct = np.empty(num_runs, np.uint16)
    for run in range(num_runs):
        episode = runs.batch(run, 1)
        support = _trees(pixels[episode.support[0, :, 0].numpy()])
        query = _trees(pixels[episode.query[0].numpy()])
        nearest = [int(np.argmin([modified_hausdorff(one, other) for other in support])) for one in query]
        correct[run] = int((np.array(nearest) == episode.labels[0].numpy()).sum())
        progress("modified Hausdorff distance", run + 1, num_runs)
    return correct


def _trees(drawings: Iterable[npt.NDArray[np.uint8]]) -> list[KDTree]:
    return [KDTree(ink_points(drawing)) for drawing in drawings]


def measure_hausdorff(dataset: Dataset, out: Path, reporter: Reporter) -> Outcome:
    """Score Lake's 20 runs by the modified Hausdorff distance and write the record under ``out``."""
    runs, start = oneshot_runs(dataset), time.perf_counter()
    counts = correct_trials(runs, NUM_RUNS, reporter.test_progress)
    evaluation = Evaluation(counts, runs.spec.num_queries, time.perf_counter() - start)
    cell = Cell(dataset, runs, NUM_RUNS, runs.digest(NUM_RUNS))
    plan = EvaluationPlan(dataset, [runs], NUM_RUNS, "fp32", command="fewshot hausdorff")
    config = {"model": MODEL, "model_options": {}, "encoder": "pixels", "encoder_options": {}, "checkpoint": ""}
    about = about_model(config | {"recipe": NO_TRAINING, "pixels": dataset.protocol_name})
    record = new_record(about, Measured(cell, OWN_RULE, evaluation), plan, torch.device("cpu"), reporter.notes)
    return record, write_record(record, record_path(record, MODEL, out))
