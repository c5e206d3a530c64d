"""Has steps say what they spend on each layer, in a process of its own, and measures what saying it costs them.

Blocks of plain and of observed steps take turns, so that what the machine does to one it does to the other.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from dlbench import members
from dlbench.contract import NO_SPANS, Plan, Session, Span, SpansSession
from dlbench.errors import PlanRefused
from dlbench.record.facts import SpansResult, SpanTimes, StepSpans
from dlbench.worker.jobs.common import import_adapter, initial_of, start_device, workload_of
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

_WARMUP_STEPS = 3
_LEAST_PAIRS, _MOST_PAIRS = 6, 20
_BUDGET_S = 4.0
_BLOCK_S = 0.05
_MOST_STEPS = 15
_MOST_KEPT = 4096
"""Spans of a step that are kept one by one: a trace with a part of them would look like a whole one."""


def spans(job: Job, phases: Phases) -> SpansResult:
    """What steps say of themselves; where they do not, why."""
    adapter, _ = import_adapter(job, phases)
    plan, workload, weights = Plan(**job["plan"]), workload_of(job), initial_of(job)
    start_device(adapter, plan, phases)
    phases.enter("open")
    session = members.open_session(adapter, plan, workload, weights)
    with np.load(job["files"]["batches"]) as arrays:
        batch = session.upload(arrays["inputs"][0], arrays["targets"][0])
    phases.enter("measure")
    step = session.train_step if plan.scenario == "train" else session.infer
    try:
        steps = _Steps(
            session,
            lambda: step(batch),
            lambda found: members.check_spans(found, workload),
            phases.beat,
        )
        found = _observed(steps)
    except PlanRefused as refused:
        found = StepSpans(reason=str(refused))
    return SpansResult(spans=found, seconds=phases.take_seconds())


class _Steps:
    """Takes steps and times them."""

    def __init__(
        self,
        session: Session,
        step: Callable[[], Any],
        check: Callable[[Sequence[Span]], None],
        beat: Callable[[], None],
    ) -> None:
        if getattr(session, "spans", None) is None:
            raise PlanRefused(NO_SPANS)
        self._session, self._step = cast(SpansSession, session), step
        self._check, self._beat = check, beat
        shortest_ns = min(self.take(_WARMUP_STEPS))
        self.count = min(_MOST_STEPS, int(_BLOCK_S * 1e9 / max(shortest_ns, 1)) | 1)

    def take(self, count: int) -> list[int]:
        """What each of so many steps took (ns)."""
        took = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            result = self._step()
            self._session.synchronize()
            took.append(time.perf_counter_ns() - begin)
            del result
        self._beat()
        return took

    def plain(self) -> int:
        """The typical of a block of steps that are not observed, behind one that finds what another block has left."""
        return sorted(self.take(1 + self.count)[1:])[self.count // 2]

    def observed(self) -> tuple[int, list[Span]]:
        """The same of steps that are, and the spans of it."""
        with self._session.spans() as found:
            took = self.take(1 + self.count)
        typical = sorted(range(1, 1 + self.count), key=took.__getitem__)[self.count // 2]
        self._check(found)
        return took[typical], [span for span in found if span.step == typical]


def _observed(steps: _Steps) -> StepSpans:
    """Pairs of blocks, which begin with the one and the other by turns."""
    # what is compiled and opened with the first is no part of it
    steps.observed()
    pairs: list[tuple[int, int, list[Span]]] = []
    end_s = time.monotonic() + _BUDGET_S
    while len(pairs) < _MOST_PAIRS and (len(pairs) < _LEAST_PAIRS or time.monotonic() < end_s):
        if len(pairs) % 2:
            took, found = steps.observed()
            plain = steps.plain()
        else:
            plain = steps.plain()
            took, found = steps.observed()
        pairs.append((plain, took, found))
    _, _, typical = sorted(pairs, key=lambda pair: pair[1])[len(pairs) // 2]
    totals = [_totals(found) for _, _, found in pairs]
    keys = dict.fromkeys(key for each in totals for key in each)
    return StepSpans(
        plain_ns=tuple(plain for plain, _, _ in pairs),
        observed_ns=tuple(took for _, took, _ in pairs),
        times=tuple(
            SpanTimes(
                layers=layers,
                track=track,
                name=name,
                blocks_ns=tuple(each[layers, track, name] for each in totals),
            )
            for layers, track, name in keys
        ),
        sample=tuple(typical) if len(typical) <= _MOST_KEPT else (),
    )


def _totals(spans: Sequence[Span]) -> collections.Counter[tuple[tuple[str, ...], str, str]]:
    """What the spans of a step come to, by what they served, and where that is no layer, by what they are called."""
    found: collections.Counter[tuple[tuple[str, ...], str, str]] = collections.Counter()
    for span in spans:
        found[span.layers, span.track, "" if span.layers else span.name] += span.took_ns
    return found
