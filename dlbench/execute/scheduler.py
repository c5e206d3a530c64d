"""Which round is measured next: all planned ones, again what was disturbed, more where intervals are wide.

The processes of a round are measured together (`dlbench.execute.side_by_side`): every case of one batch size, in each
round in the order opposite to the last, so that a machine that drifts treats all alike. With a target for the
intervals, the scatter of the first rounds says once how many rounds more there are, as far as the time for sampling
goes.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import NamedTuple

from dlbench.analyse.disturbance import of_process, passes, proven_late
from dlbench.analyse.outcomes import timed_of
from dlbench.analyse.statistics import ratio
from dlbench.execute.quiet_machine import DeviceLook, Patience, Waited
from dlbench.host.cause import Cause
from dlbench.plan.rounds import LEAST_PROCESSES, interleaved
from dlbench.record.baseline import Baseline
from dlbench.record.schema import Case, Process, Telemetry
from dlbench.record.shards import Shard, own_rounds

ATTEMPTS = 3
"""How often a round is measured when the machine is disturbed each time."""
_START = ("interpreter", "import", "device", "open", "upload")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was measured of a case in a round, what was sampled beside it, and how to look at its device again."""

    process: Process
    beside: Sequence[Telemetry] = ()
    look_at_device: DeviceLook = lambda seconds: ()


class Turn(NamedTuple):
    """Cases that fresh processes are to measure together, in a round, for the so many-th time."""

    cases: tuple[Case, ...]
    number: int
    attempt: int


Turns = Generator[Turn, Sequence[Measured], None]
"""What is measured next, given what came of the one before."""

Processes = Mapping[Case, Mapping[int, Process]]
"""What counts of each case, by round."""


def carry_out(turns: Turns, measure: Callable[[Turn], Sequence[Measured]]) -> None:
    """Has everything measured and recorded."""
    turn = next(turns, None)
    while turn is not None:
        measured = measure(turn)
        try:
            turn = turns.send(measured)
        except StopIteration:
            turn = None


