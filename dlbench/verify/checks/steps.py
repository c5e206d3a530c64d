"""Steps of a session held against the oracle: the comparisons that every stage of a verification uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan, Session
from dlbench.record.facts import Check
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.comparison import Piece, compare, compare_pieces, statement
from dlbench.verify.expected.evaluation_points import Point
from dlbench.verify.expected.reference import Stop
from dlbench.verify.expected.tolerance import Expectation

GRADIENT_RATE = 2.0**20
"""Learning rate that turns a plain SGD step into a gradient: a power of two, so large that the weights' own
rounding is far below the gradient's."""


def check_gradients(
    adapter: Adapter,
    plan: Plan,
    workload: Workload,
    stops: Sequence[Stop],
    label: str = "",
    infers: bool = True,
) -> tuple[list[Check], list[Check]]:
    """Logits (where it `infers`), loss and every gradient at each stop; `label` replaces the step's number in the
    checks' names.

    From steps of the workload's own optimizer where its first one is the gradient and the decay, and where these are
    wrong or it is another from steps of plain SGD, so that the optimizer's faults are not taken for the gradients':
    what its own step made of gradients that are right comes apart.
    """
    rule = workload.optimizer
    own = plain = Sgd(learning_rate=GRADIENT_RATE)
    if isinstance(rule, Sgd) and not rule.nesterov and rule.clip_norm is None:
        own = dataclasses.replace(rule, learning_rate=GRADIENT_RATE)
    checks: list[Check] = []
    for each in dict.fromkeys((own, plain)):
        first = checks
        stepped = dataclasses.replace(workload, optimizer=each)
        session = adapter.open(plan, stepped, stops[0].point.weights)
        checks = []
        for i, stop in enumerate(stops, 1):
            if i > 1:
                session.load(stop.point.weights)
            checks += _gradients(session, stop, label or f"step {i}", infers, each)
        if all(check.passed for check in checks):
            return checks, [_of_the_rule(check) for check in first if not check.passed]
    return checks, []


def _of_the_rule(check: Check) -> Check:
    """What the workload's own optimizer made of a gradient that is right under plain SGD."""
    _, is_gradient, name = check.name.partition("gradient of ")
    if not is_gradient:
        return check
    parameter, _, label = name.partition(", ")
    told = f"gradient and decay of {parameter} after the step, {label}"
    return dataclasses.replace(check, name=told)


def check_outputs(
    adapter: Adapter, plan: Plan, workload: Workload, stops: Sequence[Stop], label: str = ""
) -> list[Check]:
    """Logits at each stop, twice from one resident batch: all there is of a backend that only infers."""
    checks = []
    for i, stop in enumerate(stops, 1):
        session = adapter.open(plan, workload, stop.point.weights)
        batch = session.upload(*stop.point.batch())
        for again in ("", " again"):
            got = session.download(session.infer(batch))
            name = f"{label or f'step {i}'}{again}"
            checks.append(check_rows("logits", got, stop.expected["logits"], stop.point, name))
    return checks


def check_steps(
    adapter: Adapter, plan: Plan, workload: Workload, stops: Sequence[Stop]
) -> list[Check]:
    """Loss and weights after each step of the workload's own optimizer, whose state lives on."""
    session = adapter.open(plan, workload, stops[0].point.weights)
    checks = []
    for i, stop in enumerate(stops, 1):
        if i > 1:
            session.load(stop.point.weights, keep_optimizer=True)
        batch = session.upload(*stop.point.batch())
        checks += check_step(session, stop, batch, f"step {i}")
    # A fresh start must forget momentum, moments and step count.
    session.load(stops[0].point.weights)
    batch = session.upload(*stops[0].point.batch())
    return checks + check_step(session, stops[0], batch, "step 1 again")


def check_resident(session: Session, stop: Stop) -> list[Check]:
    """Inference, a step, and inference again on one and the same resident batch, so that an output kept for
    a batch is found out; the session is at the stop's weights."""
    batch = session.upload(*stop.point.batch())
    label = "timed batch"
    before = check_logits(session, stop, batch, label)
    untouched = _untouched(session, stop.point, label)
    return [before, *untouched, *check_step(session, stop, batch, label)]


