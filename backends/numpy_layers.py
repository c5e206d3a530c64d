"""The layers of the spec in NumPy, float32, N×C×H×W, forward and backward of each side by side.

A layer keeps what its backward pass needs from the last forward pass. Loops run over kernel positions
only, never over samples or pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

Array = npt.NDArray[np.float32]


class Layer:
    """One node at work. `weights` and `gradients` are keyed by the canonical parameter names' last part."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.weights: dict[str, Array] = {
            p.name.rpartition(".")[2]: np.zeros(p.shape, np.float32) for p in node.parameters
        }
        self.gradients: dict[str, Array] = {}

    def forward(self, x: Array, training: bool) -> Array:
        """The layer's output for the input `x`."""
        raise NotImplementedError

    def backward(self, dy: Array) -> Array | None:
        """The gradient of the input from the gradient of the output; None where nothing before needs it.
        Leaves the parameters' gradients in `gradients`."""
        raise NotImplementedError


def _padded(x: Array, padding: tuple[int, int], value: float = 0.0) -> Array:
    if padding == (0, 0):
        return x
    (ph, pw), (n, c, h, w) = padding, x.shape
    result = np.full((n, c, h + 2 * ph, w + 2 * pw), value, np.float32)
    result[:, :, ph : ph + h, pw : pw + w] = x
    return result


def _cropped(x: Array, padding: tuple[int, int]) -> Array:
    ph, pw = padding
    return x[:, :, ph : x.shape[2] - ph, pw : x.shape[3] - pw]


def _taps(shape: tuple[int, int], kernel: Any, stride: Any, dilation: Any = (1, 1)) -> list[Any]:
    """For each kernel position in row-major order, the index of the input elements it meets."""
    return [
        (
            ...,
            slice(i * dilation[0], i * dilation[0] + (shape[0] - 1) * stride[0] + 1, stride[0]),
            slice(j * dilation[1], j * dilation[1] + (shape[1] - 1) * stride[1] + 1, stride[1]),
        )
        for i in range(kernel[0])
        for j in range(kernel[1])
    ]


class Conv2d(Layer):
    """Convolution as one matrix product a sample over the unrolled windows of the whole batch (im2col)."""

    def __init__(self, node: Node, layer: spec.Conv2d) -> None:
        super().__init__(node)
        self.layer = layer
        self.size = node.output_shape[1:]
        self.taps = _taps((self.size[0], self.size[1]), layer.kernel, layer.stride, layer.dilation)

    def forward(self, x: Array, training: bool) -> Array:
        weight = self.weights["weight"]
        padded = _padded(x, self.layer.padding)
        n, c = x.shape[:2]
        columns = np.empty((n, c, len(self.taps), *self.size), np.float32)
        for k, tap in enumerate(self.taps):
            columns[:, :, k] = padded[tap]
        self.columns = columns.reshape(n, c * len(self.taps), -1)
        self.padded_shape = padded.shape
        y = np.matmul(weight.reshape(len(weight), -1), self.columns)
        if self.layer.bias:
            y += self.weights["bias"][:, None]
        return y.reshape(n, *self.node.output_shape)

    def backward(self, dy: Array) -> Array | None:
        weight = self.weights["weight"]
        rows = dy.reshape(len(dy), len(weight), -1)
        total = np.matmul(rows, self.columns.transpose(0, 2, 1)).sum(axis=0)
        self.gradients["weight"] = total.reshape(weight.shape)
        if self.layer.bias:
            self.gradients["bias"] = dy.sum(axis=(0, 2, 3))
        if not self.node.needs_input_gradient:
            return None
        columns = np.matmul(weight.reshape(len(weight), -1).T, rows)
        columns = columns.reshape(len(dy), -1, len(self.taps), *self.size)
        dx = np.zeros(self.padded_shape, np.float32)
        for k, tap in enumerate(self.taps):
            dx[tap] += columns[:, :, k]
        return _cropped(dx, self.layer.padding)


class Linear(Layer):
    """x·Wᵀ + b."""

    def forward(self, x: Array, training: bool) -> Array:
        self.x = x
        y = x @ self.weights["weight"].T
        if "bias" in self.weights:
            y += self.weights["bias"]
        return y

    def backward(self, dy: Array) -> Array | None:
        self.gradients["weight"] = dy.T @ self.x
        if "bias" in self.weights:
            self.gradients["bias"] = dy.sum(axis=0)
        return dy @ self.weights["weight"] if self.node.needs_input_gradient else None


