"""A training step or an inference as a list of steps over values, and the memory those values live in.

Layers append their steps while the network is built, forward and then backward. Everything else follows
from the list. Consecutive steps form a *segment*, which every worker runs chunk by chunk while the chunk
is in its cache; a segment ends where something of the whole batch is needed, such as the statistics
of batch normalisation. A value that is made and used inside one segment lives in a few buffers of the
worker; one that crosses to another segment is stored for the whole batch.

Images are stored N×H×W×C. Steps see a chunk as H×n×W×C: there, the n images' rows that a kernel row
meets are one contiguous matrix.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .numpy_team import Chunk, Team, Worker, aligned

AnyArray = npt.NDArray[Any]
Run = Callable[..., None]


class Value:
    """An array with one entry an image: H×W×C or features. `slot` is where a worker keeps it, or None."""

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.size = math.prod(shape)
        self.bytes = self.size * self.dtype.itemsize
        self.canonical: tuple[int, int, int] | None = None
        """C×H×W where these features are an image in the order H×W×C."""
        self.given = False
        """Whether each run brings its own `store`."""
        self.slot: int | None = None
        self.store: AnyArray | None = None

    def view(self, chunk: Chunk) -> AnyArray:
        """The chunk's part: H×n×W×C, or n×features."""
        if self.store is None:
            shape = self.shape
            whole = (shape[0], chunk.size, *shape[1:]) if len(shape) == 3 else (chunk.size, *shape)
            return chunk.worker.buffer(self.slot, whole, self.dtype)
        part = self.store[chunk.start : chunk.stop]
        return part.transpose(1, 0, 2, 3) if part.ndim == 4 else part


@dataclasses.dataclass(frozen=True)
class Step:
    """`run(chunk, *reads, *writes)`. None stands for an array that is not there.

    `whole` steps run once, in the calling thread, on the whole batch. `settle` is called when all
    workers have finished the step's segment, which it ends. `workspace_bytes` is what it touches besides, an image.
    """

    run: Run
    reads: tuple[Value | None, ...]
    writes: tuple[Value | None, ...]
    whole: bool = False
    settle: Callable[[], None] | None = None
    workspace_bytes: int = 0
    in_place: bool = False

    @property
    def values(self) -> list[Value]:
        """All values it touches."""
        return [v for v in (*self.reads, *self.writes) if v is not None]


class Program:
    """Steps to be recorded, then `prepare`d once, then run any number of times."""

    def __init__(self, team: Team, training: bool) -> None:
        self.team = team
        self.training = training
        self.steps: list[Step] = []
        self.starts: list[Callable[[], None]] = []
        """Called before each run, in the calling thread."""
        self._segments: list[list[Step]] = []
        self._chunks: list[list[list[_Chunk]]] = []

    def add(
        self,
        run: Run,
        reads: Sequence[Value | None],
        writes: Sequence[Value | None],
        **options: Any,
    ) -> None:
        """Records a step; the options are the other fields of `Step`."""
        self.steps.append(Step(run, tuple(reads), tuple(writes), **options))

    def prepare(self, stored: Sequence[Value]) -> None:
        """Cuts the steps into segments and gives every value its memory; `stored` values outlive the run."""
        team = self.team
        self._segments = _segments(self.steps)
        crossing = _crossing(self._segments, stored)
        _give_stores(self._segments, crossing, stored, self.team.batch)
        for segment in self._segments:
            _give_slots(segment, crossing)
            if segment[0].whole:
                self._chunks.append([[_Chunk(segment, team.whole)]])
                continue
            bytes_per_image = max(
                sum(v.bytes for v in s.values) + s.workspace_bytes for s in segment
            )
            chunks = [team.chunks(worker, bytes_per_image) for worker in team.workers]
            self._chunks.append([[_Chunk(segment, chunk) for chunk in mine] for mine in chunks])

    def run(self) -> None:
        """Executes all steps once."""
        for start in self.starts:
            start()
        for segment, chunks in zip(self._segments, self._chunks, strict=True):
            if segment[0].whole:
                chunks[0][0].run()
                continue

            def task(worker: Worker, chunks: list[list[_Chunk]] = chunks) -> None:
                for chunk in chunks[worker.index]:
                    chunk.run()

            self.team.run(task)
            settle = segment[-1].settle
            if settle is not None:
                settle()


