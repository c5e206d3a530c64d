"""The oracle of inference in integers: between which integers every element of a right backend's tensors lies.

What `dlbench.spec.quantization` pins is exact but for one rounding a step: the sum times its multiplier, which a
backend computes in float32, some five operations in an order of its own. So the integer is certain, but where the exact
value lies within those operations' rounding of a tie between two; there either is right. `Bounds` hold the lower and
the upper one, and steps take bounds to bounds, so that what follows from such a choice is never an error.

Sums of integers below 2⁵³ are exact in float64 in any order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dlbench.oracle import layers as real
from dlbench.oracle.layers import Pass, per_channel
from dlbench.oracle.network import KINDS
from dlbench.oracle.one_thread import one_thread
from dlbench.oracle.rounding import Array
from dlbench.spec import layers as spec
from dlbench.spec import quantization
from dlbench.spec.precision import FP32
from dlbench.spec.quantization import LEAST, MOST, Calibration, Step
from dlbench.spec.workload import Weights, Workload

_ROUNDINGS = 8
"""Of float32, on the way from an exact sum to what is rounded to an integer; the longest is a batch normalisation
computed between dequantising and quantising."""
_REACH = _ROUNDINGS * FP32.unit_roundoff
_OFFSET = 256 * FP32.unit_roundoff
"""The rounding of value + 128, where a backend keeps q + 128 as an unsigned integer and adds before it rounds."""
_FINEST = 2.0**-16
"""A multiple of this has room in float32 with 128 added."""
_EXACT_SUMS = 2.0**24
_NARROW = 32
"""Steps of 256."""
_SAFETY = 8.0
"""As for other tolerances (`dlbench.verify.expected.evaluation_points`)."""


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The integers that elements of a tensor may be, from `low` to `high`."""

    low: Array
    high: Array

    @property
    def ambiguous(self) -> int:
        """Elements that may be more than one."""
        return int(np.count_nonzero(self.low != self.high))


def calibrate(
    workload: Workload, weights: Weights, inputs: npt.NDArray[np.float32], share: float = 1.0
) -> Workload:
    """The workload with scales such that the largest absolute values on `inputs`, computed in float64, or a `share` of
    them, are 127. Of a tensor that goes on into a relu only the positive values count.

    Raises
    ------
    PlanRefused : a layer that int8 has not got.
    """
    steps = quantization.outline(workload)
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    found: dict[str, float] = {}
    with one_thread():
        _observe(steps, exact, inputs.astype(np.float64), found)
    scales = {name: quantization.scale_for(share * largest) for name, largest in found.items()}
    first = quantization.scale_for(share * float(np.abs(inputs).max()))
    return dataclasses.replace(workload, calibration=Calibration(first, tuple(scales.items())))


def _observe(
    steps: Sequence[Step], weights: Mapping[str, Array], x: Array, found: dict[str, float]
) -> Array:
    """The output in real numbers; the largest values of tensors with scales of their own go into `found`."""
    run = Pass(False, np.ones(len(x)))
    for place, step in enumerate(steps):
        parts = [_observe(body, weights, x, found) for body in step.bodies]
        match step.node.layer:
            case spec.Residual():
                x = parts[0] + parts[1]
            case spec.Concat():
                x = np.concatenate(parts, 1)
            case _:
                for node in step.nodes:
                    x = KINDS[type(node.layer)](node, weights, run).forward(x)
        if not step.keeps_scale:
            counts = np.maximum(x, 0) if _meets_relu(steps[place + 1 :]) else np.abs(x)
            found[step.name] = float(counts.max())
    return x


def _meets_relu(following: Sequence[Step]) -> bool:
    for step in following:
        if isinstance(step.node.layer, spec.Relu):
            return True
        if not step.keeps_scale:
            return False
    return False


Pick = Callable[[Array, Array, Array], tuple[Array, Array]]
"""Which of the two integers that an element may be it is taken for: of the lower, the upper and the nearest the least
and the most that are gone on with."""


