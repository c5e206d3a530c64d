"""The layers of the spec that need no windows, forward and backward of each side by side.

A layer appends its steps to a program. Most are a pair of functions over one chunk: `forward(chunk, x, y,
extra)` and `backward(chunk, dy, saved, dx)`, where `saved` is what the class says that it keeps: its input, its
output, or an extra array that the forward pass filled. Images are H×n×W×C, features n×F.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_parameters import Parameters
from .numpy_program import Program, Value
from .numpy_team import Chunk, Team, Worker, split

Array = npt.NDArray[np.float32]
Maybe = Any
"""An array, or None where the layer has said that there is none."""
Back = Callable[[Value], Value | None]
"""Appends the backward steps: from the output's gradient to the input's, None where nothing needs it."""


def inner_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """H×W×C for C×H×W; features stay."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


class Layer:
    """One node at work."""

    keeps: str = ""
    """What `backward` gets as `saved`: ``input``, ``output``, or, for an extra array in the output's shape,
    the name of its dtype."""
    workspace_bytes = 0
    """What the layer touches an image besides its values."""
    in_place = True
    """Whether `forward` and `backward` may be given the same array to read and write."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Appends the forward step; the value it makes, and what appends the backward step."""
        y = Value(inner_shape(self.node.output_shape))
        y.canonical = x.canonical if y.shape == x.shape else None
        extra = None
        saved: Value | None = {"input": x, "output": y}.get(self.keeps)
        if program.training and self.keeps and saved is None:
            saved = extra = Value(y.shape, self.keeps)
        options: dict[str, Any] = {"whole": len(x.shape) == 1, "in_place": self.in_place}
        options["workspace_bytes"] = self.workspace_bytes
        program.add(self.forward, [x], [y, extra], **options)

        def back(dy: Value) -> Value | None:
            dx = Value(x.shape) if self.node.needs_input_gradient else None
            if dx is not None or self.node.parameters:
                program.add(self.backward, [dy, saved], [dx], **options)
            return dx

        return y, back

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        """Fills `y` from `x`."""
        raise NotImplementedError

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        """Fills `dx`, unless it is None, and the gradients of the parameters."""
        raise NotImplementedError


