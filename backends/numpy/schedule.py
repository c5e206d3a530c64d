"""A training step or an inference as a list of steps over values, and the memory those values live in.

Layers append their steps while the network is built, forward and then backward. Everything else follows
from the list. Consecutive steps form a *segment*, which every worker runs chunk by chunk while the chunk
is in its cache; a segment ends where something of the whole batch is needed, such as the statistics
of batch normalisation. A value that is made and used inside one segment lives in a few buffers of the
worker; one that crosses to another segment is stored for the whole batch, where all workers see it.
For each chunk a step is bound once to its arrays, as a flat list of NumPy calls: running it costs nothing else.
Only the steps that read the batch are bound once for each memory that a batch lies in.

Images are stored N×H×W×C. Steps see a chunk as H×n×W×C: there, the n images' rows that a kernel row
meets are one contiguous matrix.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..shared.lent import Lent
from ..shared.stamps import NOBODY, Owned, Owner, Watch, stamped
from .workers import CHUNK_BYTES, Chunk, Team, Worker

AnyArray = npt.NDArray[Any]
Calls = Iterator[tuple[Any, ...]]
"""Functions, each with its arguments behind it."""
Call = tuple[Any, list[Any]]
"""A function and its arguments."""


class Value:
    """An array with one entry an image: H×W×C or features. It lives in `store`, the memory of the whole
    batch (N×elements), or in each worker's buffer number `slot`.

    In a store, images of one shard lie as they do in a chunk, H×n×W×C: a chunk's part of it is read in
    long runs, which the processor fetches ahead.
    """

    def __init__(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.size = math.prod(shape)
        self.bytes = self.size * self.dtype.itemsize
        self.canonical: tuple[int, int, int] | None = None
        """C×H×W where these features are an image in the order H×W×C."""
        self.slot: int | None = None
        self.store: AnyArray | None = None

    def view(self, chunk: Chunk) -> AnyArray:
        """The chunk's part: H×n×W×C, or n×features."""
        if self.store is None:
            # No more than half of what a step touches, since it also reads something.
            shape, least = self._shape(chunk.size), CHUNK_BYTES // 2
            return chunk.worker.buffer(self.slot, shape, self.dtype, least)
        if len(self.shape) == 1:
            return self.store[chunk.start : chunk.stop]
        start, stop = chunk.shard
        shard = self.store[start:stop].reshape(self._shape(stop - start))
        return shard[:, chunk.start - start : chunk.stop - start]

    def _shape(self, images: int) -> tuple[int, ...]:
        shape = self.shape
        return (shape[0], images, *shape[1:]) if len(shape) == 3 else (images, *shape)


class Resident(Value):
    """The inputs of the batch that a step reads, of several that each have a store of their own."""

    def __init__(self, shape: tuple[int, ...], team: Team) -> None:
        super().__init__(shape)
        self._stores: list[AnyArray] = []
        self._spare: list[int] = []
        self._chosen = team.shared((1,), np.int64)

    def put(self, inputs: AnyArray, team: Team) -> Lent[int]:
        """The number of a store that holds a copy of `inputs` (N×C×H×W or N×F), until nobody holds the number."""
        if not self._spare:
            # As many again, since workers are forked anew for them.
            count = len(self._stores)
            self._stores += [team.shared((team.batch, self.size)) for _ in range(count or 1)]
            self._spare += range(count, len(self._stores))
        lent = Lent(self._spare.pop(), self._spare)
        self.store = self._stores[lent.thing]
        for shard in team.shards:
            images = inputs[slice(*shard)]
            view = self.view(Chunk(team.workers[0], *shard, shard))
            view[...] = images.transpose(2, 0, 3, 1) if images.ndim == 4 else images
        return lent

    def choose(self, number: int) -> None:
        """Has the next run, in all workers, read the store of that number."""
        self._chosen[0] = number
        self.follow()

    def follow(self) -> int:
        """Takes over in this worker what was chosen in the first."""
        number = int(self._chosen[0])
        self.store = self._stores[number]
        return number


class Scope(enum.Enum):
    """Who runs a step, on what."""

    CHUNKS = enum.auto()
    """Every worker, on its images, chunk by chunk."""
    PARTS = enum.auto()
    """Every worker, on the whole batch, for a part of the work that it takes by its number."""
    ONCE = enum.auto()
    """The first worker alone, on the whole batch."""


