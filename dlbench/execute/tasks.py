"""What a run has to find out, task by task: what a record still lacks is what was planned less what is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from dlbench.analyse.disturbance import judge, watched
from dlbench.analyse.statistics import process_summary
from dlbench.execute.scheduler import Medians, first, needed
from dlbench.record.schema import (
    Case,
    Configuration,
    Header,
    Line,
    Peak,
    Process,
    Record,
    Skip,
    Training,
    Verification,
)


class Task(NamedTuple):
    """One thing to find out: the kind of line that tells it, what that is about, and in which round."""

    line: type[Line]
    about: Case | Configuration | int
    round: int = 0


def planned(case: Case, rounds: int, epochs: int) -> Iterator[Task]:
    """What there is to find out about a case."""
    yield Task(Verification, case.configuration)
    for number in range(1, rounds + 1):
        yield Task(Process, case, number)
    if epochs and case.scenario == "train":
        yield Task(Training, case)


def told(line: Line) -> Task | None:
    """What a line of a record tells; None for what is no task of its own."""
    match line:
        case Verification():
            return Task(Verification, line.case.configuration)
        case Process():
            return Task(Process, line.case, line.round)
        case Training():
            return Task(Training, line.case)
        case Peak():
            return Task(Peak, line.threads)
    return None


@dataclasses.dataclass(frozen=True)
class Held:
    """What an earlier part of a run has found out.

    Attributes
    ----------
    tasks : what its lines tell.
    out : cases of which no more is to be learned, and configurations: they cannot run, or have gone wrong.
    null_timing_ns : what a timing costs, None where that is not in it.
    medians_s : the medians of the processes that count.
    """

    tasks: frozenset[Task] = frozenset()
    out: frozenset[Case | Configuration] = frozenset()
    null_timing_ns: float | None = None
    medians_s: Medians = dataclasses.field(default_factory=dict)

    def is_out(self, case: Case) -> bool:
        """Whether nothing more is to be learned about a case."""
        return case in self.out or case.configuration in self.out

    def beyond(self, rounds: int) -> int:
        """How many processes were measured on top of so many rounds, to narrow intervals."""
        return sum(task.line is Process and task.round > rounds for task in self.tasks)


def held_by(record: Record) -> Held:
    """What a record holds."""
    out: set[Case | Configuration] = set()
    for line in record.lines:
        match line:
            case Skip():
                out.add(line.case)
            case Verification(status=status) if status != "ok":
                out.add(line.case.configuration)
            case Process(status=status) if status != "ok":
                out.add(line.case)
    return Held(
        tasks=frozenset(task for task in map(told, record.lines) if task),
        out=frozenset(out),
        null_timing_ns=record.null_timing_ns,
        medians_s=_medians_s(record),
    )


def missing(record: Record) -> tuple[Case, ...]:
    """The cases of which something is missing, in the record's order."""
    held, header = held_by(record), record.header
    going = [case for case in header.cases if not held.is_out(case)]
    more = _narrowing(going, held, header)
    return tuple(
        case
        for case in going
        if case in more or not held.tasks.issuperset(planned(case, header.rounds, header.epochs))
    )


def is_complete(record: Record) -> bool:
    """Whether a record lacks nothing, its last line included."""
    end = record.end
    return end is not None and end.status == "complete" and not missing(record)


def _narrowing(cases: list[Case], held: Held, header: Header) -> set[Case]:
    """The cases whose intervals further processes are to narrow."""
    target, rounds = header.target_interval, header.rounds
    if target is None or not rounds or held.beyond(rounds) >= len(cases) * rounds:
        return set()
    medians = {case: held.medians_s.get(case, {}) for case in cases}
    return {c for c, of in medians.items() if len(of) < needed(first(of, rounds), target)}


def _medians_s(record: Record) -> dict[Case, dict[int, float]]:
    timed: dict[Case, list[Process]] = {}
    for line in record.lines:
        if isinstance(line, Process) and line.status == "ok" and line.timings_ns:
            timed.setdefault(line.case, []).append(line)
    seen = watched(record)
    return {
        case: {p.round: process_summary(p.timings_ns) for p in judge(processes, seen).kept}
        for case, processes in timed.items()
    }
