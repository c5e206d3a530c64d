"""Convolutions whose channels are cut into groups, which no matrix product computes: one launch forward, two or, with a
bias, three backward; see `grouped` among the kernels."""

from __future__ import annotations

import math
from typing import Any

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .convolution import windows_of
from .device import Defines
from .layers import Back, Ending, Layer, input_gradient, together
from .parameters import Block, Current, Parameters, Parts
from .program import ELEMENTS_PER_BLOCK, Program, Value
from .shares import bias_block, emit_bias_gradient, shares_of, threads_of

_SOURCES = ("convolution", "grouped")


class GroupedConvolution(Layer):
    """A `conv2d` with more than one group."""

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters) -> None:
        super().__init__(node)
        self.parameters = parameters
        self.bias = layer.bias
        self.windows = windows_of(layer)
        self.groups = layer.groups
        self.channels = node.input_shape[0] // layer.groups
        self.is_depthwise = self.channels == 1 and layer.out_channels == layer.groups

    def _weight(self, y: Value) -> Block:
        block, new = self.parameters.block(self.node.name)
        if new:
            shape = (*self.windows.kernel, self.channels, y.channels)
            block.add(f"{self.node.name}.weight", shape, (3, 2, 0, 1))
        return block

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch forward, and up to three back."""
        y = self.output(program, ending)
        block = self._weight(y)
        bias = bias_block(self.parameters, self.node, y.channels) if self.bias else None
        weight = Current(block, block.members[0])
        added = weight if bias is None else Current(bias, bias.members[0])
        width = self._width(program, y, x)
        self._launch(
            program,
            "grouped_forward",
            y.finish.defines | {"VC": width, "BIAS": int(self.bias)},
            y.size // width,
            (*x.at, weight, added, *y.at, *self._shape(x, y, y.rows), y.size),
            program.finish_args(y.finish),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            self._weight_gradient(program, x, dy, block)
            if bias is not None:
                emit_bias_gradient(program, dy, bias)
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            dx, vector = end.dx, end.vector if self.is_depthwise else 1
            self._launch(
                program,
                "grouped_input_gradient",
                end.defines | {"VC": vector, "BIAS": 0},
                dx.size // vector,
                (*dy.at, weight, *dx.at, *end.other, *end.x, *self._shape(x, dy, dx.rows), dx.size),
                end.finish,
            )
            return dx

        return y, back

    def _weight_gradient(self, program: Program, x: Value, dy: Value, block: Block) -> None:
        width, device = self._width(program, dy, x), program.device
        threads, lines = threads_of(device), dy.samples * dy.height
        blocks = -(-block.size // (width * threads))
        block.shares, each = shares_of(lines, block.padded, blocks, device)
        sizes = (*self._shape(x, dy, dy.rows), lines, each, block.size)
        program.launch(
            _SOURCES,
            self._defines | {"VC": width, "BIAS": 0},
            "grouped_weight_gradient",
            (blocks, block.shares),
            threads,
            (*x.at, *dy.at, Parts(block), block.padded, *sizes),
        )

    def _width(self, program: Program, y: Value, x: Value) -> int:
        """How many neighbouring channels of the output a thread takes: of one group, or one each."""
        if self.is_depthwise:
            return together(program, x, y)
        most, group = together(program, y), y.channels // self.groups
        return max(count for count in (16, 4, 1) if count <= most and group % count == 0)

    @property
    def _defines(self) -> dict[str, int | str]:
        depthwise = {"GROUPS": self.groups, "DEPTHWISE": int(self.is_depthwise)}
        return {**self.windows.defines, **depthwise}

    def _shape(self, x: Value, y: Value, count: int) -> tuple[int, ...]:
        return (*x.shape, *y.shape, *self.windows.padding, count)

    def _launch(
        self,
        program: Program,
        name: str,
        defines: Defines,
        threads: int,
        args: tuple[Any, ...],
        finish: tuple[Any, ...],
    ) -> None:
        grid = (math.ceil(threads / ELEMENTS_PER_BLOCK),)
        constants = {**self._defines, **defines}
        program.launch(_SOURCES, constants, name, grid, ELEMENTS_PER_BLOCK, (*args, *finish))
