"""Processes by round, of tests that make up nothing but how long a step takes in each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlbench.analyse.statistics import Timed


def timed(medians_s: Mapping[int, float] | Iterable[float]) -> dict[int, Timed]:
    """Processes with these medians (s), which took no turns; by round, or in the order of rounds."""
    pairs = medians_s.items() if isinstance(medians_s, Mapping) else enumerate(medians_s)
    return {number: Timed(median_s) for number, median_s in pairs}