class BatchNorm(Layer):
    """Batch normalisation with running estimates."""

    def __init__(self, node: Node, layer: spec.BatchNorm) -> None:
        super().__init__(node)
        self.layer = layer

    def forward(self, x: Array, training: bool) -> Array:
        def channels(values: Array) -> Array:
            return values[:, None, None]

        w, eps = self.weights, np.float32(self.layer.eps)
        if not training:
            factor = w["scale"] / np.sqrt(w["running_variance"] + eps)
            return (x - channels(w["running_mean"])) * channels(factor) + channels(w["shift"])
        count = x.size // x.shape[1]
        mean = x.mean(axis=(0, 2, 3))
        centred = x - channels(mean)
        variance = np.square(centred).mean(axis=(0, 2, 3))
        momentum = np.float32(self.layer.momentum)
        unbiased = variance * np.float32(count / (count - 1))
        for name, batch in (("running_mean", mean), ("running_variance", unbiased)):
            w[name] *= 1 - momentum
            w[name] += momentum * batch
        self.inverse = 1 / np.sqrt(variance + eps)
        centred *= channels(self.inverse)
        self.normalised = centred
        return centred * channels(w["scale"]) + channels(w["shift"])

    def backward(self, dy: Array) -> Array | None:
        count = np.float32(dy.size // dy.shape[1])
        shift = dy.sum(axis=(0, 2, 3))
        scale = (dy * self.normalised).sum(axis=(0, 2, 3))
        self.gradients["scale"], self.gradients["shift"] = scale, shift
        if not self.node.needs_input_gradient:
            return None
        dx = dy - (shift / count)[:, None, None]
        dx -= self.normalised * (scale / count)[:, None, None]
        dx *= (self.weights["scale"] * self.inverse)[:, None, None]
        return dx


class Relu(Layer):
    """max(x, 0), or slope·x below 0."""

    def __init__(self, node: Node, slope: float) -> None:
        super().__init__(node)
        self.slope = np.float32(slope)

    def forward(self, x: Array, training: bool) -> Array:
        self.positive = x > 0
        return np.where(self.positive, x, self.slope * x) if self.slope else np.maximum(x, 0)

    def backward(self, dy: Array) -> Array | None:
        return np.where(self.positive, dy, self.slope * dy) if self.slope else dy * self.positive


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ), through tanh so that nothing overflows."""

    def forward(self, x: Array, training: bool) -> Array:
        self.y = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * x))
        return self.y

    def backward(self, dy: Array) -> Array | None:
        return dy * self.y * (1 - self.y)


class Tanh(Layer):
    """The hyperbolic tangent."""

    def forward(self, x: Array, training: bool) -> Array:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Array) -> Array | None:
        return dy * (1 - np.square(self.y))


class MaxPool(Layer):
    """Maximum over windows; the gradient goes to the first maximum in row-major order."""

    def __init__(self, node: Node, layer: spec.MaxPool) -> None:
        super().__init__(node)
        self.layer = layer
        self.taps = _taps((node.output_shape[1], node.output_shape[2]), layer.kernel, layer.step)

    def forward(self, x: Array, training: bool) -> Array:
        padded = _padded(x, self.layer.padding, -np.inf)
        self.padded_shape = padded.shape
        sh, sw = self.layer.step
        windows = sliding_window_view(padded, self.layer.kernel, axis=(2, 3))[:, :, ::sh, ::sw]
        flat = windows.reshape(*windows.shape[:4], -1)
        self.winner = flat.argmax(axis=-1)
        return np.take_along_axis(flat, self.winner[..., None], -1)[..., 0]

    def backward(self, dy: Array) -> Array | None:
        dx = np.zeros(self.padded_shape, np.float32)
        for k, tap in enumerate(self.taps):
            dx[tap] += dy * (self.winner == k)
        return _cropped(dx, self.layer.padding)


class AvgPool(Layer):
    """Mean over the part of each window that lies inside the input."""

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__(node)
        self.layer = layer
        self.taps = _taps((node.output_shape[1], node.output_shape[2]), layer.kernel, layer.step)
        inside = _padded(np.ones((1, 1, *node.input_shape[1:]), np.float32), layer.padding)
        self.factor = 1 / np.sum([inside[tap] for tap in self.taps], axis=0, dtype=np.float32)

    def forward(self, x: Array, training: bool) -> Array:
        padded = _padded(x, self.layer.padding)
        self.padded_shape = padded.shape
        y = padded[self.taps[0]].copy()
        for tap in self.taps[1:]:
            y += padded[tap]
        y *= self.factor
        return y

    def backward(self, dy: Array) -> Array | None:
        dx = np.zeros(self.padded_shape, np.float32)
        share = dy * self.factor
        for tap in self.taps:
            dx[tap] += share
        return _cropped(dx, self.layer.padding)


class GlobalAvgPool(Layer):
    """Mean over height and width."""

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        return x.mean(axis=(2, 3))

    def backward(self, dy: Array) -> Array | None:
        share = dy * np.float32(1 / (self.shape[2] * self.shape[3]))
        return np.broadcast_to(share[:, :, None, None], self.shape)


class Dropout(Layer):
    """A fresh mask of 0 and 1 / (1 − rate) each training step."""

    def __init__(self, node: Node, rate: float, generator: np.random.Generator) -> None:
        super().__init__(node)
        self.rate = rate
        self.generator = generator

    def forward(self, x: Array, training: bool) -> Array:
        if not training or self.rate == 0:
            self.mask = None
            return x
        keep = self.generator.random(x.shape, np.float32) >= np.float32(self.rate)
        self.mask = keep * np.float32(1 / (1 - self.rate))
        return x * self.mask

    def backward(self, dy: Array) -> Array | None:
        return dy if self.mask is None else dy * self.mask


class Flatten(Layer):
    """C×H×W → C·H·W."""

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, dy: Array) -> Array | None:
        return dy.reshape(self.shape)


class OptionA(Layer):
    """Every stride-th row and column, and channels of zeros behind."""

    def __init__(self, node: Node, layer: spec.OptionA) -> None:
        super().__init__(node)
        self.stride = layer.stride

    def forward(self, x: Array, training: bool) -> Array:
        self.shape = x.shape
        y = np.zeros((len(x), *self.node.output_shape), np.float32)
        y[:, : x.shape[1]] = x[:, :, :: self.stride[0], :: self.stride[1]]
        return y

    def backward(self, dy: Array) -> Array | None:
        dx = np.zeros(self.shape, np.float32)
        dx[:, :, :: self.stride[0], :: self.stride[1]] = dy[:, : self.shape[1]]
        return dx
