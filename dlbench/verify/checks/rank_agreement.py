"""Data-parallel training as it is pinned: every rank has its own part of the batch, gradients are averaged in float32,
and every rank takes every step.

Asked of small networks on which each other way is a gross error of its own, so that what is wrong is told by its name:
of one linear layer, whose gradients differ from rank to rank by their size and their direction, and of one that
normalises, where the workload does. That the workload's own gradients are right is for the other checks to see.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan, RanksSession, Session
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.rounding import Array, rounded
from dlbench.record.facts import Check
from dlbench.rng import uniform
from dlbench.spec.precision import BF16, FP16, Format
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload, read_workload
from dlbench.verify.checks.steps import GRADIENT_RATE
from dlbench.verify.comparison import compare, statement
from dlbench.verify.expected.evaluation_points import oracle_inputs, oracle_weights

_SEED = 20_261_130
_SAMPLES = 4
"""Of each rank."""
_FEATURES, _OUTPUTS = 16, 8
_STEPS = 3
_SAME = 2.0**-18
"""Relative error, of an array's size, that float32 may make in so small a network, with the sum over ranks."""
_SAME_BESIDE_WEIGHTS = 2.0**-13
"""The same where a gradient is read off weights that it is small beside."""
_SAME_STATISTICS = 2.0**-12
"""The same of what is normalised, beside which a statistic of other samples is another number."""
_SHORT: Mapping[str, Format] = {"bfloat16": BF16, "float16": FP16}
_CENTRES: Mapping[str, float] = {"scale": 1.0, "running_variance": 1.0}
"""What weights are drawn around; others around 0."""

_APART = "has other parameters than rank 0"

Batch = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]


def check_ranks(adapter: Adapter, plan: Plan) -> list[Check]:
    """What a plan of several ranks owes beside the right step."""
    workload = _linear()
    plan = dataclasses.replace(plan, batch=_SAMPLES * plan.world)
    one, several = _averaged(adapter, plan, workload), list(_in_step(adapter, plan, workload))
    # that ranks are apart may be all that is known, and what each steps by the reason
    return [*one, *several] if any(_APART in each.name for each in several) else [*several, *one]


def check_statistics(adapter: Adapter, plan: Plan) -> list[Check]:
    """Each rank normalises its part by the part's own statistics, and running statistics are rank 0's."""
    workload = dataclasses.replace(_normalising(), optimizer=Sgd(learning_rate=GRADIENT_RATE))
    plan = dataclasses.replace(plan, batch=_SAMPLES * plan.world)
    weights, batch = _weights(workload), _batch(plan, workload, 0)
    session = adapter.open(plan, workload, weights)
    session.train_step(session.upload(*batch))
    after = session.weights()
    by_part = _statistics(workload, weights, batch, plan.world)
    of_all = _statistics(workload, weights, batch, 1)
    checks = []
    for name, want in by_part.items():
        got = after[name].astype(np.float64)
        if ".running_" not in name:
            got = (weights[name] - got) / GRADIENT_RATE
        room = _SAME_STATISTICS * _size(want)
        label = f"ranks: {'' if '.running_' in name else 'gradient of '}{name}"
        if np.any(np.abs(got - want) > room) and np.all(np.abs(got - of_all[name]) <= room):
            said = f"{label} is that of the whole batch: statistics are synchronised over ranks"
            checks.append(statement(said, False))
        else:
            checks.append(compare(label, got, want, room, 0.0))
    return checks


def _normalising() -> Workload:
    return read_workload(
        {
            "input_shape": [_FEATURES],
            "layers": [{"type": "batch_norm", "name": "norm1", "momentum": 1.0}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.125},
        }
    )


def _statistics(workload: Workload, weights: Weights, batch: Batch, parts: int) -> dict[str, Array]:
    """Gradients and running statistics, with those of each part of the batch."""
    inputs, targets = batch
    run = Pass(True, np.ones(len(inputs)), replicas=parts)
    values = oracle_weights(weights)
    forward_backward(workload.nodes, workload.loss, values, oracle_inputs(inputs), targets, run)
    return run.gradients | run.state


