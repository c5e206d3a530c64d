"""Normalisation within a sample; see `sample_norm` and `response_norm` among the kernels."""

from __future__ import annotations

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .layers import AS_IS, Back, Canonical, Ending, Layer, after, input_gradient, together
from .parameters import Current, Parameters, Parts
from .program import Program, Value
from .shares import shares_of, threads_of

_SOURCES = ("sample_norm",)
_MOST_THREADS = 256
"""A power of two, as the least: sums are halved until one is left."""
_LEAST_THREADS = 32


class SampleNorm(Layer):
    """A `group_norm` or `layer_norm`: of sets of values, of which a block takes one."""

    def __init__(
        self, node: Node, layer: spec.GroupNorm | spec.LayerNorm, parameters: Parameters
    ) -> None:
        super().__init__(node)
        self.parameters = parameters
        self.groups = layer.groups if isinstance(layer, spec.GroupNorm) else 1
        self.of_pixels = isinstance(layer, spec.LayerNorm)
        self.eps = layer.eps

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch forward, two back. Features are brought into the order in which groups are counted."""
        if x.canonical is None:
            return self._emit(program, x, ending)
        ordered, to_x = Canonical(self.node).emit(program, x, AS_IS)
        return after(*self._emit(program, ordered, ending), to_x)

    def _emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        y = self.output(program, ending)
        block, new = self.parameters.block(self.node.name)
        if new:
            for role in ("scale", "shift"):
                block.add(f"{self.node.name}.{role}", (x.channels,))
        scale, shift = (Current(block, member) for member in block.members)
        pixels = 1 if self.of_pixels else x.height * x.width
        width = x.channels // self.groups
        sets = x.rows // pixels * self.groups
        saved = program.scratch(2 * sets)
        shape = (pixels, self.groups, width)

        def vector_of(*values: Value) -> int:
            most = together(program, *values)
            return max(count for count in (16, 4, 1) if count <= most and width % count == 0)

        def threads(vector: int) -> int:
            if threads_of(program.device) == 1:
                return 1
            wanted = pixels * width // vector
            return int(min(max(2 ** (wanted - 1).bit_length(), _LEAST_THREADS), _MOST_THREADS))

        vector, finish = vector_of(x, y), program.finish_args(y.finish)
        program.launch(
            _SOURCES,
            y.finish.defines | {"VC": vector},
            "sample_norm",
            (sets,),
            threads(vector),
            (*x.at, *y.at, *shape, scale, shift, saved, np.float32(self.eps), *finish),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            vector, per_block = vector_of(dy, x), threads_of(program.device)
            blocks = -(-x.channels // (vector * per_block))
            block.shares, each = shares_of(x.rows, block.padded, blocks, program.device)
            program.launch(
                _SOURCES,
                {"VC": vector},
                "sample_norm_parameters",
                (blocks, block.shares),
                per_block,
                (*dy.at, *x.at, x.rows, each, *shape, saved, Parts(block), block.padded),
            )
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            vector = min(vector_of(dy, x), end.vector)
            program.launch(
                _SOURCES,
                end.defines | {"VC": vector},
                "sample_norm_gradient",
                (sets,),
                threads(vector),
                (*dy.at, *x.at, *end.other, *end.x, *end.dx.at, *shape, scale, saved, *end.finish),
            )
            return end.dx

        return y, back


class ResponseNorm(Layer):
    """A `local_response_norm`."""

    def __init__(self, node: Node, layer: spec.LocalResponseNorm) -> None:
        super().__init__(node)
        self.reach = layer.size // 2
        self.factor, self.beta = np.float32(layer.alpha / layer.size), np.float32(layer.beta)
        self.k = np.float32(layer.k)

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """One launch each way."""
        y = self.output(program, ending)
        powers, slopes = program.like(x), program.like(x)
        sizes = (x.rows, x.channels, self.reach, self.factor, self.beta)
        program.launch_elements(
            "response_norm",
            y.finish.defines,
            "response_norm",
            y.size,
            (*x.at, *y.at, powers, slopes, *sizes, self.k, *program.finish_args(y.finish)),
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            end = input_gradient(program, x, dy, other, undo)
            values = (*dy.at, *x.at, powers, slopes, *end.other, *end.x, *end.dx.at)
            program.launch_elements(
                "response_norm",
                end.defines,
                "response_norm_gradient",
                x.size,
                (*values, *sizes, *end.finish),
            )
            return end.dx

        return y, back
