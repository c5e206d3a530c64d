"""Where a backend is compared: weights and a small batch at which rounding cannot change a branch.

Among tens of thousands of activations some lie within rounding of a relu's zero; there a backend
may rightly go the other way, and a gradient changes by far more than rounding. So the weights of a
point are nudged: the bias or shift before each relu is moved, channel by channel, so that zero
falls in the middle of a wide gap between that channel's values. Ties of pooling windows no shift
can part; for those the batch is drawn again. What is still ambiguous after the last draw is
counted, and its effect becomes part of the tolerance (see `dlbench.verify.expected.tolerance`).

A point stands for a large batch through few distinct samples, each repeated at places that are
drawn: the oracle costs no more than those few, and a backend that skips or mixes up rows is found
out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle.layers import Branch, Pass
from dlbench.oracle.network import entering, forward, forward_backward
from dlbench.oracle.one_thread import one_thread
from dlbench.oracle.parallel_runs import at_once, each
from dlbench.oracle.rounding import Array, Exact, Largest, Perturbed, Rounding
from dlbench.rng import integers, permutation, uniform
from dlbench.spec.network import Node, Parameter, walk
from dlbench.spec.precision import Policy, policy_of
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload
from dlbench.verify.expected.nudging import Nudger
from dlbench.verify.extent import FULL, Extent

SAFETY = 8.0
"""How many root-mean-square roundings an error may be large before it is none: the largest of a million
Gaussian errors is about 5.5, and the noise model errs on the large side."""

SMALL_BATCH = 4
DISTINCT_SAMPLES = FULL.distinct
"""Samples of a point that differ; a larger batch repeats them. Fewer would make the oracle cheaper, but sums
with many equal terms err more, and so would the tolerances."""
_UNBIASED_DRAWS = 20
_SEED = 20_261_120
_ENDLESS = 1e30
_HALVINGS = 12
_ROOM = 8
"""How far below a format's end the largest value stays, since weights are nudged afterwards."""
_MARGIN = 2
"""The same once they are."""
_RANGES = {"bias": (-0.5, 0.5), "scale": (0.5, 1.5), "shift": (-0.5, 0.5)} | {
    "running_mean": (-0.5, 0.5),
    "running_variance": (0.5, 2.0),
}


@dataclasses.dataclass(frozen=True)
class InputRange:
    """Inputs are `offset` plus uniform values of standard deviation `scale`."""

    offset: float = 0.0
    scale: float = 1.0


UNIT_INPUTS = InputRange()