def check_alike(session: Session, plan: Plan, workload: Workload, label: str) -> list[Check]:
    """Every rank has the same bits in each parameter; nothing is asked of one alone."""
    if plan.world == 1:
        return []
    every = cast(RanksSession, session).rank_weights()
    names = [parameter.name for parameter in workload.parameters if parameter.trainable]
    for rank, other in enumerate(every):
        wrong = [name for name in names if not np.array_equal(every[0][name], other[name])]
        if wrong:
            said = f"rank {rank} has another {wrong[0]} than rank 0, {label}"
            return [statement(said, False)]
    return [statement(f"every rank has the same parameters, {label}", True)]


def _linear() -> Workload:
    return read_workload(
        {
            "input_shape": [_FEATURES],
            "layers": [
                {"type": "linear", "out_features": _OUTPUTS, "bias": False, "name": "linear1"}
            ],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.125},
        }
    )


def _weights(workload: Workload) -> Weights:
    return {
        each.name: (_CENTRES.get(each.role, 0.0) + drawn).astype(np.float32)
        for each in workload.parameters
        for drawn in [uniform(each.shape, 0.5, _SEED, "weights", each.name)]
    }


def _batch(plan: Plan, workload: Workload, number: int) -> Batch:
    """Of samples whose size grows from rank to rank, lest one rank's gradient passes for another's."""
    sizes = np.repeat(1 + np.arange(plan.world) / 4, _SAMPLES).astype(np.float32)
    key = plan.world, number
    inputs = uniform((plan.batch, *workload.input_shape), 1.0, _SEED, "inputs", *key)
    targets = uniform((plan.batch, *workload.output_shape), 1.0, _SEED, "targets", *key)
    return (inputs * sizes.reshape(-1, *[1] * len(workload.input_shape))).astype(
        np.float32
    ), targets


def _parts(batch: Batch, world: int) -> list[Batch]:
    return list(zip(*(np.split(array, world) for array in batch), strict=True))


def _gradients(workload: Workload, weights: Weights, batch: Batch, world: int) -> list[Array]:
    """Each rank's gradient of its own part's mean loss with respect to the first parameter."""
    found = []
    for inputs, targets in _parts(batch, world):
        run = Pass(True, np.ones(len(inputs)))
        values = oracle_weights(weights)
        forward_backward(workload.nodes, workload.loss, values, oracle_inputs(inputs), targets, run)
        found.append(run.gradients[workload.parameters[0].name])
    return found


def _averaged(adapter: Adapter, plan: Plan, workload: Workload) -> Iterator[Check]:
    """The gradient that each rank steps by, from one step of plain SGD."""
    steep = dataclasses.replace(workload, optimizer=Sgd(learning_rate=GRADIENT_RATE))
    weights = _weights(workload)
    session = cast(RanksSession, adapter.open(plan, steep, weights))
    before, batch = [weights] * plan.world, _batch(plan, workload, 0)
    session.train_step(session.upload(*batch))
    step = _Step(workload, before, session.rank_weights(), GRADIENT_RATE)
    yield from step.checks("gradient of one step", _SAME, batch)


def _in_step(adapter: Adapter, plan: Plan, workload: Workload) -> Iterator[Check]:
    """Every rank's weights in a few steps, one after the other."""
    session = cast(RanksSession, adapter.open(plan, workload, _weights(workload)))
    rate, name = workload.optimizer.learning_rate, workload.parameters[0].name
    seen: list[Sequence[Weights]] = [[_weights(workload)] * plan.world]
    batches: list[Batch] = []
    for number in range(_STEPS):
        batches.append(_batch(plan, workload, number))
        session.train_step(session.upload(*batches[-1]))
        seen.append(session.rank_weights())
    alike = True
    for rank in range(1, plan.world):
        words = _apart(*([each[of][name] for each in seen] for of in (rank, 0)))
        alike = alike and not words
        found = words or "has rank 0's parameters after each step"
        yield statement(f"ranks: rank {rank} {found}", not words)
    for number in range(_STEPS if alike else 0):
        step = _Step(workload, seen[number], seen[number + 1], rate)
        earlier = batches[number - 1] if number else None
        label = f"gradient of step {number + 1}"
        yield from step.checks(label, _SAME_BESIDE_WEIGHTS, batches[number], earlier)


