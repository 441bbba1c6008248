"""No training at all: the baseline that a trained model must beat."""

from __future__ import annotations

from typing import ClassVar, Literal

from fewshot.models.methods.base import METHODS, NearestMean


@METHODS.register("untrained")
class Untrained(NearestMean):
    """An encoder with randomly initialized weights, read out by the nearest class mean.

    Random convolutions alone tell images apart well enough to matter (Saxe et al. 2011), so this is what training must
    beat. With ``--encoder pixels`` it is the raw images that are compared.
    """

    title = "Untrained encoder: random weights (or --encoder pixels), nearest class mean"
    source = "after Saxe, Koh, Chen, Bhand, Suresh and Ng, ICML 2011"
    formula = r"\ell_k(x)=-\Vert f(x)-c_k\Vert^2,\quad c_k=\frac{1}{K}\sum_{x_i\in S_k}f(x_i)"
    trains_on: ClassVar[Literal["episodes", "images", "nothing"]] = "nothing"
