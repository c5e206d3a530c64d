"""The words for a row of the table, so that it reads the same wherever it is read."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.analyse.columns import BADGE, Row
from dlbench.text import one_line, why

LEGEND = "✓ verified against the float64 oracle   ! the same, on a disturbed machine   ✗ not verified   – skipped"
INTERVALS = "[ ] 95 % confidence interval over fresh processes"
PRELIMINARY = (
    "~ preliminary: verified, then timed alone for a moment; rows are compared by the rounds alone"
)
ACCURACIES = (
    "[ ] 95 % intervals over test samples: Wilson's, of differences Newcombe's for the same samples",
    "one training a precision: another seed gives another accuracy",
)
PERCENTILES = "of the queries of all processes; [ ] 95 %: by their order, and over processes, whichever is wider"
MARKS = {"ok": "✓", "skipped": "–"}
STATUS_WORDS = {
    "unverified": "not verified",
    "failed": "failed",
    "timeout": "timed out",
    "out_of_memory": "out of memory",
    "skipped": "skipped",
}
_STYLES = {"ok": "good", "skipped": "dim"}


def badges(rows: Sequence[Row]) -> tuple[str, ...]:
    """What the badge of a speed-up means, where a row has one."""
    found = [badge for row in rows if (badge := row["speedup_badge"])]
    if not found:
        return ()
    told = ", ".join(dict.fromkeys(found))
    other = dict.fromkeys(f"{BADGE}{badge.rpartition(' ')[2]}" for badge in found)
    text = (
        f"{', '.join(other)}: a speed-up across precisions ({told}), part of which is less exact arithmetic; 'vs own "
        "fp32' is over the same backend's row in fp32"
    )
    return (text,)


def disturbed_baselines(rows: Sequence[Row]) -> tuple[str, ...]:
    """Which baselines were disturbed, so that no speed-up over them says anything."""
    found = dict.fromkeys(
        f"! {row['baseline']} was disturbed in {row['scenario']}, batch {row.case.batch:,}: speed-ups over it there "
        "are not to be quoted, and nothing is concluded from them"
        for row in rows
        if row["baseline_disturbed"] and row["baseline"] != row.case.row_name
    )
    return tuple(map(one_line, found))


def queries(rows: Sequence[Row]) -> tuple[str, ...]:
    """What percentiles are of, and which of them the queries are too few for."""
    found = {row.case.label: row.get("too_few_queries") for row in rows}
    return (PERCENTILES, *(f"– {label}: {one_line(why)}" for label, why in found.items() if why))


def mark(row: Row) -> str:
    """✓, ✗, – or, for figures of a disturbed machine, !."""
    return "!" if row["disturbed"] else MARKS.get(row["status"], "✗")


def preliminary(row: Row) -> str:
    """The mark of a row that has no figures of its own yet."""
    return "~!" if row["disturbed"] else "~"


def style(row: Row) -> str:
    """The same as a style of `dlbench.reports.tables.model.Line`."""
    return "doubtful" if row["disturbed"] else _STYLES.get(row["status"], "bad")


def backend(row: Row) -> str:
    """Backend with the first two parts of its version."""
    version = ".".join(str(row["version"] or "").split(".")[:2])
    return one_line(f"{row['backend']} {version}")


def trouble(row: Row) -> str:
    """Why a row has no figures, and how to get them, on one line."""
    said = why(row["reason"] or "", row["remedy"] or "")
    return said if row["status"] == "skipped" else f"{STATUS_WORDS[row['status']]}: {said}"
