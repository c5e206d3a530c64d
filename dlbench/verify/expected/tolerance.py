"""What a right backend gives at the points of comparison, and how far rounding may take it from
there.

The oracle walks through the points once exactly and a few times perturbed by noise of the precision's roundings;
the spread of the perturbed outcomes is the scale of the tolerance. Perturbed runs take the exact
run's branches, except that each branch within the reach of rounding is turned in half of them.

In a short precision two runs more make the roundings themselves, one of what is stored, the other of a product before
its bias is added too. Activations lie on the format's grid, and so does what is affine in them, as a batch norm's
gradients are; where that grid's step is nearly a multiple of the gradients' own, all of a channel is rounded one way,
and the sum that is a bias's gradient errs by the number of its terms; a product on the grid of its sum moves all of a
binade alike, and with them a variance. Noise knows nothing of grids that meet.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.oracle.layers import Branch, Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.oracle.parallel_runs import at_once, each
from dlbench.oracle.rounding import (
    Array,
    Emulated,
    Exact,
    Perturbed,
    Rounding,
    rounded_without_end,
)
from dlbench.spec.layers import BatchNorm
from dlbench.spec.network import walk
from dlbench.spec.precision import Policy, policy_of
from dlbench.spec.training import Adadelta, Adagrad, AdamW, Optimizer, RMSprop, Sgd
from dlbench.spec.workload import Workload
from dlbench.verify.expected.evaluation_points import (
    SAFETY,
    Point,
    oracle_inputs,
    oracle_weights,
    undecided_branches,
)

_CHEAP_FLOPS = 10**7
_CHEAP_DRAWS, _DRAWS = 16, 4
"""Perturbed runs, many where they cost nothing."""

_FREEDOM = (4, 8, 12, 16, 24, 32)
_QUANTILES = (278.0, 32.0, 17.0, 12.6, 9.7, SAFETY)
"""Student's t at 1 − 10⁻⁹, two-sided, by degrees of freedom: a spread that is known from a few values only may
be far too small by chance. From 32 on `SAFETY` covers it."""

_LARGE = 16_384


@dataclasses.dataclass(frozen=True)
class Expectation:
    """An array's right value and its tolerance (which broadcasts against it).

    `scale` is the size of what was summed on the way, as seen by rounding: the spread of the perturbed values
    divided by the unit roundoff, or the values' own size if that is larger.
    """

    value: npt.NDArray[np.float32]
    tolerance: npt.NDArray[np.float32]
    scale: float


Outcome = dict[str, Array]
"""What one run through a point leaves: ``logits``, ``loss``, ``gradient of NAME``, ``NAME``, ``logits after``."""


def expect(
    workload: Workload, points: Sequence[Point], factors: Sequence[float], precision: str = "fp32"
) -> Iterator[dict[str, Expectation]]:
    """What to expect at each point in turn, the optimizer's state living on from point to point.

    `factors` multiply the optimizer's learning rate at each point. Logits are those of inference.
    """
    policy = policy_of(precision)
    draws = _draws(workload)
    walkers = [_Walker(workload, rounding) for rounding in _roundings(policy, draws)]
    reference = _Walker(workload, Exact(policy))
    frozen = [p.name for p in workload.parameters if p.frozen]
    noisy: dict[str, npt.NDArray[np.bool_]] = {}
    for index, (point, factor) in enumerate(zip(points, factors, strict=True)):
        weights = oracle_weights(point.weights)
        want, branches = reference.step(point, weights, factor, {})
        forced = _turned(workload, point, weights, branches, policy, index, draws)
        forced += [branches] * (len(walkers) - draws)
        is_last = index == len(points) - 1
        mean_squares = _mean_squares(walkers, forced, point, weights, factor, want, is_last)
        del weights
        room = _room_for_noise(workload.optimizer, point, want, mean_squares, noisy, factor)
        if any(np.any(some) for some in room.values()):
            # Such a weight may be anywhere in its room, and the logits that follow from it with it.
            want.pop("logits after", None)
        unit = policy.unit_roundoff
        found = {
            name: expectation(want[name], mean_squares[name], draws, unit, room.get(name, 0.0))
            for name in want
        }
        yield found | {name: _unchanged(point.weights[name]) for name in frozen}


def _mean_squares(
    walkers: list[_Walker],
    forced: Sequence[dict[str, Branch]],
    point: Point,
    weights: Mapping[str, Array],
    factor: float,
    want: Outcome,
    is_last: bool,
) -> Outcome:
    """The mean over perturbed runs of what a step of theirs deviates from the exact one, squared. After the last one
    they have no more to do, and leave."""
    squares: Outcome = {}
    draws = len(walkers)

    def step(pair: tuple[_Walker, dict[str, Branch]]) -> Outcome:
        return pair[0].step(point, weights, factor, pair[1])[0]

    pairs = list(zip(walkers, forced, strict=True))
    if is_last:
        walkers.clear()
    while pairs:
        now = pairs[: at_once()]
        del pairs[: len(now)]
        outcomes = each(step, now)
        del now
        while outcomes:
            for name, value in outcomes.pop(0).items():
                if name not in squares:
                    squares[name] = np.zeros(value.shape)
                _add_squares(squares[name], value, want[name])
    for total in squares.values():
        total /= draws
    return squares


def _add_squares(total: Array, got: Array, want: Array) -> None:
    """Adds what `got` deviates from `want`, squared, piece by piece: what is on the way stays in a core's own cache."""
    sums, have, exact = total.reshape(-1), got.reshape(-1), want.reshape(-1)
    for begin in range(0, sums.size, _LARGE):
        piece = slice(begin, begin + _LARGE)
        deviation = have[piece] - exact[piece]
        np.square(deviation, out=deviation)
        sums[piece] += deviation


