"""How fast the host itself moves what lies in caches and in memory: a roof that no framework stands under."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from dlbench.contract import SessionBase

TRIAD = "triad"
"""What it is called among the ceilings, before its number of elements."""
PASSES = 5
"""Elements that are read and written for each element of a triad (a = b + s · c, McCalpin 1995), which in NumPy is two
passes: s · c reads one array and writes one, the sum reads two and writes one."""
_LEAST_A_THREAD = 2**17
"""Elements that a thread is worth being woken for."""


class Triad(SessionBase):
    """A session whose step is a triad of so many elements (float32), by as many threads as are worth it."""

    facts: Mapping[str, str | int] = {}

    def __init__(self, elements: int, threads: int) -> None:
        arrays = np.ones((3, elements), np.float32)
        count = max(1, min(threads, elements // _LEAST_A_THREAD))
        ends = [elements * place // count for place in range(count + 1)]
        self._slices = [
            tuple(array[begin:end] for array in arrays) for begin, end in itertools.pairwise(ends)
        ]
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def upload(self, inputs: object, targets: object) -> None:
        """Nothing: it has its own arrays."""

    def infer(self, batch: object) -> None:
        """One triad."""
        if self._pool is None:
            self._one(*self._slices[0])
        else:
            list(self._pool.map(lambda slices: self._one(*slices), self._slices))

    @staticmethod
    def _one(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        np.multiply(c, np.float32(3), out=a)
        np.add(b, a, out=a)
