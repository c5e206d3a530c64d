"""A history as CSV: a line a row, everything that the database holds of it, for spreadsheets and for other tools
that look for change points."""

from __future__ import annotations

import csv
import io
import json

from dlbench.history.series import History
from dlbench.record.case import AXES, values
from dlbench.text import in_spreadsheet

COLUMNS = (
    *(axis.name for axis in AXES),
    "device_name",
    "circumstances",
    "created",
    "version",
    "status",
    "verified",
    "counts",
    "median_s",
    "ci_low_s",
    "ci_high_s",
    "processes_s",
    "change",
    "problem",
    "disturbance",
    "versions",
    "record",
    "digest",
)
"""`circumstances` and `versions` are JSON objects, `processes_s` the medians of the processes with spaces between,
`change` the new level by the old one in the row that begins a level; an empty field is unknown or none."""


def render(history: History, *, width: int = 80, colour: bool = False) -> str:
    """Comma-separated rows (RFC 4180 quoting, line feeds), series after series, in the order of time."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    writer.writerow(COLUMNS)
    for series in history.series:
        key = series.key
        ratios = {change.record: repr(change.ratio) for change in series.changes or ()}
        same = [*values(key.case), key.device_name, key.facts]
        for point in series.points:
            row = point.row
            verified = "" if row.verified is None else str(row.verified)
            cells = [
                *same,
                point.created,
                row.version,
                row.status,
                verified,
                point.counts,
                row.median_s,
                row.low_s,
                row.high_s,
                " ".join(map(repr, row.processes_s)),
                ratios.get(point.record, ""),
                row.problem,
                row.disturbance,
                json.dumps(point.versions, ensure_ascii=False),
                point.name,
                point.digest,
            ]
            writer.writerow(map(in_spreadsheet, cells))
    return target.getvalue()
