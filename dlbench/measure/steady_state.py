"""When a warm-up is over: a pure rule on the durations seen so far, so that it can be tried on recorded traces.

Compilation, caches and clocks make first steps unlike later ones. The rule looks for a trend, not at the
spread: a noisy machine is never calm, and times that jump between two values are as steady as they get.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SMALLEST_WINDOW = 8
NEGLIGIBLE_CHANGE = 0.02
_LARGEST_WINDOW = 64
_BLOCKS = 32
_SIGNIFICANT = 1.96


def is_steady(durations: Sequence[float]) -> bool | None:
    """Whether the later half of these durations (at least the last eight) has no trend.

    Steady means that the change over the window, by the median of all pairwise slopes (Theil 1950; Sen 1968), is at
    most 2 % of the median, or that Kendall's test (Mann 1945) cannot tell the order from chance
    at 5 %. Single outliers, a compilation among them, move neither. A window of more than 64
    durations is condensed to the medians of 32 blocks, which shows trends below the noise.

    Parameters
    ----------
    durations : in the order in which they were taken, any unit.

    Returns
    -------
    None while there are too few to tell.
    """
    if len(durations) < SMALLEST_WINDOW:
        return None
    window = np.asarray(durations[-max(SMALLEST_WINDOW, len(durations) // 2) :], np.float64)
    if len(window) > _LARGEST_WINDOW:
        window = np.array([np.median(block) for block in np.array_split(window, _BLOCKS)])
    return (
        abs(_relative_change(window)) <= NEGLIGIBLE_CHANGE or _trend_score(window) <= _SIGNIFICANT
    )


def _relative_change(window: npt.NDArray[np.float64]) -> float:
    first, second = np.triu_indices(len(window), 1)
    slope = np.median((window[second] - window[first]) / (second - first))
    middle = np.median(window)
    return float(slope * (len(window) - 1) / middle) if middle > 0 else 0.0


def _trend_score(window: npt.NDArray[np.float64]) -> float:
    """Kendall's S in standard deviations, with the correction for its steps."""
    count = len(window)
    first, second = np.triu_indices(count, 1)
    score = abs(float(np.sum(np.sign(window[second] - window[first]))))
    return float((score - 1) / np.sqrt(count * (count - 1) * (2 * count + 5) / 18))
