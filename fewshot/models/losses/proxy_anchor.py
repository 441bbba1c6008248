"""Proxies as anchors of the batch."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from fewshot.models.losses.base import LOSSES, Loss
from fewshot.models.options import Range, Search


@LOSSES.register("proxy-anchor")
class ProxyAnchor(Loss):
    """Each learned proxy pulls the images of its class and pushes all others (Kim et al. 2020, eq. 4).

    The library's formula is the paper's: the positive term is a mean over the proxies that have images in the batch,
    the negative one over all proxies. ``sharpness`` is the paper's alpha.
    """

    title = "Proxy-Anchor: each learned proxy against all images of the batch"
    source = "Kim, Kim, Cho and Kwak, CVPR 2020"
    formula = (
        r"\mathcal{L}=\frac{1}{|P^{+}|}\sum_{p\in P^{+}}\log\left(1+"
        r"\sum_{x\in X_p^{+}}e^{-\alpha(\cos(z_x,p)-\delta)}\right)+"
        r"\frac{1}{|P|}\sum_{p\in P}\log\left(1+\sum_{x\in X_p^{-}}e^{\alpha(\cos(z_x,p)+\delta)}\right)"
    )
    search: ClassVar[Search] = {"sharpness": Range(4.0, 64.0)}
    on_unit_sphere = True

    def __init__(self, dim: int, num_classes: int, margin: float = 0.1, sharpness: float = 32.0) -> None:
        from pytorch_metric_learning.losses import ProxyAnchorLoss  # here: it imports scipy.stats, which takes a second

        super().__init__(dim, num_classes)
        self.library = ProxyAnchorLoss(num_classes, dim, margin=margin, alpha=sharpness)

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        loss: Tensor = self.library(embeddings, labels)
        return loss
