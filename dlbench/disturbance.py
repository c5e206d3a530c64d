"""Whether processes were disturbed while they were timed, and by what: a pure rule on what was watched.

A contended machine lies without scattering, so spread cannot tell. The rule asks who else had the processor,
and whether this process had all that was planned for it. What is unknown accuses nobody.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from dlbench.record import Process
from dlbench.surroundings import Surroundings
from dlbench.wording import plural

OTHER_CORES = 0.15
"""What others may use of the cores that the threads need, on average: the system's own housekeeping, and the
harness, stay below a tenth."""
SPARE_SHARE = 0.5
"""Of the cores that the threads leave free, what others may use besides: caches and memory are shared."""
STOLEN_SHARE = 0.02
"""Of the cores in use, what the hypervisor may give to others."""
THROTTLED_SHARE = 0.01
MEMORY_WAITING_SHARE = 0.05
CANARY_FACTOR = 1.3
"""How much longer the canary may take than it did at its best: clocks move by less on a machine at rest."""


def causes(seen: Surroundings | None, threads: int) -> tuple[str, ...]:
    """What kept `threads` threads from having the machine for themselves, in words; empty when nothing did."""
    if seen is None:
        return ()
    found = []
    usable, quota = seen.usable_cores, seen.quota_cores
    if usable is not None and usable < threads:
        found.append(f"confined to {_cores(usable)} for {threads} threads")
    if quota is not None and quota < threads:
        found.append(f"a quota of {_cores(quota)} for {threads} threads")
    if seen.throttled_share is not None and seen.throttled_share > THROTTLED_SHARE:
        found.append(f"held back by its quota {100 * seen.throttled_share:.0f} % of the time")
    spare = max((usable or threads) - threads, 0)
    if seen.other_cores is not None and seen.other_cores > OTHER_CORES + SPARE_SHARE * spare:
        found.append(f"other processes had {_cores(seen.other_cores)}")
    if seen.stolen_cores is not None and seen.stolen_cores > STOLEN_SHARE * threads:
        found.append(f"the hypervisor took {_cores(seen.stolen_cores)}")
    waiting = seen.memory_waiting_share
    if waiting is not None and waiting > MEMORY_WAITING_SHARE:
        found.append(f"processes waited for memory {100 * waiting:.0f} % of the time")
    return tuple(found)


def passes(causes: Sequence[str]) -> bool:
    """Whether one of these may pass: who else is there may go, what this process is granted will not change."""
    return any(not cause.startswith(("confined", "a quota", "held back")) for cause in causes)


def canary_cause(canary_ns: Sequence[int], best_ns: int | None) -> tuple[str, ...]:
    """The same for the canary before and after the timings, against its best in all of the run."""
    if not canary_ns or not best_ns or max(canary_ns) <= CANARY_FACTOR * best_ns:
        return ()
    return (f"a fixed piece of work took {max(canary_ns) / best_ns:.1f} times as long as at best",)


def _cores(count: float) -> str:
    return "1 core" if count == 1 else f"{count:.2g} cores"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the processes of a case say about the machine they ran on.

    Attributes
    ----------
    kept : of each round the process that counts: the first that was not disturbed, else the last.
    disturbed : whether one of those was disturbed while it was timed; None when nothing was watched.
    text : by what, and what was disturbed besides and measured again, or not long before it was timed.
    """

    kept: tuple[Process, ...]
    disturbed: bool | None
    text: str


def of_process(process: Process, best_canary_ns: int | None) -> tuple[str, ...]:
    """What disturbed a process while it was timed."""
    found = causes(process.during, process.case.threads)
    return found + canary_cause(process.canary_ns, best_canary_ns)


def best_canary_ns(processes: Iterable[Process], backend: str) -> int | None:
    """The canary at its best beside a backend; frameworks whose threads spin slow it down themselves."""
    return min(
        (ns for p in processes if p.case.backend == backend for ns in p.canary_ns), default=None
    )


def judge(processes: Sequence[Process], best_ns: int | None) -> Judgement:
    """Which processes of a case count, and how disturbed it was."""
    rounds: dict[int, list[Process]] = {}
    for process in processes:
        rounds.setdefault(process.round, []).append(process)
    kept = tuple(
        next((p for p in tried if not of_process(p, best_ns)), tried[-1])
        for tried in rounds.values()
    )
    if not any(process.during for process in kept):
        return Judgement(kept, None, "")
    during = [of_process(process, best_ns) for process in kept]
    again = [of_process(p, best_ns) for p in processes if not any(p is one for one in kept)]
    before = [
        causes(process.before, process.case.threads)
        for process, found in zip(kept, during, strict=True)
        if not found
    ]
    parts = [
        *_told(during, f"in {{}} of {plural(len(kept), 'process')}"),
        *_told(again, "in {} more, measured again"),
        *_told(before, "shortly before {} of them"),
    ]
    return Judgement(kept, any(during), "; ".join(parts))


def _told(found: Sequence[tuple[str, ...]], where: str) -> list[str]:
    """The causes in words, the most telling of each process, and in how many."""
    some = [causes for causes in found if causes]
    if not some:
        return []
    longest = max(some, key=len)
    return [f"{', '.join(longest)} {where.format(len(some))}"]
