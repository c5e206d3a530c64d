"""Times the scenarios of a configuration in this process, turn by turn, and asks the session after each whether it
still computes what is right.

The jobs of one process: the session is opened; of each scenario it is warmed up, asked what it does while others are on
turn, times its blocks, and finishes. What passes between jobs is others' turn and no part of any figure but that of
the idle time.
"""

from __future__ import annotations

import dataclasses
import functools
import gc
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from dlbench import members
from dlbench.contract import AdapterBase, Plan, RanksSession, check_batch
from dlbench.data import feed
from dlbench.data.preprocessing import Recipe
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.host import environment, interference, process_tree
from dlbench.measure.copies import time_downloads, upload_all
from dlbench.measure.device_events import time_device_steps, time_idle_synchronize
from dlbench.measure.first_steps import first_steps
from dlbench.measure.plain_loader import PlainLoader
from dlbench.measure.rank_steps import time_ranks
from dlbench.measure.served_queries import Draw, ServedQueries
from dlbench.measure.settling import ReadSteps
from dlbench.measure.streamed_steps import Feed, StreamedSteps, check_loader
from dlbench.measure.timed_steps import LEAST_STEPS, MIN_TIMINGS, TimedSteps, Timings
from dlbench.record.facts import (
    PEAK_MEMORY,
    BlockResult,
    Check,
    FirstResult,
    FirstSteps,
    MeasureResult,
    OpenResult,
    RankSteps,
    RestResult,
    WarmUpResult,
)
from dlbench.spec.scenarios import KINDS, Load, Scenario, Step
from dlbench.worker.jobs.common import (
    extent_of_job,
    import_adapter,
    initial_of,
    plain,
    start_device,
    versions,
    workload_of,
)
from dlbench.worker.jobs.timings import queries_of, steps_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

Window = tuple[interference.Reading, interference.Reading]
_LEAD_SHARE = 0.25
"""Of a block on a device with clocks of its own, how much more runs before it unsampled: the clocks sink while others
are on turn elsewhere, and come back within moments."""


def first_figures(job: Job, phases: Phases) -> FirstResult:
    """Takes a few steps of each of the ``scenarios`` in a session of their own, which ends with the job."""
    live = _Live(job, phases)
    steps = {each: live.first_steps(each, job["seconds"], phases) for each in job["scenarios"]}
    return FirstResult(steps=steps, seconds={**live.start_seconds, **phases.take_seconds()})


def open_session(job: Job, phases: Phases) -> OpenResult:
    """Opens the session that this process times, or one of several, under the name ``session``."""
    live = _live[job.get("session", "")] = _Live(job, phases)
    return OpenResult(facts=plain(live.session.facts), seconds=live.start_seconds)


def try_session(job: Job, phases: Phases) -> OpenResult:
    """The same; a backend that refuses to is no reason to end the process."""
    try:
        return open_session(job, phases)
    except BackendUnavailable as error:
        refused = error.reason, error.remedy
    except PlanRefused as error:
        refused = str(error), ""
    return OpenResult(facts={}, refused=refused, seconds=phases.take_seconds())


def warm_up(job: Job, phases: Phases) -> WarmUpResult:
    """Begins a scenario, and takes its steps until they are steady."""
    typical_s = _there(job).warm_up(job["scenario"], job["budget_s"], phases)
    return WarmUpResult(typical_s=typical_s)


def rest(job: Job, phases: Phases) -> RestResult:
    """What this process did while others were on turn, since its last job; afterwards it may be put to sleep."""
    process_tree.end_with_parent()
    return RestResult(idle_cores=_there(job).idle_cores())


def block(job: Job, phases: Phases) -> BlockResult:
    """Times a block of the scenario that has begun, or all that a server is asked."""
    if "load" in job:
        return BlockResult(steps=_there(job).serve(job, phases))
    least, lead_s = job.get("least", LEAST_STEPS), job.get("lead_s", 0.0)
    most = job.get("most", math.inf)
    return BlockResult(steps=_there(job).block(job["seconds"], least, lead_s, most, phases))


def finish(job: Job, phases: Phases) -> MeasureResult:
    """Ends the scenario, and checks what the timing left behind unless ``check`` is false; ends the session too if it
    is to be the ``last``."""
    found = _there(job).finish(job, phases)
    if job.get("last"):
        del _live[job.get("session", "")]
        gc.collect()
    return found


def measure(job: Job, phases: Phases) -> MeasureResult:
    """All of it for one scenario in one block, where nobody else takes turns."""
    open_session(job, phases)
    budget_s = job["budget_s"]
    typical_s = warm_up(job, phases).typical_s
    least = MIN_TIMINGS if typical_s < budget_s else LEAST_STEPS
    block({"seconds": budget_s, "least": least}, phases)
    return finish(job, phases)