@dataclasses.dataclass(frozen=True)
class Point:
    """Weights and a batch, of which only the distinct samples are kept.

    `inputs` D×C×H×W or D×F float32, `targets` D labels or D×… values, `order` which of them stands at each
    place of the batch; `ambiguous` branches lie within rounding of the other way. Of several `replicas` each has as
    many of the distinct samples, one after the other. `undecided` says which branches of each layer those are, of a
    point that was drawn here, and `fits` whether all that is stored there is well below the end of its format.
    """

    weights: Weights
    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[Any]
    order: npt.NDArray[np.int64]
    ambiguous: int
    replicas: int = 1
    undecided: Mapping[str, npt.NDArray[np.bool_]] | None = None
    fits: bool = True

    def run(
        self, training: bool, rounding: Rounding, forced: Mapping[str, Branch] | None = None
    ) -> Pass:
        """A pass over the distinct samples."""
        return Pass(training, self.counts, rounding, forced=forced or {}, replicas=self.replicas)

    @property
    def counts(self) -> Array:
        """How often each distinct sample stands in the batch."""
        return np.bincount(self.order, minlength=len(self.inputs)).astype(np.float64)

    def batch(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """Inputs and targets of the whole batch."""
        return self.inputs[self.order], self.targets[self.order]


def small_batch(workload: Workload) -> int:
    """Samples of the points at which everything is compared; fewer where a sample is expensive."""
    return SMALL_BATCH if workload.forward_flops < 10**8 else 2


def arrangement(
    batch: int, most: int = DISTINCT_SAMPLES, replicas: int = 1
) -> npt.NDArray[np.int64]:
    """Which of the distinct samples (`most` at the most) stands at each place of a batch. Of several `replicas` each
    has samples of its own, of which there may be a few more.

    The places are drawn, so that any part of the batch is made up differently from the rest and from its
    neighbours: a backend that takes some rows for others is found out.
    """
    if replicas > 1:
        part = arrangement(batch // replicas, max(most // replicas, SMALL_BATCH))
        distinct = int(part.max()) + 1
        return np.concatenate([part + rank * distinct for rank in range(replicas)])
    distinct = min(batch, most)
    if batch == distinct:
        return np.arange(batch)
    places = np.concatenate(
        [np.arange(distinct), integers(batch - distinct, distinct, _SEED, "places", batch)]
    )
    return places[permutation(batch, _SEED, "arrangement", batch)]


def draw_point(
    workload: Workload,
    batch: int,
    label: str,
    precision: str = "fp32",
    inputs: InputRange = UNIT_INPUTS,
    replicas: int = 1,
    extent: Extent = FULL,
) -> Point:
    """The least ambiguous of a few draws for a batch of `batch` samples; `label` names the draw, and `extent` says how
    many there are, and how many samples differ."""
    best: Point | None = None
    weights = _draw_weights(workload, label)
    # nothing moves them, so all draws share one copy in float64
    kept = oracle_weights({p.name: weights[p.name] for p in workload.parameters if is_as_drawn(p)})
    for attempt in range(extent.draws if batch <= SMALL_BATCH else extent.timed_draws):
        drawn = _draw(workload, weights, batch, label, attempt, inputs, replicas, extent.distinct)
        point = _within_range(drawn, workload, precision)
        best = _nudged(point, workload, precision, kept, best)
        if best.fits and best.ambiguous == 0:
            break
    assert best is not None
    return best


def draw_weighted_point(
    workload: Workload, batch: int, label: str, inputs: InputRange = UNIT_INPUTS
) -> Point:
    """The first draw of a few samples for a batch of `batch`, for arithmetic that has no branches of the kind that
    others choose points for."""
    weights = _draw_weights(workload, label)
    drawn = _draw(workload, weights, min(batch, SMALL_BATCH), label, 0, inputs)
    return dataclasses.replace(drawn, order=arrangement(batch, SMALL_BATCH))


def draw_unbiased_point(workload: Workload, label: str, precision: str = "fp32") -> Point:
    """The least ambiguous of some single samples, at weights whose biases are all 0.

    Without biases an input of zeros stays zero on its way, so that in a batch of zeros with one sample the
    weights' gradients are that sample's alone.
    """
    best: Point | None = None
    weights = _draw_weights(workload, label)
    for parameter in workload.parameters:
        if parameter.role == "bias":
            weights[parameter.name] = np.zeros_like(weights[parameter.name])
    for attempt in range(_UNBIASED_DRAWS):
        drawn = _draw(workload, weights, 1, label, attempt, UNIT_INPUTS)
        point = _within_range(drawn, workload, precision)
        best = _better(point, workload, precision, oracle_weights(point.weights), None, best)
        if best.fits and best.ambiguous == 0:
            break
    assert best is not None
    return best


def oracle_weights(weights: Weights) -> dict[str, Array]:
    """Weights as the oracle takes them."""
    return {name: value.astype(np.float64) for name, value in weights.items()}


def oracle_inputs(inputs: npt.NDArray[Any]) -> Array:
    """Inputs as the oracle takes them."""
    return inputs.astype(np.float64)


def sample_targets(workload: Workload, samples: int, *key: str | int) -> npt.NDArray[Any]:
    """Random labels, or random values where the loss compares values."""
    if isinstance(workload.loss, CrossEntropy):
        return integers(samples, workload.output_shape[0], _SEED, "targets", *key)
    return uniform((samples, *workload.output_shape), 1.0, _SEED, "targets", *key)


def sample_inputs(workload: Workload, samples: int, *key: str | int) -> npt.NDArray[np.float32]:
    """Random inputs of unit variance."""
    return uniform((samples, *workload.input_shape), math.sqrt(3), _SEED, "inputs", *key)


def ambiguous_branches(
    exact: Mapping[str, Branch],
    perturbed: list[dict[str, Branch]],
    nodes: tuple[Node, ...],
    runs: int | None = None,
) -> dict[str, npt.NDArray[np.bool_]]:
    """For each kinked layer, which of its branches lie within the reach of rounding, by what perturbed runs found. By
    fewer than the `runs` that there will be, those that are sure to.

    A margin that no perturbation moved (zeros that stay zeros) decides nothing and does not count.
    """
    result = {}
    for node in walk(nodes):
        if node.name not in exact or not node.needs_input_gradient:
            continue
        margin = exact[node.name].margin
        noise = np.zeros_like(margin)
        for run in perturbed:
            with np.errstate(invalid="ignore"):
                noise += np.nan_to_num(np.square(run[node.name].margin - margin))
        noise = np.sqrt(noise / (runs or len(perturbed)))
        reach = SAFETY * np.maximum(noise, np.sqrt(np.mean(np.square(noise))))
        result[node.name] = (np.abs(margin) < reach) & (noise > 0)
    return result


def is_as_drawn(parameter: Parameter) -> bool:
    """Whether no point has other values of it than those that were drawn."""
    return parameter.role == "weight"


def _draw_weights(workload: Workload, label: str) -> dict[str, npt.NDArray[np.float32]]:
    return {p.name: drawn_parameter(p, label) for p in workload.parameters}


def _draw(
    workload: Workload,
    weights: Weights,
    batch: int,
    label: str,
    attempt: int,
    inputs: InputRange,
    replicas: int = 1,
    most: int = DISTINCT_SAMPLES,
) -> Point:
    order = arrangement(batch, most, replicas)
    distinct = int(order.max()) + 1
    key = (label, batch, attempt)
    drawn = sample_inputs(workload, distinct, *key)
    return Point(
        weights=weights,
        inputs=(inputs.offset + inputs.scale * drawn).astype(np.float32),
        targets=sample_targets(workload, distinct, *key),
        order=order,
        ambiguous=0,
        replicas=replicas,
    )


def _within_range(point: Point, workload: Workload, precision: str) -> Point:
    """The point, its inputs halved until nothing that is stored comes near the end of a format that ends early.

    Scales and shifts are halved with them, since behind a normalisation inputs have no size.
    """
    policy = policy_of(precision)
    for _ in range(_HALVINGS):
        if _fits(point, workload, policy, _ROOM):
            break
        half = np.float32(0.5)
        norms = {p.name for p in workload.parameters if p.role in ("scale", "shift")}
        point = dataclasses.replace(
            point,
            inputs=half * point.inputs,
            weights={k: half * v if k in norms else v for k, v in point.weights.items()},
        )
    return point


def _fits(point: Point, workload: Workload, policy: Policy, room: float) -> bool:
    """Whether nothing that is stored comes nearer to the end of a format that ends early than by a factor of `room`."""
    if policy.stored.largest > _ENDLESS:
        return True
    seen = Largest(policy)
    run = point.run(True, seen)
    weights, inputs = oracle_weights(point.weights), oracle_inputs(point.inputs)
    forward_backward(workload.nodes, workload.loss, weights, inputs, point.targets, run)
    return seen.largest < policy.stored.largest / room


def drawn_parameter(parameter: Parameter, label: str) -> npt.NDArray[np.float32]:
    """What a parameter is in the draw of this label, before a point is made of it."""
    if parameter.role == "weight":
        bound = math.sqrt(6 / parameter.fan_in)
        return uniform(parameter.shape, bound, _SEED, label, parameter.name)
    low, high = _RANGES[parameter.role]
    drawn = uniform(parameter.shape, 0.5, _SEED, label, parameter.name)
    return ((low + high) / 2 + (high - low) * drawn).astype(np.float32)


def _nudged(
    point: Point, workload: Workload, precision: str, kept: Mapping[str, Array], best: Point | None
) -> Point:
    """The point with shifts that part the branches, or the `best` until now; `kept` are the weights that stay, in
    float64."""
    inputs = oracle_inputs(point.inputs)
    rounding = Exact(policy_of(precision))
    others = {name: value for name, value in point.weights.items() if name not in kept}
    nudger = Nudger({**kept, **oracle_weights(others)}, point.run(True, rounding))
    with one_thread():
        nudger.sequence(workload.nodes, entering(workload.nodes, inputs, rounding), None)
    weights = dict(point.weights)
    for name in nudger.moved:
        weights[name] = nudger.weights[name].astype(np.float32)
    moved = dataclasses.replace(point, weights=weights)
    branches = nudger.run.branches if nudger.is_exact else None
    return _better(moved, workload, precision, nudger.weights, branches, best)


def _better(
    point: Point,
    workload: Workload,
    precision: str,
    weights: Mapping[str, Array],
    branches: Mapping[str, Branch] | None,
    best: Point | None,
) -> Point:
    """The point with its ambiguous branches, or the `best` until now where that has no more of them, or fits and the
    point does not. `weights` are the point's in float64, `branches` those of its exact run, where that is known."""
    policy = policy_of(precision)
    fits = _fits(point, workload, policy, _MARGIN)
    if best is not None and best.fits and not fits:
        return best
    if branches is None:
        run = point.run(True, Exact(policy))
        forward(workload.nodes, weights, oracle_inputs(point.inputs), run)
        branches = run.branches
    fewest = best.ambiguous if best is not None and best.fits == fits else None
    found = undecided_branches(point, workload, policy, weights, branches, fewest)
    count = _count(found)
    if fewest is not None and best is not None and count >= fewest:
        return best
    undecided = found if count else None
    return dataclasses.replace(point, ambiguous=count, undecided=undecided, fits=fits)


def _count(branches: Mapping[str, npt.NDArray[np.bool_]]) -> int:
    return sum(int(mask.sum()) for mask in branches.values())


def undecided_branches(
    point: Point,
    workload: Workload,
    policy: Policy,
    weights: Mapping[str, Array],
    branches: Mapping[str, Branch],
    fewest: int | None = None,
) -> Mapping[str, npt.NDArray[np.bool_]]:
    """Which branches of a point lie within rounding of the other way: `branches` are those of its exact run, `weights`
    its own in float64. Where it is sure that there are `fewest` or more, perhaps no more than these."""
    inputs = oracle_inputs(point.inputs)

    def perturbed(seed: int) -> dict[str, Branch]:
        noisy = point.run(True, Perturbed(seed, policy), branches)
        forward(workload.nodes, weights, inputs, noisy)
        return noisy.branches

    seeds = range(2)
    runs: list[dict[str, Branch]] = []
    while len(runs) < len(seeds):
        runs += each(perturbed, seeds[len(runs) :][: at_once()])
        found = ambiguous_branches(branches, runs, workload.nodes, len(seeds))
        if fewest is not None and _count(found) >= fewest:
            break
    return found
