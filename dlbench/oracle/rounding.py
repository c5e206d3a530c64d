"""How large a rounding error may be: the oracle run again with every result perturbed.

A float32 backend is right when it differs from the exact result by no more than float32 rounding
explains, and how much that is depends on the network: cancellation, division by small variances,
the optimizer's root. Instead of an analysis for each layer, the oracle is run a few more times with
random noise, as large as float32 could cause, added to the result of every operation (Monte Carlo
arithmetic: Parker 1997). The spread of the outcomes is the scale of every tolerance.

The noise of a sum of n terms t is u·√n·√(Σt² + (Σt)²), with u the unit roundoff: what recursive
summation gives for terms of random sign and an upper bound for terms of one sign (Higham 2002,
section 4.2); blocked and pairwise summation stay below it.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

UNIT_ROUNDOFF = {"fp32": 2.0**-24, "tf32": 2.0**-11}
"""Largest relative error of one rounding, by a plan's precision (tf32 rounds the factors of products)."""


class Rounding(Protocol):
    """What happens to the result of every operation."""

    def __call__(self, value: Array, length: int, size: Array | float) -> Array:
        """`value`, the outcome of summing `length` terms whose root sum of squares is `size`
        (an array that broadcasts against `value`, or a number)."""


def exact(value: Array, length: int, size: Array | float) -> Array:
    """The rounding of the oracle proper: none worth speaking of."""
    return value


_POOL = 262_139
"""Normal numbers drawn once a run and reused from a random place on; a prime, so that no row of an array
meets the same ones as its neighbour. Drawing afresh took most of the oracle's time."""


class Perturbed:
    """Adds float32-sized (or `unit`-sized) Gaussian noise to every result."""

    def __init__(self, seed: int, unit: float = UNIT_ROUNDOFF["fp32"]) -> None:
        self._random = np.random.Generator(np.random.SFC64(seed))
        self._pool = self._random.standard_normal(_POOL, dtype=np.float32)
        self._unit = unit

    def __call__(self, value: Array, length: int, size: Array | float) -> Array:
        start = int(self._random.integers(_POOL))
        count = int(np.size(value))
        rolled = self._pool[start : start + count]
        noise = rolled if rolled.size == count else np.resize(np.roll(self._pool, -start), count)
        scale = np.square(value)
        scale += np.square(size)
        scale = np.sqrt(scale)
        scale *= self._unit * np.sqrt(length)
        scale *= noise.reshape(np.shape(value))
        scale += value
        return np.asarray(scale)