class _Live:
    """The session that this process times, and what has been found out with it so far."""

    def __init__(self, job: Job, phases: Phases) -> None:
        self._last = interference.read()
        self._before: list[Window] = []
        self._idle: list[Window] = []
        self._during: list[Window] = []
        self._canary_ns: list[int] = []
        self._done = 0
        self._peaks_bytes: tuple[int | None, int | None] = None, None
        self._step: Step = "train"
        self._timed: TimedSteps | None = None
        adapter, self._info = import_adapter(job, phases)
        self._plan, self._workload = Plan(**job["plan"]), workload_of(job)
        self._initial = initial_of(job)
        start_device(adapter, self._plan, phases)
        phases.enter("open")
        self.session = members.open_session(adapter, self._plan, self._workload, self._initial)
        phases.enter("upload")
        with np.load(job["files"]["batches"]) as arrays:
            inputs, targets = list(arrays["inputs"]), list(arrays["targets"])
        for batch in zip(inputs, targets, strict=True):
            check_batch(self._plan, self._workload, *batch)
        self._batches, self._upload_ns = upload_all(self.session, inputs, targets)
        # one row of each, another every time
        self._rows = [(7 * i + 3) % self._plan.batch for i in range(len(inputs))]
        self._feed, self._feed_checks = self._open_feed(job, adapter)
        self._held = [samples[row].copy() for row, samples in zip(self._rows, inputs, strict=True)]
        started = self._window()
        if job.get("by_itself", True):
            # else what others of the run did to start would pass for strangers' work
            self._before.append(started)
        self.start_seconds = phases.take_seconds()

    def _open_feed(self, job: Job, adapter: AdapterBase) -> tuple[Feed | None, tuple[Check, ...]]:
        """Where steps are to be streamed, the loader that delivers their batches, and what another like it delivered of
        a few samples."""
        plan = self._plan
        if plan.input == "resident":
            return None, ()
        recipe = Recipe.from_table(job["recipe"])
        batches = feed.read(Path(job["files"]["stream"]), recipe, plan.batch, plan.seed)
        few = batches.of_first(2 * plan.batch + (plan.batch + 1) // 2)
        loader = adapter.loader(plan, few) or PlainLoader(few)
        try:
            checks = check_loader(loader, few)
        finally:
            loader.close()
        return Feed(adapter.loader(plan, batches) or PlainLoader(batches), batches), checks

    def first_steps(self, scenario: Scenario, seconds: float, phases: Phases) -> FirstSteps:
        """Steps of a scenario, before anything is timed as it has to be."""
        phases.enter("first figures")
        step = KINDS[scenario].step
        self._window()
        timings_ns = first_steps(
            self.session, self._batches, step, self._initial, seconds, beat=phases.beat
        )
        return FirstSteps(timings_ns, interference.between(*self._window()))

    def warm_up(self, scenario: Scenario, budget_s: float, phases: Phases) -> float:
        """The typical step (s)."""
        self._window()
        phases.enter("warm-up")
        step = self._step = KINDS[scenario].step
        if self._done and "train" in self._info.scenarios:
            self.session.load(self._initial)
        kind = ServedQueries if scenario == "server" else TimedSteps
        steps = None if self._feed is None else functools.partial(StreamedSteps, self._feed)
        self._timed = kind(
            self.session, self._batches, step, self._initial, beat=phases.beat, steps=steps
        )
        self._timed.warm_up(budget_s)
        self._before.append(self._window())
        return self._timed.typical_s

    def idle_cores(self) -> float | None:
        """Cores that this process has used since its last job."""
        return interference.between(*self._window()).own_cores

    def block(self, seconds: float, least: int, lead_s: float, most: float, phases: Phases) -> int:
        """The number of steps, behind so many seconds that do not count."""
        assert self._timed is not None
        lead_s = self._begin_block(seconds, lead_s, phases)
        timed = self._timed.block(seconds, least, lead_s, most)
        self._during.append(self._window())
        return len(timed.timings_ns)

    def serve(self, job: Job, phases: Phases) -> int:
        """The number of queries that were answered and count."""
        assert isinstance(self._timed, ServedQueries)
        seconds = job["seconds"]
        lead_s = self._begin_block(seconds, job.get("lead_s", 0.0), phases)
        draw = Draw(self._plan.seed, job["round"])
        found = self._timed.serve(Load(**job["load"]), seconds, draw, lead_s)
        self._during.append(self._window())
        return len(found.served.latencies_ns)

    def _begin_block(self, seconds: float, lead_s: float, phases: Phases) -> float:
        """How many seconds in front of it are not to count."""
        phases.enter("measure")
        if self._during:
            self._idle.append(self._window())
        else:
            self._canary_ns.append(interference.reference_load_ns())
            self._window()
        if self.session.device_clock is not None:
            lead_s = max(lead_s, _LEAD_SHARE * seconds)
        return lead_s

    def finish(self, job: Job, phases: Phases) -> MeasureResult:
        """What was timed."""
        assert self._timed is not None
        self._canary_ns.append(interference.reference_load_ns())
        times = self._timed.finish()
        # read here, so that neither copies nor checks count
        machine = {**interference.threading_facts(), **environment.allocator_facts(os.environ)}
        facts = {**plain(self.session.facts), **machine}
        peak_memory_bytes = self._own_peak(process_tree.peak_memory_bytes(), 0)
        if self._own_peak(_peak_on_device(facts), 1) is None:
            facts.pop(PEAK_MEMORY, None)
        if self._plan.device != "cpu":
            facts["idle_synchronize_ns"] = time_idle_synchronize(self.session)
        checks: tuple[Check, ...] = ()
        settling: Check | None = None
        download_ns: tuple[int, ...] = ()
        device_ns: tuple[int, ...] = ()
        rank_steps: RankSteps | None = None
        self._window()
        if self._feed is not None:
            self._feed.loader.close()
            facts["loader"] = self._feed.loader.name
        if job.get("check", True):
            phases.enter("check")
            checks, settling = self._checks_after(job, phases, times)
            if self._feed is not None:
                checks += self._feed_checks + self._feed.check()
            phases.enter("copy")
            step = self._step
            if self._plan.device != "cpu":
                download_ns = time_downloads(self.session, self._batches[0], step)
            device_ns = time_device_steps(self.session, self._batches, step, self._initial)
            if self._plan.world > 1 and step == "train":
                step_s = float(np.median(times.blocks[-1].timings_ns)) * 1e-9
                shared = cast(RanksSession, self.session)
                rank_steps = time_ranks(shared, self._batches, self._initial, step_s)
        before, during = interference.across(self._before), interference.across(self._during)
        assert before is not None
        assert during is not None
        idle = interference.across(self._idle)
        served = self._timed.found if isinstance(self._timed, ServedQueries) else None
        result = MeasureResult(
            **(steps_of(times) | queries_of(served)),
            first_step_ns=times.first_step_ns,
            scenarios_before=self._done,
            idle_cores=None if idle is None else idle.own_cores,
            # a streamed step has its copy in it
            upload_ns=() if self._feed else self._upload_ns,
            download_ns=download_ns,
            device_ns=device_ns,
            before=before,
            during=during,
            after=interference.between(*self._window()),
            canary_ns=tuple(self._canary_ns),
            checks=checks,
            settling=settling,
            facts=facts,
            peak_memory_bytes=peak_memory_bytes,
            rank_steps=rank_steps,
            seconds=phases.take_seconds(),
            start_seconds=self.start_seconds,
            **versions(self._info),
        )
        for each in (self._before, self._idle, self._during, self._canary_ns):
            each.clear()
        self._done += 1
        self._timed = None
        self._peaks_bytes = process_tree.peak_memory_bytes(), _peak_on_device(self.session.facts)
        return result

    def _own_peak(self, peak_bytes: int | None, place: int) -> int | None:
        """A peak, if this scenario made it: if it was not reached before it began."""
        before_bytes = self._peaks_bytes[place]
        if peak_bytes is None or (before_bytes is not None and peak_bytes <= before_bytes):
            return None
        return peak_bytes

    def _window(self) -> Window:
        """The time since this was asked last."""
        last, self._last = self._last, interference.read()
        return last, self._last

    def _checks_after(
        self, job: Job, phases: Phases, times: Timings
    ) -> tuple[tuple[Check, ...], Check]:
        """What the timing left behind, held against the oracle, and whether steps were finished when they were
        synchronised."""
        from dlbench.oracle.parallel_runs import threads
        from dlbench.verify.timed.after_timing import Witness, check_after, check_settled

        plan, session = self._plan, self.session
        with np.load(job["files"]["held_out"]) as arrays:
            held_out = arrays["inputs"], arrays["targets"]
        check_batch(plan, self._workload, *held_out)
        seen = zip(self._batches, self._rows, self._held, strict=True)
        witnesses = [Witness(*each) for each in seen]
        witnesses.append(Witness(session.upload(*held_out), plan.batch - 1, held_out[0][-1]))
        step_ns = np.asarray(times.blocks[-1].timings_ns)
        if isinstance(self._timed, ServedQueries) and self._timed.found is not None:
            step_ns = step_ns - np.asarray(self._timed.found.served.waited_ns)
        reads = ReadSteps(session, self._step, float(np.median(step_ns)))
        with threads(plan.threads):
            checks = check_after(
                session,
                plan,
                self._workload,
                self._initial,
                self._step == "train",
                witnesses,
                Path(job["cache_dir"]),
                phases.beat,
                reads.take,
                extent_of_job(job),
            )
        while not reads.are_enough:
            reads.take(session.upload(*held_out))
        return checks, check_settled(**dataclasses.asdict(reads.settling()))


def _peak_on_device(facts: Mapping[str, str | int]) -> int | None:
    peak_bytes = facts.get(PEAK_MEMORY)
    return peak_bytes if isinstance(peak_bytes, int) else None


_live: dict[str, _Live] = {}
"""By name; a process that times one session has no name for it."""


def _there(job: Job) -> _Live:
    name = job.get("session", "")
    if name not in _live:
        raise RuntimeError("no session was opened")
    return _live[name]
