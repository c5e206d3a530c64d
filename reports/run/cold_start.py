"""When a row has made up for its cold start, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.analyse.cold_start import whole_steps
from dlbench.analyse.columns import Row
from dlbench.text import one_line

_BEHIND = (
    "began behind another scenario of the same process, which had readied the libraries; --scenario times it in a "
    "process of its own"
)


def breaks_even(rows: Sequence[Row]) -> list[str]:
    """A sentence for each row that is held against another; how to ask where none is."""
    told = [f"→ {_sentence(row)}" for row in rows if row["payback"] is not None]
    if told or len({row.case.row_name for row in rows}) < 2:
        return told
    return [
        "→ no row in another mode of the same backend: name one with --cold-start-baseline BACKEND:DEVICE"
    ]


def behind_others(rows: Sequence[Row]) -> list[str]:
    """Who began in a process that had timed another scenario before."""
    labels = [row.case.label for row in rows if row.outcome.never_first]
    return [f"! {', '.join(labels)}: {_BEHIND}"] if labels else []


def _sentence(row: Row) -> str:
    who, other = row.case.label, row["against"]
    match row["payback"]:
        case "after":
            return f"{who} starts later than {other} and breaks even after {whole_steps(row)}."
        case "never":
            return (
                f"{who} starts later than {other} and its steps are slower: it never breaks even."
            )
        case "at once":
            return f"{who} starts no later than {other} and its steps are faster: ahead from the start."
        case "until":
            return f"{who} starts earlier than {other} and stays ahead for {whole_steps(row)}."
    reason = one_line(row["payback_reason"] or "")
    return f"{who} against {other}: whether it breaks even cannot be told, {reason}."
