"""Which other reading of an optimizer's rule a backend steps by, where it is not the specification's.

Where gradients are right and the weights after a step are not, the rule is wrong, and the usual misreadings are few:
what another framework pins, or a term that was forgotten. Each is the oracle's rule with one thing changed. The one
that explains what the backend did is named; where none does, nothing is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dlbench.contract import Adapter, Plan
from dlbench.oracle.network import forward_backward
from dlbench.oracle.optimizers import Piece, Update
from dlbench.oracle.rounding import Array, Exact
from dlbench.spec.precision import FP32, policy_of
from dlbench.spec.training import Adadelta, Adagrad, Adam, AdamW, Optimizer, RMSprop, Sgd
from dlbench.spec.workload import Workload
from dlbench.verify.checks.probes import Probe, probes_for
from dlbench.verify.expected.evaluation_points import oracle_inputs, oracle_weights

_UNEXPLAINED = 0.05
"""Share of the error that a reading may leave."""
_ROUNDING = 1e-6
"""What float32 may err by in a step, as a share of the weights."""
_WRONG = 20
"""So many times of that is an error to be explained."""


class _OtherRoot(Update):
    def _root(self, squares: Array, eps: float, *, inside: bool = False) -> Array:
        return super()._root(squares, eps, inside=not inside)


class _EpsBeforeCorrection(Update):
    def _root(self, squares: Array, eps: float, *, inside: bool = False) -> Array:
        assert isinstance(self.rule, Adam | AdamW)
        return super()._root(squares, eps / np.sqrt(1 - self.rule.beta2**self.steps), inside=inside)


class _Uncorrected(Update):
    def _direction(self, name: Piece, g: Array) -> Array:
        taken, self.steps = self.steps, 10**9
        direction = super()._direction(name, g)
        self.steps = taken
        return direction


class _LaterStart(Update):
    def _moment(self, kind: str, name: Piece, keep: float, add: Array) -> Array:
        self.state.setdefault((kind, name), np.full_like(add, 0.1))
        return super()._moment(kind, name, keep, add)


class _Averaged(Update):
    def _moment(self, kind: str, name: Piece, keep: float, add: Array) -> Array:
        return super()._moment(kind, name, keep, (1 - keep) * add)


class _Dampened(Update):
    def _moment(self, kind: str, name: Piece, keep: float, add: Array) -> Array:
        first = (kind, name) not in self.state
        return super()._moment(kind, name, keep, add if first else (1 - keep) * add)


class _RateInVelocity(Update):
    rate = 1.0

    def step(
        self, weights: Mapping[str, Array], gradients: Mapping[str, Array], learning_rate: float
    ) -> dict[str, Array]:
        self.rate = learning_rate
        return super().step(weights, gradients, learning_rate)

    def _moment(self, kind: str, name: Piece, keep: float, add: Array) -> Array:
        if kind != "velocity":
            return super()._moment(kind, name, keep, add)
        return super()._moment(kind, name, keep, self.rate * add) / self.rate


class _ClippedApart(Update):
    def step(
        self, weights: Mapping[str, Array], gradients: Mapping[str, Array], learning_rate: float
    ) -> dict[str, Array]:
        apart = {name: g * self._clipping({name: g}) for name, g in gradients.items()}
        bare, self.rule = self.rule, dataclasses.replace(self.rule, clip_norm=None)
        try:
            return super().step(weights, apart, learning_rate)
        finally:
            self.rule = bare


def misreadings(rule: Optimizer) -> dict[str, Update]:
    """What people take an optimizer's rule for, in words, with a fresh state each."""
    found: dict[str, Update] = {}
    if not isinstance(rule, Sgd):
        place = "outside the roots" if isinstance(rule, Adadelta) else "inside the root"
        found[f"eps {place}"] = _OtherRoot(rule)
    if isinstance(rule, Adam | AdamW):
        found["eps added before the bias correction"] = _EpsBeforeCorrection(rule)
        found["no bias correction"] = _Uncorrected(rule)
    if isinstance(rule, Adagrad):
        found["an accumulator that starts at 0.1"] = _LaterStart(rule)
    if isinstance(rule, Sgd | RMSprop) and rule.momentum:
        found["the learning rate inside the velocity"] = _RateInVelocity(rule)
        found["momentum forgotten"] = Update(dataclasses.replace(rule, momentum=0.0))
    if isinstance(rule, Sgd) and rule.momentum:
        found["a velocity with dampening"] = _Dampened(rule)
        found["a velocity that is an average"] = _Averaged(rule)
        other = dataclasses.replace(rule, nesterov=not rule.nesterov)
        found["Nesterov's momentum forgotten" if rule.nesterov else "Nesterov's momentum"] = Update(
            other
        )
    if rule.clip_norm is not None:
        found["gradients that are not clipped"] = Update(dataclasses.replace(rule, clip_norm=None))
        found["a clipping of each gradient by its own norm"] = _ClippedApart(rule)
    if rule.weight_decay:
        fields = dataclasses.asdict(rule)
        if isinstance(rule, Adam):
            found["a decoupled weight decay"] = Update(AdamW(**fields))
        if isinstance(rule, AdamW):
            found["a coupled weight decay"] = Update(Adam(**fields))
        found["no weight decay"] = Update(dataclasses.replace(rule, weight_decay=0.0))
        all_decay = rule.decay_biases_and_norms
        words = "no weight decay of biases" if all_decay else "a weight decay of biases too"
        found[words] = Update(dataclasses.replace(rule, decay_biases_and_norms=not all_decay))
    return found


