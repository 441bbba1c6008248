"""Neighborhood components against one learned proxy a class."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.distances import squared_euclidean
from fewshot.models.losses.base import LOSSES, Loss, nothing
from fewshot.models.options import Range, Search


@LOSSES.register("proxy-nca")
class ProxyNCA(Loss):
    """``-log(exp(-d(x, own proxy)) / sum over the other proxies of exp(-d(x, proxy)))``, d of unit vectors.

    Movshovitz-Attias et al. 2017, eq. 4, squared distances; the positive proxy is not in the denominator, so equal
    distances cost log(num_classes - 1). ``positive_in_denominator`` puts it there, as pytorch-metric-learning does.
    ``scale`` multiplies the distances: in the paper it is 1 (unit vectors), with which thousands of classes are hardly
    told apart; Teh et al. 2020 (ProxyNCA++, section 3.4) find 9.
    """

    title = "Proxy-NCA: one learned proxy a class, the positive out of the denominator"
    source = "Movshovitz-Attias et al., ICCV 2017"
    formula = (
        r"\mathcal{L}=-\log\frac{\exp(-s\,\Vert\hat z-\hat p_y\Vert^2)}{\sum_{k\neq y}\exp(-s\,"
        r"\Vert\hat z-\hat p_k\Vert^2)}"
    )
    search: ClassVar[Search] = {"scale": Range(3.0, 60.0)}
    on_unit_sphere = True

    def __init__(self, dim: int, num_classes: int, scale: float = 9.0, positive_in_denominator: bool = False) -> None:
        super().__init__(dim, num_classes)
        self.scale, self.positive_in_denominator = scale, positive_in_denominator
        self.proxies = nn.Parameter(torch.randn(num_classes, dim))

    def forward(self, embeddings: Float[Tensor, "n dim"], labels: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
        if self.num_classes == 1:
            return nothing(embeddings) + nothing(self.proxies)
        unit, proxies = functional.normalize(embeddings, dim=-1), functional.normalize(self.proxies, dim=-1)
        logits = -self.scale * squared_euclidean(unit, proxies)  # (n, num_classes)
        if self.positive_in_denominator:
            return functional.cross_entropy(logits, labels)
        own = functional.one_hot(labels, self.num_classes) == 1
        return (logits.masked_fill(own, -torch.inf).logsumexp(1) - logits[own]).mean()
