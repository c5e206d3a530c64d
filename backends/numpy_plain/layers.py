"""Every layer as a function of its input: the output, and what takes a gradient back.

This is what a lecture on convolutional networks writes: N×C×H×W throughout, a convolution as one product with
all windows side by side (im2col; Chellapilla, Puri and Simard 2006), new arrays in every step. It is here to be read
and to be compared with; the backend ``numpy`` is the fast one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import Node
from dlbench.spec.workload import Weights

Array = npt.NDArray[np.float32]
Back = Callable[[Array], Array]
"""From the gradient of a layer's output to that of its input; those of its parameters are left in the pass."""
Forward = tuple[Array, Back]
_HALF = np.float32(0.5)


@dataclasses.dataclass
class Pass:
    """One evaluation of a network.

    Attributes
    ----------
    weights : by name, in the canonical layout; running statistics are among them.
    training : batch statistics and dropout, or running statistics.
    random : what dropout masks are drawn from.
    gradients : left behind by the way back, by the parameter's name.
    running : left behind by the way there: running statistics after the step.
    """

    weights: Weights
    training: bool
    random: np.random.Generator
    gradients: dict[str, Array] = dataclasses.field(default_factory=dict)
    running: dict[str, Array] = dataclasses.field(default_factory=dict)


def sequence(nodes: Sequence[Node], x: Array, run: Pass) -> Forward:
    """Layers one after the other; no layers are the identity."""
    backs: list[Back] = []
    for node in nodes:
        x, back = layer(node, x, run)
        backs.append(back)

    def through(dy: Array) -> Array:
        for back in reversed(backs):
            dy = back(dy)
        return dy

    return x, through


def layer(node: Node, x: Array, run: Pass) -> Forward:
    """One of them.

    Raises
    ------
    PlanRefused : this backend has no such layer.
    """
    match node.layer:
        case spec.Conv2d():
            return convolution(node, node.layer, x, run)
        case spec.Linear():
            return linear(node, x, run)
        case spec.BatchNorm():
            return batch_norm(node, node.layer, x, run)
        case spec.MaxPool():
            return max_pool(node, node.layer, x)
        case spec.AvgPool():
            return avg_pool(node, node.layer, x)
        case spec.GlobalAvgPool():
            size = np.float32(x.shape[2] * x.shape[3])
            spread = functools.partial(np.broadcast_to, shape=x.shape)
            return x.mean((2, 3)), lambda dy: spread(dy[:, :, None, None] / size)
        case spec.Relu():
            return np.maximum(x, 0), lambda dy: dy * (x > 0)
        case spec.LeakyRelu(slope=slope):
            slopes: Array = np.where(x > 0, np.float32(1), np.float32(slope)).astype(np.float32)
            return x * slopes, lambda dy: dy * slopes
        case spec.Tanh():
            y = np.tanh(x)
            return y, lambda dy: dy * (1 - y * y)
        case spec.Sigmoid():
            y = _HALF + _HALF * np.tanh(x * _HALF)
            return y, lambda dy: dy * (y * (1 - y))
        case spec.Dropout(rate=rate):
            return dropout(rate, x, run)
        case spec.Flatten():
            return x.reshape(len(x), -1), lambda dy: dy.reshape(x.shape)
        case spec.Residual():
            return residual(node, x, run)
        case spec.Concat():
            return concat(node, x, run)
        case spec.OptionA():
            return option_a(node.layer, x)
    raise PlanRefused(f"numpy-plain has no {spec.WORDS[type(node.layer)]} ({node.name})")


def padded(node: Node, x: Array, value: float = 0.0) -> Array:
    """The image as windows without padding meet it: with what has to lie around it, without what none reaches."""
    (top, bottom), (left, right) = node.window_edges
    met = x[:, :, : x.shape[2] + min(bottom, 0), : x.shape[3] + min(right, 0)]
    around = ((0, 0), (0, 0), (top, max(bottom, 0)), (left, max(right, 0)))
    return np.pad(met, around, constant_values=np.float32(value))