@dataclasses.dataclass(frozen=True)
class Step:
    """`calls(chunk, *reads, *writes)` gives the calls that do it; None stands for an array that is not there.

    `settle` is called in the first worker when all have finished the step's segment, which it ends.
    `workspace_bytes` is what it touches besides, an image; with fewer than `least_images` at a time it would not be
    worth its beginning.
    """

    calls: Callable[..., Calls]
    reads: tuple[Value | None, ...]
    writes: tuple[Value | None, ...]
    scope: Scope = Scope.CHUNKS
    settle: Callable[[], None] | None = None
    workspace_bytes: int = 0
    least_images: int = 1
    in_place: bool = False
    again: bool = False
    """Whether a later segment is to do it again instead of reading what it made from a store."""
    owner: Owner = NOBODY

    @property
    def values(self) -> list[Value]:
        """All values it touches."""
        return [v for v in (*self.reads, *self.writes) if v is not None]


class Program:
    """Steps to be recorded, then `prepare`d once, then run any number of times."""

    def __init__(self, team: Team, training: bool, stores: list[AnyArray]) -> None:
        self.team = team
        self._stores = stores
        """Memory that is free between runs, common to the programs of a session."""
        self.training = training
        self.steps: list[Step] = []
        self._starts: list[tuple[Owner, Callable[[], None]]] = []
        self.owner = NOBODY
        """Whose work the steps are that are added."""
        self.watch = Watch()
        """Where a run leaves stamps, while steps are observed."""
        self._segments: list[Callable[[], None]] = []

    def add(
        self,
        calls: Callable[..., Calls],
        reads: Sequence[Value | None],
        writes: Sequence[Value | None],
        **options: Any,
    ) -> None:
        """Records a step; the options are the other fields of `Step`."""
        self.steps.append(Step(calls, tuple(reads), tuple(writes), owner=self.owner, **options))

    def at_start(self, call: Callable[[], None]) -> None:
        """Has something called in the first worker before each run."""
        self._starts.append((self.owner, call))

    @contextlib.contextmanager
    def owned(self, owner: Owner) -> Iterator[None]:
        """Steps that are added within are somebody's work."""
        outer, self.owner = self.owner, owner
        try:
            yield
        finally:
            self.owner = outer

    def prepare(self, stored: Sequence[Value]) -> None:
        """Cuts the steps into segments and gives every value its memory; `stored` values outlive the run."""
        segments = _done_again(_segments(self.steps))
        crossing = _crossing(segments, stored)
        _give_stores(segments, crossing, stored, self.team, self._stores)
        for segment in segments:
            _give_slots(segment, crossing)
            self._segments.append(self._bind(segment))

    def _bind(self, segment: list[Step]) -> Callable[[], None]:
        """A call that runs the segment."""
        # work refers neither to the program nor to the team, which hold it: a dropped session is gone at once
        team, watch, first = self.team, self.watch, self.team.workers[0]
        scope, settle = segment[0].scope, segment[-1].settle
        bytes_per_image = max(sum(v.bytes for v in s.values) + s.workspace_bytes for s in segment)
        least = max(step.least_images for step in segment)
        residents = [v for step in segment for v in step.reads if isinstance(v, Resident)]
        bound: dict[tuple[Worker, int], list[Call]] = {}
        with_stamps: dict[tuple[Worker, int], list[Call]] = {}
        binders: dict[Worker, list[Callable[[], list[Owned]]]] = {}

        def work(worker: Worker) -> None:
            key = worker, residents[0].follow() if residents else 0
            if key not in bound:
                # In the worker itself: nobody else has to keep it.
                if worker not in binders:
                    shared = scope is Scope.CHUNKS
                    chunks = worker.chunks(bytes_per_image, least) if shared else [worker.whole()]
                    binders[worker] = [_binder(segment, chunk) for chunk in chunks]
                owned = [each for bind in binders[worker] for each in bind()]
                bound[key] = [call for _, call in owned]
                if worker is first:
                    with_stamps[key] = list(stamped(owned, watch.mark))
            observed = watch.stamps is not None and key in with_stamps
            for function, arguments in (with_stamps if observed else bound)[key]:
                function(*arguments)

        alone = functools.partial(work, first)
        everyone = alone if scope is Scope.ONCE else functools.partial(team.run, team.task(work))

        def run() -> None:
            everyone()
            if settle is not None:
                watch.mark(segment[-1].owner)
                settle()
            watch.mark(None)

        return run

    def run(self) -> None:
        """Executes all steps once."""
        for owner, start in self._starts:
            self.watch.mark(owner)
            start()
        self.watch.mark(None)
        for segment in self._segments:
            segment()


