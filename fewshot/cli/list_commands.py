"""The body of `fewshot list`: names at once, so torch is imported only for what cannot be told without it."""

from __future__ import annotations

from rich.table import Table

from fewshot.cli.terminal import terminal
from fewshot.models import catalog
from fewshot.models.options import check_choice

_LISTS = ("models", "datasets", "protocols", "encoders", "readouts")


def list_command(what: str) -> None:
    """fewshot list."""
    check_choice("list", what, _LISTS)
    rows = {"datasets": _datasets, "protocols": _protocols, "readouts": _readouts}.get(what)
    terminal().print(rows() if rows else _with_options(catalog.models() if what == "models" else catalog.encoders()))


def _table(*columns: str) -> Table:
    """The first column is never broken, so that a name can be copied."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column == columns[0])
    return table


def _with_options(found: list[catalog.Described]) -> Table:
    table = _table("name", "what", "options")
    for entry in found:
        table.add_row(entry.name, entry.title, "\n".join(entry.options))
    return table


def _readouts() -> Table:
    table = _table("name", "what", "source")
    for entry in catalog.readouts():
        table.add_row(entry.name, entry.title, entry.source)
    return table


def _protocols() -> Table:
    from fewshot.records.protocols import standard_protocols
    from fewshot.records.published import published_target

    table = _table("protocol", "episodes", "published")
    for protocol in standard_protocols():
        target = published_target("proto", protocol.pixels, protocol.spec.way, protocol.spec.shot)
        table.add_row(protocol.name, f"{protocol.num_episodes:,}", f"proto {target}" if target else "")
    return table


def _datasets() -> Table:
    from episodes.datasets.cards import DATASETS
    from episodes.files import data_root

    table = _table("name", "splits", "what", "here")
    for name in DATASETS:
        card = DATASETS.get(name)
        here = "" if name == "folder" else ("yes" if card.is_present(data_root()) else "no")
        table.add_row(name, ", ".join(card.class_splits), card.title, here)
    return table
