"""Inference in integers held against the integer oracle, layer by layer.

What a layer gives is known to the integer, but for elements that lie at a tie within float32 rounding (see
`dlbench.oracle.integers`); after several layers it is not, since a step at such an element makes others. So a backend
is asked for the beginnings of a network, each one layer longer, and each is held against one step of the oracle from
what the backend itself gave for the beginning before. Then nothing has to be allowed but that one rounding, wherever in
the network a layer stands. A backend computes a layer alike whatever follows: integers are the same in any order.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import Adapter, Plan
from dlbench.oracle.integers import Bounds, Evaluation, calibrate, expected_output
from dlbench.oracle.rounding import Array
from dlbench.record.facts import Check
from dlbench.rng import integers
from dlbench.spec import layers as spec
from dlbench.spec import quantization
from dlbench.spec.network import Node, walk
from dlbench.spec.quantization import MOST, Calibration, Step
from dlbench.spec.training import MeanSquaredError
from dlbench.spec.workload import Weights, Workload, map_layers, read_workload
from dlbench.verify.checks.probes import probes_for
from dlbench.verify.comparison import compare
from dlbench.verify.expected.evaluation_points import Point, draw_weighted_point, small_batch

_SATURATED = 0.6
"""Scales of the points are made for so much of the largest values, so that some saturate in every tensor, both ways."""
STEP_ERROR = 1e-4
"""Steps by which q·s may be off as float32."""

Told = Callable[[str], None]


@dataclasses.dataclass
class Found:
    """What was found: checks until one fails, and how many elements might have been either of two integers, and what
    a session told of itself."""

    checks: list[Check] = dataclasses.field(default_factory=list)
    ambiguous: int = 0
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)

    def all_passed(self) -> bool:
        """Whether nothing was wrong so far."""
        return all(check.passed for check in self.checks)


def check_integers(
    adapter: Adapter, plan: Plan, workload: Workload, progress: Told = lambda phase: None
) -> Found:
    """Holds a backend's inference in integers against the oracle: every layer at a small batch and at the plan's, the
    whole network twice from one resident batch, then probes. Ends at the first stage that goes wrong.

    Raises
    ------
    PlanRefused : a layer that int8 has not got.
    """
    workload = dataclasses.replace(workload.without_dropout(), calibration=None)
    quantization.outline(workload)
    found = Found()
    small = small_batch(workload)
    for label, batch in (
        ("first weights", small),
        ("variances near eps", small),
        ("timed batch", plan.batch),
    ):
        progress(label)
        point = draw_weighted_point(workload, batch, label)
        if label == "variances near eps":
            weights = {n: w * _near_eps(n) for n, w in point.weights.items()}
            point = dataclasses.replace(point, weights=weights)
        _check_point(adapter, plan, workload, point, label, found)
        if not found.all_passed():
            return found
    progress("probes")
    for name, network, point in _probes(workload):
        _check_point(adapter, plan, network, point, f"probe {name!r}", found)
    return found


def _near_eps(name: str) -> np.float32:
    """What parameters are multiplied with so that inference depends on eps: variances come near it, and scales undo
    what that would make of values."""
    exponent = {"running_variance": -17, "scale": -8}.get(name.rpartition(".")[2], 0)
    return np.float32(2.0**exponent)


def compare_integers(name: str, got: npt.ArrayLike, bounds: Bounds, scale: float) -> Check:
    """Outputs as float32, q·`scale`, against the integers that they may be; the figures are steps."""
    whole = np.asarray(got, np.float64) / scale
    if whole.shape != bounds.low.shape:
        return compare(name, whole, bounds.low, 0.0, 0.0)
    with np.errstate(invalid="ignore"):
        nearest = np.clip(np.rint(whole), bounds.low, bounds.high)
    nearest = np.where(np.isfinite(nearest), nearest, bounds.low)
    return compare(f"{name}, in steps of {scale:.3g},", whole, nearest, STEP_ERROR, 0.0)


def _check_point(
    adapter: Adapter, plan: Plan, workload: Workload, point: Point, label: str, found: Found
) -> None:
    if workload.calibration is None:
        workload = calibrate(workload, point.weights, point.inputs, _SATURATED)
    plan = dataclasses.replace(plan, batch=len(point.order))
    walker = _Walker(adapter, plan, workload, point, label, found)
    steps = quantization.program(workload)
    given = walker.evaluation.quantise(point.inputs, steps[0].input_scale)
    # what becomes of inputs at a tie shows in the first layer
    walker.sequence((), steps, given)
    if found.all_passed():
        _check_whole(adapter, plan, workload, point, label, found)


def _check_whole(
    adapter: Adapter, plan: Plan, workload: Workload, point: Point, label: str, found: Found
) -> None:
    """The network from begin to end on two resident batches in turn, so that an output kept for one is found out."""
    bounds = expected_output(workload, point.weights, point.inputs)
    session = adapter.open(plan, workload, point.weights)
    found.facts.update(session.facts)
    inputs, targets = point.batch()
    turned = np.roll(point.order, 1)
    batches = [(point.order, session.upload(inputs, targets))]
    batches.append((turned, session.upload(point.inputs[turned], point.targets[turned])))
    scale = quantization.program(workload)[-1].output_scale
    for again, (order, batch) in zip(
        ("", ", turned", ", again"), (*batches, batches[0]), strict=True
    ):
        got = session.download(session.infer(batch))
        rows = Bounds(bounds.low[order], bounds.high[order])
        found.checks.append(compare_integers(f"logits, {label}{again}", got, rows, scale))


class _Walker:
    """Goes through a network, from what the backend gave for one beginning to the next."""

    def __init__(
        self,
        adapter: Adapter,
        plan: Plan,
        workload: Workload,
        point: Point,
        label: str,
        found: Found,
    ) -> None:
        self.adapter = adapter
        self.plan = plan
        self.workload = dataclasses.replace(workload, loss=MeanSquaredError())
        self.point = point
        self.label = label
        self.found = found
        self.evaluation = Evaluation(point.weights)

    def sequence(self, before: tuple[Node, ...], steps: Sequence[Step], given: Bounds) -> Bounds:
        """Checks steps after `before`, whose output was `given`; what they gave, as far as they are right."""
        for group in _groups(steps):
            if not self.found.all_passed():
                break
            first, *rest = group
            ends = [self.sequence(before, body, given) for body in first.bodies] or [given]
            if not self.found.all_passed():
                break
            want = self.evaluation.forward(rest, self.evaluation.advance(first, ends))
            before = (*before, *(node for step in group for node in step.nodes))
            given = self.check(before, group[-1].output_scale, want)
        return given

    def check(self, nodes: tuple[Node, ...], scale: float, want: Bounds) -> Bounds:
        """Holds the output of a beginning against what it may be; the integers of the distinct samples."""
        part = dataclasses.replace(self.workload, nodes=nodes)
        weights = {p.name: self.point.weights[p.name] for p in part.parameters}
        session = self.adapter.open(self.plan, part, weights)
        inputs, _ = self.point.batch()
        targets = np.zeros((len(inputs), *part.output_shape), np.float32)
        got = session.download(session.infer(session.upload(inputs, targets)))
        order = self.point.order
        rows = Bounds(want.low[order], want.high[order])
        name = f"output of {nodes[-1].name}, {self.label}"
        self.found.checks.append(compare_integers(name, got, rows, scale))
        self.found.ambiguous += want.ambiguous
        if not self.found.all_passed():
            return want
        places = np.unique(order, return_index=True)[1]
        whole: Array = np.rint(got[places].astype(np.float64) / scale)
        return Bounds(whole, whole)


def _groups(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Steps with what follows them and is one with them in any backend: a relu, or another shape."""
    group: list[Step] = []
    for step in steps:
        if group and not isinstance(step.node.layer, spec.Relu | spec.Dropout | spec.Flatten):
            yield group
            group = []
        group.append(step)
    if group:
        yield group


