"""The one place that knows about threads and chunks: who works on which images, and when all have finished.

A batch is cut into one *shard* a thread, and each shard into *chunks* of a few images, small enough
for everything that a chunk touches to stay in the core's second-level cache. NumPy and BLAS let go
of the interpreter lock while they compute, so plain threads keep all cores busy. Which thread gets
which images depends on nothing but the batch and the number of threads: results repeat to the bit.
"""

from __future__ import annotations

import itertools
import math
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

CHUNK_BYTES = 3 << 19
"""What a chunk may touch at a time: three quarters of the 2 MiB second-level cache of current server cores, so
that weights and the interpreter's own data fit beside it."""

_LINE_BYTES = 64


def aligned(count: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An uninitialised vector that starts on a cache line: whole vector registers are loaded at once."""
    kind = np.dtype(dtype)
    raw = np.empty(count * kind.itemsize + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    return raw[start : start + count * kind.itemsize].view(kind)


class Worker:
    """What belongs to one thread: its number, its random numbers, and memory that stays in its core's cache."""

    def __init__(self, index: int, seed: int) -> None:
        self.index = index
        self.generator = np.random.Generator(np.random.SFC64([seed % 2**64, index]))
        self._buffers: dict[Any, npt.NDArray[Any]] = {}

    def buffer(
        self, key: Any, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32
    ) -> npt.NDArray[Any]:
        """Memory named `key` in this shape, with whatever its last user left in it."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        memory = self._buffers.get(key)
        if memory is None or memory.nbytes < size:
            memory = self._buffers[key] = aligned(size, np.uint8)
        return memory[:size].view(kind).reshape(shape)


class Chunk:
    """Images `start` to `stop` of the batch, in the hands of one worker."""

    def __init__(self, worker: Worker, start: int, stop: int, first: bool) -> None:
        self.worker = worker
        self.start, self.stop = start, stop
        self.size = stop - start
        self.first = first
        """Whether this is the first chunk of its worker's shard: sums start here."""


def split(start: int, stop: int, parts: int) -> list[tuple[int, int]]:
    """`parts` ranges that cover start to stop, none more than one longer than another."""
    bounds = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


class Team:
    """A fixed number of workers; the calling thread is the first, the others wait for tasks."""

    def __init__(self, threads: int, batch: int, seed: int) -> None:
        self.batch = batch
        self.workers = [Worker(index, seed) for index in range(max(1, min(threads, batch)))]
        self.whole = Chunk(self.workers[0], 0, batch, first=True)
        self._tasks: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in self.workers[1:]]
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self.threads = [
            threading.Thread(target=_serve, args=(worker, tasks, self._done), daemon=True)
            for worker, tasks in zip(self.workers[1:], self._tasks, strict=True)
        ]
        for thread in self.threads:
            thread.start()
        weakref.finalize(self, _dismiss, self._tasks)

    def chunks(self, worker: Worker, bytes_per_image: int) -> list[Chunk]:
        """The worker's shard in chunks of as many images as the cache holds, at least one."""
        shard = split(0, self.batch, len(self.workers))[worker.index]
        most = max(1, CHUNK_BYTES // max(1, bytes_per_image))
        ranges = split(*shard, -(-(shard[1] - shard[0]) // most))
        return [Chunk(worker, a, b, first=a == shard[0]) for a, b in ranges]

    def run(self, task: Callable[[Worker], None]) -> None:
        """Runs `task` once in every worker's thread; returns when all have finished."""
        for tasks in self._tasks:
            tasks.put(task)
        error: BaseException | None = None
        try:
            task(self.workers[0])
        except BaseException as raised:
            error = raised
        for _ in self._tasks:
            error = self._done.get() or error
        if error is not None:
            raise error


def _serve(worker: Worker, tasks: queue.SimpleQueue[Any], done: queue.SimpleQueue[Any]) -> None:
    while (task := tasks.get()) is not None:
        try:
            task(worker)
        except BaseException as raised:
            done.put(raised)
        else:
            done.put(None)
        del task


def _dismiss(tasks: list[queue.SimpleQueue[Any]]) -> None:
    for each in tasks:
        each.put(None)
