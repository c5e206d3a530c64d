"""Measures a round: fresh processes that live side by side and take turns in blocks of steps.

What a machine does to one block it does to its neighbour, so the ratio of blocks that lie close together scatters less
than that of whole processes. Each process times all scenarios of its configuration, inference first; within one, all
are warmed up in turn, then each times a block (A B C, A B C, …, in the next round C B A), so that nobody follows upon
itself and all come from the same rest. Who is not on turn waits for a message; one that computes all the same is put to
sleep by the system until its turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.scheduler import Measured, Turn
from dlbench.host import memory
from dlbench.record.schema import Case, Configuration, Scenario
from dlbench.record.sharing import covering
from dlbench.spec.scenarios import SCENARIOS
from dlbench.telemetry.watch import Watch
from dlbench.text import size
from dlbench.worker.launch import Worker
from dlbench.worker.measurements import BLOCK, FINISH, OPEN, REST, WARM_UP, Job, Measurement
from dlbench.worker.supervisor import Ended

R = TypeVar("R")

BLOCK_S = 0.2
"""A turn: long against what it costs to change turns, short against what a machine's moods last."""
LEAST_BLOCKS = 4
"""Of each process, unless a step takes longer than its time for sampling: then one block has to do."""
STEPS_A_BLOCK = 3
_SHORT_S, _LEAD_S = 0.01, 0.05
"""Of shorter steps, how much runs unsampled at the beginning of a turn: threads that have rested begin on whatever
cores are free, now and then several on one, and are spread again within some 30 ms."""
SPINNING_CORES = 0.3
"""Who uses more while nobody is on turn does not wait but computes; counting by ticks adds less by chance."""
_REST_S = 0.1
ORDER: Sequence[Scenario] = (*(name for name in SCENARIOS if name != "train"), "train")
"""Training does all that inference does and more, so it finds nothing new where inference has been. The other way round
inference would find memory that training has made the allocator keep, and not be what it is by itself."""
_ROOM = 1.25
"""How much more memory has to be there than the largest of the living has, for another to be started beside them."""


class Crowded(Exception):
    """Processes do not fit beside each other, and why."""


def measure(run: Context, share_s: float, turn: Turn) -> list[Measured]:
    """Measures the cases of a turn, and writes down each as soon as it is known.

    Parameters
    ----------
    share_s : time for sampling of each case (s).
    """
    round_ = _Round(run, share_s, turn)
    cases = turn.cases
    reason = run.crowded.get(cases[0].batch, "")
    if not reason:
        try:
            round_.together(cases)
        except Crowded as crowded:
            reason = run.crowded[cases[0].batch] = str(crowded)
            run.observer.message(f"{reason}: one process after the other from here on")
    if reason:
        rest = [case for case in cases if case not in round_.measured]
        for configuration in dict.fromkeys(case.configuration for case in rest):
            sharing = [case for case in rest if case.configuration == configuration]
            round_.together(sharing, reason)
    return [round_.measured[case] for case in cases]


def is_crowded(ended: Ended[Any], case: Case) -> bool:
    """Whether a process may have gone wrong because others live beside it: there was no memory, or a device was for one
    process alone."""
    return ended.status == "out_of_memory" or (ended.status == "failed" and not case.on_host)


def make_sure_of_room(others: Sequence[Worker]) -> None:
    """Looks whether another process may be started beside others.

    Raises
    ------
    Crowded : there is too little memory.
    """
    taken = [memory.resident_bytes(each.pid) for each in others if each.pid]
    largest, there = max(filter(None, taken), default=0), memory.available_bytes()
    if there is not None and there < _ROOM * largest:
        reason = f"{size(there)} of memory are left beside processes of up to {size(largest)}"
        raise Crowded(reason)


