"""What a session owes to others and to itself, whatever it computes: copies of what it is given, a state that is its
own, results that last. Each rule is tried on a small network, since a fault here hides behind right figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan, Session
from dlbench.record.facts import Check
from dlbench.spec.workload import Workload
from dlbench.verify.checks.steps import (
    check_logits,
    check_loss,
    check_rows,
    check_step,
    check_weights,
)
from dlbench.verify.comparison import statement
from dlbench.verify.expected.reference import Stop, load_reference

Rule = Callable[[Adapter, Plan, Workload, Sequence[Stop]], list[Check]]


def check_rule(
    name: str, adapter: Adapter, plan: Plan, workload: Workload, cache_dir: Path
) -> list[Check]:
    """Tries one of `RULES`."""
    stops = load_reference(workload, plan.batch, cache_dir, plan.precision).small
    plan = dataclasses.replace(plan, batch=len(stops[0].point.order))
    return RULES[name](adapter, plan, workload, stops)


def _copies(adapter: Adapter, plan: Plan, workload: Workload, stops: Sequence[Stop]) -> list[Check]:
    """What it was given may be overwritten as soon as the call is over."""
    trains = plan.scenario == "train"
    stop = stops[0]
    weights, (inputs, targets) = _own(stop.point.weights), map(np.array, stop.point.batch())
    session = adapter.open(plan, workload, weights)
    batch = session.upload(inputs, targets)
    checks = [check_logits(session, stop, batch, "step 1")]
    if not checks[0].passed:
        return checks
    _spoil(weights.values())
    checks.append(_as_before("open() keeps the weights", session, stop, batch))
    _spoil([inputs])
    checks.append(_as_before("upload() keeps the inputs", session, stop, batch))
    if trains:
        weights = _own(stop.point.weights)
        session.load(weights)
        _spoil(weights.values())
        checks.append(_as_before("load() keeps the weights", session, stop, batch))
        _spoil([targets])
        loss = check_loss(session, stop, session.train_step(batch), "step 1")
        checks.append(_kept("upload() keeps the targets", "train_step()", loss))
    return checks


def _side_by_side(
    adapter: Adapter, plan: Plan, workload: Workload, stops: Sequence[Stop]
) -> list[Check]:
    """A second session of the same network is another one: its weights, its optimizer's state, its results."""
    first, second, *_ = stops
    one = adapter.open(plan, workload, first.point.weights)
    batch = one.upload(*first.point.batch())
    if plan.scenario != "train":
        other = adapter.open(plan, workload, second.point.weights)
        theirs = other.upload(*second.point.batch())
        return [
            check_logits(one, first, batch, "of a session beside a second one"),
            check_logits(other, second, theirs, "of a second session beside the first"),
            check_logits(one, first, batch, "of a session beside a second one, again"),
        ]
    checks = check_step(one, first, batch, "step 1")
    other = adapter.open(plan, workload, first.point.weights)
    theirs = other.upload(*first.point.batch())
    checks += check_step(other, first, theirs, "step 1 of a second session beside the first")
    checks += check_weights(one, first, "step 1 of a session beside a second one")
    one.load(second.point.weights, keep_optimizer=True)
    label = "step 2 of a session beside a second one"
    checks += check_step(one, second, one.upload(*second.point.batch()), label)
    return checks + check_weights(other, first, "of a second session when the first went on")


def _results_last(
    adapter: Adapter, plan: Plan, workload: Workload, stops: Sequence[Stop]
) -> list[Check]:
    """What a step gives may be downloaded much later."""
    first, second, *_ = stops
    session = adapter.open(plan, workload, first.point.weights)
    if plan.scenario != "train":
        batch, other = (session.upload(*stop.point.batch()) for stop in (first, second))
        result = session.infer(batch)
        session.infer(other)
        got, expected = session.download(result), first.expected["logits"]
        label = "step 1, downloaded after a later one"
        return [check_rows("logits", got, expected, first.point, label)]
    loss = session.train_step(session.upload(*first.point.batch()))
    session.load(second.point.weights, keep_optimizer=True)
    batch = session.upload(*second.point.batch())
    for _ in range(3):
        session.train_step(batch)
    session.synchronize()
    return [check_loss(session, first, loss, "step 1, downloaded after later steps")]


RULES: Mapping[str, Rule] = {
    "copies of what it is given": _copies,
    "two side by side": _side_by_side,
    "results that last": _results_last,
}


def _own(weights: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.array(value) for name, value in weights.items()}


def _spoil(arrays: Iterable[npt.NDArray[Any]]) -> None:
    """Leaves nothing right in arrays; labels become others that there are."""
    for array in arrays:
        array[...] = np.nan if np.issubdtype(array.dtype, np.floating) else array.max() - array


def _as_before(what: str, session: Session, stop: Stop, batch: Any) -> Check:
    return _kept(what, "infer()", check_logits(session, stop, batch, "step 1"))


def _kept(what: str, member: str, found: Check) -> Check:
    said = f"{what} that it was given: overwritten afterwards, they change what {member} gives; make copies"
    return found if found.passed else statement(said, False)
