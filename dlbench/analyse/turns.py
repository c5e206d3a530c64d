"""Who took turns with whom, and who did not rest while others were on turn: a pure rule on a record's processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dlbench.host.cause import Cause, Kind
from dlbench.record.schema import Process

IDLE_CORES = 0.15
"""What a process may use while others are on turn: as much as anybody else may on the machine. Threads that spin for
some milliseconds behind the last step of a turn stay below a half of that, and the first steps of the next turn, which
they meet, do not count."""
_STEP_S = 0.01
"""In which processor time is told."""


def takes_turns(process: Process) -> bool:
    """Whether it was timed in blocks, between those of the others of its round."""
    return bool(process.block_steps) and not process.alone


def computes_idle(process: Process) -> bool:
    """Whether it was left awake and computed while others were on turn: more than `IDLE_CORES` and what counting by
    ticks may add by chance."""
    if process.idle_cores is None or process.stopped or not takes_turns(process):
        return False
    between = zip(process.block_ended_ns, process.block_started_ns[1:], strict=False)
    idle_s = sum(began - ended for ended, began in between) * 1e-9
    return process.idle_cores > IDLE_CORES + _STEP_S / max(idle_s, 1e-9)


def beside_who_computes(processes: Iterable[Process]) -> Iterator[tuple[Process, Cause]]:
    """Each process that took turns with one that computed between its own, and by whom it was disturbed so."""
    rounds: dict[tuple[int, int, int], list[Process]] = {}
    for process in filter(takes_turns, processes):
        which = process.case.batch, process.round, process.attempt
        rounds.setdefault(which, []).append(process)
    for together in rounds.values():
        for busy in filter(computes_idle, together):
            cause = Cause(Kind.NEIGHBOUR, busy.idle_cores or 0.0, what=busy.case.row_name)
            for other in together:
                if other.case.configuration != busy.case.configuration and _overlap(busy, other):
                    yield other, cause


def _overlap(one: Process, other: Process) -> bool:
    """Whether their turns lay between each other's, as those of two scenarios do not."""
    return all(
        first.block_started_ns[:1] < last.block_ended_ns[-1:]
        for first, last in ((one, other), (other, one))
    )
