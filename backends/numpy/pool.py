"""Pooling: a pass over the output for each position in a window, forward and backward side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .layers import Array, Back, Layer, Maybe, maximum
from .schedule import Calls, Program, Value
from .windows import Axis, axes, taps
from .workers import Chunk

Along = Callable[[Any, slice], Any]
"""Takes a slice of an H×n×W×C array along its rows or its columns."""


def _part(array: Any, where: tuple[slice, slice]) -> Any:
    """The elements of an H×n×W×C array at (rows, columns)."""
    return array[where[0], :, where[1]]


class MaxPool(Layer):
    """Maximum over windows: over the columns of each first, then of these over its rows, so that a window costs
    as many passes as it has rows and columns, not positions. The first of equal ones both times is the first in
    row-major order; the number of its position is kept."""

    in_place = False

    def __init__(self, node: Node, layer: spec.MaxPool) -> None:
        super().__init__(node)
        self.channels, *size = node.input_shape
        _, *out_size = node.output_shape
        self.rows, self.columns = axes(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.before
        )
        self.taps = taps(self.rows, self.columns)

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Two steps forward, one back."""
        wide = Value((self.rows.size, self.columns.out, self.channels))
        y = Value((self.rows.out, self.columns.out, self.channels))
        kind = np.uint8 if self.rows.kernel * self.columns.kernel <= 256 else np.uint16
        column = winner = None
        if program.training:
            column, winner = Value(wide.shape, kind), Value(y.shape, kind)
        program.add(self.widest, [x], [wide, column])
        program.add(self.highest, [wide, column], [y, winner])

        def back(dy: Value) -> Value | None:
            if not self.node.needs_input_gradient:
                return None
            dx = Value(x.shape)
            # Where dx is the larger, storing it would cost more than making it again.
            program.add(self.backward, [dy, winner], [dx], again=x.size > y.size)
            return dx

        return y, back

    def widest(self, chunk: Chunk, x: Array, wide: Array, column: Maybe) -> Calls:
        """Maxima over the columns of each window, and in which column."""
        yield from _maximum(self.columns, _columns, chunk, x, wide, column)

    def highest(self, chunk: Chunk, wide: Array, column: Maybe, y: Array, winner: Maybe) -> Calls:
        """Maxima of these over the rows; the winner is row · columns of a window + column."""
        yield from _maximum(self.rows, _rows, chunk, wide, y, winner, column, self.columns.kernel)

    def backward(self, chunk: Chunk, dy: Array, saved: Array, dx: Array) -> Calls:
        """Each gradient to the position of its window that won, which `saved` has the number of."""
        buffer = chunk.worker.buffer
        tiles, left = self.rows.tiles and self.columns.tiles, dy
        if not tiles:
            yield dx.fill, 0
        for k, tap in enumerate(self.taps):
            if k == 0 and tiles:
                # What the others do not take is the first's: each element lies in one window.
                continue
            target = _part(dx, tap.into)
            won, share = buffer("mask", target.shape, np.bool_), buffer("temporary", target.shape)
            yield np.equal, _part(saved, tap.out), saved.dtype.type(k), won
            # As floats first: a product of mixed types goes through NumPy's slow conversion.
            yield np.copyto, share, won
            yield np.multiply, share, _part(dy, tap.out), share
            if tiles:
                yield np.copyto, target, share
                yield np.subtract, left, share, (left := buffer("left", dy.shape))
            else:
                yield np.add, target, share, target
        if tiles:
            yield np.copyto, _part(dx, self.taps[0].into), left


def _rows(array: Any, where: slice) -> Any:
    return array[where]


def _columns(array: Any, where: slice) -> Any:
    return array[:, :, where]