def both(low: Array, high: Array, nearest: Array) -> tuple[Array, Array]:
    """All that a right backend may give."""
    return low, high


class Evaluation:
    """Steps at some weights; `pick` says what becomes of ambiguous elements."""

    def __init__(self, weights: Weights, pick: Pick = both) -> None:
        self.weights = weights
        self.pick = pick

    def output(self, workload: Workload, inputs: npt.NDArray[np.float32]) -> Bounds:
        """The integers of a calibrated network's output."""
        steps = quantization.program(workload)
        return self.forward(steps, self.quantise(inputs, steps[0].input_scale))

    def quantise(self, inputs: npt.NDArray[np.float32], scale: float) -> Bounds:
        """The integers of inputs."""
        values = inputs.astype(np.float64) / scale
        return self._rounded(values, values, np.abs(values), _is_power_of_two(scale))

    def forward(self, steps: Sequence[Step], x: Bounds) -> Bounds:
        """What follows from `x` after some steps."""
        for step in steps:
            x = self.advance(step, [x])
        return x

    def advance(self, step: Step, given: Sequence[Bounds]) -> Bounds:
        """What follows from a step's input; of a `Residual` or `Concat` from it, or from what its bodies gave where
        that is given."""
        if step.bodies and len(given) == 1:
            given = [self.forward(body, given[0]) for body in step.bodies]
        x = given[0]
        with one_thread():
            match step.node.layer:
                case spec.Conv2d() | spec.Linear():
                    return self._product(step, x)
                case spec.BatchNorm():
                    return self._affine(step, x)
                case spec.Residual():
                    return self._sum(step, given)
                case spec.Concat():
                    parts = [
                        self._scaled(part, m)
                        for part, m in zip(given, step.multipliers, strict=True)
                    ]
                    low = np.concatenate([part.low for part in parts], 1)
                    high = np.concatenate([part.high for part in parts], 1)
                    return Bounds(low, high)
                case spec.AvgPool() | spec.GlobalAvgPool():
                    return self._mean(step, x)
                case spec.Relu():
                    return Bounds(np.maximum(x.low, 0), np.maximum(x.high, 0))
            low, high = (_layer(step).forward(each) for each in (x.low, x.high))
            return Bounds(low, high)

    def _product(self, step: Step, x: Bounds) -> Bounds:
        found = quantization.product(step, self.weights)
        middle, radius = (x.low + x.high) / 2, (x.high - x.low) / 2
        whole = found.weight.astype(np.float64)
        bias = per_channel(found.bias.astype(np.float64), x.low.ndim)
        sums = _layer(step, whole).forward(middle)
        spread = _layer(step, np.abs(whole)).forward(radius) if radius.any() else np.zeros(1)
        multiplier = per_channel(found.multiplier, sums.ndim)
        size = np.abs(sums) + np.abs(bias) + spread
        exact = _is_power_of_two(multiplier) & (size < _EXACT_SUMS)
        low, high = ((sums + bias + sign * spread) * multiplier for sign in (-1, 1))
        return self._rounded(low, high, size * multiplier, exact)

    def _affine(self, step: Step, x: Bounds) -> Bounds:
        numbers = quantization.affine(step, self.weights)
        channels = numbers.multiplier, numbers.offset, numbers.reach
        multiplier, offset, reach = (per_channel(each, x.low.ndim) for each in channels)
        one, other = x.low * multiplier + offset, x.high * multiplier + offset
        size = _largest(x) * np.abs(multiplier) + reach
        return self._rounded(np.minimum(one, other), np.maximum(one, other), size, False)

    def _sum(self, step: Step, given: Sequence[Bounds]) -> Bounds:
        (one, other), (m, n) = given, step.multipliers
        low, high = one.low * m + other.low * n, one.high * m + other.high * n
        size = _largest(one) * m + _largest(other) * n
        exact = _is_power_of_two(m) & _is_power_of_two(n) & (2.0**-8 <= m / n <= 2.0**8)
        return self._rounded(low, high, size, exact)

    def _scaled(self, x: Bounds, multiplier: float) -> Bounds:
        low, high = x.low * multiplier, x.high * multiplier
        return self._rounded(low, high, _largest(x) * multiplier, _is_power_of_two(multiplier))

    def _mean(self, step: Step, x: Bounds) -> Bounds:
        multiplier = step.input_scale / step.output_scale
        low, high, size = (
            _layer(step).forward(each) * multiplier for each in (x.low, x.high, _largest(x))
        )
        if isinstance(step.node.layer, spec.AvgPool):
            counts = {r * c for r in step.node.divisors[0] for c in step.node.divisors[1]}
        else:
            counts = {step.node.input_shape[1] * step.node.input_shape[2]}
        exact = all(_is_power_of_two(each) for each in (multiplier, *counts))
        return self._rounded(low, high, size, exact)

    def _rounded(self, low: Array, high: Array, size: Array, exact: npt.ArrayLike) -> Bounds:
        """Half to even and saturated; one lower or higher where float32 may have met the tie from the other side.
        `size` is that of the terms of a sum, and `exact` where float32 has no error."""
        reach = np.where(exact, 0.0, _REACH * size + _OFFSET)
        values = low - reach, high + reach, (low + high) / 2
        # + 0, so that there are no negative zeros
        least, most, nearest = (np.clip(np.rint(value), LEAST, MOST) + 0.0 for value in values)
        return Bounds(*self.pick(least, most, nearest))


