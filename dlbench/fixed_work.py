"""A fixed piece of work on every core, to see what something else does to it."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable

PAIRS = 8
BLOCK_NS = 25_000_000
_SETTLE_S = 0.003
# long enough to let go of the interpreter's lock, short beside a time slice
_PIECE = bytes(1 << 16)


def in_turn(threads: int, enter: Callable[[bool], None]) -> tuple[list[float], list[float]]:
    """The mean time of a piece (ns) in blocks with something else and without it, in the order A B, B A, …

    Parameters
    ----------
    threads : on how many threads the work is done at once.
    enter : told whether the block that begins is one with it.
    """
    means: dict[bool, list[float]] = {True: [], False: []}
    for pair in range(PAIRS):
        for on in (pair % 2 == 0, pair % 2 == 1):
            enter(on)
            time.sleep(_SETTLE_S)
            means[on].append(_block_ns(threads))
    return means[True], means[False]


def _block_ns(threads: int) -> float:
    pieces = [0] * threads
    begin_ns = time.perf_counter_ns()
    end_ns = begin_ns + BLOCK_NS

    def work(number: int) -> None:
        while time.perf_counter_ns() < end_ns:
            hashlib.sha256(_PIECE).digest()
            pieces[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * (time.perf_counter_ns() - begin_ns) / sum(pieces)
