"""Batch normalisation: two launches forward and two backward; see `norm` among the kernels."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .device import Defines, Device
from .layers import Back, Ending, Layer, input_gradient
from .parameters import Current, Parameters, Parts
from .program import Program, Value

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
