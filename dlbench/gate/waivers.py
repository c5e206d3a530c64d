"""Regressions that are known and let pass: ``--waive 'slower:CASE=reason'``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlbench.errors import UsageError
from dlbench.record.case import Case, find_case

WAIVABLE = ("slower", "missing")


def read_waived(words: Iterable[str]) -> dict[str, str]:
    """Reasons by ``verdict:case``.

    Raises
    ------
    UsageError : a word of another form.
    """
    found: dict[str, str] = {}
    for word in words:
        what, equals, reason = word.partition("=")
        status, colon, case = what.partition(":")
        if status not in WAIVABLE or not (colon and case and equals and reason.strip()):
            raise UsageError(
                f"--waive {word!r} is not 'slower:CASE=reason' or 'missing:CASE=reason', like"
                " 'slower:numpy:cpu/train/32=the check is worth it'"
            )
        found[what] = reason.strip()
    return found


def waived_by(
    waived: Mapping[str, str], cases: Iterable[Case], labels: Iterable[str] = ()
) -> dict[str, str]:
    """Reasons by ``verdict:label``, where a word may leave out the mode and the precision of a case.

    Parameters
    ----------
    labels : of further cases.

    Raises
    ------
    UsageError : a word names no case, or several.
    """
    cases, labels, found = list(cases), set(labels), dict[str, str]()
    for what, reason in waived.items():
        status, _, word = what.partition(":")
        label = word if word in labels else find_case(word, cases, "--waive").label
        found[f"{status}:{label}"] = reason
    return found