def _maximum(
    axis: Axis,
    along: Along,
    chunk: Chunk,
    x: Array,
    y: Array,
    winner: Maybe,
    inner: Maybe = None,
    unit: int = 1,
) -> Calls:
    """Maxima along an axis, and the number of the position of each window where it was first met: `unit` for each
    position, and what `inner` says of the element there."""
    buffer = chunk.worker.buffer
    for k in range(axis.kernel):
        out, into = axis.met(k)
        best, new = along(y, out), along(x, into)
        if k == 0:
            if best.shape != y.shape:
                yield y.fill, -np.inf
            yield np.copyto, best, new
            if winner is not None:
                if inner is None or best.shape != y.shape:
                    yield winner.fill, 0
                if inner is not None:
                    yield np.copyto, along(winner, out), along(inner, into)
            continue
        if along is _columns:
            # Copied first: NumPy copies arrays with short runs as fast as any, but computes with them slowly.
            gathered = buffer("temporary", new.shape)
            yield np.copyto, gathered, new
            new = gathered
        if winner is not None:
            won = buffer("mask", new.shape, np.bool_)
            first = along(winner, out)
            yield np.greater, new, best, won
            if k == 1 and inner is None:
                yield np.copyto, first, won
            else:
                # Later winners have larger numbers, so the largest number that won is the winner's.
                number = buffer("number", new.shape, winner.dtype)
                if inner is None:
                    yield np.copyto, number, winner.dtype.type(k)
                else:
                    yield np.add, along(inner, into), winner.dtype.type(k * unit), number
                yield np.multiply, number, won.view(np.uint8), number
                yield maximum, first, number, first
        yield maximum, best, new, best


class AvgPool(Layer):
    """Mean over the part of each window that lies inside the input, or the input and its padding."""

    in_place = False

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__(node)
        size, out_size = node.input_shape[1:], node.output_shape[1:]
        rows, columns = axes(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.before
        )
        self.taps = taps(rows, columns)
        counted = np.multiply.outer(*node.divisors).astype(np.float32)
        self.factor = 1 / counted[:, None, :, None]

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield y.fill, 0
        for tap in self.taps:
            total = _part(y, tap.out)
            yield np.add, total, _part(x, tap.into), total
        yield np.multiply, y, self.factor, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        share = chunk.worker.buffer("temporary", dy.shape)
        yield np.multiply, dy, self.factor, share
        yield dx.fill, 0
        for tap in self.taps:
            target = _part(dx, tap.into)
            yield np.add, target, _part(share, tap.out), target


class AdaptiveAvgPool(Layer):
    """Mean over each of so many windows: sums of rows, then sums of columns of these."""

    in_place = False

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.rows, self.columns = node.bins
        self.width = node.input_shape[2]
        lengths = [[stop - start for start, stop in bins] for bins in node.bins]
        counted = np.multiply.outer(*lengths).astype(np.float32)
        self.factor = 1 / counted[:, None, :, None]

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        wide = self._wide(chunk, y)
        for row, (start, stop) in enumerate(self.rows):
            yield np.add.reduce, x[start:stop], 0, None, wide[row]
        for column, (start, stop) in enumerate(self.columns):
            yield np.add.reduce, wide[:, :, start:stop], 2, None, y[:, :, column]
        yield np.multiply, y, self.factor, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        share = chunk.worker.buffer("temporary", dy.shape)
        wide = self._wide(chunk, dy)
        yield np.multiply, dy, self.factor, share
        yield wide.fill, 0
        for column, (start, stop) in enumerate(self.columns):
            target = wide[:, :, start:stop]
            yield np.add, target, share[:, :, column : column + 1], target
        yield dx.fill, 0
        for row, (start, stop) in enumerate(self.rows):
            target = dx[start:stop]
            yield np.add, target, wide[row : row + 1], target

    def _wide(self, chunk: Chunk, y: Array) -> Array:
        """As many rows as the output, and as many columns as the input."""
        return chunk.worker.buffer("wide", (*y.shape[:2], self.width, y.shape[3]))


class GlobalAvgPool(Layer):
    """Mean over height and width: images to features."""

    in_place = False

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.factor = np.float32(1 / (node.input_shape[1] * node.input_shape[2]))

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        yield np.add.reduce, x, (0, 2), None, y
        yield np.multiply, y, self.factor, y

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        share = chunk.worker.buffer("temporary", dy.shape)
        yield np.multiply, dy, self.factor, share
        yield np.copyto, dx, share[:, None, :]