def _apart(own: Sequence[Any], zero: Sequence[Any]) -> str:
    """How a rank's weights, before and after each step, are others than rank 0's, in words; empty where they are
    not."""
    if all(map(np.array_equal, own, zero)):
        return ""
    if all(map(np.array_equal, own[1:], zero[:-1])):
        return "is one step behind rank 0"
    if all(np.array_equal(each, own[0]) for each in own):
        return "does not take the steps"
    pairs = enumerate(zip(own, zero, strict=True))
    step = next(number for number, pair in pairs if not np.array_equal(*pair))
    error = _size(own[step].astype(np.float64) - zero[step])
    return f"{_APART} after step {step}, by {error:.2g}"


@dataclasses.dataclass(frozen=True)
class _Step:
    """A step of plain SGD that all ranks began at the same weights: those of each rank before and after it."""

    workload: Workload
    before: Sequence[Weights]
    after: Sequence[Weights]
    rate: float

    def checks(
        self, label: str, room: float, batch: Batch, earlier: Batch | None = None
    ) -> Iterator[Check]:
        """What each rank stepped by, within a share of its size; `earlier` is the batch of the step before."""
        name, world = self.workload.parameters[0].name, len(self.before)
        got = [
            (one[name].astype(np.float64) - other[name]) / self.rate
            for one, other in zip(self.before, self.after, strict=True)
        ]
        own = _gradients(self.workload, self.before[0], batch, world)
        stale = _gradients(self.workload, self.before[0], earlier, world) if earlier else None
        mean = np.mean(own, axis=0)
        if words := _told(got, own, stale, room):
            yield statement(f"ranks: {label}: {words}", False)
            return
        for rank, found in enumerate(got):
            size = _size(mean)
            yield compare(f"ranks: {label}, rank {rank}", found, mean, room * size, size)


def _told(
    got: Sequence[Array], own: Sequence[Array], stale: Sequence[Array] | None, room: float
) -> str:
    """What the ranks step by, in words, where it is another thing than the mean of their gradients; empty where it is
    that, or nothing that is known."""

    def alike(found: Array, want: Array) -> bool:
        return bool(np.all(np.abs(found - want) <= room * _size(want)))

    mean = np.mean(own, axis=0)
    if all(alike(each, mean) for each in got):
        return ""
    for words, format_ in _SHORT.items():
        sent = np.mean([rounded(each, format_) for each in own], axis=0)
        if _is_short(got[0], format_) or alike(got[0], sent):
            return f"gradients are averaged in {words}, not in float32"
    if alike(got[0], np.sum(own, axis=0)):
        return "gradients are summed over ranks, not averaged"
    for rank, each in enumerate(own):
        if all(alike(found, each) for found in got):
            return f"every rank has the samples of rank {rank}"
    if all(map(alike, got, own)):
        return "each rank steps by its own gradient, which is not averaged"
    for rank, each in enumerate(stale or ()):
        if alike(got[0], np.mean([*own[:rank], each, *own[rank + 1 :]], axis=0)):
            return f"rank {rank} is one step behind: it has its part of the batch before"
    for rank, found in enumerate(got):
        if not np.any(found) and any(map(np.any, got)):
            return f"rank {rank} does not take the step"
    return ""


def _is_short(got: Array, format_: Format) -> bool:
    """Whether all are numbers of a short format, but for what reading them costs."""
    return bool(
        np.any(got) and np.all(np.abs(rounded(got, format_) - got) <= 2.0**-21 * np.abs(got))
    )


def _size(values: Any) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
