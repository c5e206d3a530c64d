"""The one place that knows about cores and chunks: who works on which images, and when all have finished.

A batch is cut into one *shard* a worker, and each shard into *chunks* of a few images, small enough
for everything that a chunk touches to stay in the core's second-level cache. Which worker gets which
images depends on nothing but the batch and the number of workers: results repeat to the bit.

The workers are processes forked from this one, which is itself the first of them. Threads would have
to queue for the interpreter lock between any two NumPy calls, and the more cores, the longer: on two
cores that cost a third of the time. A forked process finds everything that was there before; what
workers pass to each other lies in memory from `Team.shared`.
"""

from __future__ import annotations

import itertools
import math
import mmap
import multiprocessing
import os
import select
import signal
import sys
import traceback
import warnings
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from .numpy_blas import own_pace

CHUNK_BYTES = 5 << 18
"""What a chunk may touch at a time: two thirds of the 2 MiB second-level cache of current server cores, so
that weights and the interpreter's own data fit beside it."""

FORKS = sys.platform == "linux"
"""Whether processes can be forked safely with a BLAS loaded; elsewhere a team has one worker."""

_LINE_BYTES = 64
_LEAVE = -1

Task = Callable[["Worker"], None]


def aligned(count: int, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """An uninitialised vector that starts on a cache line: whole vector registers are loaded at once."""
    kind = np.dtype(dtype)
    raw = np.empty(count * kind.itemsize + _LINE_BYTES, np.uint8)
    start = -raw.ctypes.data % _LINE_BYTES
    return raw[start : start + count * kind.itemsize].view(kind)


class Worker:
    """What belongs to one core: its number, its random numbers, and memory that stays in its cache."""

    def __init__(self, index: int, seed: int) -> None:
        self.index = index
        self._seed = seed % 2**64
        self._buffers: dict[Any, npt.NDArray[Any]] = {}
        self.begin(0)

    def begin(self, life: int) -> None:
        """Random numbers of its own for each life of a worker: one that is forked anew does not repeat any."""
        self.random = np.random.SFC64([self._seed, self.index, life])

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

    def zeros(self, key: Any, count: int) -> npt.NDArray[Any]:
        """A vector of float32 named `key` that was zero once, and belongs to its users alone."""
        if key not in self._buffers:
            self._buffers[key] = aligned(count)
            self._buffers[key].fill(0)
        return self._buffers[key]


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
    something to do, and forked anew when memory or tasks have been added since."""

    def __init__(self, threads: int, batch: int, seed: int) -> None:
        self.batch = batch
        self._tasks: list[Task] = []
        self._crew: _Crew | None = None
        self._count = max(1, min(threads, batch)) if FORKS else 1
        self.shards = split(0, batch, self._count)
        """The images of each worker, as a range."""
        self._order = self.shared((1,), np.int64)
        self._crews = 0
        self.workers = [Worker(index, seed) for index in range(self._count)]

    def shared(self, shape: Sequence[int], dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        """Zeros that all workers read and write."""
        self._dismiss()
        kind = np.dtype(dtype)
        count = math.prod(shape)
        if self._count == 1:
            memory = aligned(count, kind)
            memory.fill(0)
        else:
            pages = mmap.mmap(-1, max(1, count * kind.itemsize))
            memory = np.frombuffer(pages, kind, count)
        return memory.reshape(tuple(shape))

    def task(self, function: Task) -> int:
        """The number under which `run` knows `function`."""
        self._dismiss()
        self._tasks.append(function)
        return len(self._tasks) - 1

    def chunks(self, worker: Worker, bytes_per_image: int) -> list[Chunk]:
        """The worker's shard in chunks of as many images as the cache holds, at least one."""
        start, stop = shard = self.shards[worker.index]
        most = max(1, CHUNK_BYTES // max(1, bytes_per_image))
        ranges = split(start, stop, -(-(stop - start) // most))
        return [Chunk(worker, *bounds, shard) for bounds in ranges]

    def whole(self, worker: Worker) -> Chunk:
        """The whole batch, as a worker sees it in work that is not shared out by images."""
        return Chunk(worker, 0, self.batch, (0, self.batch))

    def run(self, number: int) -> None:
        """Runs a task once in every worker; returns when all have finished."""
        if self._count == 1:
            self._tasks[number](self.workers[0])
            return
        crew = self._started()
        crew.begin(number)
        try:
            self._tasks[number](self.workers[0])
        finally:
            crew.finish()

    def present(self) -> int:
        """How many workers there are, each of them seen alive."""
        return 1 if self._count == 1 else 1 + self._started().alive()

    def _started(self) -> _Crew:
        if self._crew is None:
            self._crews += 1
            for worker in self.workers[1:]:
                worker.begin(self._crews)
            self._crew = _Crew(self.workers[1:], self._tasks, self._order)
            self._end = weakref.finalize(self, self._crew.dismiss)
        return self._crew

    def _dismiss(self) -> None:
        if self._crew is not None:
            self._end()
            self._crew = None


class _Crew:
    """The forked workers. They end when told to, or when the process that forked them does."""

    def __init__(
        self, workers: Sequence[Worker], tasks: Sequence[Task], order: npt.NDArray[np.int64]
    ) -> None:
        self._owner = os.getpid()
        self._order = order
        """The number of the task that is to be done; read by all."""
        self._members: list[_Member] = []
        for worker in workers:
            self._members.append(_Member(worker, tasks, order, self._members))

    def begin(self, number: int) -> None:
        self._order[0] = number
        for member in self._members:
            member.call()

    def finish(self) -> None:
        """Waits for all.

        Raises
        ------
        RuntimeError : a worker's task failed, or the worker is gone, with what it said.
        """
        errors = [error for member in self._members if (error := member.wait())]
        if errors:
            raise RuntimeError(errors[0])

    def alive(self) -> int:
        return sum(member.process.is_alive() for member in self._members)

    def dismiss(self) -> None:
        if os.getpid() == self._owner:
            self.begin(_LEAVE)
            for member in self._members:
                member.leave()


class _Member:
    """A forked worker, seen from the first.

    It is called by event descriptors: what is written to a pipe or socket wakes the reader on the writer's own
    core, where it would wait. A pipe tells of errors, and, by its end, of a death.
    """

    def __init__(
        self,
        worker: Worker,
        tasks: Sequence[Task],
        order: npt.NDArray[np.int64],
        forked: Sequence[_Member],
    ) -> None:
        self.go, self.done = os.eventfd(0), os.eventfd(0)
        self.channel, theirs = multiprocessing.Pipe()
        self._poll = _poll(self.done, self.channel)
        inherited = [self.channel, *(member.channel for member in forked)]
        self.process = multiprocessing.get_context("fork").Process(
            target=_serve,
            args=(worker, tasks, order, self.go, self.done, theirs, inherited),
            daemon=True,
        )
        with warnings.catch_warnings():
            # Threads of other frameworks in this process are no danger: a worker never calls these.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process.start()
        theirs.close()

    def call(self) -> None:
        os.eventfd_write(self.go, 1)

    def wait(self) -> str | None:
        """Returns when the task is done, with the error if it failed."""
        error = None
        while self.done not in (ready := [descriptor for descriptor, _ in self._poll.poll()]):
            try:
                error = self.channel.recv()
            except (EOFError, OSError):
                return "a worker process of the NumPy backend has died"
        os.eventfd_read(self.done)
        return self.channel.recv() if len(ready) > 1 else error

    def leave(self) -> None:
        self.process.join()
        self.channel.close()
        os.close(self.go)
        os.close(self.done)


def _serve(
    worker: Worker,
    tasks: Sequence[Task],
    order: npt.NDArray[np.int64],
    go: int,
    done: int,
    channel: Connection,
    inherited: Sequence[Connection],
) -> None:
    # Ctrl-C is for the first process to act on, whose end closes the channel.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in inherited:
        other.close()
    poll = _poll(go, channel)
    with own_pace():
        while [descriptor for descriptor, _ in poll.poll()] == [go]:
            os.eventfd_read(go)
            number = int(order[0])
            if number == _LEAVE:
                return
            try:
                tasks[number](worker)
            except BaseException:
                channel.send(traceback.format_exc())
            os.eventfd_write(done, 1)


def _poll(event: int, channel: Connection) -> select.poll:
    poll = select.poll()
    poll.register(event, select.POLLIN)
    poll.register(channel.fileno(), select.POLLIN)
    return poll
