"""Two more steps from where the timed loop ended: does the session still follow the gradient?

With momentum μ and the updates d₁, d₂ of two successive steps, (d₂ − μ·d₁) / lr is the second step's
gradient, whatever the velocity was; so it can be held against the oracle's gradient at the weights
between the two. With Nesterov's momentum it is (1 + μ) times that less μ times the first step's. Where
dropout changes the gradient much, only its size is. The moments of other optimizers cannot be told from
two steps; there both must move the weights, by like amounts. Where masks or moments have a part in it, a
failure has to repeat itself (`dlbench.verify.timed.chance`), and so has one that is small: in float32 a gradient
is held closely too, which a branch within rounding may fail on one batch, and a product in a shorter format fails
on all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.parallel_runs import each
from dlbench.oracle.rounding import Array, Exact, Perturbed, Rounding
from dlbench.record.facts import Check
from dlbench.spec.precision import FP32, policy_of
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import SAFETY, oracle_inputs, oracle_weights
from dlbench.verify.extent import FULL, Extent
from dlbench.verify.timed.chance import ask_again
from dlbench.verify.timed.replay import distinct_batch, draw_masks, whole_batch

_STEP = 100
_LOOSEST = 0.8
_FACTOR = 5.0
_NEAR, _CLOSE = 0.05, 0.0001
"""What a gradient may deviate by beyond noise, and closely."""
_CLOSELY = " on every batch"
_TELLING = 0.7
"""Logarithm up to which the size of a gradient may depend on the masks, to be held against the oracle's."""


def check_going_on(
    session: Session,
    plan: Plan,
    workload: Workload,
    beat: Callable[[], None] = lambda: None,
    extent: Extent = FULL,
) -> list[Check]:
    """Two steps on one batch from the weights that the session is at; where chance has a part, again from there on
    others.

    Parameters
    ----------
    beat : called before each two steps.
    extent : samples of the batch that differ, and runs of the oracle with noise.
    """
    final = session.weights()

    def take(attempt: int) -> list[Check]:
        beat()
        if attempt:
            session.load(final, keep_optimizer=True)
        return _two_steps(session, plan, workload, attempt, extent)

    first = take(0)
    is_certain = isinstance(workload.optimizer, Sgd) and not workload.has_dropout
    if is_certain and any(not check.passed and _CLOSELY not in check.name for check in first):
        return first
    return ask_again(lambda attempt: take(attempt) if attempt else first)


def _two_steps(
    session: Session, plan: Plan, workload: Workload, attempt: int, extent: Extent
) -> list[Check]:
    replicas = workload.replicas(plan.world)
    whole = whole_batch(workload, plan.batch, _STEP + attempt, replicas, extent.after_samples)
    batch = session.upload(*whole)
    final = session.weights()
    session.train_step(batch)
    between = session.weights()
    session.train_step(batch)
    after = session.weights()
    names = [p.name for p in workload.parameters if p.trainable]
    first = {n: final[n].astype(np.float64) - between[n] for n in names}
    second = {n: between[n].astype(np.float64) - after[n] for n in names}
    rule = workload.optimizer
    if not isinstance(rule, Sgd):
        return [_alike(n, first[n], second[n]) for n in names if _moves(first[n], between[n])]
    wanted = _Wanted(plan, workload, attempt, extent).after(final, between)
    rate = session.learning_rate
    checks = []
    for name in names:
        got = (second[name] - rule.momentum * first[name]) / rate
        # Updates are differences of stored weights: each is off by their rounding.
        stored = 2 * FP32.unit_roundoff * float(np.linalg.norm(between[name])) / rate
        runs = [run[name] for run in wanted]
        checks += _follows(name, got, runs, SAFETY * stored, plan.precision == FP32.name)
    return checks


