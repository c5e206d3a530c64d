"""What a step spends on each layer, by TensorFlow's own profiler.

Its host tracer has when each operation of a graph began and ended, under XLA each instruction of the program; `owners`
tells whose work they are. While those of several owners run at once, the time is that of none of them.
https://www.tensorflow.org/api_docs/python/tf/profiler/experimental
"""

from __future__ import annotations

import bisect
import collections
import contextlib
import functools
import importlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from dlbench.contract import Span, Track
from dlbench.errors import PlanRefused

from ..shared.stamps import Owner
from .owners import graph_owners, owner_of, program_owners

AT_ONCE = "several at once"
_STEP = "dlbench step "
_EVENTS, _PROGRAMS = (
    "tensorflow.tsl.profiler.protobuf.xplane_pb2",
    "tensorflow.compiler.xla.service.hlo_pb2",
)


class Watched:
    """A step's function, whose calls the profiler's events name, and whose work its operations are.

    Parameters
    ----------
    name : another for each function.
    function : a `tf.function`.
    layers : in the order of their numbers.
    compiled : whether XLA compiles it.
    """

    def __init__(self, name: str, function: Any, layers: Sequence[str], *, compiled: bool) -> None:
        self.mark, self.layers = _STEP + name, layers
        self._function, self._compiled = function, compiled
        self._owners: dict[str, Owner] = {}

    def __call__(self, *arguments: Any) -> Any:
        """A step. The first of a graph is asked for the graph that was carried out, which takes longer."""
        with tf.profiler.experimental.Trace(self.mark):
            if self._compiled or self._owners:
                return self._function(*arguments)
            context = importlib.import_module("tensorflow.python.eager.context").context()
            context.enable_run_metadata()
            # what a call left that ended by an exception
            context.export_run_metadata()
            try:
                result = self._function(*arguments)
                ran = context.export_run_metadata()
            finally:
                context.disable_run_metadata()
        carried_out = [node for part in ran.partition_graphs for node in part.node]
        traced = self._function.get_concrete_function(*arguments).graph.as_graph_def()
        self._owners = graph_owners(traced.node, carried_out, self.layers)
        return result

    def owner(self, event: _Event, programs: _Programs) -> Owner | None:
        """Whose work an event is; None where it is no operation of the step."""
        if self._compiled:
            return programs.owner(event, self.layers)
        return self._owners.get(event.name.rpartition(":")[0])


@contextlib.contextmanager
def observed(watched: Sequence[Watched]) -> Iterator[list[Span]]:
    """The spans of the steps within, when they are over.

    Raises
    ------
    PlanRefused : this TensorFlow has no reader of its profiles.
    """
    reader = _reader(_EVENTS).XSpace
    options = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=2, python_tracer_level=0, device_tracer_level=0
    )
    found: list[Span] = []
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options)
        try:
            yield found
        finally:
            tf.profiler.experimental.stop()
        for path in Path(folder).rglob("*.xplane.pb"):
            found += spans_of(reader.FromString(path.read_bytes()), watched)


