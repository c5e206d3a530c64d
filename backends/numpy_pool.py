"""Pooling: a pass over the output for each window position, forward and backward side by side."""

from __future__ import annotations

from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_layers import Array, Layer, Maybe
from .numpy_team import Chunk
from .numpy_windows import Tap, taps


def _part(array: Any, where: tuple[slice, slice]) -> Any:
    """The elements of an H×n×W×C array at (rows, columns)."""
    return array[where[0], :, where[1]]


class _Pool(Layer):
    in_place = False

    def __init__(self, node: Node, layer: spec.MaxPool | spec.AvgPool) -> None:
        super().__init__(node)
        size, out_size = node.input_shape[1:], node.output_shape[1:]
        self.taps: list[Tap] = taps(
            (size[0], size[1]), (out_size[0], out_size[1]), layer.kernel, layer.step, layer.padding
        )
        self.overlap = any(s < k for s, k in zip(layer.step, layer.kernel, strict=True))
        tiled = all(
            s == k and n % k == 0 for s, k, n in zip(layer.step, layer.kernel, size, strict=True)
        )
        self.covered = tiled and layer.padding == (0, 0)


class MaxPool(_Pool):
    """Maximum over windows; keeps the number of the first position that holds it."""

    keeps = "uint8"

    def __init__(self, node: Node, layer: spec.MaxPool) -> None:
        super().__init__(node, layer)
        self.keeps = "uint8" if len(self.taps) <= 256 else "uint16"

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        for k, tap in enumerate(self.taps):
            new, best = _part(x, tap.into), _part(y, tap.out)
            if k == 0 and tap.everywhere:
                best[...] = new
                if extra is not None:
                    extra.fill(0)
                continue
            if k == 0:
                y.fill(-np.inf)
                if extra is not None:
                    extra.fill(0)
            if extra is not None:
                # Later winners have larger numbers, so the largest number that won is the winner's.
                winner = _part(extra, tap.out)
                won = chunk.worker.buffer("mask", new.shape, np.bool_)
                number = chunk.worker.buffer("number", new.shape, extra.dtype)
                np.greater(new, best, out=won)
                np.multiply(won.view(np.uint8), extra.dtype.type(k), out=number)
                np.maximum(winner, number, out=winner)
            np.maximum(best, new, out=best)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        if not self.covered:
            dx.fill(0)
        for k, tap in enumerate(self.taps):
            winner, target = _part(saved, tap.out), _part(dx, tap.into)
            won = chunk.worker.buffer("mask", winner.shape, np.bool_)
            np.equal(winner, saved.dtype.type(k), out=won)
            # As floats first: a product of mixed types goes through NumPy's slow conversion.
            share = chunk.worker.buffer("temporary", target.shape)
            share[...] = won
            if self.overlap:
                np.multiply(share, _part(dy, tap.out), out=share)
                np.add(target, share, out=target)
            else:
                np.multiply(share, _part(dy, tap.out), out=target)


class AvgPool(_Pool):
    """Mean over the part of each window that lies inside the input."""

    def __init__(self, node: Node, layer: spec.AvgPool) -> None:
        super().__init__(node, layer)
        inside = np.zeros((node.output_shape[1], 1, node.output_shape[2], 1), np.float32)
        for tap in self.taps:
            _part(inside, tap.out)[...] += 1
        self.factor = 1 / inside

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        y.fill(0)
        for tap in self.taps:
            total = _part(y, tap.out)
            np.add(total, _part(x, tap.into), out=total)
        np.multiply(y, self.factor, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        share = chunk.worker.buffer("temporary", dy.shape)
        np.multiply(dy, self.factor, out=share)
        dx.fill(0)
        for tap in self.taps:
            target = _part(dx, tap.into)
            np.add(target, _part(share, tap.out), out=target)


class GlobalAvgPool(Layer):
    """Mean over height and width: images to features."""

    in_place = False

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.factor = np.float32(1 / (node.input_shape[1] * node.input_shape[2]))

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        np.sum(x, axis=(0, 2), out=y)
        np.multiply(y, self.factor, out=y)

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        dx[...] = (dy * self.factor)[:, None, :]
