"""The table in Bencher Metric Format: the measure ``latency`` in nanoseconds for each row.

See Bencher's documentation, "Bencher Metric Format (BMF) JSON Schema".
"""

from __future__ import annotations

import json

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Report

from .github_action_benchmark import series_of


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """An object with an entry for each row with a figure; the bounds are those of the interval and
    are left out where there is none."""
    whole = {name: {"latency": _metric(row)} for name, row in series_of(report).items()}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metric(row: Row) -> dict[str, float]:
    values = {"value": "median_s", "lower_value": "ci_low_s", "upper_value": "ci_high_s"}
    return {name: 1e9 * row[column] for name, column in values.items() if row[column] is not None}