def expected_output(
    workload: Workload, weights: Weights, inputs: npt.NDArray[np.float32]
) -> Bounds:
    """Between which integers the outputs of a right backend lie, a row for each sample.

    Bounds that no path of choices leaves are narrow in shallow networks, and for most samples a single integer. In deep
    ones a step of difference at an early tie makes others, as in any arithmetic of so few digits, and the bounds tell
    nothing. Where they are wider than `_NARROW`, the spread of outputs over paths, all ties one way, all the other and
    drawn, takes their place.
    """
    found = Evaluation(weights).output(workload, inputs)
    wide = (found.high - found.low).reshape(len(inputs), -1).max(1) > _NARROW
    if not wide.any():
        return found
    some = inputs[wide]
    random = np.random.Generator(np.random.SFC64(0))

    def drawn(low: Array, high: Array, nearest: Array) -> tuple[Array, Array]:
        chosen = np.where(random.random(low.shape) < 0.5, low, high)
        return chosen, chosen

    picks: list[Pick] = [
        lambda low, high, nearest: (low, low),
        lambda low, high, nearest: (high, high),
    ]
    centre = Evaluation(weights, lambda low, high, nearest: (nearest, nearest)).output(
        workload, some
    )
    others = [
        Evaluation(weights, pick).output(workload, some).low for pick in (*picks, drawn, drawn)
    ]
    spread = np.sqrt(np.mean([np.square(other - centre.low) for other in others]))
    room = 1 + np.ceil(_SAFETY * spread)
    found.low[wide] = np.maximum(found.low[wide], centre.low - room)
    found.high[wide] = np.minimum(found.high[wide], centre.low + room)
    return found


def _largest(x: Bounds) -> Array:
    return np.maximum(np.abs(x.low), np.abs(x.high))


def _layer(step: Step, weight: Array | None = None) -> real.Layer:
    """The layer over real numbers with other weights and no bias."""
    node = step.node
    values = {p.name: weight if p.role == "weight" else np.zeros(p.shape) for p in node.parameters}
    return KINDS[type(node.layer)](node, values, Pass(False, np.ones(1)))  # type: ignore[arg-type]


def _is_power_of_two(value: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Whether products with it are exact in float32, and sums with 128 too."""
    return np.asarray((np.frexp(value)[0] == 0.5) & (np.asarray(value) >= _FINEST))
