"""Queries of classes that the support does not have: can an embedding tell them from the others?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from episodes.progress import Progress, silent
from episodes.sampler import EpisodeSampler
from episodes.spec import EpisodeSpec
from episodes.types import EpisodeError, ImageSet, gather
from fewshot.evaluation.finite_rows import finite_rows
from fewshot.evaluation.knownness import RULES
from fewshot.models.options import check_choice
from fewshot.statistics.intervals import episode_interval

Scores = npt.NDArray[np.floating]
_AT_ONCE = 32  # episodes


def evaluate_open_set(
    table: npt.ArrayLike | Tensor,
    image_set: ImageSet,
    *,
    way: int = 5,
    shot: int = 5,
    query: int = 15,
    unknown: int = 5,
    episodes: int = 600,
    seed: int = 0,
    rules: Sequence[str] = tuple(RULES),
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row for each rule that says how well a query is known: AUROC and FPR95, each with its interval over episodes.

    An episode has ``way + unknown`` classes with ``query`` queries each; the support of the last ``unknown`` classes is
    taken away (Liu et al., CVPR 2020, section 4.1, with 5 and 5). Row i of ``table`` (num_images, dim) embeds image i.
    ``auroc`` is the chance that a query of a known class scores above one of an unknown class; ``fpr95`` is the share
    of unknown queries that pass where 95 % of the known ones do. Columns: ``rule``, ``auroc``, ``fpr95``,
    ``auroc_ci95``, ``fpr95_ci95``, as fractions, the last two half widths. Raises EpisodeError where the images do not
    allow such episodes, UserError for an unknown rule, and for a table that is not of these images.
    """
    rows = finite_rows(table, "table", len(image_set.images))
    if min(way, unknown, episodes) < 1:
        raise EpisodeError(f"way, unknown and episodes must be 1 or more, not {way}, {unknown} and {episodes}")
    chosen = {rule: RULES[check_choice("rule", rule, tuple(RULES))] for rule in rules}
    sampler = EpisodeSampler(image_set, EpisodeSpec(way + unknown, shot, query), seed)
    found: dict[str, list[tuple[float, float]]] = {rule: [] for rule in chosen}
    done = 0
    for episode in sampler.batches(episodes, _AT_ONCE):
        support, queries = gather(rows, episode.support[:, :way]), gather(rows, episode.query)
        known = (episode.labels < way).numpy()
        for rule, score in chosen.items():
            with torch.inference_mode():
                scores = score(support, queries).numpy(force=True)
            found[rule] += [separation(*pair) for pair in zip(scores, known, strict=True)]
        done += len(episode)
        progress("testing", done, episodes)
    return pd.DataFrame([{"rule": rule} | _summary(np.array(pairs)) for rule, pairs in found.items()])


def separation(scores: Scores, known: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """AUROC, and the share of the unknown that pass where 95 % of the known do."""
    threshold = np.quantile(scores[known], 0.05, method="lower")
    return float(roc_auc_score(known, scores)), float(np.mean(scores[~known] >= threshold))


def _summary(pairs: npt.NDArray[np.float64]) -> dict[str, float]:
    auroc, fpr95 = episode_interval(pairs[:, 0]), episode_interval(pairs[:, 1])
    widths = {"auroc_ci95": auroc.half_width, "fpr95_ci95": fpr95.half_width}
    return {"auroc": auroc.mean, "fpr95": fpr95.mean} | widths
