"""Inference in integers: what the precision ``int8`` computes, number for number.

Static and symmetric: a real value is q·s with q an int8 and s a float32 scale, zero points are 0. Weights have a scale
for each output channel and lie in [−127, 127]; activations have one for each tensor, from the workload's `Calibration`,
and lie in [−128, 127]. Sums are int32 and exact. A sum leaves its layer as rint(sum · s_x·s_w / s_y), half to even,
saturated. The derivations stand in ``docs/precision-int8.md``.

- conv2d, linear: int8 products, the bias an int32 of scale s_x·s_w. Padding is the zero point.
- batch_norm directly behind one of these is folded into it before its weights are quantised, where calibration has no
  scale for the layer by itself; elsewhere it is rint(q·m + k) for each channel.
- relu, max_pool, dropout, flatten, option_a keep their input's scale: relu is max(q, 0).
- avg_pool, global_avg_pool, residual, concat: exact sums of integers, brought to the output's scale.
- all other activations and layers: none; int8 has no table of them.

The network's output is an int8 tensor too, handed out as float32 q·s.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.errors import PlanRefused, WorkloadError
from dlbench.spec import layers as spec
from dlbench.spec.decode import shown, table
from dlbench.spec.network import Node

if TYPE_CHECKING:
    from dlbench.spec.workload import Weights, Workload

LEAST, MOST = -128, 127
"""Of activations; weights reach from −`MOST` to `MOST`."""
SAMPLES = 64
"""The first so many samples of the training part, without augmentation, are what a suite is calibrated on."""
NO_TRAINING = "int8 is for inference: gradients have no integers here"
_LARGEST_BIAS = 2**30
_MOST_TERMS = (2**31 - 1 - _LARGEST_BIAS - 2**8) // (MOST * -LEAST)
"""So many products and the largest bias fit into an int32 in any case."""

_KEEPS = (spec.Relu, spec.MaxPool, spec.Dropout, spec.Flatten, spec.OptionA)
LACKS = (
    *(spec.LeakyRelu, spec.Sigmoid, spec.Tanh, spec.Relu6, spec.Silu),
    *(spec.HardSigmoid, spec.HardSwish, spec.Gelu, spec.AdaptiveAvgPool, spec.Scale),
    *(spec.ConvTranspose2d, spec.GroupNorm, spec.LayerNorm, spec.LocalResponseNorm),
)
_PRODUCTS = (spec.Conv2d, spec.Linear)

Array = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Scales of activations, float32 numbers: of the network's input, and by the name of its last layer for each step
    that has a scale of its own (see `Step`)."""

    input: float
    layers: tuple[tuple[str, float], ...]

    def to_table(self) -> dict[str, Any]:
        """The plain table that `read_calibration` turns into an equal one."""
        return {"input": self.input, "layers": dict(self.layers)}


@dataclasses.dataclass(frozen=True)
class Step:
    """What is computed from one tensor of integers to the next.

    Attributes
    ----------
    node : the layer.
    norm : the batch normalisation that is folded into it.
    input_scale, output_scale : of the integers it takes (in a `Residual` and a `Concat` what its bodies begin with) and
        gives.
    bodies : of a `Residual` or `Concat`, in the node's order.
    """

    node: Node
    norm: Node | None
    input_scale: float
    output_scale: float
    bodies: tuple[tuple[Step, ...], ...] = ()

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The layers that it stands for."""
        return (self.node,) if self.norm is None else (self.node, self.norm)

    @property
    def name(self) -> str:
        """What calibration calls it."""
        return self.nodes[-1].name

    @property
    def keeps_scale(self) -> bool:
        """Whether its output has the scale of its input."""
        return isinstance(self.node.layer, _KEEPS)

    @property
    def multipliers(self) -> tuple[float, ...]:
        """For each body, what its integers are multiplied with on the way to the output's scale."""
        ends = (body[-1].output_scale if body else self.input_scale for body in self.bodies)
        return tuple(end / self.output_scale for end in ends)


@dataclasses.dataclass(frozen=True)
class Product:
    """A convolution or linear layer in integers.

    Attributes
    ----------
    weight : int8, O×I×kH×kW or out×in.
    bias : int32, one for each output channel; zeros where the layer has none.
    multiplier : s_x·s_w / s_y for each output channel, which backends round to float32.
    """

    weight: npt.NDArray[np.int8]
    bias: npt.NDArray[np.int32]
    multiplier: Array


@dataclasses.dataclass(frozen=True)
class Affine:
    """A batch normalisation by itself, rint(q·`multiplier` + `offset`) for each channel; backends round both to
    float32. `reach` is (|mean·f| + |shift|) / s_y, the size of what the offset is the difference of."""

    multiplier: Array
    offset: Array
    reach: Array


def program(workload: Workload) -> tuple[Step, ...]:
    """The steps of a calibrated workload.

    Raises
    ------
    PlanRefused : a layer that int8 has not got, or a workload that is not calibrated.
    """
    calibration = workload.calibration
    if calibration is None:
        raise PlanRefused("int8 needs a calibrated workload; this one has no scales of activations")
    return _steps(workload.nodes, calibration.input, dict(calibration.layers))


def outline(workload: Workload) -> tuple[Step, ...]:
    """The steps of a workload that is not calibrated, with every scale 1.

    Raises
    ------
    PlanRefused : a layer that int8 has not got.
    """
    return _steps(workload.nodes, 1.0, collections.defaultdict(lambda: 1.0))


