"""The table as CSV: all columns at full precision, one header line, for spreadsheets and for
pandas."""

from __future__ import annotations

from typing import Any

from dlbench.analyse.table import Report
from dlbench.text import one_line


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Comma-separated rows (RFC 4180 quoting, line feeds); an empty field is unknown.

    Each row is one line, and `pandas.read_csv` reads it back.
    """
    frame = report.frame.copy()
    for column in frame.columns:
        if frame[column].dtype == object:
            frame[column] = frame[column].map(_flat)
    return str(frame.to_csv(index=False, lineterminator="\n"))


def _flat(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) else value