class _Chunk:
    """A segment's steps bound to one chunk: what `_run` calls, with all views made once."""

    def __init__(self, segment: list[Step], chunk: Chunk) -> None:
        self.chunk = chunk
        # Each value's view is made once, so that all steps agree where it is. What the caller provides
        # for each run, its batch, is looked up then.
        views = {v: v if v.given else v.view(chunk) for step in segment for v in step.values}
        self.calls: list[tuple[Run, list[Any], bool]] = []
        for step in segment:
            values = [v if v is None else views[v] for v in (*step.reads, *step.writes)]
            self.calls.append((step.run, values, any(v.given for v in step.values)))

    def run(self) -> None:
        """Executes the steps."""
        for run, values, given in self.calls:
            if given:
                values = [v.view(self.chunk) if isinstance(v, Value) else v for v in values]
            run(self.chunk, *values)


def _segments(steps: list[Step]) -> list[list[Step]]:
    segments: list[list[Step]] = []
    for step in steps:
        last = segments[-1][-1] if segments else None
        if last is None or last.settle is not None or last.whole != step.whole:
            segments.append([])
        segments[-1].append(step)
    return segments


def _crossing(segments: list[list[Step]], stored: Sequence[Value]) -> set[Value]:
    """The values that are touched in more than one segment, or by a step on the whole batch."""
    homes: dict[Value, int] = {}
    crossing = set(stored)
    for index, segment in enumerate(segments):
        for step in segment:
            for value in step.values:
                if step.whole or homes.setdefault(value, index) != index:
                    crossing.add(value)
    return crossing


def _give_stores(
    segments: list[list[Step]], crossing: set[Value], stored: Sequence[Value], batch: int
) -> None:
    """Memory for the whole batch, taken over from values that no later segment touches."""
    last_use = {v: i for i, segment in enumerate(segments) for step in segment for v in step.values}
    free: list[AnyArray] = []
    held: dict[Value, AnyArray] = {}
    for index, segment in enumerate(segments):
        for value in (v for step in segment for v in step.writes if v is not None):
            if value in crossing and value not in held:
                held[value] = memory = _take(free, value.bytes * batch)
                flat = memory[: value.bytes * batch].view(value.dtype)
                value.store = flat.reshape(batch, *value.shape)
        for value in [v for v in held if last_use[v] == index and v not in stored]:
            free.append(held[value])
            last_use[value] = -1


def _take(free: list[AnyArray], size: int) -> AnyArray:
    fitting = [memory for memory in free if memory.nbytes >= size]
    if not fitting:
        return aligned(size, np.uint8)
    best = min(fitting, key=lambda memory: memory.nbytes)
    free[:] = [memory for memory in free if memory is not best]
    return best


def _give_slots(segment: list[Step], crossing: set[Value]) -> None:
    """Numbers of the workers' buffers, as few as the values that live at the same time need."""
    last_use = {v: i for i, step in enumerate(segment) for v in step.values}
    free: list[int | None] = []
    count = 0
    for index, step in enumerate(segment):
        made = [v for v in step.writes if v is not None and v not in crossing]
        ending = [v for v in step.values if v not in crossing and last_use[v] == index]
        # Element-wise steps may write over what nobody reads again: half the cache traffic.
        if (
            step.in_place
            and made
            and (first := step.reads[0]) in ending
            and first.bytes == made[0].bytes
        ):
            free.append(first.slot)
            ending = [v for v in ending if v is not first]
        for value in made:
            if not free:
                free, count = [count], count + 1
            value.slot = free.pop()
        free += [v.slot for v in dict.fromkeys(ending) if v.slot is not None]
