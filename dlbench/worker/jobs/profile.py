"""Times the networks of a ladder in this process, round by round, taking turns with the ladders of other rows."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench import members
from dlbench.contract import AdapterBase, Plan, Session, check_batch
from dlbench.host import interference, process_tree
from dlbench.profile.rungs import (
    PRODUCT,
    PRODUCTS,
    Rung,
    Scenario,
    ceilings,
    inference_rungs,
    training_rungs,
    trains,
)
from dlbench.profile.timed_blocks import Blocks, time_round
from dlbench.profile.triad import TRIADS, Triad
from dlbench.record.facts import (
    BlockResult,
    OpenResult,
    ProfileResult,
    RungTimes,
    Surroundings,
)
from dlbench.spec.workload import Weights
from dlbench.worker.jobs.common import (
    import_adapter,
    initial_of,
    plain,
    start_device,
    versions,
    workload_of,
)
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases


def open_ladder(job: Job, phases: Phases) -> OpenResult:
    """Opens and warms up all networks of a ladder."""
    _live.append(_Ladder(job, phases))
    # what that took, the end tells
    return OpenResult(facts=_there().facts, seconds={})


def time_ladder(job: Job, phases: Phases) -> BlockResult:
    """Times a round: a block of each network."""
    return BlockResult(steps=_there().time(phases))


def finish_ladder(job: Job, phases: Phases) -> ProfileResult:
    """What was timed."""
    return _there().finish(phases)


class _Ladder:
    """The open networks of a scenario, and what their blocks took so far."""

    def __init__(self, job: Job, phases: Phases) -> None:
        # others have turns too, while it sleeps
        process_tree.end_with_parent()
        adapter, self._info = import_adapter(job, phases)
        plan, workload = Plan(**job["plan"]), workload_of(job)
        start_device(adapter, plan, phases)
        phases.enter("open")
        with np.load(job["files"]["batches"]) as arrays:
            batch = arrays["inputs"][0], arrays["targets"][0]
        make = training_rungs if plan.scenario == "train" else inference_rungs
        opened = _Opened(adapter, plan, initial_of(job), batch, phases)
        self._blocks = [
            each for rung in make(workload, job["inside"]) for each in opened.blocks(rung)
        ]
        if plan.device == "cpu":
            self._blocks += _triads(plan.threads)
        self.facts = plain(opened.last.facts)
        self._offers_spans = members.offers_spans(opened.last)
        self._ended_ns: list[int] = []
        self._during: list[Surroundings] = []

    def time(self, phases: Phases) -> int:
        """The number of the round that was timed."""
        phases.enter("measure")
        before = interference.read()
        time_round(self._blocks, len(self._ended_ns) + 1, phases.beat)
        self._during.append(interference.between(before, interference.read()))
        self._ended_ns.append(time.perf_counter_ns())
        return len(self._ended_ns)

    def finish(self, phases: Phases) -> ProfileResult:
        """All of it."""
        during = interference.over(self._during)
        assert during is not None
        return ProfileResult(
            rungs=tuple(map(_times, self._blocks)),
            round_ended_ns=tuple(self._ended_ns),
            during=during,
            facts=self.facts,
            offers_spans=self._offers_spans,
            seconds=phases.take_seconds(),
            **versions(self._info),
        )


def _triads(threads: int) -> Iterator[Blocks]:
    """The roofs of the host itself."""
    for rung in ceilings():
        if rung.name in (PRODUCT, PRODUCTS):
            continue
        elements = math.prod(rung.workload.input_shape)
        named = dataclasses.replace(rung, name=f"{TRIADS} {elements}")
        yield Blocks(named, Triad(elements, threads), None, "infer", {})


_live: list[_Ladder] = []


def _there() -> _Ladder:
    if not _live:
        raise RuntimeError("no ladder was opened")
    return _live[-1]


_BOTH = ("empty", "beginning", "closing")
"""Of a ladder of training, the networks whose inference tells something too."""


class _Opened:
    """Opens the networks of a ladder, each of them live until the end; `last` is the latest."""

    last: Session

    def __init__(
        self,
        adapter: AdapterBase,
        plan: Plan,
        initial: Weights,
        batch: tuple[npt.NDArray[np.float32], npt.NDArray[Any]],
        phases: Phases,
    ) -> None:
        self._adapter, self._plan, self._initial, self._phases = adapter, plan, initial, phases
        self._batch = batch
        self._outputs: dict[str, npt.NDArray[np.float32]] = {"": batch[0]}

    def blocks(self, rung: Rung) -> Iterator[Blocks]:
        """The kinds of step of a network that are timed: of one that trains also those of inference."""
        self._phases.beat()
        weights = rung.weights(self._initial)
        plan = dataclasses.replace(self._plan, batch=rung.batch or self._plan.batch)
        session = members.open_session(self._adapter, plan, rung.workload, weights)
        self.last = session
        given, wanted = self._batch
        before = None
        if rung.kind == "alone" and not rung.front:
            before = self._outputs.get(rung.before)
        inputs, targets = rung.inputs(given, before), rung.targets(wanted)
        check_batch(plan, rung.workload, inputs, targets)
        resident = session.upload(inputs, targets)
        steps: Sequence[Scenario] = ("infer",)
        if self._plan.scenario == "train" and rung.kind != "ceiling" and trains(rung):
            steps = ("train", "infer") if rung.kind in _BOTH else ("train",)
        elif rung.kind == "beginning":
            # what the layer behind it reads, when that is timed alone
            self._outputs[rung.name] = session.download(session.infer(resident))
        for step in steps:
            yield Blocks(rung, session, resident, step, weights)


def _times(blocks: Blocks) -> RungTimes:
    rung = blocks.rung
    return RungTimes(rung.kind, rung.name, blocks.step, rung.front, tuple(blocks.medians_ns))
