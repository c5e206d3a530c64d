"""Transposed convolutions: the three products of a convolution from the layer's output to its input.

What is a gradient there is a value here, and the other way round: the input gradient's product makes the output, the
forward product the gradient of the input.
"""

from __future__ import annotations

from typing import Any

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .convolution import SHARES_SOURCE, Windows, dense_vector, launch_product, rows_together
from .layers import Back, Ending, Layer, input_gradient
from .parameters import Block, Current, Parameters, Parts
from .program import PLAIN, Program, Value
from .shares import bias_block, emit_bias_gradient
from .tiling import Product


class TransposedConvolution(Layer):
    """A `conv_transpose2d`."""

    def __init__(
        self, node: Node, layer: spec.ConvTranspose2d, parameters: Parameters, precision: str
    ) -> None:
        super().__init__(node)
        self.parameters = parameters
        self.precision = precision
        self.bias = layer.bias
        self.windows = Windows(
            layer.kernel,
            layer.stride,
            padding=layer.padding,
            has_padding=layer.padding != (0, 0),
        )

    def _weight(self, x: Value, y: Value) -> Block:
        block, new = self.parameters.block(self.node.name)
        if new:
            shape = (*self.windows.kernel, y.channels, x.channels)
            block.add(f"{self.node.name}.weight", shape, (3, 2, 0, 1))
        return block

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """Two launches forward, the product and what adds its parts and the bias; up to four back."""
        y = self.output(program, ending)
        block = self._weight(x, y)
        bias = bias_block(self.parameters, self.node, y.channels) if self.bias else None
        weight = Current(block, block.members[0])
        parts, shares = self._product(program, "input_gradient", y, x, weight)
        added = weight if bias is None else Current(bias, bias.members[0])
        program.launch_elements(
            SHARES_SOURCE,
            y.finish.defines | {"BIAS": int(self.bias)},
            "finish_forward",
            y.size,
            (parts, shares, y.rows, y.channels, added, *y.at, *program.finish_args(y.finish)),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            self._weight_gradient(program, x, dy, block)
            if bias is not None:
                emit_bias_gradient(program, dy, bias)
            if not self.node.needs_input_gradient:
                return None
            parts, shares = self._product(program, "forward", x, dy, weight)
            end = input_gradient(program, x, dy, other, undo)
            dx = end.dx
            sums = (parts, shares, dx.rows, dx.channels)
            program.launch_elements(
                SHARES_SOURCE,
                end.defines | {"BIAS": 0},
                "finish_input_gradient",
                dx.size,
                (*sums, *dx.at, *end.other, *end.x, *end.finish),
            )
            return dx

        return y, back

    def _product(
        self, program: Program, name: str, made: Value, given: Value, weight: Current
    ) -> tuple[Value, int]:
        """The parts of what has the shape of `made`, and how many there are."""
        depth = self.windows.taps * given.channels
        tiling = program.device.tiling(
            Product(name, made.rows, made.channels, depth, self.precision, 0)
        )
        parts = program.scratch(tiling.shares * made.size)
        defines = {"SPLIT": 1, "STORE": rows_together(made.channels)}
        # Kernels do not look at what they have no use for: a bias, or what an input gradient is finished with.
        before: tuple[Any, ...] = ()
        behind: tuple[Any, ...] = (*given.at, *given.at)
        inner, outer = made, given
        if name == "forward":
            defines |= {"BIAS": 0, "POOL": 0}
            before, behind = (weight,), ()
            inner, outer = given, made
        launch_product(
            program,
            self.windows,
            name,
            tiling,
            (given.vector, dense_vector(outer.channels)),
            PLAIN.defines | defines,
            (*given.at, weight, *before, parts, made.channels, *behind),
            (inner, outer, made.rows),
            program.finish_args(PLAIN),
        )
        return parts, tiling.shares

    def _weight_gradient(self, program: Program, x: Value, dy: Value, block: Block) -> None:
        rows = self.windows.taps * dy.channels
        product = Product("weight_gradient", rows, x.channels, x.rows, self.precision, 0)
        tiling = program.device.tiling(product)
        block.shares = tiling.shares
        launch_product(
            program,
            self.windows,
            "weight_gradient",
            tiling,
            (dy.vector, x.vector),
            {"BIAS": 0, "SPLIT": 1, "STORE": rows_together(x.channels)},
            (*dy.at, *x.at, Parts(block), block.padded),
            (dy, x, x.rows),
        )
