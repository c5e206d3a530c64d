"""Makes the layers of a network and strings their calls together: chains, residual sums, concatenations."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node

from ..launches.network import Context
from ..launches.program import Finish, Program, Value
from ..shared.fusion import pool_first
from .calls import call, described, libraries_of
from .layers import (
    ACTIVATIONS,
    Activation,
    Back,
    Finished,
    Flatten,
    Layer,
    copy,
    passed,
)
from .library import ONE, ZERO
from .norm import BatchNorm
from .pool import Pool
from .products import Convolution, Linear

HAS = (
    *(spec.Conv2d, spec.Linear, spec.BatchNorm, spec.MaxPool, spec.AvgPool, spec.GlobalAvgPool),
    *(*ACTIVATIONS, spec.LeakyRelu, spec.Dropout, spec.Flatten),
    *(spec.Residual, spec.OptionA, spec.Concat),
    *training.LOSSES.values(),
    *training.OPTIMIZERS.values(),
)
LACKS = tuple((rule, "clip_norm") for rule in training.OPTIMIZERS.values())
"""What it has, and options that it has not got."""


class Chain:
    """Layers one after the other; none are the identity. `shape` is that of a sample of their input."""

    def __init__(self, shape: Sequence[int], nodes: Sequence[Node], context: Context) -> None:
        self._shape = shape
        self._layers = [_make(node, context) for node in pool_first(nodes)]

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Appends all layers' forward calls."""
        backs: list[Back] = []
        y = x
        for layer in self._layers:
            y, back = layer.emit(program, y)
            backs.append(back)

        def back_through(dy: Value, other: Value | None = None) -> Value | None:
            gradient: Value | None = dy
            for back in backs[:0:-1]:
                if gradient is None:
                    return None
                gradient = back(gradient)
            if gradient is None:
                return None
            return (backs[0] if backs else passed(program, self._shape))(gradient, other)

        return y, back_through


class Residual(Layer):
    """body(x) + shortcut(x)."""

    def __init__(self, node: Node, context: Context) -> None:
        super().__init__(node)
        self.body, self.shortcut = (
            Chain(node.input_shape, nodes, context) for nodes in (node.body, node.shortcut)
        )

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One call for the sum, which is a value of its own."""
        through, through_back = self.body.emit(program, x)
        around, around_back = self.shortcut.emit(program, x)
        y = self.output(program)
        shape = described(program, y, self.node.output_shape)
        operation = libraries_of(program).addition()
        sum_ = (ONE, shape, through, ONE, shape, around, ZERO, shape, y)
        call(program, "cudnnOpTensor", operation, *sum_)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            gradient = through_back(dy, other)
            if gradient is not None and gradient.overlaps(dy):
                gradient = program.like(x)
                copy(program, self.node.output_shape, dy, gradient)
            return around_back(dy, gradient)

        return y, back


class Concat(Layer):
    """The channels of each body, copied into one wide value."""

    def __init__(self, node: Node, context: Context) -> None:
        super().__init__(node)
        self.bodies = [Chain(node.input_shape, body, context) for body in node.bodies]
        self.shapes = [body[-1].output_shape if body else node.input_shape for body in node.bodies]

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """What flows back through one body is added to by the next."""
        y = self.output(program)
        made, backs = zip(*(body.emit(program, x) for body in self.bodies), strict=True)
        sizes = [value.channels for value in made]
        places = list(zip([0, *itertools.accumulate(sizes)], sizes, strict=False))
        for shape, value, place in zip(self.shapes, made, places, strict=True):
            copy(program, shape, value, y.part(*place))

        def back(dy: Value, other: Value | None = None) -> Value | None:
            gradient = other
            for number, body_back in enumerate(backs):
                part = program.like(made[number])
                copy(program, self.shapes[number], dy.part(*places[number]), part)
                gradient = body_back(part, gradient)
            return gradient

        return y, back


class OptionA(Layer):
    """Every so many rows and columns, and channels of zeros behind them."""

    def __init__(self, node: Node, layer: spec.OptionA) -> None:
        super().__init__(node)
        self.stride = layer.stride

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """The rows and columns are a tensor of other strides."""
        y = self.output(program)
        channels, height, width = self.node.input_shape
        shape = (channels, *self.node.output_shape[1:])
        strides = (height * width, self.stride[0] * width, self.stride[1])
        few, kept = described(program, y, shape), described(program, x, shape, strides)
        fill(program, self.node.output_shape, y)
        call(program, "cudnnTransformTensor", ONE, kept, x, ZERO, few, y)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx = other
            if dx is None:
                dx = program.like(x)
                fill(program, self.node.input_shape, dx)
            call(program, "cudnnTransformTensor", ONE, few, dy, ONE, kept, dx)
            return dx

        return y, back


def fill(program: Program, shape: Sequence[int], y: Value) -> None:
    """y = 0."""
    call(program, "cudnnSetTensor", described(program, y, shape), y, ZERO)


def _make(node: Node, context: Context) -> Layer:
    match node.layer:
        case spec.Conv2d() as layer:
            return Convolution(node, layer, context.parameters, context.precision)
        case spec.Linear() as layer:
            return Linear(node, layer, context.parameters, context.precision)
        case spec.BatchNorm() as layer:
            return BatchNorm(node, layer, context.parameters, context.training)
        case spec.MaxPool() | spec.AvgPool() | spec.GlobalAvgPool() as layer:
            return Pool(node, layer)
        case spec.Flatten():
            return Flatten(node)
        case spec.LeakyRelu(slope=slope):
            return Finished(node, Finish("leaky_relu", slope))
        case spec.Dropout(rate=rate):
            kept = Finish(rate=rate, layer=context.dropouts[node.name])
            return Finished(node, kept if context.training else Finish())
        case spec.OptionA() as layer:
            return OptionA(node, layer)
        case spec.Residual():
            return Residual(node, context)
        case spec.Concat():
            return Concat(node, context)
    assert type(node.layer) in ACTIVATIONS
    return Activation(node)
