"""The layers that cuDNN computes, and dropout and leaky relu, for which it has nothing that fits.

A layer appends its forward calls and returns its output with a function that appends the backward ones.
Images are kept N×C×H×W, so weights have their canonical layout and a flatten is nothing at all: to the
program a sample is a row of C·H·W numbers. A call never writes to the gradient that it reads. Where two
paths of gradients meet, the second adds to what the first one brought (`other`): beta is 1 there, and 0
everywhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..launches.layers import emit_apply, emit_gradient
from ..launches.parameters import Current, Parameters, Parts
from ..launches.program import PLAIN, Finish, Program, Value
from .calls import call, described, libraries_of, of_channels
from .library import CLIPPED_RELU, ONE, RELU, SIGMOID, TANH, ZERO

ACTIVATIONS: dict[type[Any], tuple[int, float]] = {
    spec.Relu: (RELU, 0.0),
    spec.Relu6: (CLIPPED_RELU, 6.0),
    spec.Sigmoid: (SIGMOID, 0.0),
    spec.Tanh: (TANH, 0.0),
}
"""cuDNN's name of each, and the ceiling of the one that has one."""


class Back(Protocol):
    """Appends a layer's backward calls."""

    def __call__(self, dy: Value, other: Value | None = None) -> Value | None:
        """The gradient of the layer's input, or None where nobody needs it.

        Parameters
        ----------
        dy : gradient of the layer's output; it is left as it is.
        other : what another path brought to the same input; the gradient is added to it, in its memory.
        """


class Layer:
    """One layer of a network."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Appends the forward calls for the input `x`: the output, and the way back."""
        raise NotImplementedError

    def output(self, program: Program) -> Value:
        """A new value for the layer's output."""
        return program.value(row_shape(self.node.output_shape))


def row_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """A sample as the program keeps it: height 1, width 1, and all its numbers."""
    size = 1
    for length in shape:
        size *= length
    return 1, 1, size


def into(program: Program, x: Value, other: Value | None) -> tuple[Value, Any]:
    """Where the gradient of `x` goes, and the factor of what is there."""
    return (program.like(x), ZERO) if other is None else (other, ONE)


def add(program: Program, shape: Sequence[int], x: Value, y: Value) -> None:
    """y += x, of samples of this shape."""
    tensors = [described(program, value, shape) for value in (x, y)]
    call(program, "cudnnAddTensor", ONE, tensors[0], x, ONE, tensors[1], y)


def copy(program: Program, shape: Sequence[int], x: Value, y: Value) -> None:
    """y = x, either of which may be part of a wider value."""
    tensors = [described(program, value, shape) for value in (x, y)]
    call(program, "cudnnTransformTensor", ONE, tensors[0], x, ZERO, tensors[1], y)


class Kept:
    """One of a layer's parameters or running statistics: a block of its own, since a vendor's kernels may ask for
    arrays that are aligned."""

    def __init__(self, parameters: Parameters, node: Node, role: str) -> None:
        found = next(p for p in node.parameters if p.name == f"{node.name}.{role}")
        self.shape = found.shape
        block, new = parameters.block(found.name, found.trainable)
        if new:
            block.add(found.name, found.shape, range(len(found.shape)))
        [member] = block.members
        self.value = Current(block, member)
        self.gradient = Parts(block, member)


class Bias:
    """What a convolution or a linear layer adds to each channel."""

    def __init__(self, parameters: Parameters, node: Node) -> None:
        self.bias = Kept(parameters, node, "bias")
        self.shape = node.output_shape

    def emit(self, program: Program, y: Value) -> None:
        """Adds it."""
        channels = of_channels(program, self.shape[0])
        whole = described(program, y, self.shape)
        call(program, "cudnnAddTensor", ONE, channels, self.bias.value, ONE, whole, y)

    def back(self, program: Program, dy: Value) -> None:
        """Its gradient, over what was there."""
        channels, whole = of_channels(program, self.shape[0]), described(program, dy, self.shape)
        call(
            program,
            "cudnnConvolutionBackwardBias",
            *(ONE, whole, dy, ZERO, channels, self.bias.gradient),
        )


class Activation(Layer):
    """Relu, relu6, sigmoid or tanh."""

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One call each way."""
        y = self.output(program)
        what = libraries_of(program).activation(*ACTIVATIONS[type(self.node.layer)])
        shape = described(program, x, self.node.input_shape)
        call(program, "cudnnActivationForward", what, ONE, shape, x, ZERO, shape, y)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx, beta = into(program, x, other)
            call(
                program,
                "cudnnActivationBackward",
                *(what, ONE, shape, y, shape, dy, shape, x, beta, shape, dx),
            )
            return dx

        return y, back


class Finished(Layer):
    """Leaky relu or dropout, by a kernel of ours; the masks are those of the `cupy` backend."""

    def __init__(self, node: Node, finish: Finish) -> None:
        super().__init__(node)
        self.finish = finish

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One launch each way; none for what does nothing."""
        if self.finish.is_identity:
            return x, passed(program, self.node.input_shape)
        y = self.output(program)
        emit_apply(program, x, y, self.finish)
        # The gradient's kernel undoes a finish of what it is told was finished; for all others this is done.
        finished = y.reshaped(y.shape)
        y.finish = PLAIN

        def back(dy: Value, other: Value | None = None) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            return emit_gradient(program, finished, dy, other)

        return y, back


class Flatten(Layer):
    """Nothing, since images are kept in the canonical order."""

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """No call."""
        return x, passed(program, self.node.input_shape)


def passed(program: Program, shape: Sequence[int]) -> Back:
    """The way back through what leaves samples of this shape as they are."""

    def back(dy: Value, other: Value | None = None) -> Value | None:
        if other is None:
            return dy
        add(program, shape, dy, other)
        return other

    return back
