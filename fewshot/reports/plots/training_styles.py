"""The errors of all models in one picture, colored by how they were trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from episodes.files import put_in_place, scratch_file
from fewshot.records.ranking import COLUMNS, Standing
from fewshot.reports.pages.training_styles import OWN_RULE, STYLES, Style, readout_of, row_name, style_of

_COLORS: dict[Style, str] = {
    "episodic": "#0072B2",
    "baseline": "#D55E00",
    "self-supervised": "#AA4499",
    "floor": "#6A6A6A",
}
_TICKS = (0.2, 0.5, 1, 2, 5, 10, 20, 50)  # errors in percent


def plot_training_styles(group: Sequence[Standing], path: Path) -> Path:
    """Draw the error of every row of one group, a panel for each cell, into ``path`` (.svg or .png).

    A model is a line of its panel, best on top: a dot is its own rule, a ring one of the read-outs.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = [column for column in COLUMNS if any(standing.way_shot == column for standing in group)]
    most = max(len({row_name(s) for s in group if s.way_shot == column}) for column in columns)
    form = path.suffix.removeprefix(".").lower() or "svg"
    with mpl.rc_context({"svg.hashsalt": "fewshot", "svg.fonttype": "none"}):  # the same bytes every time
        figure = Figure(figsize=(11, 1.6 + 0.44 * most), dpi=120, layout="constrained")
        for axes, column in zip(figure.subplots(2, -(-len(columns) // 2), squeeze=False).flat, columns, strict=False):
            _draw_cell(axes, [standing for standing in group if standing.way_shot == column])
            axes.set_title(f"{column[0]}-way {column[1]}-shot", fontsize=10)
        marks = [
            Line2D([], [], color=_COLORS[style], marker="o", linestyle="", label=f"{style}: {what}")
            for style, what in STYLES.items()
        ]
        marks.append(Line2D([], [], color="#333", marker="o", fillstyle="none", linestyle="", label="a read-out"))
        figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
        with scratch_file(path.parent) as scratch:
            figure.savefig(scratch, format=form, metadata={"Date": None} if form == "svg" else None)
            put_in_place(scratch, path)
    return path


def _draw_cell(axes: object, cell: Sequence[Standing]) -> None:
    from matplotlib.axes import Axes
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    assert isinstance(axes, Axes)
    errors: dict[str, list[tuple[float, Standing]]] = {}
    for standing in cell:
        error = 100 * max(1e-4, 1 - standing.entry.interval.mean)  # drawn on a logarithmic axis
        errors.setdefault(row_name(standing), []).append((error, standing))
    names = sorted(errors, key=lambda name: min(error for error, _ in errors[name]))
    for place, name in enumerate(names):
        found = errors[name]
        style = style_of(found[0][1].entry.first)
        assert style is not None
        color, values = _COLORS[style], [error for error, _ in found]
        axes.plot([min(values), max(values)], [place, place], color=color, linewidth=1, alpha=0.5)
        rings = [error for error, standing in found if readout_of(standing) != OWN_RULE]
        dots = [error for error, standing in found if readout_of(standing) == OWN_RULE]
        axes.plot(rings, [place] * len(rings), "o", color=color, markersize=4.5, fillstyle="none", linestyle="")
        axes.plot(dots, [place] * len(dots), "o", color=color, markersize=6, linestyle="")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.set_xlabel("error (logarithmic)", fontsize=9)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
