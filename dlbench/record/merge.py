"""Makes one record of several that are parts of the same work: shards of a run, or runs of it on several machines.

Merging is a union, so it may be done in any order, in steps, and again: what was merged before is taken apart first,
each part is told by who wrote it and when, and a round that was measured twice, since a shard was begun twice, is taken
from where most of it is there, and of equals from the earliest.

Files are read twice and never held: once for who has measured what, once for the lines that are kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from dlbench.errors import DlbenchError, UsageError
from dlbench.record import comparability
from dlbench.record.comparability import Difference, between
from dlbench.record.file import read_lines
from dlbench.record.schema import (
    SCHEMA,
    Case,
    Damaged,
    End,
    Header,
    Line,
    Part,
    Peak,
    Process,
    Telemetry,
    Wait,
)
from dlbench.record.shards import Shard, own_rounds


class Run(NamedTuple):
    """What is numbered in one row of rounds: all shards of a run, or one whole run, told by when and where it began."""

    of: int
    created: str = ""
    node: str = ""


class Item(NamedTuple):
    """A round of a batch size, of one run: what is measured in one place."""

    run: Run
    batch: int
    number: int


@dataclasses.dataclass
class Source:
    """One part: `path` is where its lines are, `place` which of the parts in that file.

    `cases` by item are those that were timed well, `ended` whether the part came to its end.
    """

    path: Path
    place: int
    header: Header
    part: Part
    cases: dict[Item, set[Case]] = dataclasses.field(default_factory=dict)
    ended: bool = False

    @property
    def order(self) -> tuple[str, str, int]:
        """By when it was begun, and where."""
        return self.part.created, self.part.node, self.part.shard.index if self.part.shard else 0

    @property
    def run(self) -> Run:
        """The run that it belongs to."""
        shard = self.part.shard
        return Run(shard.of) if shard else Run(0, self.part.created, self.part.node)


class Merged(NamedTuple):
    """What a merge comes to: its `lines`, how many `parts` and `nodes` it is of, the rounds that no part has measured
    by batch size, how many were there more than once, and the files in which nothing was written."""

    lines: Iterator[Line]
    parts: int
    nodes: int
    lacking: dict[int, int]
    twice: int
    empty: tuple[Path, ...]


def merge(paths: Sequence[Path]) -> Merged:
    """Merges the records of these files, of which each holds one.

    Raises
    ------
    UsageError : they are not of the same work; the message names the fields and both values.
    DlbenchError : a file cannot be read, or holds no record.
    """
    sources: dict[tuple[str, str, int], Source] = {}
    empty = []
    for path in dict.fromkeys(paths):
        found = list(_sources(path))
        empty += [] if found else [path]
        for source in found:
            # the same part may have come by several ways
            sources.setdefault(source.order, source)
    parts = [sources[order] for order in sorted(sources)]
    if not parts:
        raise UsageError("nothing was written in any of these records")
    for part in parts[1:]:
        _refuse_unlike(parts[0], part)
    taken = _taken(parts)
    twice = sum(len(part.cases) for part in parts) - len(taken)
    kept = [part for part in parts if not part.cases or part in taken.values()]
    offsets = _offsets(kept)
    header = _header(kept, sum(_length(kept, run) for run in offsets))
    lines = _lines(header, kept, taken, offsets)
    nodes = len({part.part.node for part in kept})
    return Merged(lines, len(kept), nodes, _lacking(kept, taken), twice, tuple(empty))


def _sources(path: Path) -> Iterator[Source]:
    """The parts of a file: itself, or those that were merged into it; none of a run that was killed before its first
    line."""
    header: Header | None = None
    source: Source | None = None
    for line in read_lines(path):
        if isinstance(line, Header):
            if header is not None:
                raise DlbenchError(f"{path}: holds several records; merge takes files of one")
            if line.schema != SCHEMA:
                raise DlbenchError(f"{path}: has schema {line.schema}, not {SCHEMA}")
            header = line
        elif header is None:
            raise DlbenchError(f"{path}: not a dlbench record: its first line is no header")
        elif isinstance(line, Part):
            if source is not None:
                yield source
            source = Source(path, 0 if source is None else source.place + 1, header, line)
        else:
            source = source or Source(path, -1, header, _whole(header))
            _take(source, line)
    if header is not None:
        yield source or Source(path, -1, header, _whole(header))


def _whole(header: Header) -> Part:
    return Part(header.node, header.created, header.machine, header.shard, rounds=header.rounds)


def _take(source: Source, line: Line) -> None:
    source.ended = isinstance(line, End) and line.status == "complete"
    if isinstance(line, Damaged):
        raise DlbenchError(
            f"{source.path}, line {line.number}: cannot be read: a damaged record is not merged"
        )
    if isinstance(line, Process):
        item = _item(source, line.case.batch, line.round)
        own = source.cases.setdefault(item, set())
        if line.status == "ok":
            own.add(line.case)


def _item(source: Source, batch: int, number: int) -> Item:
    return Item(source.run, batch, number - source.part.rounds_before)


def _refuse_unlike(one: Source, other: Source) -> None:
    """Refuses parts that are not of the same work.

    Raises
    ------
    UsageError : with everything in which they differ.
    """
    first, second = one.header, other.header
    found: list[Difference] = [
        *between("dlbench", first.dlbench, second.dlbench),
        *comparability.unlike(
            msgspec.structs.replace(first, machine=one.part.machine),
            msgspec.structs.replace(second, machine=other.part.machine),
        ),
        *comparability.differing(
            comparability.versions_of(first), comparability.versions_of(second)
        ),
        *between("the time for each row", first.row_budget_s, second.row_budget_s),
        *between("the load", first.load, second.load),
        *between("the precision", _precisions(first), _precisions(second)),
    ]
    if one.part.shard and other.part.shard and one.part.shard.of == other.part.shard.of:
        found += between("the number of rounds", one.part.rounds, other.part.rounds)
        found += between(
            "the batch sizes of the run", one.part.shard.batches, other.part.shard.batches
        )
    if found:
        names = str(one.path), str(other.path)
        told = "; ".join(dict.fromkeys(each.between(*names) for each in found))
        raise UsageError(f"not the same work: {told}; to see them side by side: dlbench report")


def _precisions(header: Header) -> tuple[str, ...]:
    return tuple(sorted({case.precision for case in header.cases}))


def _taken(parts: Sequence[Source]) -> dict[Item, Source]:
    """Of each round, the part that it is taken from."""
    taken: dict[Item, Source] = {}
    for part in parts:
        for item, cases in part.cases.items():
            if item not in taken or len(cases) > len(taken[item].cases[item]):
                taken[item] = part
    return taken


def _length(parts: Sequence[Source], run: Run) -> int:
    """How many rounds a run has, also those beyond its plan that made an interval narrower."""
    own = [part for part in parts if part.run == run]
    measured = [item.number for part in own for item in part.cases]
    return max([*measured, *(source.part.rounds for source in own)], default=0)


def _offsets(parts: Sequence[Source]) -> dict[Run, int]:
    """What is added to the rounds of each run."""
    found, offset = {}, 0
    for run in sorted({part.run for part in parts}):
        found[run] = offset
        offset += _length(parts, run)
    return found


def _header(parts: Sequence[Source], rounds: int) -> Header:
    headers = [part.header for part in parts]
    batches = dict.fromkeys(
        batch for part in parts if part.part.shard for batch in part.part.shard.batches
    )
    cases = list(dict.fromkeys(case for header in headers for case in header.cases))
    order = list(batches) or list(dict.fromkeys(case.batch for case in cases))
    cases.sort(key=lambda case: order.index(case.batch) if case.batch in order else len(order))
    return msgspec.structs.replace(
        headers[0],
        created=parts[0].part.created,
        machine=parts[0].part.machine,
        cases=tuple(cases),
        rounds=rounds,
        budget_s=(headers[0].row_budget_s or 0.0) * len(cases),
        shard=None,
        node="",
    )


def _lines(
    header: Header,
    parts: Sequence[Source],
    taken: dict[Item, Source],
    offsets: dict[Run, int],
) -> Iterator[Line]:
    yield header
    for source in parts:
        offset = offsets[source.run]
        yield msgspec.structs.replace(source.part, rounds_before=offset)
        shift = offset - source.part.rounds_before
        for line in _own(source):
            if isinstance(line, Process | Telemetry | Wait):
                if taken.get(_item(source, line.case.batch, line.round)) is not source:
                    continue
                line = msgspec.structs.replace(line, round=line.round + shift)
            elif isinstance(line, Peak) and line.round:
                line = msgspec.structs.replace(line, round=line.round + shift)
            yield line


def _own(source: Source) -> Iterator[Line]:
    """The lines of a part, read from its file."""
    place = -1
    for line in read_lines(source.path):
        if isinstance(line, Part):
            place += 1
        elif place == source.place and not isinstance(line, Header):
            yield line


def _lacking(parts: Sequence[Source], taken: dict[Item, Source]) -> dict[int, int]:
    """By batch size, how many rounds of sharded runs are in no part."""
    found: dict[int, int] = {}
    for run in {part.run: part for part in parts if part.part.shard}.values():
        shard = run.part.shard
        assert isinstance(shard, Shard)
        rounds = _length(parts, run.run)
        for batch in shard.batches:
            there = {item.number for item in taken if item.run == run.run and item.batch == batch}
            if lacking := rounds - len(there & set(own_rounds(None, batch, rounds))):
                found[batch] = found.get(batch, 0) + lacking
    return found


def write(lines: Iterable[Line], path: Path) -> None:
    """Writes lines into a new file, which appears when it is whole.

    Raises
    ------
    OSError : it cannot be written; FileExistsError, it is there.
    """
    encoder = msgspec.json.Encoder()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.part")
    try:
        with beside.open("xb") as file:
            for line in lines:
                file.write(encoder.encode(line) + b"\n")
        # a hard link, unlike a renaming, takes nobody's place
        path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