def _probes(workload: Workload) -> Iterator[tuple[str, Workload, Point]]:
    """The probes of conventions that a backend of floating point is held against, and one in which ties are many."""
    for probe in probes_for(workload):
        network = probe.workload(workload)
        network = dataclasses.replace(network, nodes=map_layers(network.nodes, _as_int8_has_it))
        if not probe.of_optimizer:
            point = draw_weighted_point(network, probe.batch, "probe", probe.inputs(workload))
            yield probe.name, network, point
    kinds = {type(node.layer) for node in walk(workload.nodes)}
    for kind in _TIES:
        if kind in kinds:
            yield f"ties in {spec.WORDS[kind]}", *_at_ties(spec.WORDS[kind])


def _as_int8_has_it(layer: spec.Layer) -> spec.Layer:
    return spec.Relu() if isinstance(layer, quantization.LACKS) else layer


_CONV: dict[str, Any] = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
_TIES: dict[type[spec.Layer], list[dict[str, Any]]] = {
    spec.Conv2d: [_CONV],
    spec.Linear: [{"type": "flatten"}, {"type": "linear", "out_features": 64}],
    spec.AvgPool: [_CONV, {"type": "avg_pool", "kernel": 2}],
    spec.GlobalAvgPool: [_CONV, {"type": "global_avg_pool"}],
    spec.Residual: [_CONV, {"type": "residual", "body": [_CONV]}],
    spec.Concat: [_CONV, {"type": "concat", "body": [_CONV]}],
}


_TIE_SCALE, _TIE_BATCH = 2.0**-6, 4


@functools.cache
def _at_ties(word: str) -> tuple[Workload, Point]:
    """A network with all scales powers of two, so that float32 computes what is rounded exactly, and inputs that are
    multiples of 16 of theirs, so that many sums lie at ties: half to even is told from half up there, and nowhere
    else."""
    workload = read_workload(
        {
            "input_shape": [2, 8, 8],
            "layers": _TIES[spec.KINDS[word]],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )
    drawn = functools.partial(_drawn, word)
    weights: Weights = {}
    for parameter in workload.parameters:
        if parameter.role == "bias":
            values = drawn(parameter.shape, 64, parameter.name) * 16 * _TIE_SCALE
        else:
            values = drawn(parameter.shape, MOST, parameter.name)
            values.reshape(len(values), -1)[:, 0] = MOST
        weights[parameter.name] = (values / 128).astype(np.float32)
    inputs = drawn((_TIE_BATCH, *workload.input_shape), 7, "inputs") * 16 * _TIE_SCALE
    point = Point(
        weights,
        inputs.astype(np.float32),
        np.zeros((_TIE_BATCH, *workload.output_shape), np.float32),
        np.arange(_TIE_BATCH),
        0,
    )
    calibration = calibrate(workload, weights, point.inputs).calibration
    assert calibration is not None
    scales = ((name, float(2.0 ** np.ceil(np.log2(scale)))) for name, scale in calibration.layers)
    calibrated = dataclasses.replace(workload, calibration=Calibration(_TIE_SCALE, tuple(scales)))
    return calibrated, point


def _drawn(of: str, shape: tuple[int, ...], most: int, name: str) -> Array:
    """Whole numbers from −`most` to `most`."""
    count = int(np.prod(shape))
    whole = integers(count, 2 * most + 1, 0, "ties in integers", of, name) - most
    return whole.reshape(shape).astype(np.float64)
