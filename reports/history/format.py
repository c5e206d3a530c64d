"""The words that all formats of a history share."""

from __future__ import annotations

from dlbench.history.gates import Judged
from dlbench.history.series import Series
from dlbench.history.stored import Change, Point
from dlbench.text import one_line, seconds, signed

from ..run import words
from ..verdict import format as of_verdicts

INTERVALS = "[ ] 95 % confidence interval over the processes of a record"
NOT_SEARCHED = "no change-point detection: pip install 'dlbench[history]'"


def moment(created: str) -> str:
    """A time of the database without its seconds: ``2026-11-20 14:05``."""
    return created[:16].replace("T", " ")


def median(point: Point) -> str:
    """``19.8 ms [19.6, 20.1]``; empty without a figure."""
    row = point.row
    return seconds(row.median_s, row.low_s, row.high_s)


def trouble(point: Point) -> str:
    """Why a row does not count; empty when it does."""
    row = point.row
    if row.disturbance:
        return f"disturbed: {row.disturbance}"
    if row.problem:
        word = words.STATUS_WORDS.get(row.status, "")
        return f"{word}: {row.problem}" if word else row.problem
    return "" if point.counts else "not verified"


def change(change: Change) -> str:
    """How much longer a step takes: ``+10.5 %``."""
    return f"{signed(change.ratio - 1)} %"


def reason(change: Change) -> str:
    """What else changed with a level, as far as records tell."""
    return ", ".join(change.versions) or "no recorded version differs"


def sentence(found: Change) -> str:
    """A change point as a sentence."""
    before, after = seconds(found.before_s), seconds(found.after_s)
    return (
        f"→ from {moment(found.created)} on {change(found)}: {before} before, {after} since;"
        f" {reason(found)}"
    )


def verdict(judged: Judged) -> str:
    """What a gate said: ``gate main → working tree: SLOWER, +6.1 % [+4.8, +7.2], on EPYC, 1 thread``."""
    told = of_verdicts.status(judged.verdict)
    change = of_verdicts.change(judged.verdict) or of_verdicts.reason(judged.verdict)
    parts = ", ".join(filter(None, (told, change, f"on {judged.machine}")))
    return one_line(f"gate {judged.base} → {judged.new}: {parts}")


def circumstances(series: Series) -> str:
    """Machine, data, workload and seed, in one line."""
    facts = dict(series.facts)
    cpu = facts.pop("cpu", "CPU unknown")
    return " · ".join([cpu, *(f"{field} {value}" for field, value in facts.items())])


def sparkline(values: list[float | None]) -> str:
    """Values as blocks of eight heights between the smallest and the largest; a dot has no value."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    # what differs by less than 1 % is drawn as level
    reach = max(high - low, 0.01 * high)
    return "".join(
        "·" if value is None else "▁▂▃▄▅▆▇█"[min(int(8 * (value - low) / reach), 7)]
        for value in values
    )