def explained(adapter: Adapter, plan: Plan, workload: Workload, cache_dir: Path) -> str:
    """The misreading that explains the backend's steps of the workload's optimizer; empty where none does."""
    for probe in probes_for(workload):
        if probe.of_optimizer:
            words = _explained(adapter, plan, workload, probe, cache_dir)
            if words:
                return words
    return ""


def _explained(
    adapter: Adapter, plan: Plan, workload: Workload, probe: Probe, cache_dir: Path
) -> str:
    small = probe.workload(workload)
    rule = small.optimizer
    right, readings = Update(rule), misreadings(rule)
    policy = policy_of(plan.precision)
    coarser = policy.unit_roundoff / FP32.unit_roundoff
    wrong, left = 0.0, dict.fromkeys(readings, 0.0)
    stops = probe.stops(workload, cache_dir, plan.precision)
    session = adapter.open(
        dataclasses.replace(plan, batch=probe.batch), small, stops[0].point.weights
    )
    for number, stop in enumerate(stops):
        point, rate = stop.point, rule.learning_rate * stop.factor
        session.load(point.weights, keep_optimizer=number > 0)
        session.learning_rate = rate
        session.train_step(session.upload(*point.batch()))
        got = oracle_weights(session.weights())
        weights, run = oracle_weights(point.weights), point.run(True, Exact(policy))
        inputs = oracle_inputs(point.inputs)
        forward_backward(small.nodes, small.loss, weights, inputs, point.targets, run)
        rounding = _ROUNDING * coarser * _distance(got)
        error = _distance(right.step(weights, run.gradients, rate), got)
        wrong = max(wrong, error / rounding)
        for words, reading in readings.items():
            rest = _distance(reading.step(weights, run.gradients, rate), got)
            left[words] = max(left[words], rest / (_UNEXPLAINED * error + rounding))
    best = min(left, key=lambda words: left[words], default="")
    return best if best and left[best] < 1 and wrong > _WRONG else ""


def _distance(one: Mapping[str, Array], other: Mapping[str, Array] | None = None) -> float:
    """The norm of the difference of two sets of arrays, or of one alone."""
    arrays = (one[name] - (other[name] if other else 0.0) for name in one)
    return float(np.sqrt(sum(np.square(array).sum() for array in arrays)))
