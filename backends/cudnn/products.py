"""Convolutions, by the algorithm that a search finds, and linear layers, by cuBLAS."""

from __future__ import annotations

from typing import Any

from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..launches.parameters import Parameters
from ..launches.program import Program, Value
from .calls import call, described, device_of, libraries_of
from .handles import MATH_TYPES, Made
from .layers import Back, Bias, Kept, Layer, into
from .library import ONE, OP_N, OP_T, ZERO

_FLOAT_BYTES = 4

Operand = tuple[Made, Any]
"""A tensor or a weight: its descriptor, and where it is."""


def even_padding(node: Node, layer: spec.Conv2d | spec.MaxPool | spec.AvgPool) -> tuple[int, int]:
    """The padding of a convolution or pool.

    Raises
    ------
    PlanRefused : the sides differ, which cuDNN's descriptors cannot say.
    """
    if layer.even_padding is None:
        raise PlanRefused(
            f"cudnn pads both sides alike, and {node.name} has padding {list(layer.edges)}"
        )
    return layer.even_padding


class Convolution(Layer):
    """A `conv2d` layer, in groups too."""

    def __init__(
        self, node: Node, layer: spec.Conv2d, parameters: Parameters, precision: str
    ) -> None:
        super().__init__(node)
        self.precision = precision
        self.geometry = (even_padding(node, layer), layer.stride, layer.dilation)
        self.groups = layer.groups
        self.weight = Kept(parameters, node, "weight")
        self.bias = Bias(parameters, node) if layer.bias else None

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One call forward and two backward, and one more each way for a bias."""
        y = self.output(program)
        weight_shape = libraries_of(program).filter(self.weight.shape)
        weight = (weight_shape, self.weight.value)
        image = (described(program, x, self.node.input_shape), x)
        self._call(program, "Forward", image, weight, ONE, self._of(program, y), ZERO)
        if self.bias:
            self.bias.emit(program, y)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            come, gradient = self._of(program, dy), (weight_shape, self.weight.gradient)
            if self.bias:
                self.bias.back(program, dy)
            self._call(program, "BackwardFilter", image, come, ONE, gradient, ZERO)
            if not self.node.needs_input_gradient:
                return None
            dx, beta = into(program, x, other)
            target = (described(program, dx, self.node.input_shape), dx)
            self._call(program, "BackwardData", weight, come, ONE, target, beta)
            return dx

        return y, back

    def _of(self, program: Program, y: Value) -> Operand:
        return described(program, y, self.node.output_shape), y

    def _call(
        self,
        program: Program,
        kind: str,
        first: Operand,
        second: Operand,
        alpha: Any,
        target: Operand,
        beta: Any,
    ) -> None:
        """Target = alpha · product + beta · target."""
        convolution = libraries_of(program).convolution(
            *self.geometry, self.groups, MATH_TYPES[self.precision]
        )
        sizes = (
            *self.geometry,
            (program.samples, self.groups),
            *(self.node.input_shape, self.weight.shape),
        )
        algorithm = device_of(program).search.choose(
            kind, self.precision, sizes, (first[0], second[0], convolution, target[0])
        )
        workspace_bytes = algorithm.workspace_bytes
        workspace = (
            program.scratch(-(-workspace_bytes // _FLOAT_BYTES)) if workspace_bytes else None
        )
        call(
            program,
            f"cudnnConvolution{kind}",
            *(alpha, *first, *second, convolution, algorithm.number),
            *(workspace, workspace_bytes, beta, *target),
        )


class Linear(Layer):
    """A `linear` layer. cuBLAS keeps matrices column by column, in which each of ours is its transpose."""

    def __init__(
        self, node: Node, layer: spec.Linear, parameters: Parameters, precision: str
    ) -> None:
        super().__init__(node)
        self.precision = precision
        self.weight = Kept(parameters, node, "weight")
        self.bias = Bias(parameters, node) if layer.bias else None

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """One call forward and two backward, and one more each way for a bias."""
        y = self.output(program)
        outputs, inputs = self.weight.shape
        weight, rows = (self.weight.value, inputs), program.samples
        self._multiply(program, (OP_T, OP_N), (outputs, rows, inputs), weight, x.at, y.at, ZERO)
        if self.bias:
            self.bias.emit(program, y)

        def back(dy: Value, other: Value | None = None) -> Value | None:
            gradient, sizes = (self.weight.gradient, inputs), (inputs, outputs, rows)
            if self.bias:
                self.bias.back(program, dy)
            self._multiply(program, (OP_N, OP_T), sizes, x.at, dy.at, gradient, ZERO)
            if not self.node.needs_input_gradient:
                return None
            dx, beta = into(program, x, other)
            sizes = (inputs, rows, outputs)
            self._multiply(program, (OP_N, OP_N), sizes, weight, dy.at, dx.at, beta)
            return dx

        return y, back

    def _multiply(
        self,
        program: Program,
        transposed: tuple[int, int],
        sizes: tuple[int, int, int],
        left: tuple[Any, int],
        right: tuple[Any, int],
        target: tuple[Any, int],
        beta: Any,
    ) -> None:
        call(
            program,
            "cublasSgemm_v2",
            *(*transposed, *sizes, ONE, *left, *right, beta, *target),
            precision=self.precision,
        )
