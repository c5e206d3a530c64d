"""The layers of the spec that need no windows, forward and backward of each side by side.

A layer appends its steps to a program. Most are a pair of generators that name the NumPy calls for one chunk:
`forward(chunk, x, y, extra)` and `backward(chunk, dy, saved, dx)`, where `saved` is what the class says
that it keeps: its input, its output, or an extra array that the forward pass filled. They run once, when
the program is bound; what they yield, functions with their arguments, runs in each step. Images
are H×n×W×C, features n×F.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .parameters import Parameters
from .schedule import Calls, Program, Scope, Value
from .workers import Chunk, Team, split

Array = npt.NDArray[np.float32]
Maybe = Any
"""An array, or None where the layer has said that there is none."""


def maximum(a: Array, b: Any, out: Array) -> None:
    """`numpy.maximum` with `out` by position."""
    np.maximum(a, b, out=out)


def minimum(a: Array, b: Any, out: Array) -> None:
    """`numpy.minimum` with `out` by position."""
    np.minimum(a, b, out=out)


_ZERO, _ONE = np.float32(0), np.float32(1)

Back = Callable[[Value], Value | None]
"""Appends the backward steps: from the output's gradient to the input's, None where nothing needs it."""


def inner_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """H×W×C for C×H×W; features stay."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape


def scope_of(x: Value) -> Scope:
    """Images are shared out; features are so few that waking the other workers would cost more."""
    return Scope.CHUNKS if len(x.shape) == 3 else Scope.ONCE


class Layer:
    """One node at work."""

    keeps: str = ""
    """What `backward` gets as `saved`: ``input``, ``output``, or, for an extra array in the output's shape,
    the name of its dtype."""
    workspace_bytes = 0
    """What the layer touches an image besides its values."""
    least_images = 1
    """Below this many images at a time it would not be worth its beginning."""
    in_place = True
    """Whether `forward` and `backward` may write over what they read."""
    scope: Scope | None = None
    """Who runs them; None for what `scope_of` says."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Appends the forward step; the value it makes, and what appends the backward step."""
        y = self.output(x)
        extra = None
        saved: Value | None = {"input": x, "output": y}.get(self.keeps)
        if program.training and self.keeps and saved is None:
            saved = extra = Value(y.shape, self.keeps)
        options = self.options(x)
        program.add(self.forward, [x], [y, extra], **options)

        def back(dy: Value) -> Value | None:
            dx = Value(x.shape) if self.node.needs_input_gradient else None
            if dx is not None or self.node.is_trained:
                program.add(self.backward, [dy, saved], [dx], **options)
            return dx

        return y, back

    def options(self, x: Value) -> dict[str, Any]:
        """What its steps are recorded with."""
        return {
            "scope": self.scope or scope_of(x),
            "in_place": self.in_place,
            "workspace_bytes": self.workspace_bytes,
            "least_images": self.least_images,
        }

    def output(self, x: Value) -> Value:
        """The value that it makes of `x`."""
        y = Value(inner_shape(self.node.output_shape))
        y.canonical = x.canonical if y.shape == x.shape else None
        return y

    def nothing(self, x: Value) -> tuple[Value, Back]:
        """For `emit`, where there is nothing to do."""
        return x, lambda dy: dy if self.node.needs_input_gradient else None

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        """The calls that fill `y` from `x`."""
        raise NotImplementedError

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        """The calls that fill `dx`, unless it is None, and the gradients of the parameters."""
        raise NotImplementedError


class Relu(Layer):
    """max(x, 0)."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield maximum, x, _ZERO, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        positive = chunk.worker.buffer("mask", dy.shape, np.bool_)
        # As floats first: a product of mixed types goes through NumPy's slow conversion.
        factor = chunk.worker.buffer("temporary", dy.shape)
        yield np.greater, saved, _ZERO, positive
        yield np.copyto, factor, positive
        yield np.multiply, dy, factor, dx


class LeakyRelu(Layer):
    """x above 0, slope·x elsewhere."""

    keeps = "output"

    def __init__(self, node: Node, slope: float) -> None:
        super().__init__(node)
        self.slope = np.float32(slope)
        self.choose = maximum if slope <= 1 else minimum

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        sloped = chunk.worker.buffer("temporary", x.shape)
        yield np.multiply, x, self.slope, sloped
        yield self.choose, x, sloped, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        positive = chunk.worker.buffer("mask", dy.shape, np.bool_)
        factor = chunk.worker.buffer("temporary", dy.shape)
        yield np.greater, saved, _ZERO, positive
        yield np.copyto, factor, positive
        yield np.multiply, factor, 1 - self.slope, factor
        yield np.add, factor, self.slope, factor
        yield np.multiply, dy, factor, dx


class Tanh(Layer):
    """The hyperbolic tangent; its derivative is 1 − y²."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield np.tanh, x, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        slope = chunk.worker.buffer("temporary", dy.shape)
        yield np.multiply, saved, saved, slope
        yield np.subtract, _ONE, slope, slope
        yield np.multiply, dy, slope, dx


