"""What a run has to find out, task by task: what a record still lacks is what was planned less what is there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from dlbench.analyse.disturbance import judge, watched
from dlbench.analyse.modes.trials import chosen_of, tried_of
from dlbench.analyse.speedup import baseline_or_none
from dlbench.execute.scheduler import Processes, by_batch, rounds_wanted
from dlbench.record.baseline import plain_of
from dlbench.record.schema import (
    Answers,
    Case,
    Configuration,
    Header,
    Line,
    Peak,
    Process,
    Profile,
    Record,
    Skip,
    Training,
    Trial,
    Verification,
)
from dlbench.record.shards import own_rounds
from dlbench.record.sharing import verified_alone, verifying


class Task(NamedTuple):
    """One thing to find out: the kind of line that tells it, what that is about, and in which round, or of a training
    to a target from which seed."""

    line: type[Line]
    about: Case | Configuration | int
    round: int = 0


def weights_for(case: Case, beside: Sequence[Case]) -> Case | None:
    """Whose training's weights a case is to answer the test part at: that of its own backend in float32, or the first
    in float32 at its batch size. None for one that does not infer in a short precision, and where nothing is trained.
    """
    if case.scenario != "infer" or case.is_plain:
        return None
    trains = [
        each
        for each in beside
        if each.scenario == "train" and each.batch == case.batch and each.is_plain and each.learns
    ]
    own = plain_of(msgspec.structs.replace(case, scenario="train"), trains)
    return own or next(iter(trains), None)


def seeds_of(case: Case, header_seed: int, seeds: int) -> tuple[int, ...]:
    """From which seeds a case is trained: several where it trains to a target."""
    return (header_seed,) if case.has_steps else tuple(range(header_seed, header_seed + seeds))


def training_task(case: Case, seed: int | None) -> Task:
    """A training from a seed; one that is not to a target is from the run's own."""
    return Task(Training, case) if case.has_steps else Task(Training, case, seed or 0)


def planned(case: Case, header: Header, beside: Sequence[Case] = ()) -> Iterator[Task]:
    """What there is to find out about a case, among those `beside` it, in the run that has this header."""
    epochs = header.epochs
    yield Task(Verification, case.configuration)
    for number in own_rounds(header.shard, case.batch, header.rounds) if case.has_steps else ():
        yield Task(Process, case, number)
    for seed in seeds_of(case, header.seed, header.seeds) if epochs and case.learns else ():
        yield training_task(case, seed)
    if epochs and weights_for(case, beside):
        yield Task(Answers, case)
    if header.profile_s and case.has_steps:
        yield Task(Profile, case)


def told(line: Line) -> Task | None:
    """What a line of a record tells; None for what is no task of its own."""
    match line:
        case Verification():
            return Task(Verification, line.case.configuration)
        case Process():
            return Task(Process, line.case, line.round)
        case Training():
            return training_task(line.case, line.seed)
        case Answers():
            return Task(Answers, line.case)
        case Trial():
            return Task(Trial, line.case)
        case Profile():
            return Task(Profile, line.case)
        case Peak():
            return Task(Peak, line.threads)
    return None


@dataclasses.dataclass(frozen=True)
class Held:
    """What an earlier part of a run has found out.

    Attributes
    ----------
    tasks : what its lines tell.
    out : cases of which no more is to be learned: they cannot run, or have gone wrong.
    null_timing_ns : what a timing costs, None where that is not in it.
    processes : those that count.
    trials : those of ``--best``.
    has_chosen : whether it was decided which of the cases that were tried are gone on with; the others are `out` then.
    """

    tasks: frozenset[Task] = frozenset()
    out: frozenset[Case] = frozenset()
    null_timing_ns: float | None = None
    processes: Processes = dataclasses.field(default_factory=dict)
    trials: Mapping[Case, Process] = dataclasses.field(default_factory=dict)
    has_chosen: bool = False

    def knowing(self, task: Task) -> Held:
        """The same with one thing more found out."""
        return dataclasses.replace(self, tasks=self.tasks | {task})

    def is_out(self, case: Case) -> bool:
        """Whether nothing more is to be learned about a case."""
        return case in self.out


def held_by(record: Record) -> Held:
    """What a record holds."""
    out: set[Case] = set()
    verified = [line for line in record.lines if isinstance(line, Verification)]
    for case in record.header.cases:
        shared = [line for line in verified if line.case.configuration == case.configuration]
        about = verified_alone if record.header.best else verifying
        if any(line.status != "ok" for line in about(case, shared)):
            out.add(case)
    for line in record.lines:
        match line:
            case Skip():
                out.add(line.case)
            case Process(status=status) | Trial(process=Process(status=status)) if status != "ok":
                out.add(line.case)
    choice = chosen_of(record)
    if choice is not None:
        out |= set(record.header.cases) - set(choice.taken)
    return Held(
        tasks=frozenset(task for task in map(told, record.lines) if task),
        out=frozenset(out),
        null_timing_ns=record.null_timing_ns,
        processes=_processes(record),
        trials=tried_of(record),
        has_chosen=choice is not None,
    )


def missing(record: Record) -> tuple[Case, ...]:
    """The cases of which something is missing, in the record's order."""
    held, header = held_by(record), record.header
    going = [case for case in header.cases if not held.is_out(case)]
    if header.best and not held.has_chosen:
        return tuple(going)
    more = _narrowing(going, held, header)
    untrained = {
        line.case for line in record.lines if isinstance(line, Training) and line.status != "ok"
    }
    beside = [case for case in going if case not in untrained]
    return tuple(
        case
        for case in going
        if case in more or not held.tasks.issuperset(planned(case, header, beside))
    )


def to_run(record: Record) -> tuple[Case, ...]:
    """The cases of which something is missing, and those that are measured again beside them: a round of which a part
    is there begins anew, so that its processes run side by side."""
    lacking, held = missing(record), held_by(record)
    header = record.header
    batches = {
        case.batch
        for case in lacking
        if case.has_steps
        and (
            header.target_interval is not None
            or not held.tasks.issuperset(
                Task(Process, case, n) for n in own_rounds(header.shard, case.batch, header.rounds)
            )
        )
    }
    return tuple(
        case
        for case in header.cases
        if case in lacking or (case.has_steps and case.batch in batches and not held.is_out(case))
    )


def is_complete(record: Record) -> bool:
    """Whether a record lacks nothing, its last line included."""
    end = record.end
    return end is not None and end.status == "complete" and not missing(record)


def _narrowing(cases: list[Case], held: Held, header: Header) -> set[Case]:
    """The cases that further rounds are to make more certain."""
    target, rounds = header.target_interval, header.rounds
    if target is None or not rounds:
        return set()
    baseline = baseline_or_none(header.baseline, header.cases)
    found = set()
    for group in by_batch(cases):
        wanted = rounds_wanted(group, baseline, held.processes, target, rounds)
        for case in group:
            if not all(number in held.processes.get(case, {}) for number in range(1, wanted + 1)):
                found.add(case)
    return found


def _processes(record: Record) -> dict[Case, dict[int, Process]]:
    timed: dict[Case, list[Process]] = {}
    for line in record.lines:
        if isinstance(line, Process) and line.status == "ok" and line.timings_ns:
            timed.setdefault(line.case, []).append(line)
    seen = watched(record)
    return {
        case: {process.round: process for process in judge(processes, seen).kept}
        for case, processes in timed.items()
    }
