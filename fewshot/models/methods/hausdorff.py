"""The modified Hausdorff distance between drawings: no learning, and a check that Lake's runs are read right."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from episodes.errors import UserError
from fewshot.models.encoders.base import Encoder
from fewshot.models.encoders.pixels import Pixels
from fewshot.models.methods.base import METHODS, Method
from fewshot.models.shapes import Query, Scores, Support, Unlabeled

if TYPE_CHECKING:
    from scipy.spatial import KDTree

_INK = 0.5  # of 1; the published drawings are black and white

Points = npt.NDArray[np.float64]


@METHODS.register("hausdorff")
class Hausdorff(Method):
    """A query takes the class of the nearest support drawing, by the modified Hausdorff distance of their ink.

    As the classification demo of Lake et al. (2015) uses it: on their 20 runs 38.8 % of the trials are wrong. Drawings
    are compared pair by pair on the processor, so that 10,000 episodes take hours.
    """

    title = "Modified Hausdorff distance: no training; the nearest support drawing"
    source = "Dubuisson and Jain, ICPR 1994; Lake, Salakhutdinov and Tenenbaum, Science 2015"
    formula = (
        r"d(A,B)=\max\left(\frac{1}{|A|}\sum_{a\in A}\min_{b\in B}\Vert a-b\Vert,\;"
        r"\frac{1}{|B|}\sum_{b\in B}\min_{a\in A}\Vert a-b\Vert\right)"
    )
    default_encoder = "pixels"
    trains_on: ClassVar[Literal["episodes", "images", "nothing"]] = "nothing"

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder)
        if not isinstance(encoder, Pixels) or encoder.image_shape[0] != 1:
            raise UserError("model hausdorff compares drawings in ink: images of one channel, and --encoder pixels")

    def logits(self, support: Support, query: Query, unlabeled: Unlabeled | None = None) -> Scores:
        shots = support.shape[2]
        distances = [
            [[modified_hausdorff(one, other) for other in drawn] for one in self._drawings(queries)]
            for queries, drawn in zip(query, map(self._drawings, support.flatten(1, 2)), strict=True)
        ]
        by_drawing = query.new_tensor(distances).reshape(*query.shape[:2], -1, shots)  # (batch, queries, way, shot)
        return -by_drawing.amin(dim=3)

    def peak_elements(self, way: int, shot: int, queries: int, unlabeled: int) -> int:
        """As if distances were taken of all pixels: so few episodes at a time that progress is seen."""
        return queries * way * shot * self.encoder.dim * 8

    def _drawings(self, rows: Float[Tensor, "drawings dim"]) -> list[KDTree]:
        from scipy.spatial import KDTree  # here: few starts need it

        height, width = self.encoder.image_shape[1:]
        images = rows.reshape(-1, height, width).float().cpu().numpy()
        return [KDTree(ink_points(image)) for image in images]


def ink_points(image: npt.NDArray[np.floating]) -> Points:
    """Row and column of every inked pixel of one drawing (height, width), less their mean: (points, 2).

    A sheet without ink is a single point.
    """
    points = np.argwhere(image > _INK).astype(np.float64)
    return points - points.mean(axis=0) if len(points) else np.zeros((1, 2))


def modified_hausdorff(left: KDTree, right: KDTree) -> float:
    """The mean distance from a point of one drawing to the nearest of the other, the larger of both directions."""
    to_right = right.query(left.data)[0]
    to_left = left.query(right.data)[0]
    return float(max(np.mean(to_right), np.mean(to_left)))
