"""Verdicts as CSV: one row a case at full precision, with the conclusion of the whole in every
row."""

from __future__ import annotations

import csv
import dataclasses
import io

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.text import one_line

_FIELDS = [field.name for field in dataclasses.fields(CaseVerdict)]


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """Comma-separated rows (RFC 4180 quoting, line feeds); an empty field is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, "threshold", "advisory", "exit_code", "base", "new"])
    for case in verdicts.cases:
        values = [getattr(case, field) for field in _FIELDS]
        writer.writerow(
            [one_line(value) if isinstance(value, str) else value for value in values]
            + [verdicts.threshold, verdicts.advisory, verdicts.exit_code]
            + [one_line(verdicts.base), one_line(verdicts.new)]
        )
    return text.getvalue()
