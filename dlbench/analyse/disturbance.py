"""Whether processes were disturbed while they were timed, and by what: a pure rule on what was watched.

A contended machine lies without scattering, so spread cannot tell. The rule asks who else had the processor,
and whether this process had all that was planned for it. What is unknown is no cause.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

from dlbench.analyse.turns import beside_who_computes, takes_turns
from dlbench.host.cause import Cause, Kind, at_worst
from dlbench.host.interference import over, spins
from dlbench.record.facts import Surroundings
from dlbench.record.schema import Case, Process, Record, Telemetry, Wait
from dlbench.telemetry.causes import device_causes
from dlbench.text import plural

OTHER_CORES = 0.15
"""What others may use of the cores that the threads need, on average: the system's own housekeeping, and the
harness, stay below a tenth."""
SPARE_SHARE = 0.5
"""Of the cores that the threads leave free, what others may use besides: caches and memory are shared."""
STOLEN_SHARE = 0.02
"""Of the cores in use, what the hypervisor may give to others."""
THROTTLED_SHARE = 0.01
MEMORY_WAITING_SHARE = 0.05
LATE_ATTEMPTS = 2
"""How many processes of a round have to be late, with nothing else that disturbed them, to prove it of the backend."""
REFERENCE_FACTOR = 1.3
"""How much longer the reference load may take than it did at its best: clocks move by less on a machine at rest."""
_TICK_S = 0.004
"""At which the kernel looks who has a core; the time that it ascribes scatters by the root of their number."""
_STEP_S = 0.01
"""In which it tells times."""

SPINNING = "its threads spin at barriers, which makes it worse: try OMP_WAIT_POLICY=passive"

Key = tuple[Case, int, int]
"""A case, a round and an attempt: one process."""


def causes(seen: Surroundings | None, threads: int) -> tuple[Cause, ...]:
    """What kept `threads` threads from having the machine for themselves; empty when nothing did.

    A window of 10 ms shows nothing; see `allowed_others`.
    """
    if seen is None:
        return ()
    found = []
    usable, granted, quota = seen.usable_cores, seen.granted_cores, seen.quota_cores
    if usable is not None and usable < threads:
        found.append(Cause(Kind.TOO_FEW_CORES, usable, threads))
    elif usable is not None and granted is not None and usable <= threads < granted:
        found.append(Cause(Kind.BOUND, usable, granted))
    if quota is not None and quota < threads:
        found.append(Cause(Kind.QUOTA, quota, threads))
    if seen.throttled_share is not None and seen.throttled_share > THROTTLED_SHARE:
        found.append(Cause(Kind.THROTTLED, min(seen.throttled_share, 1.0)))
    window_s = max(seen.window_s, 1e-9)
    if seen.other_cores is not None and seen.other_cores > allowed_others(seen, threads):
        found.append(Cause(Kind.OTHERS, seen.other_cores))
    allowed = threads * (STOLEN_SHARE + _STEP_S / window_s)
    if seen.stolen_cores is not None and seen.stolen_cores > allowed:
        found.append(Cause(Kind.STOLEN, seen.stolen_cores))
    waiting = seen.memory_waiting_share
    if waiting is not None and waiting > MEMORY_WAITING_SHARE:
        found.append(Cause(Kind.MEMORY, waiting))
    return tuple(found)


def allowed_others(seen: Surroundings, threads: int) -> float:
    """The cores that others may have, on average, beside `threads` threads before these count as disturbed.

    `OTHER_CORES`, of spare cores `SPARE_SHARE`, and what counting by ticks may add by chance in so long a window: two
    standard deviations, √(threads · tick / window).
    """
    spare = max((seen.usable_cores or threads) - threads, 0)
    return (
        OTHER_CORES + SPARE_SHARE * spare + math.sqrt(threads * _TICK_S / max(seen.window_s, 1e-9))
    )


def passes(causes: Iterable[Cause]) -> bool:
    """Whether one of these may pass: who else is there may go, what this process is granted will not change."""
    return any(not cause.kind.lasting for cause in causes)


def reference_cause(loads_ns: Sequence[int], best_ns: int | None) -> tuple[Cause, ...]:
    """The same for the reference load before and after the timings, against its best in all of the run; one that was
    held up once, at either end, tells of a moment and not of the timings."""
    if not loads_ns or not best_ns or min(loads_ns) <= REFERENCE_FACTOR * best_ns:
        return ()
    return (Cause(Kind.SLOW_REFERENCE, min(loads_ns) / best_ns),)


def of_process(
    process: Process, beside: Sequence[Telemetry] = (), best_load_ns: int | None = None
) -> tuple[Cause, ...]:
    """What disturbed a process while it was timed.

    Parameters
    ----------
    beside : what was sampled beside it.
    best_load_ns : the reference load at its best beside the same backend; frameworks whose threads spin slow it
        down themselves.
    """
    return (
        *causes(process.during, process.case.threads),
        *device_causes(process, beside),
        *reference_cause(process.canary_ns, best_load_ns),
        # whether steps were finished was tried after the timings
        *(causes(process.after, process.case.threads) if process.late else ()),
    )


def late_cause(process: Process) -> tuple[Cause, ...]:
    """That steps were still going on when they had been synchronised: a timing, which a disturbance that nothing else
    shows can cause too, so it is one until it is proven (`proven_late`)."""
    return (Cause(Kind.UNFINISHED),) if process.late else ()


def proven_late(attempts: Iterable[tuple[Process, Sequence[Cause]]]) -> str:
    """Why a backend's timings are not to be believed, by all attempts at one round, each with what disturbed it: every
    one that nothing else disturbed was late, and there are at least `LATE_ATTEMPTS` of these; empty when it is not."""
    undisturbed = [process for process, by in attempts if process.settling and not by]
    late = [process for process in undisturbed if process.late]
    if len(late) < max(LATE_ATTEMPTS, len(undisturbed)) or late[0].settling is None:
        return ""
    return late[0].settling.sentence()


@dataclasses.dataclass(frozen=True)
class Watched:
    """What the watch saw over a whole record.

    Attributes
    ----------
    beside : what was sampled beside each process.
    best_load_ns : the reference load at its best beside each backend.
    all_along : what disturbed the run as a whole: the time from the beginning of each measuring process to its end,
        and the time that the run waited.
    neighbours : who computed between its turns beside each process that took turns with it.
    attempts : of each round, by batch size, whose processes took turns and were measured again together, the attempt
        that counts for all of them, so that pairs stay pairs.
    """

    beside: Mapping[Key, Sequence[Telemetry]]
    best_load_ns: Mapping[str, int]
    all_along: tuple[Cause, ...]
    neighbours: Mapping[Key, Sequence[Cause]]
    attempts: Mapping[tuple[int, int], int] = dataclasses.field(default_factory=dict)

    def causes(self, process: Process) -> tuple[Cause, ...]:
        """What disturbed one of its processes."""
        beside = self.beside.get(key(process), ())
        own = of_process(process, beside, self.best_load_ns.get(process.case.backend))
        return (*own, *self.neighbours.get(key(process), ()))


def watched(record: Record) -> Watched:
    """What was seen in all of a record."""
    processes = [line for line in record.lines if isinstance(line, Process)]
    beside: dict[Key, list[Telemetry]] = {}
    best_ns: dict[str, int] = {}
    windows: list[Surroundings] = []
    threads = 1
    for line in record.lines:
        if isinstance(line, Telemetry):
            beside.setdefault(key(line), []).append(line)
        elif isinstance(line, Process):
            threads = max(threads, line.case.threads)
            windows += [seen for seen in (line.before, line.during, line.after) if seen]
            for ns in line.canary_ns:
                best_ns[line.case.backend] = min(ns, best_ns.get(line.case.backend, ns))
        elif isinstance(line, Wait):
            windows.append(line.seen)
    passing = (cause for cause in causes(over(windows), threads) if passes([cause]))
    neighbours: dict[Key, list[Cause]] = {}
    for process, cause in beside_who_computes(processes):
        neighbours.setdefault(key(process), []).append(cause)
    seen = Watched(beside, best_ns, tuple(passing), neighbours)
    return dataclasses.replace(seen, attempts=_attempts(processes, seen))


def _attempts(processes: Sequence[Process], seen: Watched) -> dict[tuple[int, int], int]:
    """See `Watched.attempts`. What went wrong has no figures, so it decides nothing."""
    wrong = {process.case for process in processes if process.status != "ok"}
    rounds: dict[tuple[int, int], dict[int, list[Process]]] = {}
    for process in processes:
        if takes_turns(process) and process.case not in wrong:
            tried = rounds.setdefault((process.case.batch, process.round), {})
            tried.setdefault(process.attempt, []).append(process)
    return {which: _best(tried, seen) for which, tried in rounds.items() if len(tried) > 1}


def _best(tried: Mapping[int, Sequence[Process]], seen: Watched) -> int:
    """The first attempt in which no process was disturbed, else the last of those with the fewest disturbed ones; one
    that was cut off is none."""
    whole = max(map(len, tried.values()))
    disturbed = {
        attempt: sum(bool(seen.causes(process) or process.late) for process in processes)
        for attempt, processes in tried.items()
        if len(processes) == whole
    }
    return min(disturbed, key=lambda each: (disturbed[each], -each if disturbed[each] else each))


def key(line: Process | Telemetry) -> Key:
    """Which process a line is about."""
    return line.case, line.round, line.attempt


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the processes of a case say about the machine they ran on.

    Attributes
    ----------
    kept : of each round the process that counts: that of the attempt that counts for all that took turns; where none
        is named, the first that was not disturbed, else the last.
    disturbed : whether one of those was disturbed while it was timed, or the run as a whole; None where the system
        does not tell.
    text : by what, what was disturbed besides and measured again, and advice.
    """

    kept: tuple[Process, ...]
    disturbed: bool | None
    text: str