class Relu(Layer):
    """max(x, 0)."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        np.maximum(x, 0, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        positive = chunk.worker.buffer("mask", dy.shape, np.bool_)
        np.greater(saved, 0, out=positive)
        np.multiply(dy, positive, out=dx)


class LeakyRelu(Layer):
    """x above 0, slope·x elsewhere."""

    keeps = "output"

    def __init__(self, node: Node, slope: float) -> None:
        super().__init__(node)
        self.slope = np.float32(slope)
        self.choose = np.maximum if slope <= 1 else np.minimum

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        sloped = chunk.worker.buffer("temporary", x.shape)
        np.multiply(x, self.slope, out=sloped)
        self.choose(x, sloped, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        factor = chunk.worker.buffer("temporary", dy.shape)
        np.greater(saved, 0, out=factor)
        factor *= 1 - self.slope
        factor += self.slope
        np.multiply(dy, factor, out=dx)


class Tanh(Layer):
    """The hyperbolic tangent; its derivative is 1 − y²."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        np.tanh(x, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        slope = chunk.worker.buffer("temporary", dy.shape)
        np.multiply(saved, saved, out=slope)
        np.subtract(1, slope, out=slope)
        np.multiply(dy, slope, out=dx)


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ), as (1 + tanh(x / 2)) / 2 so that nothing overflows; its derivative is y − y²."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        half = np.float32(0.5)
        np.multiply(x, half, out=y)
        np.tanh(y, out=y)
        np.add(y, 1, out=y)
        np.multiply(y, half, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        slope = chunk.worker.buffer("temporary", dy.shape)
        np.subtract(1, saved, out=slope)
        np.multiply(slope, saved, out=slope)
        np.multiply(dy, slope, out=dx)


_LARGEST_WORD = (1 << 64) - 1


class Dropout(Layer):
    """A fresh mask each training step, from each worker's own random numbers."""

    keeps = "bool"

    def __init__(self, node: Node, rate: float) -> None:
        super().__init__(node)
        self.rate = rate
        self.scale = np.float32(1 / (1 - rate))
        # As few random bits as meet the rate: 8 for ¼ or ½, else 16, which meet any to 2⁻¹⁷.
        bits = 8 if (rate * 256).is_integer() else 16
        self.range = 1 << bits
        self.threshold = min(round(rate * self.range), self.range - 1)
        self.kind: Any = np.uint8 if bits == 8 else np.uint16

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Nothing at all in inference."""
        if not program.training or self.rate == 0:
            return x, lambda dy: dy if self.node.needs_input_gradient else None
        return super().emit(program, x)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        # Drawn as whole words and cut up: half the time of drawing each number.
        count = -(-x.size * np.dtype(self.kind).itemsize // 8)
        words = chunk.worker.generator.integers(0, _LARGEST_WORD, count, np.uint64, endpoint=True)
        draws = words.view(self.kind)[: x.size].reshape(x.shape)
        np.greater_equal(draws, self.kind(self.threshold), out=extra)
        self.backward(chunk, x, extra, y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        # As floats first: a product of mixed types goes through NumPy's slow conversion.
        factor = chunk.worker.buffer("temporary", dy.shape)
        factor[...] = saved
        factor *= self.scale
        np.multiply(dy, factor, out=dx)


class Flatten(Layer):
    """Images to features, kept in the order H×W×C: the layers behind it know (`Value.canonical`)."""

    in_place = False

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Nothing to do for features."""
        if len(x.shape) == 1:
            return x, lambda dy: dy if self.node.needs_input_gradient else None
        height, width, channels = x.shape
        y = Value((x.size,))
        y.canonical = (channels, height, width)
        program.add(self.forward, [x], [y, None])

        def back(dy: Value) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx = Value(x.shape)
            program.add(self.backward, [dy, None], [dx])
            return dx

        return y, back

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        height, images, width, channels = x.shape
        y.reshape(images, height, width, channels)[...] = x.transpose(1, 0, 2, 3)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        height, images, width, channels = dx.shape
        dx[...] = dy.reshape(images, height, width, channels).transpose(1, 0, 2, 3)


class Canonical(Layer):
    """Features from H×W×C order to the canonical C×H×W order; not a node of its own."""

    in_place = False

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Nothing to do where the order is canonical."""
        if x.canonical is None:
            return x, lambda dy: dy
        channels, height, width = x.canonical
        self.inner, self.outer = (height, width, channels), (channels, height, width)
        y = Value(x.shape)
        program.add(self.forward, [x], [y, None], whole=True)

        def back(dy: Value) -> Value | None:
            dx = Value(x.shape)
            program.add(self.backward, [dy, None], [dx], whole=True)
            return dx

        return y, back

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        y.reshape(-1, *self.outer)[...] = x.reshape(-1, *self.inner).transpose(0, 3, 1, 2)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        dx.reshape(-1, *self.inner)[...] = dy.reshape(-1, *self.outer).transpose(0, 2, 3, 1)


class OptionA(Layer):
    """Every stride-th row and column, and channels of zeros behind."""

    in_place = False

    def __init__(self, node: Node, layer: spec.OptionA) -> None:
        super().__init__(node)
        self.picked = (
            slice(None, None, layer.stride[0]),
            slice(None),
            slice(None, None, layer.stride[1]),
        )
        self.channels = node.input_shape[0]

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        y[..., : self.channels] = x[self.picked]
        y[..., self.channels :] = 0

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        dx.fill(0)
        dx[self.picked] = dy[..., : self.channels]


class Linear(Layer):
    """x·Wᵀ + b on the whole batch: the workers share out the rows of W, and its columns on the way back."""

    keeps = "input"
    in_place = False
    worth_sharing = 1 << 22
    """Multiply-adds below which waking the other workers costs more than it saves."""

    def __init__(self, node: Node, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.team = team
        self.parameters = parameters
        self.outputs, self.inputs = node.output_shape[0], node.input_shape[0]
        self.macs = self.outputs * self.inputs * team.batch

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Asks for the weight in the order of the features that come in."""
        if x.canonical is None:
            shape: tuple[int, ...] = (self.outputs, self.inputs)
            axes: tuple[int, ...] = (0, 1)
        else:
            channels, height, width = x.canonical
            shape, axes = (self.outputs, height, width, channels), (0, 3, 1, 2)
        name = self.node.name
        self.weight = self.parameters.add(f"{name}.weight", shape, axes)
        has_bias = len(self.node.parameters) > 1
        self.bias = self.parameters.add(f"{name}.bias", (self.outputs,)) if has_bias else None
        y, back = super().emit(program, x)
        y.canonical = None
        return y, back

    def share(self, size: int, part: Callable[[slice], None]) -> None:
        """Calls `part` with ranges of 0 to `size`, one a worker."""
        if self.macs < self.worth_sharing:
            part(slice(0, size))
            return
        ranges = split(0, size, len(self.team.workers))

        def task(worker: Worker) -> None:
            if ranges[worker.index][0] < ranges[worker.index][1]:
                part(slice(*ranges[worker.index]))

        self.team.run(task)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        w = self.weight.value.reshape(self.outputs, self.inputs)

        def part(rows: slice) -> None:
            np.matmul(x, w[rows].T, out=y[:, rows])

        self.share(self.outputs, part)
        if self.bias is not None:
            np.add(y, self.bias.value, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        w = self.weight.value.reshape(self.outputs, self.inputs)
        dw = self.weight.gradients[0].reshape(self.outputs, self.inputs)

        def part(columns: slice) -> None:
            np.matmul(dy.T, saved[:, columns], out=dw[:, columns])
            if dx is not None:
                np.matmul(dy, w[:, columns], out=dx[:, columns])

        self.share(self.inputs, part)
        if self.bias is not None:
            np.sum(dy, axis=0, out=self.bias.gradients[0])