def _reader(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise PlanRefused(f"TensorFlow {tf.__version__} has no reader of its profiles") from error


class Piece(NamedTuple):
    """Somebody's work from one moment to another (ps of the profiler's clock)."""

    begin: int
    end: int
    owner: Owner


def spans_of(space: Any, watched: Iterable[Watched]) -> list[Span]:
    """The spans of all steps in an XSpace."""
    events = [
        _Event(plane, line, event)
        for plane in space.planes
        for line in plane.lines
        for event in line.events
    ]
    by_mark = {each.mark: each for each in watched}
    steps = sorted((each for each in events if each.name in by_mark), key=lambda each: each.begin)
    begins = [step.begin for step in steps]
    pieces: list[list[Piece]] = [[] for _ in steps]
    programs = _Programs(space, events)
    for event in events:
        number = bisect.bisect_right(begins, event.begin) - 1
        if number < 0 or event.begin >= steps[number].end:
            continue
        owner = by_mark[steps[number].name].owner(event, programs)
        if owner is not None:
            end = min(programs.end(event), steps[number].end)
            pieces[number].append(Piece(event.begin, end, owner))
    return [
        _span(piece, step, begin)
        for step, (begin, own) in enumerate(zip(begins, pieces, strict=True))
        for piece in apart(own)
    ]


def apart(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of several threads as such that do not overlap: where several owners' do, it is nobody's."""
    running: collections.Counter[Owner] = collections.Counter()
    changes = [
        (moment, change, piece.owner)
        for piece in pieces
        for moment, change in ((piece.begin, 1), (piece.end, -1))
    ]
    at = 0
    for moment, change, owner in sorted(changes, key=lambda each: each[:2]):
        if running and moment > at:
            yield Piece(at, moment, _together(list(running)))
        at = moment
        running[owner] += change
        if not running[owner]:
            del running[owner]


def _together(owners: Sequence[Owner]) -> Owner:
    tracks: tuple[Track, ...] = ("forward", "backward", "update")
    first = owners[0]
    if all((each.layers, each.track) == (first.layers, first.track) for each in owners):
        return first
    return Owner((), max((each.track for each in owners), key=tracks.index), AT_ONCE)


def _span(piece: Piece, step: int, begin: int) -> Span:
    begins_ns, ends_ns = (round((moment - begin) / 1000) for moment in (piece.begin, piece.end))
    owner = piece.owner
    return Span(owner.layers, owner.track, owner.name, step, begins_ns, ends_ns - begins_ns)


class _Event:
    """An event of the host, with what its plane says of it; times in ps."""

    def __init__(self, plane: Any, line: Any, event: Any) -> None:
        self.name: str = plane.event_metadata[event.metadata_id].name
        self.begin: int = line.timestamp_ns * 1000 + event.offset_ps
        self.end: int = self.begin + event.duration_ps
        self._plane, self._event = plane, event

    @functools.cached_property
    def stats(self) -> dict[str, Any]:
        """What else is known of it, by name."""
        names = self._plane.stat_metadata
        return {names[stat.metadata_id].name: _value(stat, names) for stat in self._event.stats}


def _value(stat: Any, names: Any) -> Any:
    kind = stat.WhichOneof("value")
    value = getattr(stat, kind) if kind else None
    return names[value].name if kind == "ref_value" else value


class _Programs:
    """What XLA has compiled, as the profiler keeps it, and when instructions ended."""

    def __init__(self, space: Any, events: Iterable[_Event]) -> None:
        self._kept = {
            metadata.name: stat.bytes_value
            for plane in space.planes
            for metadata in plane.event_metadata.values()
            for stat in metadata.stats
            if plane.stat_metadata[stat.metadata_id].name == "Hlo Proto"
        }
        self._owners: dict[str, Mapping[str, Owner | None]] = {}
        # what is carried out by other threads begins with one event and ends with another
        self._ends = {
            (event.name.removeprefix("end: "), event.stats.get("_c")): event.end
            for event in events
            if self._kept and event.name.startswith("end: ")
        }

    def end(self, event: _Event) -> int:
        """When what began with an event was done (ps)."""
        if not self._ends:
            return event.end
        return max(event.end, self._ends.get((event.name, event.stats.get("_p")), 0))

    def owner(self, event: _Event, layers: Sequence[str]) -> Owner | None:
        """Whose work an instruction is; None where the event is none."""
        name = event.stats.get("hlo_op")
        if name is None:
            return None
        program = f"{event.stats.get('hlo_module')}({event.stats.get('program_id')})"
        if program not in self._owners:
            kept = self._kept.get(program)
            if kept is None:
                raise PlanRefused("TensorFlow's profiler has not kept the program that XLA made")
            module = _reader(_PROGRAMS).HloProto.FromString(kept).hlo_module
            self._owners[program] = program_owners(module, layers)
        unknown = owner_of((), layers, str(name))
        return self._owners[program].get(name, unknown)
