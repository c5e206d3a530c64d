"""Evaluations of a network beside each other: each is one thread's, so that no result depends on how many there are."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import TypeVar

from dlbench.oracle.one_thread import one_thread

T = TypeVar("T")
R = TypeVar("R")

_MOST = 2
"""Of a large network each evaluation holds everything in float64: more at once would not fit where it is to run."""
_threads: ContextVar[int] = ContextVar("threads", default=1)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Inside the ``with`` block `each` may use so many threads."""
    token = _threads.set(count)
    try:
        yield
    finally:
        _threads.reset(token)


def at_once() -> int:
    """How many evaluations `each` carries out beside each other."""
    return max(1, min(_threads.get(), _MOST))


def each(evaluate: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What `evaluate` makes of each item, in their order. NumPy lets other threads run while it computes."""
    count = min(at_once(), len(items))
    if count <= 1:
        return [evaluate(item) for item in items]
    with one_thread(), ThreadPoolExecutor(count) as pool:
        begun = [pool.submit(copy_context().run, evaluate, item) for item in items]
        return [future.result() for future in begun]