def expect_output(
    workload: Workload,
    weights: dict[str, Array],
    inputs: Array,
    precision: str,
    draws: int | None = None,
) -> Expectation:
    """The logits of inference to expect at given weights, their tolerance from `draws` perturbed runs."""
    policy, counts = policy_of(precision), np.ones(len(inputs))
    want = forward(workload.nodes, weights, inputs, Pass(False, counts, Exact(policy)))
    squares = np.zeros_like(want)
    draws = draws or _draws(workload)
    roundings = _roundings(policy, draws)

    def perturbed(rounding: Rounding) -> Array:
        return forward(workload.nodes, weights, inputs, Pass(False, counts, rounding))

    for got in each(perturbed, roundings):
        squares += np.square(got - want)
    return expectation(want, squares / len(roundings), draws, policy.unit_roundoff)


def _roundings(policy: Policy, draws: int) -> list[Rounding]:
    """Noise of `draws` runs, and the roundings themselves in a short precision."""
    noise: list[Rounding] = [Perturbed(1000 + draw, policy) for draw in range(draws)]
    if not policy.is_mixed:
        return noise
    return noise + [Emulated(policy, rounded_without_end, each) for each in (False, True)]


def _draws(workload: Workload) -> int:
    return _CHEAP_DRAWS if workload.forward_flops < _CHEAP_FLOPS else _DRAWS


class _Walker:
    """One run of the oracle over all points."""

    def __init__(self, workload: Workload, rounding: Rounding) -> None:
        self.workload = workload
        self.rounding = rounding
        self.update = Update(workload.optimizer, rounding)
        self._infers_alike = not any(isinstance(n.layer, BatchNorm) for n in walk(workload.nodes))

    def step(
        self,
        point: Point,
        weights: Mapping[str, Array],
        factor: float,
        forced: dict[str, Branch],
    ) -> tuple[Outcome, dict[str, Branch]]:
        """One training step at a point, whose weights in float64 all runs share, with the inference before and after
        it."""
        workload, nodes = self.workload, self.workload.nodes
        inputs = oracle_inputs(point.inputs)
        run = point.run(True, self.rounding, forced)
        before, loss = forward_backward(nodes, workload.loss, weights, inputs, point.targets, run)
        if not self._infers_alike:
            before = forward(nodes, weights, inputs, point.run(False, self.rounding))
        rate = workload.optimizer.learning_rate * factor
        after = self.update.step(weights, run.gradients, rate) | run.state
        outcome: Outcome = {"logits": before, "loss": np.asarray(loss)}
        outcome |= {f"gradient of {name}": value for name, value in run.gradients.items()}
        outcome |= after
        if factor == 1:
            outcome["logits after"] = forward(nodes, after, inputs, point.run(False, self.rounding))
        return outcome, run.branches


def _room_for_noise(
    rule: Optimizer,
    point: Point,
    want: Outcome,
    mean_squares: Outcome,
    noisy: dict[str, npt.NDArray[np.bool_]],
    factor: float,
) -> dict[str, Array]:
    """What a weight may differ by where its gradient is nothing but rounding.

    All rules but SGD divide the gradient by its own size and so turn noise into a full step either way, which a
    few perturbed runs need not show. `noisy` remembers such elements, since the moments do.
    """
    if isinstance(rule, Sgd):
        return {}
    largest = _largest_step(rule)
    room = {}
    for name, weights in point.weights.items():
        decay = 0.0 if isinstance(rule, AdamW) else rule.decay_of(name)
        key = f"gradient of {name}"
        if key not in want:
            continue
        spread = SAFETY * np.sqrt(mean_squares[key])
        now = (spread >= np.abs(want[key] + decay * weights)) & (spread > 0)
        noisy[name] = noisy.get(name, np.zeros_like(now)) | now
        room[name] = noisy[name] * np.float64(2 * largest * rule.learning_rate * factor)
    return room


