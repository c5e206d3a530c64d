"""Times the networks of a ladder in this process, turn by turn: which layers the step of a session consists of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench import members
from dlbench.contract import AdapterBase, Plan, Session, check_batch
from dlbench.host import interference
from dlbench.profile.ladder import (
    Blocks,
    Rung,
    Scenario,
    inference_rungs,
    time_rounds,
    training_rungs,
    trains,
)
from dlbench.record.facts import ProfileResult, RungTimes
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


def profile(job: Job, phases: Phases) -> ProfileResult:
    """Times the ladder of a scenario for ``budget_s`` seconds, after all its networks were opened and warmed up."""
    adapter, info = import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), workload_of(job)
    start_device(adapter, plan, phases)
    phases.enter("open")
    with np.load(job["files"]["batches"]) as arrays:
        batch = arrays["inputs"][0], arrays["targets"][0]
    rungs = training_rungs(workload) if plan.scenario == "train" else inference_rungs(workload)
    opened = _Opened(adapter, plan, initial_of(job), batch, phases)
    blocks = [each for rung in rungs for each in opened.blocks(rung)]
    phases.enter("measure")
    before = interference.read()
    rounds = time_rounds(blocks, job["budget_s"], phases.beat)
    during = interference.between(before, interference.read())
    return ProfileResult(
        rungs=tuple(map(_times, blocks)),
        rounds=rounds,
        during=during,
        facts=plain(opened.last.facts),
        seconds=phases.take_seconds(),
        **versions(info),
    )


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
        self._outputs: npt.NDArray[np.float32] | None = None
        self._between: dict[str, npt.NDArray[np.float32]] = {}

    def blocks(self, rung: Rung) -> Iterator[Blocks]:
        """The kinds of step of a network that are timed: of one that trains also those of inference."""
        self._phases.beat()
        weights = rung.weights(self._initial)
        plan = dataclasses.replace(self._plan, batch=rung.batch or self._plan.batch)
        session = members.open_session(self._adapter, plan, rung.workload, weights)
        self.last = session
        given, wanted = self._batch
        before = self._between.get(rung.name) if rung.kind == "alone" else None
        inputs, targets = rung.inputs(given, before), rung.targets(wanted)
        check_batch(plan, rung.workload, inputs, targets)
        resident = session.upload(inputs, targets)
        steps: Sequence[Scenario] = ("infer",)
        if self._plan.scenario == "train" and rung.kind != "ceiling" and trains(rung):
            steps = ("train",) if rung.kind in ("plain", "whole") else ("train", "infer")
        elif rung.kind == "beginning":
            self._keep(rung, session.download(session.infer(resident)))
        for step in steps:
            yield Blocks(rung, session, resident, step, weights)

    def _keep(self, rung: Rung, outputs: npt.NDArray[np.float32]) -> None:
        """Keeps what a beginning has given for the layer that comes next, when that is timed alone."""
        before = self._batch[0] if self._outputs is None else self._outputs
        self._between[rung.name], self._outputs = before, outputs


def _times(blocks: Blocks) -> RungTimes:
    rung = blocks.rung
    return RungTimes(rung.kind, rung.name, blocks.step, rung.front, tuple(blocks.medians_ns))
