"""Small networks on which float32 sums are exact, whatever their order, so that every right backend has the same bits.

Weights and gradients are small integers times powers of two. Each network begins with a layer whose inputs are one-hot:
its output is its weight, and the gradient of that weight is the activation gradient that came back to it. Each ends in
a layer that only permutes, so that an output is what was stored before it, and targets are chosen so that the gradient
of the squared error is what was drawn. Some elements are near 1 beside 1: of their difference only those formats keep
anything that have the bits.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.oracle.rounding import Array, Emulated, Rounding
from dlbench.rng import integers, permutation
from dlbench.spec.precision import BF16, Policy
from dlbench.spec.workload import Weights, Workload, read_workload

_SEED = 20_261_129
_NEAR = tuple(
    1 + part
    for part in (2.0**-5, 2.0**-7, 2.0**-10, 2.0**-13, 2.0**-15, 1.5 * 2.0**-8, 1.5 * 2.0**-11)
)
"""Numbers near 1: of their distance bf16 keeps two as they are, fp16 and tf32 four, float32 all; the last two a format
rounds up that truncation rounds down."""
_MANY = len(_NEAR)
_FEATURES = 64
_IMAGES, _CHANNELS = 2, 32
_KERNEL = 3
WINDOWS = ((1, 1), (3, 1), (5, 1), (1, 2), (3, 2), (5, 2))
"""Sides of kernels and strides that sums are exact with."""
_BLOCK = 4
"""Side of the block in the middle of an image whose pixels are not zero, so that windows hold several of them."""
_PIXELS = _IMAGES * _BLOCK**2

_POOLS: dict[str, tuple[dict[str, int], int, int]] = {
    "avg_pool": ({"kernel": 4, "stride": 2}, 10, 16),
    "max_pool": ({"kernel": 3, "stride": 2}, 10, 16),
    "global_avg_pool": ({}, 8, 1),
}
"""Options, the side of the images, and outputs a channel: powers of two, so that means are exact."""

Table = dict[str, Any]
Outcome = dict[str, Array]
"""``logits``, ``loss``, and ``gradient of NAME`` for each weight that shows what came back."""


@dataclasses.dataclass(frozen=True)
class ExactNetwork:
    """A network, its weights and a batch; `shown` are the parameters whose gradients are exact."""

    kind: str
    workload: Workload
    weights: Weights
    inputs: npt.NDArray[np.float32]
    targets: npt.NDArray[np.float32]
    shown: tuple[str, ...]

    @property
    def has_own_weight(self) -> bool:
        """Whether the layer that is probed has a weight."""
        return len(self.shown) > 1

    def outcome(self, rounding: Rounding, *, trains: bool = True) -> Outcome:
        """What a backend gives that rounds like this."""
        weights = {name: value.astype(np.float64) for name, value in self.weights.items()}
        inputs, targets = self.inputs.astype(np.float64), self.targets.astype(np.float64)
        run = Pass(trains, np.ones(len(inputs)), rounding)
        nodes = self.workload.nodes
        if not trains:
            return {"logits": forward(nodes, weights, inputs, run)}
        logits, loss = forward_backward(nodes, self.workload.loss, weights, inputs, targets, run)
        found: Outcome = {"logits": logits, "loss": np.asarray(loss)}
        return found | {f"gradient of {name}": run.gradients[name] for name in self.shown}

    def with_errors(self, share: float, rounding: Rounding) -> ExactNetwork:
        """The network with targets that its output, rounded like this, is off by `share` of what it is off now."""
        ends = self.outcome(rounding, trains=False)["logits"]
        targets = ends - share * (ends - self.targets)
        return dataclasses.replace(self, targets=targets.astype(np.float32))


def linear_network(policy: Policy) -> ExactNetwork:
    """Three linear layers: the sums of the second one's output, of its weight's gradient, and of its input's."""
    n = _FEATURES
    hidden, weight = _integers((n, n), "hidden") / 64, _integers((n, n), "weight") / 64
    errors = _integers((n, n, 1), "errors")
    errors[10 : 10 + _MANY] = 0
    _tell(hidden, weight, weight, errors, first=10)
    for place, near in enumerate(_NEAR):
        # a gradient as a factor
        errors[0:2, place, 0] = 32 * near, -32
    hidden[:, 1] = hidden[:, 0]
    # gradients so small that float16 holds some of their bits alone, and which depends on the loss scale
    hidden[:, 30:32] = 0
    errors[30] *= 2.0**-12
    errors[31] *= 2.0**-20
    layer = {"type": "linear", "out_features": n, "bias": False}
    tables = [layer | {"name": name} for name in ("before", "probed", "after")]
    # what comes from before is the first weight's columns, a sample each
    weights = {"before.weight": hidden, "probed.weight": weight, "after.weight": _permuted(n)}
    return _network(policy, "linear", tables, weights, np.eye(n), errors)


