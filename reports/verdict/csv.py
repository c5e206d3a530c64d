"""Verdicts as CSV: one row a case at full precision, with the conclusion of the whole in every
row."""

from __future__ import annotations

import csv
import dataclasses
import io

from dlbench.compare.verdicts import CaseVerdict, Verdicts
from dlbench.text import in_spreadsheet

_FIELDS = [field.name for field in dataclasses.fields(CaseVerdict)]


def render(verdicts: Verdicts, *, width: int = 80, colour: bool = False) -> str:
    """Comma-separated rows (RFC 4180 quoting, line feeds); an empty field is unknown."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIELDS, "threshold", "advisory", "exit_code", "base", "new"])
    for case in verdicts.cases:
        values = [getattr(case, field) for field in _FIELDS]
        values += [verdicts.threshold, verdicts.advisory, verdicts.exit_code]
        writer.writerow(map(in_spreadsheet, [*values, verdicts.base, verdicts.new]))
    return text.getvalue()
