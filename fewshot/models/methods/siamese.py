"""Siamese networks: pairs of images, alike or not."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from fewshot.models.distances import UNMOVED, cosine_similarity, full_precision, root, squared_euclidean
from fewshot.models.encoders.base import Encoder
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.options import Range, Search
from fewshot.models.shapes import Labels, Query, Scores, Support, Unlabeled

Left: TypeAlias = Float[Tensor, "batch n dim"]
Right: TypeAlias = Float[Tensor, "batch m dim"]
Pairs: TypeAlias = Float[Tensor, "batch n m"]


class PairMethod(Method):
    """Scores pairs; trained on all pairs of a query and a support image, half the weight on pairs of one class.

    A query takes the class whose support image scores highest (Koch et al. 2015, section 4.3).
    """

    @abstractmethod
    def pair_scores(self, left: Left, right: Right) -> Pairs:
        """How alike each pair is; larger is more alike."""

    def pair_losses(self, scores: Pairs, same: Pairs) -> Pairs:
        """The loss of each pair, by default the binary cross-entropy; ``same`` is 1 for two images of one class."""
        return functional.binary_cross_entropy_with_logits(scores, same, reduction="none")

    def logits(self, support: Support, query: Query, unlabeled: Unlabeled | None = None) -> Scores:
        scores = self.pair_scores(query, support.flatten(1, 2))
        return torch.unflatten(scores, -1, tuple(support.shape[1:3])).amax(-1)

    def loss_of_embedded(
        self, support: Support, query: Query, unlabeled: Unlabeled | None, labels: Labels
    ) -> Float[Tensor, ""]:
        way, shot = support.shape[1:3]
        same = same_class(labels, way, shot)
        with full_precision(support):
            losses = self.pair_losses(self.pair_scores(query, support.flatten(1, 2)), same.to(query.dtype))
        if way == 1:
            return losses.mean()
        own, others = of_own_and_other_classes(torch.unflatten(losses, -1, (way, shot)), labels)
        return (own.mean() + others.mean()) / 2


def same_class(labels: Labels, way: int, shot: int) -> Tensor:
    """Whether query and support image are of one class, bool (batch, queries, way * shot)."""
    of_support = torch.arange(way, device=labels.device).repeat_interleave(shot)
    return labels[..., None] == of_support


def of_own_and_other_classes(
    pairs: Float[Tensor, "batch queries way shot"], labels: Labels
) -> tuple[Float[Tensor, "batch queries 1 shot"], Float[Tensor, "batch queries others shot"]]:
    """What belongs to pairs of one class, and to all other pairs.

    Chosen by number and not by a mask: how many a mask chooses, a GPU would have to be asked, and waited for.
    """
    own = labels[..., None, None]
    columns = torch.arange(pairs.shape[2] - 1, device=labels.device)[:, None]
    return pairs.take_along_dim(own, dim=2), pairs.take_along_dim(columns + (columns >= own), dim=2)


@METHODS.register("siamese")
class Siamese(PairMethod):
    """Learned weighted L1 distance of the twins' embeddings, sigmoid, binary cross-entropy (Koch et al. 2015, eq. 1).

    The weights are free and may become negative; the last layer has a bias.
    """

    title = "Siamese network: learned weighted L1 distance, binary cross-entropy on pairs"
    source = "Koch, Zemel and Salakhutdinov, ICML Deep Learning Workshop 2015"
    formula = r"p(\mathrm{same})=\sigma\left(b+\sum_i a_i\,|f(x)_i-f(x')_i|\right)"
    must_train = "weighted L1 distance"
    invariant_to = UNMOVED

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        self.weigh = nn.Linear(encoder.dim, 1)

    def pair_scores(self, left: Left, right: Right) -> Pairs:
        scores: Tensor = self.weigh((left[:, :, None] - right[:, None]).abs())  # (batch, n, m, 1)
        return scores[..., 0]

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        return super().peak_elements(way, shot, queries, unlabeled) + 2 * queries * way * shot * self.encoder.dim


@METHODS.register("siamese-contrastive")
class SiameseContrastive(PairMethod):
    """Euclidean distance E, loss ``Y E^2 + (1 - Y) max(margin - E, 0)^2`` (Hadsell, Chopra and LeCun 2006, eq. 4).

    Y is 1 for two images of one class: the other way round than in the paper, whose factor 1/2 is left out. The margin
    is on the scale of distances between embeddings that are not normalized; for Conv4 it was chosen on the validation
    classes of Omniglot and miniImageNet. At a margin of 1 the loss stops separating negatives too early.
    """

    title = "Siamese network, contrastive loss: margin on the Euclidean distance of a pair"
    source = "Hadsell, Chopra and LeCun, CVPR 2006"
    formula = r"\mathcal{L}=Y E^2+(1-Y)\max(0,\;m-E)^2,\quad E=\Vert f(x)-f(x')\Vert"
    search: ClassVar[Search] = {"margin": Range(3.0, 100.0)}
    invariant_to = UNMOVED

    def __init__(self, encoder: Encoder, margin: float = 20.0) -> None:
        super().__init__(encoder)
        self.margin = margin

    def pair_scores(self, left: Left, right: Right) -> Pairs:
        return -root(squared_euclidean(left, right))

    def pair_losses(self, scores: Pairs, same: Pairs) -> Pairs:
        distance = -scores
        return same * distance.square() + (1 - same) * (self.margin - distance).clamp_min(0).square()


@METHODS.register("siamese-cosine")
class SiameseCosine(PairMethod):
    """Cosine of the embeddings through a scaled sigmoid to a probability, binary cross-entropy.

    Scale and shift are learned; a probability near 0 means different, near 1 alike.
    """

    title = "Siamese network, cosine: through a scaled sigmoid, binary cross-entropy on pairs"
    source = "after Koch et al. 2015, with the cosine in place of the weighted L1 distance"
    formula = r"p(\mathrm{same})=\sigma\left(a\cos(f(x),f(x'))+b\right)"
    invariant_to = frozenset({"scale"})

    def __init__(self, encoder: Encoder, scale: float = 10.0) -> None:
        super().__init__(encoder)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.shift = nn.Parameter(torch.tensor(-scale / 2))

    def pair_scores(self, left: Left, right: Right) -> Pairs:
        return self.scale * cosine_similarity(left, right) + self.shift
