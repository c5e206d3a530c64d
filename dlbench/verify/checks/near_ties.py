"""Where two classes are so near that rounding alone decides which of them a network answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from dlbench.verify.expected.tolerance import Expectation

Ints = npt.NDArray[np.int64]
AT_ONCE = 16
"""Samples that the oracle is asked for at a time."""


def near_ties(
    outputs: npt.NDArray[np.float32],
    answers: Ints,
    others: Ints,
    expected: Callable[[Ints], Expectation],
) -> Ints:
    """The samples for which the oracle's logits of two answers differ by no more than both tolerances together.

    Those whose logits are nearest are looked at first, `AT_ONCE` at a time, until none of these is a near tie: where
    something is wrong, thousands differ, and the oracle is slow.

    Parameters
    ----------
    outputs : N×classes logits of the session that gave `answers`.
    answers, others : N classes each, of two sessions with the same weights.
    expected : the oracle's logits of some samples, with their tolerances, given the samples' numbers.

    Returns
    -------
    The samples' numbers, from low to high.
    """
    differ = np.flatnonzero(answers != others)
    margins = np.abs(outputs[differ, answers[differ]] - outputs[differ, others[differ]])
    differ = differ[np.argsort(margins, kind="stable")]
    found: list[Ints] = []
    for start in range(0, len(differ), AT_ONCE):
        rows = differ[start : start + AT_ONCE]
        logits = expected(rows)
        room = np.broadcast_to(logits.tolerance, logits.value.shape)
        row, one, other = np.arange(len(rows)), answers[rows], others[rows]
        away = np.abs(logits.value[row, one] - logits.value[row, other])
        near = away <= room[row, one] + room[row, other]
        found.append(rows[near])
        if not near.any():
            break
    return np.sort(np.concatenate(found)) if found else differ