def _gradients(session: Session, stop: Stop, label: str, infers: bool, rule: Sgd) -> list[Check]:
    """One step of `rule` from the point's weights, where the session is."""
    point, expected = stop.point, stop.expected
    batch = session.upload(*point.batch())
    checks = []
    if infers:
        checks += [check_logits(session, stop, batch, label), *_untouched(session, point, label)]
    checks.append(check_loss(session, stop, session.train_step(batch), label))
    after = session.weights()
    names = _names(after, point, label)
    if not names.passed:
        return [*checks, names]
    for name in sorted(expected):
        if name.startswith("gradient of "):
            key = name.removeprefix("gradient of ")
            weights = point.weights[key], after[key]
            decay = rule.decay_of(key)
            checks.append(_gradient(f"{name}, {label}", *weights, expected[name], decay))
    frozen = (n for n in point.weights if n in expected and not expected[n].tolerance.any())
    return checks + [_check(f"{n} after the step", after[n], expected[n], label) for n in frozen]


def _gradient(
    name: str,
    before: npt.NDArray[np.float32],
    after: npt.NDArray[np.float32],
    expectation: Expectation,
    decay: float,
) -> Check:
    """A gradient, by what a first step of SGD changed of a weight."""
    value = expectation.value
    tolerance = np.broadcast_to(expectation.tolerance, value.shape)

    def piece(rows: Any) -> Piece:
        old = before[rows].astype(np.float64)
        step = (old - after[rows]) / GRADIENT_RATE
        # half a unit in the last place of the stored weight, twice over, and of what the decay adds
        stored = np.abs(step) + np.abs(old) * (1 / GRADIENT_RATE + decay)
        return step - decay * old, value[rows], tolerance[rows] + stored * 2.0**-23

    return compare_pieces(name, value.shape, piece, expectation.scale)


def check_step(session: Session, stop: Stop, batch: Any, label: str) -> list[Check]:
    """One step of the real optimizer from the point's weights."""
    point, expected = stop.point, stop.expected
    rate = session.learning_rate
    session.learning_rate = rate * stop.factor
    loss = check_loss(session, stop, session.train_step(batch), label)
    session.learning_rate = rate
    checks = [loss, *check_weights(session, stop, label)]
    if "logits after" in expected:
        logits = session.download(session.infer(batch))
        checks.append(check_rows("logits after", logits, expected["logits after"], point, label))
    return checks


def check_logits(session: Session, stop: Stop, batch: Any, label: str) -> Check:
    """The logits of a stop's batch, at the stop's weights."""
    got = session.download(session.infer(batch))
    return check_rows("logits", got, stop.expected["logits"], stop.point, label)


def check_loss(session: Session, stop: Stop, loss: Any, label: str) -> Check:
    """The loss that a training step at a stop gave."""
    return _check("loss", session.download(loss), stop.expected["loss"], label)


def check_weights(session: Session, stop: Stop, label: str) -> list[Check]:
    """The weights after a stop's step."""
    got = session.weights()
    names = _names(got, stop.point, label)
    if not names.passed:
        return [names]
    expected = stop.expected
    values = [_check(f"{n} after the step", got[n], expected[n], label) for n in stop.point.weights]
    return [names, *values]


def _untouched(session: Session, point: Point, label: str) -> list[Check]:
    """Inference leaves running statistics as they were loaded."""
    names = [name for name in point.weights if ".running_" in name]
    if not names:
        return []
    got = session.weights()
    return [
        compare(f"{name} after inference, {label}", got[name], point.weights[name], 0.0, 0.0)
        for name in names
        if name in got
    ]


def _names(got: Weights, point: Point, label: str) -> Check:
    """All parameters and running statistics are there, and nothing else."""
    wrong = sorted(set(got) ^ set(point.weights))
    if not wrong:
        return statement(f"names of the session's weights, {label}", True)
    missing = [name for name in wrong if name in point.weights]
    kind = "missing from" if missing else "not a parameter but in"
    return statement(f"{(missing or wrong)[0]} is {kind} the session's weights, {label}", False)


def check_rows(name: str, got: object, expectation: Expectation, point: Point, label: str) -> Check:
    """A comparison of per-sample rows: every copy of a sample is held against the same expectation."""
    spread = dataclasses.replace(
        expectation,
        value=expectation.value[point.order],
        tolerance=expectation.tolerance[point.order],
    )
    return _check(name, got, spread, label)


def _check(
    name: str, got: object, expectation: Expectation, label: str, extra: object = 0.0
) -> Check:
    tolerance = expectation.tolerance.astype(np.float64) + np.asarray(extra)
    name = f"{name}, {label}"
    return compare(name, np.asarray(got), expectation.value, tolerance, expectation.scale)
