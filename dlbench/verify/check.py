"""The proof before the timing: one backend, held against the oracle in everything that training
computes.

1. Five steps at a small batch, each at weights of its own: the logits of inference, the loss, every
   gradient (one step of plain SGD with learning rate 2²⁰ gives it as a difference of weights, with
   nothing lost to rounding), and with the real optimizer, whose state lives on from step to step,
   the weights after the step and the logits then.
2. The same at the timed batch.
3. Dropout, as it is timed (`dlbench.verify.dropout`).

The first stage that fails ends the verification.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dlbench.contract import Adapter, Plan, Session
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.dropout import check_dropout
from dlbench.verify.expectation import Expectation, repeat_rows
from dlbench.verify.points import Point
from dlbench.verify.reference import Reference, Stop, load_reference
from dlbench.verify.result import Check, compare

GRADIENT_RATE = 2.0**20
"""Learning rate that turns a plain SGD step into a gradient: a power of two, so large that the weights' own
rounding is far below the gradient's."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a verification found; `reason` is empty when every check passed."""

    checks: tuple[Check, ...]
    ambiguous_branches: int
    facts: dict[str, str | int]
    reason: str

    @property
    def max_relative_error(self) -> float | None:
        """The largest relative error over all checks; None when one was not finite."""
        errors = [check.relative_error for check in self.checks if check.scale > 0]
        finite = [error for error in errors if error is not None]
        return max(finite) if finite and len(finite) == len(errors) else None


def verify(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    cache_dir: Path,
    progress: Callable[[str], None] = lambda phase: None,
) -> Outcome:
    """Holds a backend's realisation of `workload`, executed as `plan` says, against the oracle.

    Raises
    ------
    BackendUnavailable, PlanRefused : from the adapter; whatever else a backend raises passes through too.
    """
    progress("oracle")
    reference = load_reference(workload, plan.batch, cache_dir, plan.precision)
    checks: list[Check] = []
    facts: dict[str, str | int] = {}
    calm = workload.without_dropout()
    small = dataclasses.replace(plan, batch=int(reference.small[0].point.counts.sum()))

    def gradients() -> list[Check]:
        plain = dataclasses.replace(calm, optimizer=Sgd(learning_rate=GRADIENT_RATE))
        session = adapter.open(small, plain, reference.small[0].point.weights)
        return [
            c for i, stop in enumerate(reference.small, 1) for c in _gradients(session, stop, i)
        ]

    def steps() -> list[Check]:
        session = adapter.open(small, calm, reference.small[0].point.weights)
        return [c for i, stop in enumerate(reference.small, 1) for c in _step(session, stop, i)]

    def timed_batch() -> list[Check]:
        session = adapter.open(plan, calm, reference.timed[0].point.weights)
        facts.update(session.facts)
        return _timed(session, reference)

    def dropout() -> list[Check]:
        return check_dropout(adapter, plan, workload)

    for phase, stage in (
        ("gradients", gradients),
        ("five steps", steps),
        ("timed batch", timed_batch),
        ("dropout", dropout),
    ):
        progress(phase)
        checks += stage()
        failed = next((check for check in checks if not check.passed), None)
        if failed is not None:
            return Outcome(tuple(checks), reference.ambiguous_branches, facts, failed.sentence())
    return Outcome(tuple(checks), reference.ambiguous_branches, facts, "")


def _gradients(session: Session, stop: Stop, step: int) -> list[Check]:
    point, expected = stop.point, stop.expected
    session.load(point.weights)
    batch = session.upload(*point.batch())
    checks = [
        _rows("logits", session.download(session.infer(batch)), expected["logits"], point, step)
    ]
    loss = session.download(session.train_step(batch))
    checks.append(_check("loss", loss, expected["loss"], step))
    after = session.weights()
    for name in sorted(expected):
        if name.startswith("gradient of "):
            parameter = name.removeprefix("gradient of ")
            before = point.weights[parameter].astype(np.float64)
            gradient = (before - after[parameter]) / GRADIENT_RATE
            stored = 2.0**-24 * (np.abs(before) / GRADIENT_RATE + np.abs(gradient))
            checks.append(_check(name, gradient, expected[name], step, stored))
    return checks


def _step(session: Session, stop: Stop, step: int, *, fresh: bool = False) -> list[Check]:
    """One step of the real optimizer from the point's weights, its state kept from the step before."""
    point, expected = stop.point, stop.expected
    rate = session.learning_rate
    session.load(point.weights, keep_optimizer=not fresh and step > 1)
    session.learning_rate = rate * stop.factor
    batch = session.upload(*point.batch())
    loss = session.download(session.train_step(batch))
    session.learning_rate = rate
    checks = [_check("loss", loss, expected["loss"], step)]
    checks += _weights(session.weights(), expected, step)
    if "logits after" in expected:
        logits = session.download(session.infer(batch))
        checks.append(_rows("logits after", logits, expected["logits after"], point, step))
    return checks


def _timed(session: Session, reference: Reference) -> list[Check]:
    first = reference.timed[0]
    batch = session.upload(*first.point.batch())
    checks = [
        _rows(
            "logits",
            session.download(session.infer(batch)),
            first.expected["logits"],
            first.point,
            0,
        )
    ]
    for stop in reference.timed:
        checks += _step(session, stop, 0, fresh=True)
    return checks


def _weights(got: Weights, expected: Mapping[str, Expectation], step: int) -> list[Check]:
    checks = []
    for name, value in got.items():
        checks.append(_check(f"{name} after the step", value, expected[name], step))
    return checks


def _rows(name: str, got: object, expectation: Expectation, point: Point, step: int) -> Check:
    """A comparison of per-sample rows: every copy of a sample is held against the same expectation."""
    spread = dataclasses.replace(
        expectation,
        value=repeat_rows(expectation.value, point.counts),
        tolerance=repeat_rows(expectation.tolerance, point.counts),
    )
    return _check(name, got, spread, step)


def _check(
    name: str, got: object, expectation: Expectation, step: int, extra: object = 0.0
) -> Check:
    label = f"{name}, step {step}" if step else f"{name}, timed batch"
    tolerance = expectation.tolerance.astype(np.float64) + np.asarray(extra)
    return compare(label, np.asarray(got), expectation.value, tolerance, expectation.scale)
