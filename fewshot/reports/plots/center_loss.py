"""What the weight of the center loss does, drawn (after Wen et al. 2016, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from episodes.types import ImageSet
from fewshot.experiments.center_loss_demo import Plane
from fewshot.reports.colors import INK, series
from fewshot.reports.plots.style import plain

_BESIDE_EACH_OTHER = 2


def center_loss_figure(planes: Sequence[Plane], image_set: ImageSet) -> Figure:
    """The embeddings, a panel for each weight, a color and a mark for each class, its center as a cross."""
    classes = image_set.class_ids.numpy()
    rows = -(-len(planes) // _BESIDE_EACH_OTHER)
    figure = Figure(figsize=(6, 0.6 + 3 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, min(_BESIDE_EACH_OTHER, len(planes)), squeeze=False).flatten()
    for axes in panels[len(planes) :]:
        axes.set_visible(False)
    for axes, plane in zip(panels, planes, strict=False):
        for number in range(image_set.num_classes):
            color, mark = series(number)
            axes.scatter(*plane.embeddings[classes == number].T, s=9, c=color, marker=mark, linewidths=0)
        if plane.weight:
            axes.scatter(*plane.centers.T, s=60, c=INK, marker="x", linewidths=1.4)
        axes.set_title(f"λ = {plane.weight:g}", fontsize=11)
        axes.set_aspect("equal", adjustable="datalim")
        plain(axes)
    what = f"{image_set.num_classes} training classes of {image_set.dataset}"
    figure.suptitle(f"Center loss: embeddings of two numbers,\n{what}; a cross is a center", fontsize=11)
    return figure