class _Wanted:
    """What two steps on the batch should tell, exactly and with noise, each time with other dropout masks."""

    def __init__(self, plan: Plan, workload: Workload, attempt: int, extent: Extent) -> None:
        self.plan = plan
        self.workload = workload
        self.attempt = attempt
        self.replicas = workload.replicas(plan.world)
        self.runs = extent.gradient_runs
        inputs, self.targets, self.counts = distinct_batch(
            workload, plan.batch, _STEP + attempt, self.replicas, extent.after_samples
        )
        self.inputs = oracle_inputs(inputs)

    def after(self, final: Weights, between: Weights) -> list[dict[str, Array]]:
        """The exact one first; `final` are the weights before the two steps."""
        rule = self.workload.optimizer
        assert isinstance(rule, Sgd)
        here = self._gradients(between, 0)
        if not rule.nesterov:
            return here
        back, keep = self._gradients(final, 1), rule.momentum
        return [
            {name: (1 + keep) * run[name] - keep * earlier[name] for name in run}
            for run, earlier in zip(here, back, strict=True)
        ]

    def _gradients(self, weights: Weights, step: int) -> list[dict[str, Array]]:
        policy = policy_of(self.plan.precision)
        there = oracle_weights(weights)

        def run(number: int) -> dict[str, Array]:
            rounding: Rounding = Perturbed(number - 1, policy) if number else Exact(policy)
            return self._run(there, rounding, (self.attempt, step, number))

        return each(run, range(1 + self.runs))

    def _run(
        self, weights: dict[str, Array], rounding: Rounding, seed: tuple[int, ...]
    ) -> dict[str, Array]:
        nodes, loss = self.workload.nodes, self.workload.loss
        random = np.random.Generator(np.random.SFC64(seed))
        masks = draw_masks(self.workload, len(self.inputs), random)
        run = Pass(True, self.counts, rounding, masks=masks, replicas=self.replicas)
        forward_backward(nodes, loss, weights, self.inputs, self.targets, run)
        rule = self.workload.optimizer
        norm = np.sqrt(sum(float(np.square(value).sum()) for value in run.gradients.values()))
        share = rule.clipping(float(norm))
        return {
            name: share * value + rule.decay_of(name) * weights[name]
            for name, value in run.gradients.items()
        }


def _follows(
    name: str, got: Array, runs: Sequence[Array], stored: float, closely: bool
) -> list[Check]:
    """Holds `got` against the first of the runs, as far as the others tell, and where it can be `closely` too; `stored`
    is what rounding of the stored weights may add."""
    label = f"gradient of {name} that two steps after the timed loop followed"
    wanted, *others = runs
    size = float(np.linalg.norm(wanted))
    if size == 0 or not np.isfinite(size):
        return []
    spread = max(float(np.linalg.norm(other - wanted)) for other in others)
    noise = (4 * spread + stored) / size
    if _NEAR + noise < _LOOSEST:
        deviation = float(np.linalg.norm(got - wanted)) / size
        label += ", relative deviation"
        checks = [compare(label, deviation, 0.0, _NEAR + noise, 0.0)]
        if closely:
            checks.append(compare(label + _CLOSELY, deviation, 0.0, _CLOSE + noise, 0.0))
        return checks
    with np.errstate(divide="ignore"):
        ratio = np.log(np.linalg.norm(got) / size)
        size_spread = max(abs(float(np.log(np.linalg.norm(other) / size))) for other in others)
    if stored > 0.3 * size or size_spread >= _TELLING:
        return []
    return [compare(f"{label}, logarithm of its share", ratio, 0.0, np.log(_FACTOR), 0.0)]


def _moves(update: Array, weights: npt.NDArray[np.float32]) -> bool:
    return bool(np.linalg.norm(update) > 8 * FP32.unit_roundoff * np.linalg.norm(weights))


def _alike(name: str, first: Array, second: Array) -> Check:
    with np.errstate(divide="ignore"):
        ratio = np.log(np.linalg.norm(second) / np.linalg.norm(first))
    label = f"movement of {name} in two steps after the timed loop, logarithm of the ratio"
    return compare(label, ratio, 0.0, np.log(_FACTOR), 0.0)
