"""A slice of a GPU check: as many parts of the record as fit a time limit, beginning with what is missing.

A slice ends as Ctrl-C would end it: the runner closes the record's part, and at most the process that was being
measured is measured again. Parts are done one after the other, so only the last record of the file can be incomplete,
and resuming means appending.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Literal

from dlbench.errors import DlbenchError
from dlbench.execute import resume, runner, tasks
from dlbench.execute.events import Observer
from dlbench.record.collection import read_records
from dlbench.record.file import Writer, read_lines
from dlbench.record.schema import End, Machine, Record
from gpu_check.parts import Part, Planned

RESERVE_S = 15.0
"""Kept at the end of a slice: workers are ended, the table is written."""
LEAST_S = 20.0
"""With less than this left nothing is started: a framework would be imported for nothing."""
_NOBODY_IS_SO_QUICK_S = 0.5

Ended = Literal["complete", "limit"]


class Limit:
    """How long a slice may take.

    Parameters
    ----------
    seconds : None for no limit.
    reserve_s : kept at the end, for what must still be written then.
    clock : monotonic, in seconds.
    alarm : interrupts this process (KeyboardInterrupt) in so many seconds, 0 calling it off.
    """

    def __init__(
        self,
        seconds: float | None,
        clock: Callable[[], float] = time.monotonic,
        alarm: Callable[[float], None] | None = None,
        *,
        reserve_s: float = RESERVE_S,
    ) -> None:
        self._clock = clock
        self._alarm = alarm or _alarm
        self._end_s = math.inf if seconds is None else clock() + seconds - reserve_s

    @property
    def left_s(self) -> float:
        """Time left for work."""
        return self._end_s - self._clock()

    @property
    def is_over(self) -> bool:
        """Whether an interrupt now is this limit's; a timer may be early by its resolution."""
        return self.left_s < _NOBODY_IS_SO_QUICK_S

    @property
    def leaves_time(self) -> bool:
        """Whether there is time to start something."""
        return self.left_s >= LEAST_S

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Interrupts what runs within when the time is up."""
        if self._end_s == math.inf:
            yield
            return
        self._alarm(max(self.left_s, 1e-3))
        try:
            yield
        finally:
            self._alarm(0.0)


def carry_out(
    planned: Sequence[Planned],
    path: Path,
    limit: Limit,
    machine: Machine,
    observer: Observer,
) -> Ended:
    """Runs what the record of a plan lacks, until it is complete or the time is up.

    Parameters
    ----------
    path : the record; created if it is not there.
    machine : this one; the record must be of it.
    observer : receives progress.

    Raises
    ------
    UsageError, DataError : something has changed since the record was started, or a part cannot be run.
    KeyboardInterrupt : as it comes; what was measured is kept.
    """
    for each in planned:
        records = records_in(path)
        record = record_of(each.part, records)
        if record is not None and tasks.is_complete(record):
            continue
        if not limit.leaves_time:
            return "limit"
        _check_last(path, records, record)
        observer.message(each.part.label)
        try:
            with _appending(path) as writer, limit.kept():
                end = _run(each, record, writer, observer, machine)
            if end.status == "interrupted":
                raise KeyboardInterrupt
        except KeyboardInterrupt:
            if not limit.is_over:
                raise
            return "limit"
    return "complete"


def records_in(path: Path) -> tuple[Record, ...]:
    """The records of a file; none where it is not there, or was cut off before its first line was whole.

    Raises
    ------
    DlbenchError : it holds something else.
    """
    if not path.exists() or not any(True for _ in read_lines(path)):
        return ()
    return read_records(path)


def record_of(part: Part, records: Sequence[Record]) -> Record | None:
    """The record of a part; None where it is not started."""
    return next((record for record in records if part.is_of(record.header)), None)


def is_done(planned: Sequence[Planned], records: Sequence[Record]) -> bool:
    """Whether nothing remains for `carry_out`."""
    own = [record_of(each.part, records) for each in planned]
    return all(record is not None and tasks.is_complete(record) for record in own)


@dataclasses.dataclass(frozen=True)
class State:
    """How far a check is, in cases: `settled` need no further process, `missing` do."""

    settled: int
    missing: int


def state(planned: Sequence[Planned], records: Sequence[Record]) -> State:
    """How many cases of a plan are settled, and how many lack some or all of their rounds."""
    missing = 0
    for each in planned:
        record = record_of(each.part, records)
        missing += len(each.cases if record is None else tasks.missing(record))
    cases = sum(len(each.cases) for each in planned)
    return State(cases - missing, missing)


def _check_last(path: Path, records: Sequence[Record], record: Record | None) -> None:
    """Refuses to append behind an incomplete record."""
    for other in records:
        beside = record is None or other is not records[-1]
        if beside and not tasks.is_complete(other):
            raise DlbenchError(
                f"{path}: the run of {other.header.suite} is incomplete and cannot be resumed here;"
                " start a new file with --record FILE.jsonl"
            )


def _run(
    each: Planned, record: Record | None, writer: Writer, observer: Observer, machine: Machine
) -> End:
    if record is None:
        return runner.run(each.request, writer, observer)
    suite, cache_dir = each.request.suite, each.request.cache_dir
    request = resume.request_for(record, suite, machine, cache_dir)
    # as asked for now, not when the record was started
    request = dataclasses.replace(request, patience_s=each.request.patience_s)
    return runner.resume(request, record, writer, observer)


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[Writer]:
    writer = Writer(path, append=path.exists())
    try:
        yield writer
    finally:
        writer.close()
        if not path.stat().st_size:
            path.unlink()


def _alarm(seconds: float) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds)
