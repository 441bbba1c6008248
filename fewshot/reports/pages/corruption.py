"""What a confidence is good for: accuracy against the share of damaged test images (Fort 2017, section 5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from episodes.errors import UserError
from episodes.files import write_atomically
from fewshot.records.record import RunRecord

_HEAD = (
    "# Accuracy against the share of damaged images\n\n"
    "A damaged image is down-sampled four times and brought back to its size (28x28 keeps 7x7 numbers), after Fort "
    "2017. A method that knows how sure it is of an image can lean on the others. Generated from the records in "
    "`runs/` by `make leaderboard`; do not edit.\n\n"
)
_MARKERS, _COLORS = "osD^v", ("#0072B2", "#D55E00", "#007A5A", "#AA4499", "#6A6A6A")


@dataclass(frozen=True)
class Curve:
    """One training, tested at several shares."""

    model: str
    trained_share: float
    seed: int
    protocol: str  # without its damage
    points: Mapping[float, RunRecord]  # by share of damaged test images


def damage_curves(records: Iterable[RunRecord]) -> list[Curve]:
    """The trainings on damaged images, their tests by share; sorted by protocol and name."""
    found: dict[tuple[str, str, float, int], dict[float, RunRecord]] = {}
    for record in records:
        if record.config.get("damage") and record.recipe != "smoke" and not record.readout:
            pixels, _, rest = record.protocol.partition("/")
            protocol = f"{pixels.partition('-damaged-')[0]}/{rest}"
            key = (protocol, record.model, float(record.config["damage"]), record.seed)
            found.setdefault(key, {})[float(record.config["test_damage"])] = record
    return [
        Curve(model, share, seed, protocol, dict(sorted(points.items())))
        for (protocol, model, share, seed), points in sorted(found.items())
    ]


def damage_table(curves: Sequence[Curve]) -> str:
    """A Markdown table for each protocol: a row per training, a column per share of damaged test images."""
    blocks = []
    for protocol in dict.fromkeys(curve.protocol for curve in curves):
        chosen = [curve for curve in curves if curve.protocol == protocol]
        shares = sorted({share for curve in chosen for share in curve.points})
        lines = [
            f"**{protocol}**",
            "",
            f"| model | trained with damage | {' | '.join(f'{100 * share:g} % damaged' for share in shares)} |",
            f"|---|---:|{'---:|' * len(shares)}",
        ]
        for curve in chosen:
            cells = [curve.points[share].percent() if share in curve.points else "" for share in shares]
            lines.append(f"| {curve.model} | {100 * curve.trained_share:g} % | {' | '.join(cells)} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def plot_damage(curves: Sequence[Curve], path: Path) -> Path:
    """Draw the curves, a panel per protocol, 95 % intervals as bars, into ``path`` (.svg or .png)."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    from episodes.files import put_in_place, scratch_file

    protocols = list(dict.fromkeys(curve.protocol for curve in curves))
    form = path.suffix.removeprefix(".").lower() or "svg"
    with mpl.rc_context({"svg.hashsalt": "fewshot", "svg.fonttype": "none"}):  # the same bytes every time
        figure = Figure(figsize=(5.2 * len(protocols), 4), dpi=120, layout="constrained")
        panels = figure.subplots(1, len(protocols), squeeze=False)[0]
        for axes, protocol in zip(panels, protocols, strict=True):
            chosen = [curve for curve in curves if curve.protocol == protocol]
            for curve, color, marker in zip(chosen, _COLORS, _MARKERS, strict=False):
                shares = [100 * share for share in curve.points]
                means = [100 * record.accuracy for record in curve.points.values()]
                halves = [100 * record.ci95 for record in curve.points.values()]
                label = f"{curve.model}, trained with {100 * curve.trained_share:g} %"
                axes.errorbar(shares, means, halves, color=color, marker=marker, markersize=5, capsize=3, label=label)
            axes.set_title(protocol, fontsize=10)
            axes.set_xlabel("damaged test images")
            axes.set_ylabel("accuracy (%)")
            axes.xaxis.set_major_formatter(PercentFormatter(decimals=0))
            axes.grid(alpha=0.25)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(frameon=False, fontsize=9)
        with scratch_file(path.parent) as scratch:
            figure.savefig(scratch, format=form, metadata={"Date": None} if form == "svg" else None)
            put_in_place(scratch, path)
    return path


def write_damage(records: Iterable[RunRecord], results: Path) -> list[Path]:
    """Write damage.md and damage.svg into ``results``; nothing where no training was on damaged images."""
    curves = damage_curves(records)
    if not curves:
        return []
    picture = plot_damage(curves, results / "damage.svg")
    text = f"{_HEAD}{damage_table(curves)}\n\n![accuracy against the share of damaged images](damage.svg)\n"
    write_atomically(results / "damage.md", text.encode())
    return [results / "damage.md", picture]


def check_damage(records: Iterable[RunRecord], results: Path) -> None:
    """Raise UserError when damage.md does not say what the records say."""
    curves, page = damage_curves(records), results / "damage.md"
    if curves and (not page.is_file() or damage_table(curves) not in page.read_text(encoding="utf-8")):
        raise UserError(f"{page} is not what the records in {results / 'runs'} say: run `make leaderboard`")
