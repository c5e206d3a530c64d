"""The one place that knows about cores and chunks: who works on which images, and when all have finished.

A batch is cut into one *shard* a worker, and each shard into *chunks* of a few images, small enough
for everything that a chunk touches to stay in the core's second-level cache. Which worker gets which
images depends on nothing but the batch and the number of workers: results repeat to the bit.

The workers are processes forked from this one, which is itself the first of them (`processes`). Threads
would have to queue for the interpreter lock between any two NumPy calls, and the more cores, the longer:
on two cores that cost a third of the time. A forked process finds everything that was there before; what
workers pass to each other lies in memory from `Team.shared`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
import mmap
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .blas import own_pace
from .processes import Fork

CHUNK_BYTES = 5 << 18
"""What a chunk may touch at a time: about the second-level cache of current server cores, which have 1 or 2 MiB. Twice
of it is faster by 2 to 5 % where those have 1 MiB, and takes more memory than it is worth."""

FORKS = sys.platform == "linux"
"""Whether processes can be forked safely with a BLAS loaded; elsewhere a team has one worker."""

_LINE_BYTES = 64

Task = Callable[["Worker"], None]


def aligned(count: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An uninitialised vector that starts on a cache line: whole vector registers are loaded at once."""
    kind = np.dtype(dtype)
    raw = np.empty(count * kind.itemsize + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    return raw[start : start + count * kind.itemsize].view(kind)


class Worker:
    """What belongs to one core: its number, its images of the batch, its random numbers, and memory that stays in
    its cache."""

    def __init__(self, index: int, batch: int, shard: tuple[int, int], seed: int) -> None:
        self.index = index
        self.batch = batch
        self.shard = shard
        self._seed = seed % 2**64
        self._buffers: dict[Any, npt.NDArray[Any]] = {}
        self.begin(0)

    def begin(self, life: int) -> None:
        """Random numbers of its own for each life of a worker: one that is forked anew does not repeat any."""
        self.random = np.random.SFC64([self._seed, self.index, life])

    def buffer(
        self, key: Any, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32, least: int = 0
    ) -> npt.NDArray[Any]:
        """Memory named `key` in this shape, with whatever its last user left in it. One of at least `least` bytes
        need not be replaced soon; who has the smaller one keeps it."""
        kind = np.dtype(dtype)
        size = math.prod(shape) * kind.itemsize
        memory = self._buffers.get(key)
        if memory is None or memory.nbytes < size:
            memory = self._buffers[key] = aligned(max(size, least), np.uint8)
        return memory[:size].view(kind).reshape(shape)

    def zeros(self, key: Any, count: int) -> npt.NDArray[Any]:
        """A vector of float32 named `key` that was zero once, and belongs to its users alone."""
        if key not in self._buffers:
            self._buffers[key] = aligned(count)
            self._buffers[key].fill(0)
        return self._buffers[key]

    def chunks(self, bytes_per_image: int, least: int = 1) -> list[Chunk]:
        """The shard in chunks of as many images as the cache holds, of `least` where there are as many."""
        start, stop = self.shard
        most = max(least, CHUNK_BYTES // max(1, bytes_per_image))
        ranges = split(start, stop, -(-(stop - start) // most))
        return [Chunk(self, *bounds, self.shard) for bounds in ranges]

    def whole(self) -> Chunk:
        """The whole batch, for work that is not shared out by images."""
        return Chunk(self, 0, self.batch, (0, self.batch))


class Chunk:
    """Images `start` to `stop` of the batch, in the hands of one worker, whose shard is the range `shard`."""

    def __init__(self, worker: Worker, start: int, stop: int, shard: tuple[int, int]) -> None:
        self.worker = worker
        self.start, self.stop = start, stop
        self.size = stop - start
        self.shard = shard
        self.first = start == shard[0]
        """Whether this is the first chunk of its worker's shard: sums start here."""


def split(start: int, stop: int, parts: int) -> list[tuple[int, int]]:
    """`parts` ranges that cover start to stop, none more than one longer than another."""
    bounds = [start + (stop - start) * i // parts for i in range(parts + 1)]
    return list(itertools.pairwise(bounds))


class Team:
    """A fixed number of workers. The calling process is the first; the others are forked when there is
    something to do, and forked anew when memory or tasks have been added since.

    Tasks do not refer to the team: it and its processes are gone at once when nobody else does.
    """

    def __init__(self, threads: int, batch: int, seed: int) -> None:
        self.batch = batch
        self._tasks: list[Task] = []
        self._forks: list[Fork] = []
        self._count = max(1, min(threads, batch)) if FORKS else 1
        self._lives = 0
        self._ended = False
        self.shards = split(0, batch, self._count)
        """The images of each worker, as a range."""
        self.workers = [Worker(i, batch, shard, seed) for i, shard in enumerate(self.shards)]
        self._order = self.shared((1,), np.int64)
        """The number of the task that is to be done; read by all."""

    def shared(self, shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """Zeros that all workers read and write."""
        self._dismiss()
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if self._count == 1:
            memory = aligned(count, kind)
            memory.fill(0)
        else:
            memory = np.frombuffer(_pages(max(1, count * kind.itemsize)), kind, count)
        return memory.reshape(tuple(shape))

    def task(self, function: Task) -> int:
        """The number under which `run` knows `function`."""
        self._dismiss()
        self._tasks.append(function)
        return len(self._tasks) - 1

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """What is `run` inside the ``with`` block is one step. One that fails or is interrupted leaves half of
        itself in memory, and workers that are still busy: it is the team's last.

        Raises
        ------
        RuntimeError : a step has failed before.
        """
        self._refuse_after_end()
        try:
            with own_pace():
                yield
        except BaseException:
            self._ended = True
            self._dismiss()
            raise

    def run(self, number: int) -> None:
        """Runs a task once in every worker; returns when all have finished.

        Raises
        ------
        RuntimeError : a worker process failed or died, with what is known of it.
        MemoryError : there was not enough for a worker process.
        """
        forks = self._started()
        self._order[0] = number
        for fork in forks:
            fork.call()
        self._tasks[number](self.workers[0])
        errors = [error for fork in forks if (error := fork.wait())]
        if errors:
            raise errors[0]

    def present(self) -> int:
        """How many workers there are, each of them seen alive."""
        return 1 + sum(fork.alive for fork in self._started())

    def _started(self) -> list[Fork]:
        if len(self._forks) < self._count - 1:
            self._refuse_after_end()
            self._lives += 1
            for worker in self.workers[1:]:
                worker.begin(self._lives)
                self._forks.append(Fork(self._ordered(worker)))
        return self._forks

    def _ordered(self, worker: Worker) -> Callable[[], None]:
        tasks, order = self._tasks, self._order
        return lambda: tasks[int(order[0])](worker)

    def _refuse_after_end(self) -> None:
        if self._ended:
            raise RuntimeError("this session ended when a step failed; open another")

    def _dismiss(self) -> None:
        for fork in self._forks:
            fork.end()
        self._forks.clear()


def _pages(size: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, size)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        raise MemoryError(f"no {size:,} bytes of memory for the workers to share") from error
