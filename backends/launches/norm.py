"""Normalisation over the batch, two launches forward and two backward, and within a sample; see `norm`, `sample_norm`
and `response_norm` among the kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .device import Defines, Device
from .layers import AS_IS, Back, Canonical, Ending, Layer, after, input_gradient, together
from .parameters import Current, Parameters, Parts
from .program import Program, Value
from .shares import shares_of, threads_of

_SOURCES = ("norm",)
_THREADS = 256
"""A power of two: sums are halved until one is left."""
_MOST_CHANNELS = 32
_LEAST_CHANNELS = 8
_LANES = 16
"""Channels of a block that is one thread, where threads take as many at once."""
_MOST_SHARES = 128
"""Every block of the second launch reads all of the first one's sums of its channels."""
_LEAST_ROWS = 4
"""Rows of a thread, below which starting it costs more than it does."""
_SAMPLE_SOURCES = ("sample_norm",)
_MOST_SET_THREADS = 256
"""A power of two, as the least: sums are halved until one is left."""
_LEAST_SET_THREADS = 32


@dataclasses.dataclass(frozen=True)
class _Grid:
    """How rows and channels are shared out among blocks."""

    threads: int
    channels_per_block: int
    channel_blocks: int
    rows_per_block: int
    row_blocks: int

    @property
    def size(self) -> tuple[int, int]:
        """Of the grid."""
        return self.row_blocks, self.channel_blocks


def _grid(rows: int, channels: int, device: Device, blocks: int, most: int) -> _Grid:
    """So many blocks a multiprocessor, but at most `most` along the rows."""
    threads, wide = _THREADS, _LEAST_CHANNELS
    if device.lanes == _LANES:
        threads, wide = 1, _LANES
    while threads > 1 and wide < min(channels, _MOST_CHANNELS):
        wide *= 2
    channel_blocks = -(-channels // wide)
    wanted = max(1, min(blocks * device.multiprocessors // channel_blocks, most))
    least = max(1, _LEAST_ROWS * (threads // wide))
    per_block = max(-(-rows // wanted), least)
    return _Grid(threads, wide, channel_blocks, per_block, -(-rows // per_block))


class BatchNorm(Layer):
    """The layer with its scale and shift, and its running statistics."""

    adds = True

    def __init__(self, node: Node, layer: spec.BatchNorm, parameters: Parameters) -> None:
        super().__init__(node)
        self.layer = layer
        self.parameters = parameters

    def _add_parameters(self, x: Value) -> None:
        """In the order of the features, which need not be the canonical one."""
        shape: tuple[int, ...] = self.node.input_shape[:1]
        axes: tuple[int, ...] = (0,)
        if x.canonical is not None:
            channels, height, width = x.canonical
            shape, axes = (height, width, channels), (2, 0, 1)
        name = self.node.name
        self.block, new = self.parameters.block(name)
        running, _ = self.parameters.block(f"{name} running", trainable=False)
        if new:
            for role in ("scale", "shift"):
                self.block.add(f"{name}.{role}", shape, axes)
            for role in ("running_mean", "running_variance"):
                running.add(f"{name}.{role}", shape, axes)
        self.scale, self.shift = (Current(self.block, m) for m in self.block.members)
        self.running = tuple(Current(running, member) for member in running.members)

    def emit(self, program: Program, x: Value, ending: Ending) -> tuple[Value, Back]:
        """Training: sums, then the result. Inference: the result."""
        self._add_parameters(x)
        y, addend = self.output(program, ending), ending.addend
        y.canonical = x.canonical
        rows, channels = x.rows, x.channels
        shares = _grid(rows, channels, program.device, 2, _MOST_SHARES)
        grid = _grid(rows, channels, program.device, 4, rows)
        wide = {"CT": grid.channels_per_block}

        def launch(name: str, among: _Grid, defines: Defines, *args: Any) -> None:
            program.launch(_SOURCES, {**defines, **wide}, name, among.size, among.threads, args)

        defines = y.finish.defines | {"ADD": int(addend is not None)}
        ends = (*x.at, *(addend or x).at, *y.at, rows, channels, grid.rows_per_block)
        given = (self.scale, self.shift, *self.running)
        finish = program.finish_args(y.finish)
        eps, momentum = np.float32(self.layer.eps), self.layer.momentum
        if not program.training:
            launch("norm_inference", grid, defines, *ends, *given, eps, *finish)
            return y, _no_way_back
        parts = (shares.row_blocks, shares.rows_per_block)
        partial = program.scratch(2 * shares.row_blocks * channels)
        saved = program.scratch(2 * channels)
        rates = (eps, np.float32(momentum), np.float32(1 - momentum))
        launch("norm_statistics", shares, {}, *x.at, rows, channels, parts[1], partial)
        launch(
            "norm_forward", grid, defines, *ends, partial, *parts, *given, saved, *rates, *finish
        )

        def back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
            sums = program.scratch(2 * shares.row_blocks * channels)
            among = (rows, channels, shares.rows_per_block)
            launch("norm_gradient_sums", shares, {}, *dy.at, *x.at, *among, saved, sums)
            # Where nobody needs dx it is made all the same: the launch also ends the parameters' gradients.
            end = input_gradient(program, x, dy, other, undo, in_place=True)
            values = (*dy.at, *x.at, *end.other, *end.dx.at, rows, channels, grid.rows_per_block)
            gradients = tuple(Parts(self.block, member) for member in self.block.members)
            known = (sums, shares.row_blocks, self.scale, saved)
            launch("norm_gradient", grid, end.defines, *values, *known, *gradients, *end.finish)
            return end.dx if self.node.needs_input_gradient else None

        return y, back


def _no_way_back(dy: Value, other: Value | None = None, undo: bool = True) -> Value | None:
    raise AssertionError("inference has no way back")


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
            return int(
                min(max(2 ** (wanted - 1).bit_length(), _LEAST_SET_THREADS), _MOST_SET_THREADS)
            )

        vector, finish = vector_of(x, y), program.finish_args(y.finish)
        program.launch(
            _SAMPLE_SOURCES,
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
                _SAMPLE_SOURCES,
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
                _SAMPLE_SOURCES,
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
