"""A record that fills the first cell of Snell's first table."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewshot.records.record import RunRecord
from records import changed
from report_records import a_record


def of_omniglot(accuracy: float = 0.9, **changes: Any) -> RunRecord:
    """600 episodes of 100 queries that are all alike, 5-way 1-shot."""
    base = changed(a_record(), test={"query": 20}, protocol="omniglot-vinyals-28/5w1s/q20@v1", num_queries=100)
    return changed(changed(base, counts=np.full(600, round(100 * accuracy))), **changes)
