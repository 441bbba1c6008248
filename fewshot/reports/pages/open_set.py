"""How well embeddings tell queries of classes that the support does not have: a table for each protocol."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from fewshot.records.open_set import OpenSetRecord, OpenSetRule
from fewshot.records.protocols import ProtocolName
from fewshot.reports.names import images_name, protocol_words
from fewshot.reports.pages.base import Content
from fewshot.reports.rendering import Bold, Section, render, table_of


def open_set_files(records: Sequence[OpenSetRecord]) -> dict[str, Content]:
    """``open-set.md``; nothing where there is no record."""
    if not records:
        return {}
    by_protocol = groupby(sorted(records, key=lambda record: record.protocol), lambda record: record.protocol)
    sections = [_section(list(members)) for _, members in by_protocol]
    return {"open-set.md": render("open-set.md", sections=sections)}


def _section(records: list[OpenSetRecord]) -> Section:
    rows, first = [_row(record, rule) for record in records for rule in record.rules], records[0]
    test = protocol_words(ProtocolName(first.dataset_id, first.way, first.shot, first.query))
    heading = f"{test}, {first.unknown} unknown classes"
    said = f"{first.episodes:,} episodes of seed {first.seed}, digest {first.episodes_digest[:8]}; `{first.protocol}`."
    return Section(heading, text=said, table=table_of(rows), numbers=frozenset(("AUROC", "FPR95")))


def _row(record: OpenSetRecord, rule: OpenSetRule) -> dict[str, str]:
    trained = record.trained
    best = rule.auroc == max(other.auroc for other in record.rules)
    auroc = f"{100 * rule.auroc:.2f} ± {100 * rule.auroc_ci95:.2f}"
    return {
        "rule": rule.rule,
        "AUROC": Bold(auroc) if best else auroc,
        "FPR95": f"{100 * rule.fpr95:.2f} ± {100 * rule.fpr95_ci95:.2f}",
        "model": trained.model,
        "encoder": trained.encoder,
        "trained on": f"{images_name(trained.dataset_id)}, {trained.recipe.name} recipe, seed {trained.seed}",
    }
