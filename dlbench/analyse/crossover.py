"""From which batch size on one row is faster than another: read from the speed-ups of a sweep, no more.

A batch size counts as won when the whole interval of the speed-up lies above 1. What lies between two measured
batch sizes is not known, so a crossover is a range and never a number.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Literal

import pandas as pd

Verdict = Literal["faster", "slower", "open", "none"]


@dataclasses.dataclass(frozen=True)
class Point:
    """One batch size: a speed-up over the baseline with its interval; None where it has none."""

    batch: int
    speedup: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """``open`` where the interval holds 1 or there is none, ``none`` where there is no figure."""
        if self.speedup is None:
            return "none"
        if self.low is None or self.high is None or self.low <= 1 <= self.high:
            return "open"
        return "faster" if self.low > 1 else "slower"


@dataclasses.dataclass(frozen=True)
class Crossover:
    """A row's speed-ups over the baseline by batch size, ascending.

    `with_copies` says whether the copies of a batch in and of the result out are part of either time.
    """

    suite: str
    scenario: str
    backend: str
    device: str
    mode: str
    precision: str
    threads: int
    baseline: str
    with_copies: bool
    points: tuple[Point, ...]

    @property
    def measured(self) -> tuple[Point, ...]:
        """The points with a figure."""
        return tuple(point for point in self.points if point.verdict != "none")

    @property
    def faster_from(self) -> int | None:
        """The smallest batch size from which on every one is won, up to the largest that has a figure, none in
        between lacking one; None where the largest is not won."""
        found = None
        for point in reversed(self._up_to_last_figure):
            if point.verdict != "faster":
                break
            found = point.batch
        return found

    @property
    def after(self) -> int | None:
        """The largest batch size below `faster_from` that is lost: the crossover lies between the two. None
        where there is no such."""
        start = self.faster_from
        if start is None:
            return None
        lost = [p.batch for p in self.points if p.batch < start and p.verdict == "slower"]
        return max(lost, default=None)

    @property
    def _up_to_last_figure(self) -> tuple[Point, ...]:
        last = max((point.batch for point in self.measured), default=0)
        return tuple(point for point in self.points if point.batch <= last)


def crossovers(frame: pd.DataFrame) -> tuple[Crossover, ...]:
    """The crossovers of one record's table (see `dlbench.analyse.table.COLUMNS`), in its order: of every row but the
    baseline's that was to be measured at several batch sizes. On the CPU, with a baseline there, copies make no
    second one."""
    series: dict[tuple[Hashable, ...], list[Mapping[str, Any]]] = {}
    for row in frame[[*_SAME, *_READ]].to_dict("records"):
        series.setdefault(tuple(row[name] for name in _SAME), []).append(
            {str(name): value for name, value in row.items()}
        )
    return tuple(
        found
        for key, rows in series.items()
        for found in _of(dict(zip(_SAME, key, strict=True)), rows)
    )


_SAME = ("suite", "scenario", "backend", "device", "mode", "precision", "threads")
_SPEEDUPS = ("speedup", "speedup_with_copies")
_READ = ("batch", "baseline", *(s + end for s in _SPEEDUPS for end in ("", "_low", "_high")))


def _of(same: Mapping[str, Any], rows: list[Mapping[str, Any]]) -> Iterable[Crossover]:
    baselines = {row["baseline"] for row in rows if isinstance(row["baseline"], str)}
    own = f"{same['backend']}:{same['device']}"
    if len({row["batch"] for row in rows}) < 2 or len(baselines) != 1 or own in baselines:
        return
    (baseline,) = baselines
    rows = sorted(rows, key=lambda row: row["batch"])
    for with_copies, name in zip((False, True), _SPEEDUPS, strict=True):
        points = tuple(
            Point(
                int(row["batch"]),
                *(_known(row[column]) for column in (name, f"{name}_low", f"{name}_high")),
            )
            for row in rows
        )
        if not with_copies or same["device"] != "cpu" or not baseline.endswith(":cpu"):
            yield Crossover(**same, baseline=baseline, with_copies=with_copies, points=points)


def _known(value: Any) -> float | None:
    return None if value is None or math.isnan(value) else float(value)
