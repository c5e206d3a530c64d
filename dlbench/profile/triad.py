"""How fast the host itself moves what lies in caches and in memory: a roof that no framework stands under."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from dlbench.contract import SessionBase

TRIAD, TRIADS = "triad", "triads"
"""What it is called among the ceilings, before its number of elements: one a step, as earlier versions had it, and as
many as `TOGETHER` elements take, so that waking the threads is a small part of it."""
TOGETHER = 2**24
PASSES = 5
"""Elements that are read and written for each element of a triad (a = b + s · c, McCalpin 1995), which in NumPy is two
passes: s · c reads one array and writes one, the sum reads two and writes one."""
_LEAST_A_THREAD = 2**17
"""Elements that a thread is worth being woken for."""


_LINE_BYTES = 64


def laid_out(elements: int) -> list[npt.NDArray[np.float32]]:
    """Three arrays of ones (float32), each beginning with a line of the cache: where they begin within one, as memory
    happens to lie, triads in a core's caches are an eighth slower."""
    spaced = -(-4 * elements // _LINE_BYTES) * _LINE_BYTES
    whole = np.ones((3 * spaced + _LINE_BYTES) // 4, np.float32)
    first = -whole.ctypes.data % _LINE_BYTES
    begins = [(first + number * spaced) // 4 for number in range(3)]
    return [whole[begin : begin + elements] for begin in begins]


class Triad(SessionBase):
    """A session whose step is triads of so many elements (float32), by as many `threads` as are worth it.

    Attributes
    ----------
    times : how often a step has each thread make its part, waiting for no other in between.
    """

    facts: Mapping[str, str | int] = {}

    def __init__(self, elements: int, threads: int) -> None:
        arrays = laid_out(elements)
        self.threads = count = max(1, min(threads, elements // _LEAST_A_THREAD))
        self.times = times_of(elements)
        ends = [elements * place // count for place in range(count + 1)]
        self._slices = [
            tuple(array[begin:end] for array in arrays) for begin, end in itertools.pairwise(ends)
        ]
        self._pool = ThreadPoolExecutor(count) if count > 1 else None

    def upload(self, inputs: object, targets: object) -> None:
        """Nothing: it has its own arrays."""

    def infer(self, batch: object) -> None:
        """Triads."""
        if self._pool is None:
            self._one(*self._slices[0])
        else:
            list(self._pool.map(lambda slices: self._one(*slices), self._slices))

    def _one(self, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> None:
        for _ in range(self.times):
            np.multiply(c, np.float32(3), out=a)
            np.add(b, a, out=a)


def times_of(elements: int) -> int:
    """How many triads of so many elements are a step."""
    return max(1, TOGETHER // elements)
