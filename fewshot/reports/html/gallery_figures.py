"""Figures from closeups: embeddings of one episode, the hardest episodes."""

from __future__ import annotations

from collections.abc import Sequence

from fewshot.reports.html.episode_drawings import embedding_panel, episode_sheet, letter
from fewshot.reports.html.figures import Figure
from fewshot.reports.html.gallery import Closeup, closeups_of, entries_to_look_at
from fewshot.reports.html.row_names import Cell


def embeddings(cell: Cell, closeups: Sequence[Closeup]) -> list[Figure]:
    """The embeddings of one episode, a panel for each model whose weights were looked at."""
    reading = (
        "The first two principal components of the embeddings of one episode; a tenth of all episodes are harder. "
        "Drawn images are the support, discs the queries in the color of their class; a ring is a mistake, in the "
        "color of the class that it was taken for. These are two of many dimensions: what overlaps may be apart."
    )
    figures = []
    for closeup in closeups_of(closeups, cell, "typical"):
        views = [view for entry in cell.entries if (view := closeup.view_of(entry)) and view.places]
        panels = tuple(embedding_panel(closeup, view) for view in views)
        if panels:
            title = f"{cell.name}, episode {closeup.index}"
            figures.append(Figure(f"embeddings-{cell.key}", title, reading, "", panels))
    return figures


def hardest(cell: Cell, closeups: Sequence[Closeup]) -> list[Figure]:
    """The episodes with most mistakes over all models, drawn."""
    reading = (
        "The episodes with the most mistakes over all models. Framed queries were taken for another class: how many "
        "models did so, and for which class most often. Point at one to read who."
    )
    figures = []
    for rank, closeup in enumerate(closeups_of(closeups, cell, "hard"), 1):
        views = [view for entry in cell.entries if (view := closeup.view_of(entry))]
        if views:
            queries = len(closeup.labels)
            right = [100 * sum(map(int.__eq__, closeup.labels, view.predicted)) / queries for view in views]
            names = " ".join(f"{letter(label)}: {name}." for label, name in enumerate(closeup.class_names))
            note = f"{len(views)} models, from {min(right):.0f} to {max(right):.0f} % right. {names}"
            title = f"{cell.name}, episode {closeup.index}"
            figures.append(Figure(f"hardest-{rank}-{cell.key}", title, reading, note, (episode_sheet(closeup, views),)))
    return figures


def not_looked_at(cell: Cell, closeups: Sequence[Closeup]) -> list[str]:
    """Names of the rows that a closeup should show and does not."""
    seen = {view.name for of in closeups_of(closeups, cell, "typical") for view in of.views}
    return [entry.name for entry in entries_to_look_at(cell) if entry.name not in seen]