class Schedule:
    """The rounds of a run.

    Parameters
    ----------
    cases : those to be measured.
    baseline : what each is held against.
    patience : time to wait for a quiet machine.
    on_wait : told each wait, with the process before it and what had disturbed that.
    held : what an earlier part of the run has measured already.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        baseline: Baseline,
        patience: Patience,
        on_wait: Callable[[Process, Sequence[Cause], Waited], None] = lambda *_: None,
        held: Processes | None = None,
    ) -> None:
        self._cases = cases
        self._baseline = baseline
        self._patience = patience
        self._on_wait = on_wait
        self._kept = {case: dict(rounds) for case, rounds in (held or {}).items()}
        self._failed: set[Case] = set()
        self._loads_ns: dict[str, list[int]] = {}

    @property
    def well(self) -> list[Case]:
        """The cases of which no process went wrong."""
        return [case for case in self._cases if case not in self._failed]

    def rounds(self, rounds: int, shard: Shard | None = None) -> Turns:
        """Every case once a round, but for rounds that are there as a whole, and those of other shards."""
        for number, cases in interleaved(by_batch(self._cases), range(1, rounds + 1)):
            if number in own_rounds(shard, cases[0].batch, rounds):
                yield from self._attempts(cases, number)

    def narrow(self, target: float, pilot: int = LEAST_PROCESSES) -> Turns:
        """Rounds more, up to as many again, as the first `pilot` ones say."""
        for cases in by_batch(self._cases):
            wanted = rounds_wanted(self._left(cases), self._baseline, self._kept, target, pilot)
            for number in range(pilot + 1, wanted + 1):
                yield from self._attempts(cases, number)

    def _left(self, cases: Sequence[Case]) -> tuple[Case, ...]:
        return tuple(case for case in cases if case not in self._failed)

    def _attempts(self, cases: Sequence[Case], number: int) -> Turns:
        """A round, and again when it was disturbed and the disturbance has passed, or when steps were not finished; a
        backend whose steps never are has failed. A round of which only a part is there is measured anew, so that its
        processes run side by side."""
        there = {
            case: self._kept[case][number] for case in cases if number in self._kept.get(case, {})
        }
        if there.keys() >= set(self._left(cases)):
            return
        first = 1 + max((process.attempt for process in there.values()), default=-1)
        tried: dict[Case, list[tuple[Process, Sequence[Cause]]]] = {}
        for attempt in range(first, first + ATTEMPTS):
            left = self._left(cases)
            if not left:
                break
            measured = yield Turn(left, number, attempt)
            if attempt > first:
                self._patience.spend(sum(_took_s(each.process) for each in measured))
            disturbed = [each for each in map(self._judged, measured) if each is not None]
            for process, _, by in disturbed:
                tried.setdefault(process.case, []).append((process, by))
            again = [each for each in disturbed if passes(each[2]) or each[0].late]
            if not again or attempt + 1 == first + ATTEMPTS:
                break
            if not self._has_passed(again):
                break
        self._failed |= {case for case, attempts in tried.items() if proven_late(attempts)}

    def _judged(self, measured: Measured) -> tuple[Process, Measured, Sequence[Cause]] | None:
        """A process that went well, with what disturbed it."""
        process = measured.process
        if process.status != "ok":
            self._failed.add(process.case)
            return None
        self._kept.setdefault(process.case, {})[process.round] = process
        return process, measured, of_process(process, measured.beside, self._best_load(process))

    def _has_passed(self, again: Sequence[tuple[Process, Measured, Sequence[Cause]]]) -> bool:
        """Whether what disturbed these is over; waits for it."""
        for process, measured, by in again:
            if process.late and not by:
                continue
            waited = self._patience.wait(by, measured.look_at_device)
            if waited is not None:
                self._on_wait(process, by, waited)
            if waited is None or not waited.quiet:
                return False
        return True

    def _best_load(self, process: Process) -> int | None:
        """The reference load at its best so far beside this backend."""
        backend = process.case.backend
        known = [*process.canary_ns, *self._loads_ns.get(backend, ())]
        self._loads_ns[backend] = known = [min(known)] if known else []
        return known[0] if known else None


def _took_s(process: Process) -> float:
    """What a scenario took; the start of a process, which all of its scenarios tell, with the first alone."""
    start = _START if process.scenarios_before else ()
    return sum(spent for phase, spent in process.seconds.items() if phase not in start)


def by_batch(cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """The cases that are measured together."""
    batches = dict.fromkeys(case.batch for case in cases)
    return [tuple(case for case in cases if case.batch == batch) for batch in batches]


def rounds_wanted(
    cases: Sequence[Case], baseline: Baseline, processes: Processes, target: float, pilot: int
) -> int:
    """How many rounds of cases that are measured together it takes until each is known to ± `target`, by its first
    `pilot` ones, and at most twice as many: its ratio to the baseline where it has one, and its own steps where not."""
    most = max(
        (_needed(case, baseline.of(case), processes, target, pilot) for case in cases), default=0
    )
    return min(most, 2 * pilot)


def _needed(case: Case, base: Case | None, processes: Processes, target: float, pilot: int) -> int:
    own, against = (
        {
            number: timed_of(line)
            for number, line in processes.get(each, {}).items()
            if number <= pilot
        }
        for each in (case, base or case)
    )
    if base is None or base == case:
        logs = [math.log(timed.median_s) for timed in own.values()]
        return needed(logs, target, math.sqrt(math.pi / 2))
    shared = own.keys() & against.keys()
    logs = [math.log(ratio({0: own[each]}, {0: against[each]}).value) for each in shared]
    return needed(logs, target)


def needed(pilot_logs: Sequence[float], target: float, wider: float = 1.0) -> int:
    """How many rounds an interval of ± `target` (a share of the value) takes, by the scatter of the first ones.

    Decided once, from the pilot alone, and not by the width of the interval as it grows, which would stop where
    rounds happen to lie close (Stein 1945, "A two-sample test for a linear hypothesis whose power is independent of
    the variance"). The median of normal values scatters by √(π/2) more than their mean: by that, intervals of medians
    are `wider`.

    Parameters
    ----------
    pilot_logs : logarithms of one figure a round.
    """
    count = len(pilot_logs)
    if count < LEAST_PROCESSES:
        return LEAST_PROCESSES
    # a third of a second at the start of a run
    from scipy.special import stdtrit

    half = wider * float(stdtrit(count - 1, 0.975)) * statistics.stdev(pilot_logs)
    return max(count, math.ceil((half / math.log1p(target)) ** 2))