def _binder(segment: list[Step], chunk: Chunk) -> Callable[[], list[Owned]]:
    """What gives the calls that run the steps on one chunk, with the batch as it is chosen then. All other views are
    made once, so that all agree where a value is."""
    views = {value: value.view(chunk) for step in segment for value in step.values}
    residents = [value for value in views if isinstance(value, Resident)]

    def bound(step: Step) -> list[Owned]:
        arrays = (v and views[v] for v in (*step.reads, *step.writes))
        calls = step.calls(chunk, *arrays)
        return [(step.owner, (function, arguments)) for function, *arguments in calls]

    fixed = {step: bound(step) for step in segment if not {*residents} & {*step.reads}}

    def bind() -> list[Owned]:
        views.update((value, value.view(chunk)) for value in residents)
        return [c for step in segment for c in (fixed[step] if step in fixed else bound(step))]

    return bind


def _segments(steps: list[Step]) -> list[list[Step]]:
    segments: list[list[Step]] = []
    for step in steps:
        last = segments[-1][-1] if segments else None
        if last is None or last.settle is not None or last.scope is not step.scope:
            segments.append([])
        segments[-1].append(step)
    return segments


def _done_again(segments: list[list[Step]]) -> list[list[Step]]:
    """The segments, with the steps in front that each of them does again."""
    makers = {v: step for segment in segments for step in segment for v in step.writes}
    return [_with_doubles(segment, makers) for segment in segments]


def _with_doubles(segment: list[Step], makers: dict[Value | None, Step]) -> list[Step]:
    own = {v for step in segment for v in step.writes}
    doubles: dict[Value | None, Value] = {}
    added: list[Step] = []

    def on_doubles(step: Step) -> Step:
        for value in step.reads:
            maker = makers.get(value)
            if maker is not None and maker.again and value not in own and value not in doubles:
                again = on_doubles(maker)
                doubles.update({v: Value(v.shape, v.dtype) for v in maker.writes if v is not None})
                writes = tuple(doubles.get(v) for v in maker.writes)
                owner = dataclasses.replace(maker.owner, track=step.owner.track)
                added.append(dataclasses.replace(again, writes=writes, owner=owner))
        return dataclasses.replace(step, reads=tuple(doubles.get(v, v) for v in step.reads))

    rest = [on_doubles(step) for step in segment]
    return added + rest


def _crossing(segments: list[list[Step]], stored: Sequence[Value]) -> set[Value]:
    """The values that are touched in more than one segment, or by a step on the whole batch."""
    homes: dict[Value, int] = {}
    crossing = set(stored)
    for index, segment in enumerate(segments):
        for step in segment:
            for value in step.values:
                if step.scope is not Scope.CHUNKS or homes.setdefault(value, index) != index:
                    crossing.add(value)
    return crossing


def _give_stores(
    segments: list[list[Step]],
    crossing: set[Value],
    stored: Sequence[Value],
    team: Team,
    free: list[AnyArray],
) -> None:
    """Memory for the whole batch, taken over from values that nobody touches any more."""
    last_use = {v: step for segment in segments for step in segment for v in step.values}
    held: dict[Value, AnyArray] = {}
    for segment in segments:
        ended: dict[Value, AnyArray] = {}
        for step in segment:
            ending = [v for v in step.reads if v in held and last_use[v] is step]
            if step.in_place:
                ended |= {v: held.pop(v) for v in ending}
            for value in [v for v in step.writes if v in crossing and v.store is None]:
                size = value.bytes * team.batch
                # In the same segment from one of the same shape, whose part each chunk has done with.
                same = [v for v in ended if (v.shape, v.dtype) == (value.shape, value.dtype)]
                if value is not step.writes[0]:
                    # what is written beside the result is written while the input is still read
                    same = [v for v in same if v not in ending]
                taken = same and step.scope is Scope.CHUNKS
                memory = ended.pop(same[0]) if taken else _take(free, size, team)
                value.store = memory[:size].view(value.dtype).reshape(team.batch, value.size)
                if value not in stored:
                    held[value] = memory
            ended |= {v: held.pop(v) for v in ending if v in held}
        free += ended.values()
    # What is written and never read.
    free += held.values()


def _take(free: list[AnyArray], size: int, team: Team) -> AnyArray:
    fitting = [memory for memory in free if memory.nbytes >= size]
    if not fitting:
        return team.shared((size,), np.uint8)
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
            and made[0] is step.writes[0]
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
