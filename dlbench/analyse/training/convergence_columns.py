"""The columns that tell how long trainings take to a target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dlbench.analyse.columns import ALWAYS, CONVERGE, Column, Row
from dlbench.analyse.statistics import CONFIDENCE, median
from dlbench.analyse.training.convergence import Convergence, Median
from dlbench.text import percent, plural, seconds

BEYOND = "–"
"""In the place of what is beyond all that was trained."""
_MEASURES = {"s": "seconds", "steps": "steps", "epochs": "epochs"}


def converge_cells(found: Convergence | None) -> Mapping[str, Any]:
    """A row's cells about its trainings to a target; none where it has none. What is beyond all that was trained is
    None."""
    if found is None:
        return {}
    cells: dict[str, Any] = {
        "target_accuracy": found.ways[0].target,
        "seeds_trained": len(found.ways),
        "seeds_reached": len(found.ways) - len(found.short),
        "to_target_coverage": found.coverage,
        "evaluation_s": median([way.evaluation_s for way in found.ways]),
        "short_of_target": "; ".join(_short(found)) or None,
    }
    for unit, of in _MEASURES.items():
        told: Median = getattr(found, of)
        cells |= {_name(unit): _finite(told.value)}
        if found.coverage is not None:
            cells |= {
                _name(unit, "low"): _finite(told.low),
                _name(unit, "high"): _finite(told.high),
            }
    return cells


def notes(rows: Sequence[Row]) -> Iterator[str]:
    """What the figures are of, and which trainings fell short."""
    yield (
        "medians over seeds, of steps with their data; the evaluation after each epoch, on the validation part, is no"
        " part of them"
    )
    told = {(row["seeds_trained"], row["to_target_coverage"]) for row in rows}
    for count, coverage in sorted(told, key=str):
        if coverage is not None:
            few = coverage < CONFIDENCE
            yield (
                f"[ ] by the order of {plural(count, 'seed')}: holds the median of all seeds with"
                f" {percent(coverage)}" + ("; 95 % takes 6 seeds" if few else "")
            )
    for row in rows:
        if row["short_of_target"]:
            yield f"{BEYOND} {row.case.label}: {row['short_of_target']}"


def _short(found: Convergence) -> Iterator[str]:
    for way in found.short:
        best = max(point.accuracy for point in way.points)
        yield (
            f"seed {way.seed} did not reach {100 * way.target:g} % in {plural(len(way.points), 'epoch')}"
            f" (best {100 * best:.2f} %)"
        )


def _name(unit: str, side: str = "") -> str:
    bound = f"{side}_" if side else ""
    return f"to_target_{bound}s" if unit == "s" else f"to_target_{unit}{side and '_' + side}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _shown(unit: str) -> Column:
    value, low, high = (_name(unit, side) for side in ("", "low", "high"))

    def show(row: Row) -> str:
        if row.get("seeds_trained") is None:
            return ""
        if row[value] is None:
            return BEYOND if row[low] is None else f"{BEYOND} [{_told(row[low], unit)}, {BEYOND}]"
        if row[low] is None:
            return _told(row[value], unit)
        if row[high] is None:
            return f"{_told(row[value], unit)} [{_told(row[low], unit)}, {BEYOND}]"
        if unit == "s":
            return seconds(row[value], row[low], row[high])
        told = (_told(row[name], unit) for name in (value, low, high))
        return "{} [{}, {}]".format(*told)

    return Column(
        value,
        "float64",
        sections=(CONVERGE,),
        title=f"{_MEASURES[unit]} to the target",
        show=show,
        right=False,
        priority=ALWAYS if unit == "s" else 80,
    )


def _told(value: float, unit: str) -> str:
    if unit == "s":
        return seconds(value)
    # of an even number of seeds it may be half a step
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.1f}"


def _reached(row: Row) -> str:
    trained = row.get("seeds_trained")
    return "" if trained is None else f"{row['seeds_reached']} of {trained}"


COLUMNS: tuple[Column, ...] = (
    Column("target_accuracy", "float64", None, (CONVERGE,), "target", lambda s: f"{100 * s:g} %"),
    Column(
        "seeds_reached",
        "object",
        sections=(CONVERGE,),
        title="seeds that reached it",
        show=_reached,
        priority=ALWAYS,
    ),
    Column("seeds_trained"),
    *(
        column
        for unit in _MEASURES
        for column in (
            _shown(unit),
            Column(_name(unit, "low"), "float64"),
            Column(_name(unit, "high"), "float64"),
        )
    ),
    # how probable it is that these intervals hold the median of all seeds
    Column("to_target_coverage", "float64"),
    # of all epochs of a training, no part of the time to the target
    Column("evaluation_s", "float64", None, (CONVERGE,), "evaluation besides", seconds),
    # which seeds did not reach the target
    Column("short_of_target"),
)
