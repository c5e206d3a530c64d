"""A fixed piece of work on every core, to see what something else does to it."""

from __future__ import annotations

import functools
import hashlib
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

PAIRS = 8
BLOCK_NS = 25_000_000
_SETTLE_S = 0.003
# long enough to let go of the interpreter's lock, short beside a time slice
_PIECE = bytes(1 << 16)


class Block(NamedTuple):
    """A stretch of work: the mean time of a piece (ns), and the clock when it began and ended (ns)."""

    piece_ns: float
    began_ns: int
    ended_ns: int


def in_turn(threads: int, enter: Callable[[bool], None]) -> tuple[list[Block], list[Block]]:
    """Blocks with something else and blocks without it, in the order A B, B A, …

    Parameters
    ----------
    threads : on how many threads the work is done at once.
    enter : told whether a block is one with it, when the work has begun: what it sets off meets the work, and
        what it costs to tell is in both kinds of block.
    """
    blocks: dict[bool, list[Block]] = {True: [], False: []}
    for pair in range(PAIRS):
        for on in (pair % 2 == 0, pair % 2 == 1):
            # what the last block set off ends in nobody's time
            time.sleep(_SETTLE_S)
            blocks[on].append(_block(threads, functools.partial(enter, on)))
    return blocks[True], blocks[False]


def _block(threads: int, when_begun: Callable[[], None]) -> Block:
    pieces = [0] * threads
    begin_ns = time.perf_counter_ns()
    end_ns = begin_ns + BLOCK_NS

    def work(number: int) -> None:
        # a thread that did not get a core before the end has still had its share of the time
        while not pieces[number] or time.perf_counter_ns() < end_ns:
            hashlib.sha256(_PIECE).digest()
            pieces[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    when_begun()
    for worker in workers:
        worker.join()
    ended_ns = time.perf_counter_ns()
    return Block(threads * (ended_ns - begin_ns) / sum(pieces), begin_ns, ended_ns)
