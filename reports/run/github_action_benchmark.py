"""The table in the form that github-action-benchmark takes as ``customSmallerIsBetter``.

See the README of benchmark-action/github-action-benchmark, "Examples": a list of objects with
`name`, `unit`, `value`, and as text `range` and `extra`.
"""

from __future__ import annotations

import json

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Report
from dlbench.errors import UsageError
from dlbench.record.case import AXES, stands_out
from dlbench.text import one_line, plural

_ALWAYS = ("precision", "mode")
"""Axes that names of series have told from the beginning, whatever the value."""


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """One entry for each row with a figure, in milliseconds a step."""
    entries = [
        {
            "name": name,
            "unit": "ms",
            "value": 1e3 * row["median_s"],
            "range": _range(row),
            "extra": _extra(row),
        }
        for name, row in series_of(report).items()
    ]
    return json.dumps(entries, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def series_of(report: Report) -> dict[str, Row]:
    """The rows with a figure by what each is called in a series over time: everything that tells it from its
    neighbours, and nothing that changes from run to run.

    Raises
    ------
    UsageError : two records have the same case.
    """
    found: dict[str, Row] = {}
    for row in report.rows:
        if row["median_s"] is not None and found.setdefault(_series(row), row) is not row:
            places = " and ".join(one_line(each["record"]) for each in (found[_series(row)], row))
            told = f"{_series(row)} is in {places}, which one series cannot tell apart"
            raise UsageError(f"{told}: report them one after the other")
    return found


def _series(row: Row) -> str:
    case = row.case
    # what is newer than the series that there are is told where it is not the default
    others = (
        axis.shown(case)
        for axis in AXES
        if axis.default is not None and (axis.name in _ALWAYS or stands_out(case, axis))
    )
    told = [case.suite, case.bare_label, *others, plural(case.threads, "thread")]
    return " ".join(filter(None, told))


def _range(row: Row) -> str:
    """Half of the interval's width, in the one form that the action can convert."""
    if row["ci_low_s"] is None:
        return "unknown"
    return f"± {1e3 * (row['ci_high_s'] - row['ci_low_s']) / 2:.6f}"


def _extra(row: Row) -> str:
    verified = "unknown" if row["verified"] is None else "yes" if row["verified"] else "no"
    bounds = "unknown"
    if row["ci_low_s"] is not None:
        low, high = (1e3 * row[bound] for bound in ("ci_low_s", "ci_high_s"))
        bounds = f"{low:.6g} to {high:.6g} ms, 95 % over {row['interval_over']}"
    lines = [
        f"verified: {verified}",
        f"interval: {bounds}",
        f"version: {row['version'] or 'unknown'}",
        f"data: {row['data']}",
    ]
    return "\n".join(lines)
