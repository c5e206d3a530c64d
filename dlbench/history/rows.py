"""What the history keeps of a record: who it is, and a row for each of its cases."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from dlbench.record.case import Case, values
from dlbench.record.collection import read_records
from dlbench.record.comparability import facts_of, facts_of_case, versions_of
from dlbench.record.door import moment
from dlbench.record.schema import Process, Record, Verification
from dlbench.text import one_line

if TYPE_CHECKING:
    from dlbench.analyse.outcomes import Outcome

Figure = Annotated[float, msgspec.Meta(gt=0, le=1e8)]
"""A time (s)."""
Bound = Annotated[float, msgspec.Meta(ge=0)]
"""One end of an interval (s), which is wide where it rests on two processes."""


@dataclasses.dataclass(frozen=True)
class Key:
    """What a series is about. Rows that differ in any of this are never put in one.

    Attributes
    ----------
    device_name : the device that was seen behind the name of the case's device, empty when unknown and on the CPU.
    facts : machine, data, workload and seed as `dlbench.compare` holds them against each other, as JSON.
    """

    case: Case
    device_name: str
    facts: str

    def __lt__(self, other: Key) -> bool:
        return self.order < other.order

    @property
    def order(self) -> tuple[Any, ...]:
        """By which series are put in order: cheaper to sort by than the key itself."""
        return (*values(self.case), self.device_name, self.facts)


@dataclasses.dataclass(frozen=True)
class Row:
    """One case of one record.

    Attributes
    ----------
    verified : as `dlbench.analyse.outcomes.Outcome.verified`.
    problem : why there is no figure; empty when there is one.
    disturbance : what disturbed the machine meanwhile; empty when nothing was seen to.
    processes_s : the median step of each process (s), empty without a figure.
    median_s, low_s, high_s : their median, with the 95 % interval that reports give.
    """

    version: str
    status: str
    verified: bool | None
    problem: str
    disturbance: str
    processes_s: tuple[Figure, ...]
    median_s: Figure | None
    low_s: Bound | None
    high_s: Bound | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A record as the history keeps it.

    Attributes
    ----------
    run : tells runs apart; the same for a record that was cut off and for what `--resume` made of it.
    digest : SHA-256 of its lines. lines : how many there are.
    name : the file's name, with ``#2`` behind it for the second record of several. created : when it was begun, UTC.
    versions : of packages, Python and kernel.
    """

    run: str
    digest: str
    lines: int
    name: str
    created: str
    versions: Mapping[str, str]
    rows: Mapping[Key, Row]


def read_entries(path: Path) -> Iterator[Entry]:
    """What is kept of each record in a file, in order.

    Raises
    ------
    DlbenchError : the file cannot be read, is no record, or holds one of another schema.
    """
    records = read_records(path)
    raw = _raw_lines(path)
    for number, record in enumerate(records, 1):
        name = path.name if len(records) == 1 else f"{path.name}#{number}"
        own = itertools.islice(raw, 1 + len(record.lines))
        yield _entry(name, record, _identity(record, own))


def _entry(name: str, record: Record, identity: tuple[str, str]) -> Entry:
    # of no use to those who only show a history, and slow to import
    from dlbench.analyse.outcomes import outcomes

    run, digest = identity
    header = record.header
    facts = facts_of(header)
    names = _device_names(record)
    rows = {
        Key(
            found.case,
            names.get(found.case.device, ""),
            json.dumps(facts | facts_of_case(header, found.case), ensure_ascii=False),
        ): _row(found)
        for found in outcomes(record)
    }
    return Entry(
        run=run,
        digest=digest,
        lines=1 + len(record.lines),
        name=name,
        created=moment(header.created).isoformat(timespec="seconds"),
        versions={"dlbench": header.dlbench} | versions_of(header),
        rows=rows,
    )


def _row(outcome: Outcome) -> Row:
    from dlbench.analyse.statistics import case_estimate, units

    times = tuple(units(outcome.timed.values()))
    estimate = case_estimate(times) if times else None
    interval = estimate.interval if estimate else None
    return Row(
        version=outcome.version,
        status=outcome.status,
        verified=outcome.verified,
        problem=outcome.problem,
        disturbance=one_line(outcome.disturbance) if outcome.disturbed else "",
        processes_s=times,
        median_s=estimate.value if estimate else None,
        low_s=interval.low if interval else None,
        high_s=interval.high if interval else None,
    )


def _device_names(record: Record) -> dict[str, str]:
    """What any process saw behind the name of a device; a case that failed may not have seen it itself."""
    found: dict[str, str] = {}
    for line in record.lines:
        if isinstance(line, Process | Verification) and not line.case.on_host:
            name = line.facts.get("device_name")
            if name:
                found.setdefault(line.case.device, one_line(str(name)))
    return found


def _identity(record: Record, raw: Iterator[bytes]) -> tuple[str, str]:
    """Digests of the run and of the record, given its lines as they are in the file: the first line with measured
    times tells runs apart that began in the same second, and stays when a record is gone on with."""
    measured = next(
        (i for i, line in enumerate(record.lines, 1) if isinstance(line, Verification | Process)), 0
    )
    run, whole = hashlib.sha256(), hashlib.sha256()
    for number, line in enumerate(raw):
        whole.update(line + b"\n")
        if number in (0, measured):
            run.update(line + b"\n")
    return run.hexdigest(), whole.hexdigest()


def _raw_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from (line.rstrip(b"\n") for line in file if line != b"\n")
