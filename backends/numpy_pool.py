"""Pooling: a pass over the output for each position in a window, forward and backward side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_layers import Array, Layer, Maybe, maximum
from .numpy_program import Calls
from .numpy_team import Chunk
from .numpy_windows import axes, taps


def _part(array: Any, where: tuple[slice, slice]) -> Any:
    """The elements of an H×n×W×C array at (rows, columns)."""
    return array[where[0], :, where[1]]


class _Pool(Layer):
    in_place = False

    def __init__(self, node: Node, layer: spec.MaxPool | spec.AvgPool) -> None:
        super().__init__(node)
        size, out_size = node.input_shape[1:], node.output_shape[1:]
        rows, columns = axes(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.padding
        )
        self.taps = taps(rows, columns)
        self.overlap = any(s < k for s, k in zip(layer.step, layer.kernel, strict=True))
        self.covered = rows.tiles and columns.tiles


class MaxPool(_Pool):
    """Maximum over windows; keeps the number of the first position that holds it."""

    def __init__(self, node: Node, layer: spec.MaxPool) -> None:
        super().__init__(node, layer)
        self.keeps = "uint8" if len(self.taps) <= 256 else "uint16"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        if not self.taps[0].everywhere:
            yield y.fill, -np.inf
        if extra is not None:
            yield extra.fill, 0
        for k, tap in enumerate(self.taps):
            best = _part(y, tap.out)
            if k == 0:
                yield np.copyto, best, _part(x, tap.into)
                continue
            # Copied first: NumPy copies arrays with gaps as fast as any, but computes with them at half the speed.
            new = chunk.worker.buffer("temporary", best.shape)
            yield np.copyto, new, _part(x, tap.into)
            if extra is not None:
                # Later winners have larger numbers, so the largest number that won is the winner's.
                winner = _part(extra, tap.out)
                won = chunk.worker.buffer("mask", new.shape, np.bool_)
                number = chunk.worker.buffer("number", new.shape, extra.dtype)
                yield np.greater, new, best, won
                yield np.multiply, won.view(np.uint8), extra.dtype.type(k), number
                yield maximum, winner, number, winner
            yield maximum, best, new, best

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        if not self.covered:
            yield dx.fill, 0
        for k, tap in enumerate(self.taps):
            winner, target = _part(saved, tap.out), _part(dx, tap.into)
            won = chunk.worker.buffer("mask", winner.shape, np.bool_)
            # As floats first: a product of mixed types goes through NumPy's slow conversion.
            share = chunk.worker.buffer("temporary", target.shape)
            yield np.equal, winner, saved.dtype.type(k), won
            yield np.copyto, share, won
            yield np.multiply, share, _part(dy, tap.out), share
            if self.overlap:
                yield np.add, target, share, target
            else:
                yield np.copyto, target, share


class AvgPool(_Pool):
    """Mean over the part of each window that lies inside the input."""

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__(node, layer)
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