def _steps(nodes: tuple[Node, ...], scale: float, scales: Mapping[str, float]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for place, node in enumerate(nodes):
        if isinstance(node.layer, spec.BatchNorm) and steps and steps[-1].norm is node:
            continue
        _refuse(node)
        norm = _folded(node, nodes[place + 1 :], scales)
        bodies = tuple(_steps(body, scale, scales) for body in node.bodies)
        name = (norm or node).name
        output = scale if isinstance(node.layer, _KEEPS) else _scale_of(name, scales)
        steps.append(Step(node, norm, scale, output, bodies))
        scale = output
    return tuple(steps)


def _folded(node: Node, following: tuple[Node, ...], scales: Mapping[str, float]) -> Node | None:
    """The batch normalisation that is folded into a layer: one right behind it, unless the layer has its own scale.
    It has one where the two met only because a network was cut into its beginnings."""
    if isinstance(node.layer, _PRODUCTS) and following and node.name not in scales:
        return following[0] if isinstance(following[0].layer, spec.BatchNorm) else None
    return None


def _scale_of(name: str, scales: Mapping[str, float]) -> float:
    try:
        return scales[name]
    except KeyError:
        raise PlanRefused(f"int8 needs a scale for {name}, which the calibration lacks") from None


def _refuse(node: Node) -> None:
    if isinstance(node.layer, LACKS):
        raise PlanRefused(
            f"int8 has no {spec.WORDS[type(node.layer)]} ({node.name}): only layers that are exact in integers, up to"
            " one rounding, are pinned"
        )
    if isinstance(node.layer, spec.Conv2d) and node.layer.groups > 1:
        raise PlanRefused(f"int8 has no groups for conv2d ({node.name})")
    if isinstance(node.layer, _PRODUCTS) and node.parameters[0].fan_in > _MOST_TERMS:
        raise PlanRefused(
            f"{node.name} sums {node.parameters[0].fan_in:,} products; in int8 more than {_MOST_TERMS:,} may overflow"
            " int32"
        )


def scale_for(largest: float) -> float:
    """The scale of a tensor whose largest absolute value is `largest`: that over 127, rounded to float32; 1 where it is
    0."""
    return float(np.float32(largest / MOST)) or 1.0


def product(step: Step, weights: Weights) -> Product:
    """The integers of a step's convolution or linear layer.

    In float64, each result that is stored rounded to float32 once: folded, W ← W·f and b ← (b − mean)·f + shift with
    f = scale / √(variance + eps); s_w = max|W| / 127 over a channel, or |b| / (2³⁰·s_x) where that is larger, so that
    the bias fits; then rint(W / s_w) and rint(b / (s_x·s_w)), half to even.
    """
    parameters = {p.role: weights[p.name].astype(np.float64) for p in step.node.parameters}
    weight = parameters["weight"]
    bias = parameters.get("bias", np.zeros(len(weight)))
    if step.norm is not None:
        factor, mean, shift = _factor(step.norm, weights)
        weight = _float32(weight * _along(factor, weight))
        bias = _float32((bias - mean) * factor + shift)
    largest = np.abs(weight).reshape(len(weight), -1).max(1)
    fits = np.abs(bias) / (_LARGEST_BIAS * step.input_scale)
    scale = _float32(np.maximum(largest / MOST, fits))
    scale = np.where(scale > 0, scale, 1.0)
    whole = np.clip(np.rint(weight / _along(scale, weight)), -MOST, MOST)
    sums = np.rint(bias / (step.input_scale * scale))
    return Product(
        whole.astype(np.int8),
        sums.astype(np.int32),
        step.input_scale * scale / step.output_scale,
    )


def affine(step: Step, weights: Weights) -> Affine:
    """The numbers of a batch normalisation that is not folded, computed in float64."""
    factor, mean, shift = _factor(step.node, weights)
    return Affine(
        step.input_scale * factor / step.output_scale,
        (shift - mean * factor) / step.output_scale,
        (np.abs(shift) + np.abs(mean * factor)) / step.output_scale,
    )


def _factor(norm: Node, weights: Weights) -> tuple[Array, Array, Array]:
    """scale / √(running variance + eps), the running mean and the shift of a batch normalisation."""
    assert isinstance(norm.layer, spec.BatchNorm)
    values = {p.role: weights[p.name].astype(np.float64) for p in norm.parameters}
    factor = values["scale"] / np.sqrt(values["running_variance"] + norm.layer.eps)
    return factor, values["running_mean"], values["shift"]


def _along(channels: Array, weight: Array) -> Array:
    return channels.reshape(-1, *[1] * (weight.ndim - 1))


def _float32(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def read_calibration(given: Any, path: str) -> Calibration:
    """A calibration from its table.

    Raises
    ------
    WorkloadError : it is not of the form that `Calibration.to_table` gives.
    """
    whole = table(given, path)
    layers = table(whole.get("layers"), f"{path}.layers")
    scales = {name: _read_scale(value, f"{path}.layers.{name}") for name, value in layers.items()}
    return Calibration(_read_scale(whole.get("input"), f"{path}.input"), tuple(scales.items()))


def _read_scale(given: Any, path: str) -> float:
    if (
        isinstance(given, float)
        and math.isfinite(given)
        and given > 0
        and given == np.float32(given)
    ):
        return given
    raise WorkloadError(path, f" = {shown(given)} must be a float32 number greater than 0")