def conv_network(policy: Policy, kernel: int = _KERNEL, stride: int = 1) -> ExactNetwork:
    """The same of convolutions, the second one with a kernel of `kernel` × `kernel`, an odd number, and a `stride` of 1
    or 2."""
    side, middle = 8, kernel // 2
    outputs = side // stride
    weight = _integers((_CHANNELS, _CHANNELS, kernel, kernel), "kernels") / 64
    hidden = _integers((_CHANNELS, _PIXELS), "pixels") / 64
    errors = _integers((_IMAGES, _CHANNELS, outputs**2), "errors of images")
    errors[0] = 0
    _tell(hidden, weight, weight[:, :, middle, middle], errors, first=0)
    # so that a pixel that tells is in the middle of a window
    margin = (side - _BLOCK) // 2 // stride
    within = margin * (outputs + 1)
    for place, near in enumerate(_NEAR):
        errors[1, place, within : within + 2] = 32 * near, -32
    hidden[12] = 1
    options = {"kernel": kernel, "stride": stride, "padding": middle, "bias": False}
    table: Table = {"type": "conv2d", "out_channels": _CHANNELS, **options}
    kind = "conv2d" if (kernel, stride) == (_KERNEL, 1) else f"conv2d {kernel} × {kernel}"
    kind += f" with stride {stride}" if stride > 1 else ""
    return _images(policy, kind, table, side, {"probed.weight": weight}, hidden, errors, margin)


def _tell(hidden: Array, weight: Array, middle: Array, errors: Array, first: int) -> None:
    """Puts numbers near 1 beside 1, and zeros where they would make another sum inexact.

    `hidden` is features × samples, `weight` outputs × features, of which `middle` is what reads a sample alone; in the
    samples from `first` on are factors that come from before.
    """
    weight[:, 10:12] = 0
    backward, forward_ = range(_MANY), range(10, 10 + _MANY)
    weight[[*backward, *forward_, 20]] = 0
    weight[:, backward] = 0
    hidden[backward] = 0
    errors[:, [*backward, *forward_]] = 0
    for place, near in enumerate(_NEAR):
        hidden[10:12, first + place] = near, 1
        # a weight forward, and backward
        middle[10 + place, 8:10] = near, -1
        middle[8:10, place] = near, -1
    middle[20, 10:12] = 1, -1
    hidden[8:10, first + _MANY] = 1
    errors[:, 8:10] = np.where(np.abs(errors).max((1, 2), keepdims=True) > 0, 32, 0)


def pool_network(policy: Policy, kind: str) -> ExactNetwork:
    """A pool, `kind`, whose windows overlap: the sums of its windows, and of what they hand back."""
    options, side, positions = _POOLS[kind]
    bits = policy.stored.significand_bits - 1 if policy.is_mixed else 10
    drawn = integers(_CHANNELS * _PIXELS, 2**bits // _BLOCK**2, _SEED, "pool", kind)
    # no two pixels of a block are alike
    places = np.arange(_PIXELS) % _BLOCK**2
    hidden = (_BLOCK**2 * drawn.reshape(_CHANNELS, -1) + places + 1) / 2.0**bits
    # so many bits that the sum of two is one too many
    most = 255 if policy.stored == BF16 else 1023
    errors = _integers((_IMAGES, _CHANNELS, positions), kind, most)
    return _images(policy, kind, {"type": kind, **options}, side, {}, hidden, errors)


def _images(
    policy: Policy,
    kind: str,
    probed: Table,
    side: int,
    weights: dict[str, Array],
    hidden: Array,
    errors: Array,
    margin: int | None = None,
) -> ExactNetwork:
    """A layer between two that read one pixel, on images that are zero but for a block, by default in their middle; the
    input's channels stand for the block's pixels."""
    inputs = np.zeros((_IMAGES, _PIXELS, side, side))
    margin = (side - _BLOCK) // 2 if margin is None else margin
    for channel in range(_PIXELS):
        image, place = divmod(channel, _BLOCK**2)
        row, column = divmod(place, _BLOCK)
        inputs[image, channel, margin + row, margin + column] = 1
    conv: Table = {"type": "conv2d", "out_channels": _CHANNELS, "kernel": 1, "bias": False}
    last, turned = [conv | {"name": "after"}, {"type": "flatten"}], _permuted(_CHANNELS)
    if kind == "global_avg_pool":
        last = [{"type": "linear", "out_features": _CHANNELS, "bias": False, "name": "after"}]
    else:
        turned = turned[..., None, None]
    tables = [conv | {"name": "before"}, probed | {"name": "probed"}, *last]
    weights = {"before.weight": hidden[..., None, None], **weights, "after.weight": turned}
    return _network(policy, kind, tables, weights, inputs, errors)


def _network(
    policy: Policy,
    kind: str,
    tables: list[Table],
    weights: dict[str, Array],
    inputs: Array,
    errors: Array,
) -> ExactNetwork:
    """A network whose output, as `policy` has it, is off its targets by `errors` (N×channels×positions, in the order of
    the channels before the last layer)."""
    workload = read_workload(
        {
            "input_shape": list(inputs.shape[1:]),
            "layers": tables,
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )
    network = ExactNetwork(
        kind,
        workload,
        {name: value.astype(np.float32) for name, value in weights.items()},
        inputs.astype(np.float32),
        np.zeros((len(inputs), *workload.output_shape), np.float32),
        tuple(name for name in weights if name != "after.weight"),
    )
    ends = network.outcome(Emulated(policy), trains=False)["logits"]
    targets = ends - errors[:, _order(errors.shape[1])].reshape(ends.shape)
    return dataclasses.replace(network, targets=targets.astype(np.float32))


def _integers(shape: tuple[int, ...], key: str, most: int = 127) -> Array:
    """Whole numbers within ± `most`."""
    drawn = integers(int(np.prod(shape)), 2 * most + 1, _SEED, key)
    return (drawn.reshape(shape) - most).astype(np.float64)


def _order(size: int) -> npt.NDArray[np.int64]:
    return permutation(size, _SEED, "order")


def _permuted(size: int) -> Array:
    return np.eye(size)[_order(size)]
