"""Tries modes of a backend briefly (``--best``), in the process that has imported it: their sessions live beside each
other there and take turns in blocks, so that no mode pays for a start, and what the machine does to one it does to its
neighbour.

Nothing is checked, since of most modes no more will be wanted than that they are slower. Streamed batches and several
ranks have processes of their own, which would compute while others are on turn: sessions of these come one after the
other, and so do those that have no room beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.side_by_side import ORDER, STEPS_A_BLOCK, blocks_of, is_crowded
from dlbench.record.facts import PEAK_MEMORY
from dlbench.record.schema import Case, Process, Skip, Trial
from dlbench.record.sharing import covering
from dlbench.worker.launch import Worker
from dlbench.worker.measurements import BLOCK, FINISH, TRY, WARM_UP, Job, Measurement
from dlbench.worker.supervisor import Ended

R = TypeVar("R")

TRIAL = 0
"""The number of the round of trials, which comes before all others and counts in none."""


def try_briefly(run: Context, share_s: float, cases: Sequence[Case]) -> dict[Case, Process]:
    """Tries cases of one backend and batch size, and writes down what became of each.

    Parameters
    ----------
    share_s : time for sampling of each case (s).

    Returns
    -------
    The trials; none of a case that its backend refused.
    """
    trials = _Trials(run, share_s, cases)
    while not trials.are_over:
        trials.go_on()
    return trials.found


class _Ended(Exception):
    """A process has ended that had sessions of several cases."""


class _Trials:
    def __init__(self, run: Context, share_s: float, cases: Sequence[Case]) -> None:
        self._run, self._share_s = run, share_s
        self._left = list(cases)
        self._beside = all(case.input == "resident" and case.world == 1 for case in cases)
        self.found: dict[Case, Process] = {}

    @property
    def are_over(self) -> bool:
        return not self._left

    def go_on(self) -> None:
        """Tries what is left, as much of it as one process can do."""
        first = self._left[0].configuration
        taking = [case for case in self._left if self._beside or case.configuration == first]
        try:
            self._together(self._run.worker_for(taking[0]), taking)
        except _Ended:
            self._run.end_look(taking[0].backend)

    def _together(self, worker: Worker, cases: Sequence[Case]) -> None:
        opened: list[Case] = []
        for configuration in dict.fromkeys(case.configuration for case in cases):
            sharing = [case for case in cases if case.configuration == configuration]
            # those that want another environment come with the next process
            if sharing[0] == cases[0] or self._run.fits(worker, sharing[0]):
                job = self._run.job(covering(sharing), session=_name(sharing[0]))
                refused = self._ask(worker, TRY, sharing, job, crowds=bool(opened)).refused
                if refused:
                    for case in sharing:
                        self._told(case, Skip(case, *refused))
                else:
                    opened += sharing
        crowds = len({case.configuration for case in opened}) > 1
        for scenario in sorted({case.scenario for case in opened}, key=ORDER.index):
            taking = [case for case in opened if case.scenario == scenario]
            self._scenario(worker, taking, crowds=crowds)

    def _scenario(self, worker: Worker, cases: Sequence[Case], *, crowds: bool) -> None:
        slowest_s = 0.0
        for case in cases:
            job: Job = {
                "session": _name(case),
                "scenario": case.scenario,
                "budget_s": self._share_s,
            }
            warm = self._ask(worker, WARM_UP, [case], job, crowds=crowds)
            slowest_s = max(slowest_s, warm.typical_s)
        blocks = blocks_of(self._share_s, slowest_s)
        for _ in range(blocks):
            for case in cases:
                seconds = {"seconds": self._share_s / blocks, "least": STEPS_A_BLOCK}
                job = {"session": _name(case), **seconds}
                self._ask(worker, BLOCK, [case], job, crowds=crowds)
        for case in cases:
            others = [each for each in self._left if each != case]
            is_last = all(each.configuration != case.configuration for each in others)
            job = self._run.job(case, session=_name(case), check=False, last=is_last)
            ended = self._run.ask(worker, FINISH, job, case, TRIAL)
            self._finished(case, ended)
            if ended.result is None:
                raise _Ended

    def _ask(
        self,
        worker: Worker,
        measurement: Measurement[R],
        cases: Sequence[Case],
        job: Job,
        *,
        crowds: bool,
    ) -> R:
        """The answer to a job about these cases.

        Raises
        ------
        _Ended : it went wrong, which is the cases' own fault unless it may be that others `crowds` them.
        """
        ended = self._run.ask(worker, measurement, job, cases[0], TRIAL)
        if ended.result is not None:
            return ended.result
        if crowds and is_crowded(ended, cases[0]):
            self._beside = False
        else:
            for case in cases:
                self._finished(case, ended)
        raise _Ended

    def _finished(self, case: Case, ended: Ended[Any]) -> None:
        found = results.process(case, TRIAL, ended, checked=False, tells_start=False)
        if found.status == "skipped":
            self._told(case, Skip(case, found.reason, ended.remedy))
            return
        facts = {name: fact for name, fact in found.facts.items() if name != PEAK_MEMORY}
        # the process has other sessions beside this one
        process = msgspec.structs.replace(
            found, peak_memory_bytes=None, idle_cores=None, facts=facts
        )
        self.found[case] = process
        self._told(case, Trial(process))

    def _told(self, case: Case, line: Skip | Trial) -> None:
        self._left.remove(case)
        self._run.write(line)


def _name(case: Case) -> str:
    """Of the session that its configuration has in the process."""
    return repr(case.configuration)
