"""The table as CSV: all columns at full precision, one header line, for spreadsheets and for
pandas."""

from __future__ import annotations

import csv
import io

from dlbench.analyse.table import Report
from dlbench.text import in_spreadsheet


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """Comma-separated rows (RFC 4180 quoting, line feeds); an empty field is unknown.

    Each row is one line, and `pandas.read_csv` reads it back.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [column.name for column in report.columns]
    writer.writerow(names)
    for row in report.rows:
        writer.writerow([in_spreadsheet(row[name]) for name in names])
    return text.getvalue()
