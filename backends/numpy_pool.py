"""Pooling: a pass over the output for each position in a window, forward and backward side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_layers import Array, Back, Layer, Maybe, maximum
from .numpy_program import Calls, Program, Value
from .numpy_team import Chunk
from .numpy_windows import Axis, axes, taps

Along = Callable[[Any, slice], Any]
"""Takes a slice of an H×n×W×C array along its rows or its columns."""


def _part(array: Any, where: tuple[slice, slice]) -> Any:
    """The elements of an H×n×W×C array at (rows, columns)."""
    return array[where[0], :, where[1]]


class MaxPool(Layer):
    """Maximum over windows: over the columns of each first, then of these over its rows, so that a window costs
    as many passes as it has rows and columns, not positions. The first of equal ones both times is the first in
    row-major order; its number is kept."""

    in_place = False

    def __init__(self, node: Node, layer: spec.MaxPool) -> None:
        super().__init__(node)
        self.channels, *size = node.input_shape
        _, *out_size = node.output_shape
        self.rows, self.columns = axes(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.padding
        )

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Two steps forward, two back."""
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
            # What a store would hold is larger than what it is made from.
            again = x.size > y.size
            dwide, dcolumn = Value(wide.shape), Value(wide.shape, kind)
            dx = Value(x.shape)
            program.add(self.to_rows, [dy, winner], [dwide, dcolumn], again=again)
            program.add(self.to_columns, [dwide, dcolumn], [dx], again=again)
            return dx

        return y, back

    def widest(self, chunk: Chunk, x: Array, wide: Array, column: Maybe) -> Calls:
        """Maxima over the columns of each window, and in which column."""
        yield from _maximum(self.columns, _columns, chunk, x, wide, column)

    def highest(self, chunk: Chunk, wide: Array, column: Maybe, y: Array, winner: Maybe) -> Calls:
        """Maxima of these over the rows; the winner is row · columns of a window + column."""
        yield from _maximum(self.rows, _rows, chunk, wide, y, winner, column, self.columns.kernel)

    def to_rows(
        self, chunk: Chunk, dy: Array, winner: Array, dwide: Array, dcolumn: Array
    ) -> Calls:
        """Each gradient to the row that won, and with it the column."""
        row, column, number = (
            chunk.worker.buffer(name, winner.shape, winner.dtype)
            for name in ("winning row", "winning column", "number")
        )
        count = winner.dtype.type(self.columns.kernel)
        yield np.floor_divide, winner, count, row
        yield np.multiply, row, count, number
        yield np.subtract, winner, number, column
        yield from _backward(self.rows, _rows, chunk, dy, row, dwide)
        if not self.rows.tiles:
            yield dcolumn.fill, 0
        for k in range(self.rows.kernel):
            out, into = self.rows.met(k)
            if self.rows.tiles:
                # A column that did not win is 0 in dwide, whatever is said of it.
                yield np.copyto, dcolumn[into], column
            else:
                met = dcolumn[into]
                won = chunk.worker.buffer("mask", number[out].shape, np.bool_)
                yield np.equal, row[out], row.dtype.type(k), won
                yield np.copyto, number[out], won
                yield np.multiply, number[out], column[out], number[out]
                yield maximum, met, number[out], met

    def to_columns(self, chunk: Chunk, dwide: Array, dcolumn: Array, dx: Array) -> Calls:
        """Each row's gradient to the column that won."""
        yield from _backward(self.columns, _columns, chunk, dwide, dcolumn, dx)


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
                yield np.copyto, number, won
                if inner is None:
                    yield np.multiply, number, winner.dtype.type(k), number
                else:
                    numbers = buffer("numbers", new.shape, winner.dtype)
                    yield np.add, along(inner, into), winner.dtype.type(k * unit), numbers
                    yield np.multiply, number, numbers, number
                yield maximum, first, number, first
        yield maximum, best, new, best


def _backward(axis: Axis, along: Along, chunk: Chunk, dy: Array, winner: Array, dx: Array) -> Calls:
    """Each gradient to the position of its window that won."""
    buffer = chunk.worker.buffer
    left = dy
    if not axis.tiles:
        yield dx.fill, 0
    for k in range(axis.tiles, axis.kernel):
        out, into = axis.met(k)
        source, target = along(dy, out), along(dx, into)
        share = buffer("temporary", target.shape)
        # As floats first: a product of mixed types goes through NumPy's slow conversion.
        if axis.kernel == 2 and k == 1:
            yield np.copyto, share, along(winner, out)
        else:
            won = buffer("mask", target.shape, np.bool_)
            yield np.equal, along(winner, out), winner.dtype.type(k), won
            yield np.copyto, share, won
        yield np.multiply, share, source, share
        if axis.tiles:
            # What the others do not take is the first's: each element lies in one window.
            yield np.copyto, target, share
            yield np.subtract, left, share, (left := buffer("left", dy.shape))
        else:
            yield np.add, target, share, target
    if axis.tiles:
        yield np.copyto, along(dx, axis.met(0)[1]), left


class AvgPool(Layer):
    """Mean over the part of each window that lies inside the input."""

    in_place = False

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__(node)
        size, out_size = node.input_shape[1:], node.output_shape[1:]
        rows, columns = axes(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.padding
        )
        self.taps = taps(rows, columns)
        inside = np.zeros((node.output_shape[1], 1, node.output_shape[2], 1), np.float32)
        for tap in self.taps:
            _part(inside, tap.out)[...] += 1
        self.factor = 1 / inside

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