def _largest_step(rule: Optimizer) -> float:
    """What the learning rate is multiplied with at the most, whatever the gradients."""
    match rule:
        case Sgd():
            return np.inf
        case Adagrad():
            return 1.0
        case RMSprop():
            # all of the first squares are the gradient's own; the same again for each step that the velocity keeps
            return float(1 / np.sqrt(1 - rule.rho) / (1 - rule.momentum))
        case Adadelta():
            # the mean of squared changes grows from eps by 1 + rho a step at the most
            steps = 5
            return float(np.sqrt(rule.eps * (1 + rule.rho) ** steps / (1 - rule.rho)))
        case _:
            return max(float((1 - rule.beta1) / np.sqrt(1 - rule.beta2)), 1.0)


def _turned(
    workload: Workload,
    point: Point,
    weights: Mapping[str, Array],
    branches: dict[str, Branch],
    policy: Policy,
    index: int,
    draws: int,
) -> list[dict[str, Branch]]:
    """The branches each perturbed run takes: ambiguous ones the other way in half of the runs."""
    if point.ambiguous == 0:
        return [branches] * draws
    ambiguous = point.undecided
    if ambiguous is None:
        ambiguous = undecided_branches(point, workload, policy, weights, branches)
    return turned_branches(branches, ambiguous, index, draws)


def turned_branches(
    branches: dict[str, Branch],
    ambiguous: Mapping[str, npt.NDArray[np.bool_]],
    seed: int,
    draws: int,
) -> list[dict[str, Branch]]:
    """Branches for each of `draws` perturbed runs: ambiguous ones go the other way in half of them, drawn
    by `seed`."""
    random = np.random.Generator(np.random.SFC64(seed))
    runs = []
    for draw in range(draws):
        if draw % 2 == 0:
            chosen = {name: random.random(mask.shape) < 0.5 for name, mask in ambiguous.items()}
        taken = dict(branches)
        for name, mask in ambiguous.items():
            turn = mask & (chosen[name] if draw % 2 == 0 else ~chosen[name])
            taken[name] = _turn(branches[name], turn)
        runs.append(taken)
    return runs


def _turn(branch: Branch, turn: npt.NDArray[np.bool_]) -> Branch:
    taken, other = branch.taken, branch.other
    if other is None:
        return dataclasses.replace(branch, taken=taken ^ turn)
    if other.shape != taken.shape:
        # of all that are to win the last does
        last = other.shape[-1] - 1 - turn[..., ::-1].argmax(-1)[..., None]
        other = np.take_along_axis(other, last, -1)
        turn = np.asarray(turn.any(-1, keepdims=True))
    return dataclasses.replace(
        branch, taken=np.where(turn, other, taken), other=np.where(turn, taken, other)
    )


def safety_factor(freedom: int) -> float:
    """How many root-mean-square errors are tolerated where the spread is known from `freedom` values."""
    return float(np.interp(freedom, _FREEDOM, _QUANTILES))


def _unchanged(value: npt.NDArray[np.float32]) -> Expectation:
    """Of what a step leaves as it is, to the bit."""
    return Expectation(value, np.zeros(1, np.float32), 0.0)


def expectation(
    value: Array, mean_square: Array, draws: int, unit: float, room: Array | float = 0.0
) -> Expectation:
    """What to expect of an array, by what perturbed runs deviate from it.

    Parameters
    ----------
    value : what is right, of any shape.
    mean_square : the mean over `draws` runs of their deviations, squared.
    unit : the precision's unit roundoff.
    room : what is tolerated besides.
    """
    pooled = float(np.sqrt(np.mean(mean_square)))
    safety = safety_factor(draws * mean_square.size)
    own = mean_square
    if own.ndim > 1:
        # an element's spread is known from few draws only, and rows (of a channel, of a sample) differ in size
        rows = own.reshape(len(own), -1).mean(1).reshape(-1, *[1] * (own.ndim - 1))
        if 0 < own.size <= _LARGE and pooled > 0:
            # and columns too: where a sample's gradient is an outer product, a large input's are all large
            own = np.maximum(own, rows * (own.mean(0) / pooled**2))
        own = np.maximum(own, rows)
    tolerance = safety * np.maximum(np.sqrt(own), pooled) + room
    if tolerance.size > _LARGE:
        # One figure a row keeps the cache small; the largest of a row is on the safe side.
        rows = tolerance.reshape(len(tolerance), -1).max(1)
        tolerance = rows.reshape(-1, *[1] * (tolerance.ndim - 1))
    size = float(np.sqrt(np.mean(np.square(value))))
    return Expectation(
        np.asarray(value, np.float32),
        # Below the smallest normal float32 results may be flushed to zero.
        np.asarray(tolerance + np.finfo(np.float32).tiny, np.float32),
        max(size, pooled / unit),
    )
