"""Where a series has another level from some row on.

PELT (Killick, Fearnhead and Eckley 2012, "Optimal detection of changepoints with a linear computational cost") as
the library ruptures has it, on the logarithms of the medians: step times scatter by factors. What the scatter is
comes from the differences of neighbours, which a change of level hardly touches, and single odd rows are
taken to the level around them first, so that a level is something that lasted.
"""

from __future__ import annotations

import importlib.util
import itertools
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dlbench.errors import DlbenchError
from dlbench.history.stored import Change, Point

SHORTEST = 3
"""Rows that make a level: one or two that stand out do not."""
FEWEST = 10
"""Rows of which the scatter can be told at all."""
WINDOW = 1000
"""Rows that are searched, the last ones: the time that a search takes grows with their square."""
PENALTY = 6.0
"""What one more level has to explain, in variances of the scatter and times ln(rows). Of 200 simulated series
without a change 4 in 100 were given one with 10 rows and at most 2 in 100 with 20 to 300 rows, whether the
scatter was normal or had the heavy tails of Student's t with 3 degrees of freedom; a step of three times the
scatter in the middle of the series was found in 60, 85 and 95 of 100 with 10, 20 and 30 rows."""
LEAST_SCATTER = 0.001
"""Scatter that is assumed at least (0.1 %): timings that repeat better than that do so by chance."""
REMEDY = "pip install 'dlbench[history]'"


def available() -> bool:
    """Whether the library that finds change points is installed; imports nothing."""
    return importlib.util.find_spec("ruptures") is not None


def changes(points: Sequence[Point]) -> list[Change]:
    """The change points among the rows of a series, in the order of time, that count (`Point.counts`).

    Raises
    ------
    DlbenchError : ruptures is not installed.
    """
    counted = [point for point in points if point.counts][-WINDOW:]
    times = [point.row.median_s for point in counted if point.row.median_s is not None]
    starts = [0, *level_starts(times), len(times)]
    levels = [statistics.median(times[a:b]) for a, b in itertools.pairwise(starts) if b > a]
    return [
        Change(
            counted[start].record,
            counted[start].created,
            before_s,
            after_s,
            _other_versions(counted[start - 1], counted[start]),
        )
        for start, before_s, after_s in zip(starts[1:-1], levels, levels[1:], strict=False)
    ]


def _other_versions(before: Point, after: Point) -> tuple[str, ...]:
    """What changed its version from one row to the next; the backend's own first."""
    pairs = {"backend": (before.row.version, after.row.version)}
    names = [*after.versions, *(name for name in before.versions if name not in after.versions)]
    pairs |= {
        name: (before.versions.get(name, "none"), after.versions.get(name, "none"))
        for name in names
    }
    differing = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    own = differing.get("backend")
    if own in [pair for name, pair in differing.items() if name != "backend"]:
        # its package says the same by name
        del differing["backend"]
    return tuple(
        f"{name} {old or 'unknown'} → {new or 'unknown'}" for name, (old, new) in differing.items()
    )


def level_starts(times_s: Sequence[float]) -> list[int]:
    """The indices at which another level begins, without the first; empty with fewer than `FEWEST` times.

    Raises
    ------
    DlbenchError : ruptures is not installed.
    """
    if len(times_s) < FEWEST:
        return []
    try:
        from ruptures import KernelCPD
    except ImportError:
        raise DlbenchError(f"change points need ruptures: {REMEDY}") from None
    logs = np.log(np.asarray(times_s, np.float64))
    scatter = _scatter(logs)
    signal = _without_odd_ones(logs, scatter) / scatter
    search = KernelCPD(kernel="linear", min_size=SHORTEST).fit((signal - signal[0])[:, np.newaxis])
    *starts, _ = search.predict(pen=PENALTY * np.log(len(logs)))
    return [int(start) for start in starts]


def _scatter(logs: npt.NDArray[np.float64]) -> float:
    """The standard deviation about the levels, from the median size of differences of neighbours."""
    step = np.median(np.abs(np.diff(logs)))
    # 0.6745: the third quartile of a normal distribution
    return max(float(step) / (0.6745 * 2**0.5), LEAST_SCATTER)


def _without_odd_ones(logs: npt.NDArray[np.float64], scatter: float) -> npt.NDArray[np.float64]:
    """The series with what is more than three times the scatter from the median of the five around it put
    there (Hampel's filter)."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(logs, 2, mode="reflect"), 5)
    middle = np.median(around, axis=1)
    return np.where(np.abs(logs - middle) > 3 * scatter, middle, logs)
