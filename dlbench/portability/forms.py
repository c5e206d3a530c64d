"""What was found out where weights were carried, as text: a table, Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dlbench.text import plural

if TYPE_CHECKING:
    # the command line asks for the words alone, and is to start without NumPy
    from dlbench.portability.carried import Carried
    from dlbench.record.case import Case

_TITLES = (
    *("trained on", "run on", "logits", "of the tolerance"),
    *("test accuracy", "other answers", "near ties"),
)
FIELDS = (
    *("trained_on", "run_on", "agrees", "share_of_tolerance", "logits"),
    *("test_accuracy", "other_answers", "near_ties", "reason"),
)


def as_table(found: Sequence[Carried]) -> list[dict[str, Any]]:
    """The pairs as plain tables, of `FIELDS`; what is unknown is None."""
    return [
        dict(
            zip(
                FIELDS,
                (
                    each.trained.label,
                    each.ran.label,
                    None if each.reason else each.agrees,
                    each.share,
                    each.logits.sentence() if each.logits else None,
                    each.accuracy,
                    each.others,
                    each.near_ties,
                    each.reason,
                ),
                strict=True,
            )
        )
        for each in found
    ]


def describe(found: Sequence[Carried]) -> str:
    """The pairs as a table, with what did not agree or run beneath."""
    rows = [_TITLES, *map(_row, found)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_TITLES))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, *_notes(found)])


def _markdown(found: Sequence[Carried]) -> str:
    sides = ("---",) * 3 + ("---:",) * (len(_TITLES) - 3)
    lines = [f"| {' | '.join(row)} |" for row in (_TITLES, sides, *map(_row, found))]
    notes = [f"- {note}" for note in _notes(found)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _json(found: Sequence[Carried]) -> str:
    return json.dumps(as_table(found), indent=2)


def _csv(found: Sequence[Carried]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(as_table(found))
    return text.getvalue().rstrip("\n")


FORMS: Mapping[str, Callable[[Sequence[Carried]], str]] = {
    "table": describe,
    "markdown": _markdown,
    "json": _json,
    "csv": _csv,
}
"""By the words of ``--format``."""


def _notes(found: Sequence[Carried]) -> list[str]:
    notes = []
    for each in found:
        way = f"{_name(each.trained)} → {_name(each.ran)}"
        if each.reason:
            notes.append(f"– {way}: {each.reason}")
        elif each.logits is not None and not each.logits.passed:
            notes.append(f"✗ {way}: {each.logits.sentence()}")
        elif each.others:
            notes.append(f"✗ {way}: {plural(each.others, 'test sample')} with another answer")
    return notes


def _row(each: Carried) -> tuple[str, ...]:
    logits = "–" if each.logits is None else "agree" if each.logits.passed else "differ"
    return (
        _name(each.trained),
        _name(each.ran),
        logits,
        "–" if each.share is None else f"{each.share:.2g}",
        "–" if each.accuracy is None else f"{100 * each.accuracy:.2f} %",
        "–" if each.others is None else f"{each.others:,}",
        "–" if each.near_ties is None else f"{each.near_ties:,}",
    )


def _name(case: Case) -> str:
    """``torch:cpu/eager``: a case without its scenario and batch size, of which there is one."""
    return case.label.removesuffix(f"/{case.scenario}/{case.batch}")
