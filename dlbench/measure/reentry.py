"""Which steps at the beginning of a turn are unlike those that follow: caches, clocks and threads come back from what
others did meanwhile. A pure rule on the durations of all turns."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dlbench.measure.steady_state import NEGLIGIBLE_CHANGE

LEAST_BLOCKS = 4
"""With fewer turns, a slow step at the beginning of each may be chance."""
MOST_SHARE = 1 / 3
"""Of the shortest block, what may be left out."""
_AGREEING = 0.75


def reentry_steps(blocks: Sequence[Sequence[float]]) -> int:
    """How many steps at the beginning of each block are slow for being the first ones.

    A step is compared with the median of the later half of its own block, so that drift and differences between blocks
    cancel. A place in the block counts as slow where the median of these ratios over all blocks exceeds 1 by more than
    2 %, and three quarters of them exceed 1; the places before the first that is not slow are left out, up to
    `MOST_SHARE` of the shortest block. Where no place is slow, that happens by chance in at most one of three cases
    with four blocks and one of twenty with ten, and leaves out a step that might have counted: nothing is distorted.

    Parameters
    ----------
    blocks : durations of the steps of each block in order, any unit.
    """
    if len(blocks) < LEAST_BLOCKS:
        return 0
    shortest = min(map(len, blocks))
    later = [float(np.median(block[len(block) // 2 :])) for block in blocks]
    for place in range(int(shortest * MOST_SHARE)):
        ratios = np.array([block[place] for block in blocks]) / later
        slow = float(np.median(ratios)) > 1 + NEGLIGIBLE_CHANGE
        if not slow or float(np.mean(ratios > 1)) < _AGREEING:
            return place
    return int(shortest * MOST_SHARE)