class Sigmoid(Layer):
    """1 / (1 + e⁻ˣ), as (1 + tanh(x / 2)) / 2 so that nothing overflows; its derivative is y − y²."""

    keeps = "output"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        half = np.float32(0.5)
        yield np.multiply, x, half, y
        yield np.tanh, y, y
        yield np.add, y, _ONE, y
        yield np.multiply, y, half, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        slope = chunk.worker.buffer("temporary", dy.shape)
        yield np.subtract, _ONE, saved, slope
        yield np.multiply, slope, saved, slope
        yield np.multiply, dy, slope, dx


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
            return self.nothing(x)
        return super().emit(program, x)

    def draw(self, chunk: Chunk, mask: Array) -> Calls:
        """A fresh mask: what is kept."""
        # Drawn as whole words and cut up: a fraction of the time of drawing each number.
        words = -(-mask.size * np.dtype(self.kind).itemsize // 8)
        threshold = self.kind(self.threshold)

        def fill() -> None:
            drawn = chunk.worker.random.random_raw(words).view(self.kind)[: mask.size]
            np.greater_equal(drawn.reshape(mask.shape), threshold, mask)

        yield (fill,)

    def apply(self, chunk: Chunk, x: Array, mask: Array, y: Array) -> Calls:
        """`x` where the mask keeps it, scaled, else 0."""
        factor = chunk.worker.buffer("temporary", x.shape)
        yield np.copyto, factor, mask
        yield np.multiply, factor, self.scale, factor
        yield np.multiply, x, factor, y

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield from self.draw(chunk, extra)
        yield from self.apply(chunk, x, extra, y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield from self.apply(chunk, dy, saved, dx)


class ReluDropout(Dropout):
    """Relu and the dropout behind it at once: where the output is 0, neither lets a gradient through."""

    keeps = "output"

    def __init__(self, relu: Relu, node: Node, rate: float) -> None:
        super().__init__(node, rate)
        self.relu = relu

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Relu alone in inference."""
        alone = not program.training or self.rate == 0
        return self.relu.emit(program, x) if alone else super().emit(program, x)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        mask = chunk.worker.buffer("mask", x.shape, np.bool_)
        yield from self.relu.forward(chunk, x, y, None)
        yield from self.draw(chunk, mask)
        yield from self.apply(chunk, y, mask, y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        mask = chunk.worker.buffer("mask", dy.shape, np.bool_)
        yield np.greater, saved, _ZERO, mask
        yield from self.apply(chunk, dy, mask, dx)


class Flatten(Layer):
    """Images to features, kept in the order H×W×C: the layers behind it know (`Value.canonical`)."""

    in_place = False

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Nothing to do for features."""
        return super().emit(program, x) if len(x.shape) == 3 else self.nothing(x)

    def output(self, x: Value) -> Value:
        """All of it as features."""
        y = Value((x.size,))
        height, width, channels = x.shape
        y.canonical = (channels, height, width)
        return y

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        height, images, width, channels = x.shape
        yield np.copyto, y.reshape(images, height, width, channels), x.transpose(1, 0, 2, 3)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        height, images, width, channels = dx.shape
        yield np.copyto, dx, dy.reshape(images, height, width, channels).transpose(1, 0, 2, 3)


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
        program.add(self.forward, [x], [y, None], scope=Scope.ONCE)

        def back(dy: Value) -> Value | None:
            dx = Value(x.shape)
            program.add(self.backward, [dy, None], [dx], scope=Scope.ONCE)
            return dx

        return y, back

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        outer, inner = y.reshape(-1, *self.outer), x.reshape(-1, *self.inner)
        yield np.copyto, outer, inner.transpose(0, 3, 1, 2)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        inner, outer = dx.reshape(-1, *self.inner), dy.reshape(-1, *self.outer)
        yield np.copyto, inner, outer.transpose(0, 2, 3, 1)


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

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield np.copyto, y[..., : self.channels], x[self.picked]
        yield np.copyto, y[..., self.channels :], _ZERO

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        yield dx.fill, 0
        yield np.copyto, dx[self.picked], dy[..., : self.channels]


class Linear(Layer):
    """x·Wᵀ + b on the whole batch: each worker takes some rows of W, and some of its columns on the way back."""

    keeps = "input"
    in_place = False
    worth_sharing = 1 << 22
    """Multiply-adds below which waking the other workers costs more than it saves."""

    def __init__(self, node: Node, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.parameters = parameters
        self.outputs, self.inputs = node.output_shape[0], node.input_shape[0]
        shared = self.outputs * self.inputs * team.batch >= self.worth_sharing
        self.scope = Scope.PARTS if shared else Scope.ONCE
        self.parts = len(team.workers) if shared else 1

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

    def part(self, chunk: Chunk, size: int) -> slice:
        """The worker's part of 0 to `size`; it may be empty."""
        return slice(*split(0, size, self.parts)[chunk.worker.index])

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        rows = self.part(chunk, self.outputs)
        w = self.weight.value.reshape(self.outputs, self.inputs)[rows]
        yield np.matmul, x, w.T, y[:, rows]
        if self.bias is not None:
            yield np.add, y[:, rows], self.bias.value[rows], y[:, rows]

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        columns = self.part(chunk, self.inputs)
        w = self.weight.value.reshape(self.outputs, self.inputs)[:, columns]
        if not self.node.frozen:
            dw = self.weight.gradients[0].reshape(self.outputs, self.inputs)[:, columns]
            yield np.matmul, dy.T, saved[:, columns], dw
        if dx is not None:
            yield np.matmul, dy, w, dx[:, columns]
        if self.bias is not None and self.bias.trainable and chunk.worker.index == 0:
            yield np.add.reduce, dy, 0, None, self.bias.gradients[0]