def inside(node: Node, whole: Array) -> Array:
    """The reverse of `padded` for gradients."""
    (top, bottom), (left, right) = node.window_edges
    _, height, width = node.input_shape
    dx = np.zeros((len(whole), *node.input_shape), np.float32)
    rows, columns = height + min(bottom, 0), width + min(right, 0)
    dx[:, :, :rows, :columns] = whole[:, :, top : top + rows, left : left + columns]
    return dx


def windows(x: Array, kernel: tuple[int, int], step: tuple[int, int], dilation: Any) -> Array:
    """A view of all windows, N×C×H'×W'×kH×kW."""
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    view = sliding_window_view(x, reach, (2, 3))
    found: Array = view[:, :, :: step[0], :: step[1], :: dilation[0], :: dilation[1]]
    return found


def scattered(
    parts: Array, shape: tuple[int, ...], step: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """The reverse of `windows`: all that was taken from one place is added up there (col2im)."""
    total = np.zeros(shape, np.float32)
    rows, columns, height, width = parts.shape[2:]
    for i in range(height):
        for j in range(width):
            top, left = i * dilation[0], j * dilation[1]
            bottom, right = top + rows * step[0], left + columns * step[1]
            total[:, :, top : bottom : step[0], left : right : step[1]] += parts[..., i, j]
    return total


def convolution(node: Node, conv: spec.Conv2d, x: Array, run: Pass) -> Forward:
    """One product of all windows, side by side, and the kernel."""
    weight = run.weights[f"{node.name}.weight"]
    outputs, image = len(weight), padded(node, x)
    seen = windows(image, conv.kernel, conv.stride, conv.dilation)
    count, _, rows, columns = seen.shape[:4]
    # N·H'·W' × C·kH·kW: kH·kW times the input
    unrolled = seen.transpose(0, 2, 3, 1, 4, 5).reshape(count * rows * columns, -1)
    kernel = weight.reshape(outputs, -1)
    y = unrolled @ kernel.T
    if conv.bias:
        y += run.weights[f"{node.name}.bias"]

    def back(dy: Array) -> Array:
        flat = dy.transpose(0, 2, 3, 1).reshape(-1, outputs)
        run.gradients[f"{node.name}.weight"] = (flat.T @ unrolled).reshape(weight.shape)
        if conv.bias:
            run.gradients[f"{node.name}.bias"] = flat.sum(0)
        if not node.needs_input_gradient:
            # nobody asks for it
            return np.zeros(x.shape, np.float32)
        parts = (flat @ kernel).reshape(count, rows, columns, -1, *conv.kernel)
        whole = scattered(
            parts.transpose(0, 3, 1, 2, 4, 5), image.shape, conv.stride, conv.dilation
        )
        return inside(node, whole)

    return y.reshape(count, rows, columns, outputs).transpose(0, 3, 1, 2), back


def linear(node: Node, x: Array, run: Pass) -> Forward:
    """x·Wᵀ + b."""
    weight = run.weights[f"{node.name}.weight"]
    bias = run.weights.get(f"{node.name}.bias")
    y = x @ weight.T
    if bias is not None:
        y += bias

    def back(dy: Array) -> Array:
        run.gradients[f"{node.name}.weight"] = dy.T @ x
        if bias is not None:
            run.gradients[f"{node.name}.bias"] = dy.sum(0)
        return dy @ weight

    return y, back


def batch_norm(node: Node, norm: spec.BatchNorm, x: Array, run: Pass) -> Forward:
    """By statistics of the batch in training, by running ones in inference."""
    along = (0, 2, 3) if x.ndim == 4 else (0,)
    spread: Any = (slice(None), None, None) if x.ndim == 4 else (slice(None),)
    names = ("scale", "shift", "running_mean", "running_variance")
    scale, shift, mean, variance = (run.weights[f"{node.name}.{name}"] for name in names)
    if run.training:
        count = x.size // x.shape[1]
        # in float64, since sums over a batch are long ones
        batch_mean = x.mean(along, dtype=np.float64)
        centred = (x - batch_mean[spread]).astype(np.float32)
        batch_variance = np.square(centred).mean(along, dtype=np.float64)
        for name, old, new in (
            ("running_mean", mean, batch_mean),
            ("running_variance", variance, batch_variance * (count / (count - 1))),
        ):
            both = (1 - norm.momentum) * old.astype(np.float64) + norm.momentum * new
            run.running[f"{node.name}.{name}"] = both.astype(np.float32)
        variance = batch_variance.astype(np.float32)
    else:
        centred = x - mean[spread]
    inverse = 1 / np.sqrt(variance + np.float32(norm.eps))
    normal = centred * inverse[spread]

    def back(dy: Array) -> Array:
        total = dy.sum(along, dtype=np.float64).astype(np.float32)
        product = (dy * normal).sum(along, dtype=np.float64).astype(np.float32)
        run.gradients[f"{node.name}.scale"] = product
        run.gradients[f"{node.name}.shift"] = total
        count = np.float32(dy.size // dy.shape[1])
        away = dy - (total / count)[spread] - normal * (product / count)[spread]
        dx: Array = away * (scale * inverse)[spread]
        return dx

    return normal * scale[spread] + shift[spread], back


def max_pool(node: Node, pool: spec.MaxPool, x: Array) -> Forward:
    """The first of several equal maxima takes the gradient."""
    image = padded(node, x, -np.inf)
    seen = windows(image, pool.kernel, pool.step, (1, 1))
    flat = seen.reshape(*seen.shape[:4], -1)
    first = flat.argmax(-1)[..., None]

    def back(dy: Array) -> Array:
        parts = np.zeros(flat.shape, np.float32)
        np.put_along_axis(parts, first, dy[..., None], -1)
        whole = scattered(parts.reshape(seen.shape), image.shape, pool.step, (1, 1))
        return inside(node, whole)

    return np.take_along_axis(flat, first, -1)[..., 0], back


def avg_pool(node: Node, pool: spec.AvgPool, x: Array) -> Forward:
    """The sum over each window, by how many of its elements count."""
    image = padded(node, x)
    seen = windows(image, pool.kernel, pool.step, (1, 1))
    rows, columns = (np.array(each, np.float32) for each in node.divisors)
    divisors = rows[:, None] * columns

    def back(dy: Array) -> Array:
        parts = np.broadcast_to((dy / divisors)[..., None, None], seen.shape)
        return inside(node, scattered(parts, image.shape, pool.step, (1, 1)))

    return seen.sum((4, 5)) / divisors, back


def dropout(rate: float, x: Array, run: Pass) -> Forward:
    """A fresh mask each training step, the identity in inference."""
    if not run.training or rate == 0:
        return x, lambda dy: dy
    kept = run.random.random(x.shape, np.float32) >= np.float32(rate)
    factor = kept * np.float32(1 / (1 - rate))
    return x * factor, lambda dy: dy * factor


def residual(node: Node, x: Array, run: Pass) -> Forward:
    """body(x) + shortcut(x)."""
    through, back_through = sequence(node.body, x, run)
    around, back_around = sequence(node.shortcut, x, run)
    return through + around, lambda dy: back_through(dy) + back_around(dy)


def concat(node: Node, x: Array, run: Pass) -> Forward:
    """The channels of each body, in their order."""
    made = [sequence(body, x, run) for body in node.bodies]
    ends = np.cumsum([y.shape[1] for y, _ in made])[:-1]

    def back(dy: Array) -> Array:
        parts = np.split(dy, ends, 1)
        total = sum(back(part) for (_, back), part in zip(made, parts, strict=True))
        return np.asarray(total)

    return np.concatenate([y for y, _ in made], 1), back


def option_a(option: spec.OptionA, x: Array) -> Forward:
    """Every stride-th row and column, and channels of zeros behind."""
    rows, columns = option.stride
    y = np.pad(x[:, :, ::rows, ::columns], ((0, 0), (0, option.extra_channels), (0, 0), (0, 0)))

    def back(dy: Array) -> Array:
        dx = np.zeros_like(x)
        dx[:, :, ::rows, ::columns] = dy[:, : x.shape[1]]
        return dx

    return y, back
