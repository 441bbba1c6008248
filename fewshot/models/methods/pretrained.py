"""No training here: an encoder that brings its weights along."""

from __future__ import annotations

from typing import ClassVar, Literal

from fewshot.models.methods.base import METHODS, NearestMean


@METHODS.register("pretrained")
class Pretrained(NearestMean):
    """An encoder with weights from elsewhere, read out by the nearest class mean.

    What `fewshot run` tests where --encoder comes with weights and no --model is named. The contracts of methods build
    it with random weights.
    """

    title = "Pretrained encoder: no training here; weights from elsewhere (lite0, or --weights), nearest class mean"
    source = "after Chen, Liu, Xu, Darrell and Wang, Meta-Baseline, ICCV 2021"
    formula = r"\ell_k(x)=-\Vert f(x)-c_k\Vert^2,\quad c_k=\frac{1}{K}\sum_{x_i\in S_k}f(x_i)"
    trains_on: ClassVar[Literal["episodes", "images", "nothing"]] = "nothing"
