"""Regressions that are known and let pass: ``--accept 'slower:CASE=reason'``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlbench.errors import UsageError
from dlbench.spec.decode import nearest

ACCEPTABLE = ("slower", "missing")


def read_accepted(words: Iterable[str]) -> dict[str, str]:
    """Reasons by ``verdict:case``.

    Raises
    ------
    UsageError : a word of another form.
    """
    found: dict[str, str] = {}
    for word in words:
        what, equals, reason = word.partition("=")
        status, colon, case = what.partition(":")
        if status not in ACCEPTABLE or not (colon and case and equals and reason.strip()):
            raise UsageError(
                f"--accept {word!r} is not 'slower:CASE=reason' or 'missing:CASE=reason', like"
                " 'slower:numpy:cpu/train/32=the check is worth it'"
            )
        found[what] = reason.strip()
    return found


def check_accepted(accepted: Mapping[str, str], cases: Iterable[str]) -> None:
    """Refuses what no case is called.

    Raises
    ------
    UsageError : naming it and the cases there are.
    """
    known = sorted(cases)
    for what in accepted:
        case = what.partition(":")[2]
        if case not in known:
            raise UsageError(f"--accept: no case is called {case!r}; {nearest(case, known)}")