def blocks_of(
    share_s: float, slowest_s: float, block_s: float = BLOCK_S, steps: int = STEPS_A_BLOCK
) -> int:
    """In how many blocks of about `block_s`, and of so many `steps` at least, each process times its share, the slowest
    having steps of `slowest_s`."""
    if slowest_s >= share_s:
        return 1
    return max(LEAST_BLOCKS, int(share_s / max(block_s, steps * slowest_s)))


@dataclasses.dataclass(eq=False)
class _Seat:
    """A configuration of a round: its cases by scenario, the process that times it while it lives, and who samples its
    device."""

    cases: dict[Scenario, Case]
    worker: Worker | None = None
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)
    watch: Watch = dataclasses.field(default_factory=Watch)
    typical_s: float = 0.0
    spins: bool = False
    tells_start: bool = True

    def left(self, measured: Mapping[Case, Measured]) -> list[Case]:
        """What is to be timed of it still."""
        return [case for case in self.cases.values() if case not in measured]


class _Round:
    """One round of one batch size; `measured` has what is known of it by case."""

    def __init__(self, run: Context, share_s: float, turn: Turn) -> None:
        self._run, self._share_s, self._turn = run, share_s, turn
        self._alone = ""
        self._living = contextlib.ExitStack()
        self._seats: list[_Seat] = []
        self.measured: dict[Case, Measured] = {}

    def together(self, cases: Sequence[Case], alone: str = "") -> None:
        """Measures cases side by side; `alone` says why others of the round are not among them.

        Raises
        ------
        Crowded : they do not fit; what was measured until then counts.
        """
        self._alone = alone
        seats: dict[Configuration, _Seat] = {}
        for case in cases:
            seats.setdefault(case.configuration, _Seat({})).cases[case.scenario] = case
        scenarios = {case.scenario for case in cases}
        self._seats = list(seats.values())[:: -1 if self._turn.number % 2 == 0 else 1]
        with self._living:
            cores = self._run.request.machine.usable_cores
            self._open(self._seats, at_once=1 if self._turn.number == 1 else max(1, cores))
            for scenario in sorted(scenarios, key=ORDER.index):
                self._scenario(scenario)

    def _open(self, seats: Sequence[_Seat], at_once: int) -> None:
        """Starts processes for what is left of configurations, so many `at_once`; one by itself tells what its start
        takes."""
        wanted = [seat for seat in seats if seat.left(self.measured)]
        starting: list[_Seat] = []
        with self._run.account.overlapping():
            for place, seat in enumerate(wanted):
                for each in wanted[place : place + at_once]:
                    if each not in starting:
                        starting.append(each)
                        self._start(each, tells_start=1 in (at_once, len(wanted)))
                left = seat.left(self.measured)
                job = self._run.job(covering(left), by_itself=seat.tells_start)
                crowds = sum(each.worker is not None for each in self._seats) > 1
                opened = self._ask(seat, OPEN, left, job, crowds=crowds)
                seat.facts = opened.facts if opened else {}

    def _start(self, seat: _Seat, tells_start: bool) -> None:
        seat.watch, seat.tells_start = Watch(), tells_start
        case = covering(seat.left(self.measured))
        make_sure_of_room([each.worker for each in self._seats if each.worker])
        seat.worker = self._living.enter_context(self._run.start(case, self._share_s))
        seat.worker.send(OPEN, self._run.job(case, by_itself=tells_start))

    def _scenario(self, scenario: Scenario) -> None:
        """Times one scenario of all that have it."""
        taking = [seat for seat in self._seats if scenario in seat.cases]
        for seat in taking:
            if seat.worker is None:
                # its process went wrong in the other scenario
                self._open([seat], at_once=1)
        with contextlib.ExitStack() as watches:
            for seat in taking:
                if seat.worker is not None:
                    self._warm_up(seat, seat.cases[scenario], watches)
            self._find_spinning(scenario, taking)
            self._blocks(scenario, taking)
            for seat in taking:
                if seat.worker is not None:
                    self._finish(seat, seat.cases[scenario])

    def _warm_up(self, seat: _Seat, case: Case, watches: contextlib.ExitStack) -> None:
        beside = self._run.watcher.beside(case, self._turn.number, self._turn.attempt)
        seat.watch = watches.enter_context(beside)
        assert seat.worker is not None
        assert seat.worker.pid is not None
        seat.watch.opened(seat.worker.pid, seat.facts)
        job = {"scenario": case.scenario, "budget_s": self._share_s}
        warm = self._ask(seat, WARM_UP, [case], job, crowds=len(self._seats) > 1)
        seat.typical_s = warm.typical_s if warm else 0.0

    def _find_spinning(self, scenario: Scenario, seats: Sequence[_Seat]) -> None:
        """Looks who computes while nobody is on turn; one process alone disturbs nobody."""
        if len(seats) > 1:
            time.sleep(_REST_S)
            for seat in seats:
                rested = self._ask(seat, REST, [seat.cases[scenario]], {})
                if rested and (rested.idle_cores or 0.0) > SPINNING_CORES:
                    seat.spins = True

    def _blocks(self, scenario: Scenario, seats: Sequence[_Seat]) -> None:
        slowest_s = max((seat.typical_s for seat in seats), default=0.0)
        # a queue has to be worked off by one who is on turn throughout
        is_queue = scenario == "server"
        blocks = 1 if is_queue else blocks_of(self._share_s, slowest_s)
        job: dict[str, Any] = {"seconds": self._share_s / blocks, "least": STEPS_A_BLOCK}
        if is_queue:
            job |= {"load": dataclasses.asdict(self._run.request.load), "round": self._turn.number}
        for _ in range(blocks):
            for seat in seats:
                if seat.worker is not None:
                    is_short = seat.typical_s < _SHORT_S
                    job["lead_s"] = _LEAD_S if is_short and len(seats) > 1 else 0.0
                    seat.worker.wake()
                    seat.watch.on_turn()
                    self._ask(seat, BLOCK, [seat.cases[scenario]], job)
                    seat.watch.off_turn()
                if seat.worker is not None and seat.spins:
                    seat.worker.sleep()

    def _finish(self, seat: _Seat, case: Case) -> None:
        assert seat.worker is not None
        seat.worker.wake()
        seat.watch.stop()
        job = self._run.job(case)
        ended = self._run.ask(seat.worker, FINISH, job, case, self._turn.number)
        if ended.result is None:
            seat.worker = None
        self._told(seat, case, ended)

    def _ask(
        self,
        seat: _Seat,
        measurement: Measurement[R],
        cases: Sequence[Case],
        job: Job,
        *,
        crowds: bool = False,
    ) -> R | None:
        """The answer to a job about these cases; None where it went wrong, or nobody is there to be asked.

        Raises
        ------
        Crowded : it went wrong because of the others, as far as can be told, if they `crowds`.
        """
        if seat.worker is None:
            return None
        ended = self._run.ask(seat.worker, measurement, job, cases[0], self._turn.number)
        if ended.result is not None:
            return ended.result
        seat.worker = None
        if crowds and is_crowded(ended, cases[0]):
            raise Crowded(f"{cases[0].row_name} does not fit beside the others: {ended.reason}")
        for case in cases:
            self._told(seat, case, ended)
        return None

    def _told(self, seat: _Seat, case: Case, ended: Ended[Any]) -> None:
        """Writes down what became of a case."""
        found = results.process(
            case, self._turn.number, ended, self._turn.attempt, tells_start=seat.tells_start
        )
        process = msgspec.structs.replace(found, stopped=seat.spins, alone=self._alone)
        self._run.write(process)
        beside = seat.watch.lines()
        for sampled in beside:
            self._run.write(sampled)
        look = functools.partial(self._run.watcher.look_at_device, process)
        self.measured[case] = Measured(process, beside, look)
