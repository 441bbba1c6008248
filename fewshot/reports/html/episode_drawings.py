"""Closeups as pictures: embeddings of one episode, and the hardest episodes with their mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fewshot.reports.charts.canvas import Box, Canvas, Dot, Line, Picture, Text
from fewshot.reports.charts.charts import SERIES, cut
from fewshot.reports.html.gallery import Closeup, View

_CELL, _GAP = 34.0, 3.0
_WRONG = "#d5480f"


def letter(label: int) -> str:
    """A for label 0."""
    return chr(ord("A") + label)


def embedding_panel(closeup: Closeup, view: View) -> Canvas:
    """One model's embeddings: color and drawing say the class, discs are support, a ring is a mistake."""
    canvas = Canvas(300, 330, f"Embeddings of {view.name}, episode {closeup.index}")
    wrong = sum(label != guess for label, guess in zip(closeup.labels, view.predicted, strict=True))
    canvas.add(Box(0.5, 0.5, 299, 329, "grid", stroke=1))
    canvas.add(Text(10, 20, cut(view.name, 270, 13), "ink", 13, bold=True))
    mistakes = "no mistake" if not wrong else f"{wrong} of {len(closeup.labels)} wrong"
    canvas.add(Text(10, 37, f"{mistakes}; {100 * view.share:.0f} % of the variance", "muted", 11))
    num_support = closeup.way * closeup.shot
    places = [(22 + 0.256 * x, 60 + 0.256 * y) for x, y in view.places]
    for number, (label, guess) in enumerate(zip(closeup.labels, view.predicted, strict=True)):
        x, y = places[num_support + number]
        color = SERIES[label % len(SERIES)]
        tip = f"{closeup.class_names[label]}" + ("" if label == guess else f", taken for {closeup.class_names[guess]}")
        canvas.add(Dot(x, y, 4.2, color, tip=tip))
        if label != guess:
            canvas.add(Dot(x, y, 7.5, SERIES[guess % len(SERIES)], hollow=True), Dot(x, y, 4.2, color, tip=tip))
    for number in range(num_support):
        label = number // closeup.shot
        x, y = places[number]
        x, y = min(max(x, 16), 284), min(max(y, 54), 314)
        canvas.add(Box(x - 13, y - 13, 26, 26, "paper"))
        canvas.add(Picture(x - 12, y - 12, 24, 24, closeup.picture(number), ink=True, tip=closeup.class_names[label]))
        canvas.add(Box(x - 13, y - 13, 26, 26, SERIES[label % len(SERIES)], stroke=2.4))
    return canvas


def episode_sheet(closeup: Closeup, views: Sequence[View]) -> Canvas:
    """An episode, class by class; beside each query that somebody got wrong, how many did and for what it was taken."""
    queries: list[list[int]] = [[] for _ in closeup.class_names]
    for number, label in enumerate(closeup.labels):
        queries[label].append(number)
    columns = max(len(of) for of in queries)
    left, top, step = 96.0, 34.0, _CELL + 24
    width = left + columns * (_CELL + _GAP) + 6
    title = f"Episode {closeup.index}: queries and who got them wrong"
    canvas = Canvas(width, top + closeup.way * step, title)
    canvas.add(Text(46, 18, "support", "muted", 12, "middle"), Text(left, 18, "queries", "muted", 12))
    for label, of in enumerate(queries):
        y = top + label * step
        color = SERIES[label % len(SERIES)]
        canvas.add(Text(14, y + 23, letter(label), color, 16, "middle", bold=True))
        picture = closeup.picture(label * closeup.shot)
        canvas.add(Picture(29, y, _CELL, _CELL, picture, ink=True, tip=closeup.class_names[label]))
        canvas.add(Box(29, y, _CELL, _CELL, color, stroke=2.2))
        for column, number in enumerate(sorted(of, key=lambda number: -len(_mistakes(views, number, label)))):
            _query(canvas, closeup, views, number, label, left + column * (_CELL + _GAP), y)
        if label:
            canvas.add(Line(((8, y - 5), (width - 6, y - 5)), "grid"))
    return canvas


def _mistakes(views: Sequence[View], number: int, label: int) -> list[tuple[str, int]]:
    """Who was wrong about a query, and what it was taken for."""
    return [(view.name, view.predicted[number]) for view in views if view.predicted[number] != label]


def _query(
    canvas: Canvas, closeup: Closeup, views: Sequence[View], number: int, label: int, x: float, y: float
) -> None:
    wrong = _mistakes(views, number, label)
    tip = f"{closeup.class_names[label]}: all right"
    if wrong:
        taken = "; ".join(f"{name} says {letter(guess)}" for name, guess in wrong)
        tip = f"{closeup.class_names[label]}, wrong: {taken}"
    picture = closeup.picture(closeup.way * closeup.shot + number)
    canvas.add(Picture(x, y, _CELL, _CELL, picture, ink=True, tip=tip))
    if not wrong:
        return
    canvas.add(Box(x, y, _CELL, _CELL, _WRONG, stroke=1 + 2 * len(wrong) / len(views)))
    guess, _ = Counter(guess for _, guess in wrong).most_common(1)[0]
    canvas.add(
        Text(x + 2, y + _CELL + 13, f"{len(wrong)}×", "accent", 11),
        Text(x + _CELL - 2, y + _CELL + 13, letter(guess), SERIES[guess % len(SERIES)], 12, "end", bold=True),
    )
