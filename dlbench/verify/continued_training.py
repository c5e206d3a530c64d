"""Two more steps from where the timed loop ended: does the session still follow the gradient?

With momentum μ and the updates d₁, d₂ of two successive steps, (d₂ − μ·d₁) / lr is the second step's
gradient, whatever the velocity was; so it can be held against the oracle's gradient at the weights
between the two. Where dropout changes the gradient much, only its size is. The moments of the other
optimizers cannot be told from two steps; there both must move the weights, by like amounts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan, Session
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.rounding import UNIT_ROUNDOFF, Array, Perturbed, Rounding, exact
from dlbench.record.facts import Check
from dlbench.spec.training import Sgd
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.comparison import compare
from dlbench.verify.evaluation_points import SAFETY, oracle_inputs, oracle_weights
from dlbench.verify.replay import distinct_batch, draw_masks, whole_batch

_STEP = 100
_RUNS = 2
_LOOSEST = 0.8
_FACTOR = 5.0
_MANY = 64
"""Elements from which on the size of a gradient under dropout hardly depends on the masks."""
_SAMPLES = 8
"""Samples from which on that is so: all of one sample's gradient has its loss' derivative as a factor, which other
masks change by orders of magnitude once the network is sure of the sample."""


def check_going_on(session: Session, plan: Plan, workload: Workload, final: Weights) -> list[Check]:
    """Two steps on one batch from the weights `final` that the session is at."""
    batch = session.upload(*whole_batch(workload, plan.batch, _STEP))
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
    gradients = _Gradients(plan, workload)
    here = gradients.at(between)
    back = gradients.at(final) if rule.nesterov else here
    rate = session.learning_rate
    checks = []
    for name in names:
        decay = rule.decay_of(name)
        wanted = here[0][name] + decay * between[name]
        got = (second[name] - rule.momentum * first[name]) / rate
        if rule.nesterov:
            earlier = back[0][name] + decay * final[name]
            got = (got + rule.momentum * earlier) / (1 + rule.momentum)
        size = float(np.linalg.norm(wanted))
        # Updates are differences of stored weights: each is off by their rounding.
        stored = 2 * UNIT_ROUNDOFF["fp32"] * float(np.linalg.norm(between[name])) / rate
        spread = max([float(np.linalg.norm(other[name] - here[0][name])) for other in here[1:]])
        if size > 0:
            tells_size = wanted.size >= _MANY and plan.batch >= _SAMPLES
            checks += _follows(name, got, wanted, size, spread, SAFETY * stored, tells_size)
    return checks


class _Gradients:
    """The oracle's gradients of the batch, exact and with noise and other dropout masks."""

    def __init__(self, plan: Plan, workload: Workload) -> None:
        self.plan = plan
        self.workload = workload
        inputs, self.targets, self.counts = distinct_batch(workload, plan.batch, _STEP)
        self.inputs = oracle_inputs(inputs)

    def at(self, weights: Weights) -> list[dict[str, Array]]:
        """The gradients at `weights`, the exact ones first."""
        unit = UNIT_ROUNDOFF[self.plan.precision]
        runs: list[Rounding] = [exact, *(Perturbed(run, unit) for run in range(_RUNS))]
        there = oracle_weights(weights)
        return [self._run(there, rounding, seed) for seed, rounding in enumerate(runs)]

    def _run(self, weights: dict[str, Array], rounding: Rounding, seed: int) -> dict[str, Array]:
        nodes, loss = self.workload.nodes, self.workload.loss
        random = np.random.Generator(np.random.SFC64(seed))
        masks = draw_masks(self.workload, len(self.inputs), random)
        run = Pass(True, self.counts, rounding, masks=masks)
        forward_backward(nodes, loss, weights, self.inputs, self.targets, run)
        return run.gradients


def _follows(
    name: str,
    got: Array,
    wanted: Array,
    size: float,
    spread: float,
    stored: float,
    tells_size: bool,
) -> list[Check]:
    label = f"gradient of {name} that two steps after the timed loop followed"
    allowed = 0.05 + (4 * spread + stored) / size
    if allowed < _LOOSEST:
        deviation = float(np.linalg.norm(got - wanted)) / size
        return [compare(f"{label}, relative deviation", deviation, 0.0, allowed, 0.0)]
    if stored > 0.3 * size or spread > size or not tells_size:
        return []
    with np.errstate(divide="ignore"):
        ratio = np.log(np.linalg.norm(got) / size)
    return [compare(f"{label}, logarithm of its share", ratio, 0.0, np.log(_FACTOR), 0.0)]


def _moves(update: Array, weights: npt.NDArray[np.float32]) -> bool:
    return bool(np.linalg.norm(update) > 8 * UNIT_ROUNDOFF["fp32"] * np.linalg.norm(weights))


def _alike(name: str, first: Array, second: Array) -> Check:
    with np.errstate(divide="ignore"):
        ratio = np.log(np.linalg.norm(second) / np.linalg.norm(first))
    label = f"movement of {name} in two steps after the timed loop, logarithm of the ratio"
    return compare(label, ratio, 0.0, np.log(_FACTOR), 0.0)