def judge(processes: Iterable[Process], seen: Watched) -> Judgement:
    """Which processes of a case count, and how disturbed it was."""
    rounds = by_round(processes, seen)
    for tried in rounds.values():
        tried[:] = [(process, (*by, *late_cause(process))) for process, by in tried]
    pairs = [(tried, _counts(tried, seen)) for tried in rounds.values()]
    kept = tuple(tried[number][0] for tried, number in pairs)
    during = [tried[number][1] for tried, number in pairs]
    again = [found for tried, number in pairs for _, found in tried[:number] + tried[number + 1 :]]
    parts = _told(during, f"in {{}} of {plural(len(kept), 'process')}")
    parts += _told([seen.all_along], "on average over the whole run")
    parts += _told(again, "in {} more, measured again")
    disturbed: bool | None = any(during) or bool(seen.all_along)
    if disturbed and any(spins(process.facts) for process in kept):
        parts.append(SPINNING)
    if not disturbed and not any(p.during and p.during.other_cores is not None for p in kept):
        disturbed = None
    return Judgement(kept, disturbed, "; ".join(parts))


def _counts(tried: Sequence[tuple[Process, Sequence[Cause]]], seen: Watched) -> int:
    """The place of the process that counts, of all that were measured in a round of a case."""
    for place, (process, _) in enumerate(tried):
        named = seen.attempts.get((process.case.batch, process.round))
        if takes_turns(process) and process.attempt == named:
            return place
    return next((place for place, (_, by) in enumerate(tried) if not by), len(tried) - 1)


def by_round(
    processes: Iterable[Process], seen: Watched
) -> dict[int, list[tuple[Process, tuple[Cause, ...]]]]:
    """The attempts at each round, each with what disturbed it."""
    rounds: dict[int, list[tuple[Process, tuple[Cause, ...]]]] = {}
    for process in processes:
        rounds.setdefault(process.round, []).append((process, seen.causes(process)))
    return rounds


def _told(found: Iterable[tuple[Cause, ...]], where: str) -> list[str]:
    """The causes in words, each kind at its worst, and in how many processes there are any."""
    some = [causes for causes in found if causes]
    return [f"{at_worst(some)} {where.format(len(some))}"] if some else []
