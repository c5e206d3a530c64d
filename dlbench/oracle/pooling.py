"""Pooling, forward and backward; see `dlbench.oracle.layers` for how a layer lives."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import numpy as np

from dlbench.oracle.layers import Branch, Layer, root_mean_square
from dlbench.oracle.rounding import Array
from dlbench.oracle.unrolled import framed
from dlbench.spec import layers as spec


class _Pool(Layer):
    """Windows as an extra axis: N×C×H×W → N×C×H'×W'×(kH·kW), padding and what lies beyond filled with `fill`."""

    fill: ClassVar[float]

    def windows(self, x: Array, padding: float | None = None) -> Array:
        """`padding` fills the padding in the place of `fill`, but not what the last windows of ceil mode reach
        beyond it."""
        layer, (rows, columns) = self.node.layer, self.node.output_shape[1:]
        assert isinstance(layer, spec.MaxPool | spec.AvgPool)
        inner = self.fill if padding is None else padding
        padded = framed(x, layer.edges, inner)
        beyond = (
            max((count - 1) * step + kernel - size, 0)
            for count, step, kernel, size in zip(
                (rows, columns), layer.step, layer.kernel, padded.shape[2:], strict=True
            )
        )
        whole = framed(padded, [(0, more) for more in beyond], self.fill)
        view = np.lib.stride_tricks.sliding_window_view(whole, layer.kernel, (2, 3))
        view = view[:, :, :: layer.step[0], :: layer.step[1]][:, :, :rows, :columns]
        self.padded_shape = whole.shape
        return view.reshape(*view.shape[:4], -1)

    def scatter(self, parts: Array) -> Array:
        """The transpose of `windows`: every window's elements added back where they came from."""
        layer = self.node.layer
        assert isinstance(layer, spec.MaxPool | spec.AvgPool)
        dx = np.zeros(self.padded_shape)
        rows, columns = parts.shape[2:4]
        for i in range(layer.kernel[0]):
            for j in range(layer.kernel[1]):
                down = slice(i, i + (rows - 1) * layer.step[0] + 1, layer.step[0])
                right = slice(j, j + (columns - 1) * layer.step[1] + 1, layer.step[1])
                dx[:, :, down, right] += parts[..., i * layer.kernel[1] + j]
        ((top, _), (left, _)), (height, width) = layer.edges, self.node.input_shape[1:]
        return dx[:, :, top : top + height, left : left + width]


_NEXT = 3
"""Elements of a window that may win by rounding, behind the one that does: two that are equal by construction, as where
a pool before has spread one value, do not hide a third."""


class MaxPool(_Pool):
    """The maximum of each window; the first one in row-major order when several are equal."""

    fill = -np.inf

    def forward(self, x: Array) -> Array:
        windows = self.windows(x)
        self.elements = windows.shape[-1]
        forced = self.run.forced.get(self.node.name)
        branch = _maxima(windows) if forced is None else _as_forced(windows, forced)
        self.winner = branch.taken
        self.run.branches[self.node.name] = branch
        return np.take_along_axis(windows, self.winner, -1)[..., 0]

    def backward(self, dy: Array) -> Array:
        parts = np.zeros((*dy.shape, self.elements))
        np.put_along_axis(parts, self.winner, dy[..., None], -1)
        dx = self.scatter(parts)
        return self.run.rounding.handed_back(self.run.rounding(dx, 2, dx))


class AvgPool(_Pool):
    """The mean of each window's elements that lie inside the input, or the input and its padding."""

    fill = 0.0

    def forward(self, x: Array) -> Array:
        layer = self.node.layer
        assert isinstance(layer, spec.AvgPool)
        counted = self.windows(np.ones_like(x[:1, :1]), padding=float(layer.count_include_pad))
        self.share = counted / counted.sum(-1, keepdims=True)
        windows = self.windows(x)
        y = (windows * self.share).sum(-1)
        size = np.sqrt(np.square(windows * self.share).sum(-1))
        return self.run.rounding.stored(self.run.rounding(y, windows.shape[-1] + 1, size))

    def backward(self, dy: Array) -> Array:
        # what one window hands back is rounded alike at each of its places
        dx = self.scatter(self.run.rounding.handed_back(dy)[..., None] * self.share)
        return self.run.rounding.handed_back(self.run.rounding(dx, self.share.shape[-1] + 1, dx))


class AdaptiveAvgPool(Layer):
    """The mean of each of so many windows: a product with a matrix of shares on either side."""

    def forward(self, x: Array) -> Array:
        self.rows, self.columns = (
            _shares(bins, size)
            for bins, size in zip(self.node.bins, self.node.input_shape[1:], strict=True)
        )
        self.largest = int((self.rows > 0).sum(1).max() * (self.columns > 0).sum(1).max())
        y = self.rows @ x @ self.columns.T
        size = np.sqrt(np.square(self.rows) @ np.square(x) @ np.square(self.columns).T)
        return self.run.rounding.stored(self.run.rounding(y, self.largest + 1, size))

    def backward(self, dy: Array) -> Array:
        # what one window hands back is rounded alike at each of its places
        dx = self.rows.T @ self.run.rounding.handed_back(dy) @ self.columns
        return self.run.rounding.handed_back(self.run.rounding(dx, self.largest + 1, dx))


def _shares(bins: tuple[tuple[int, int], ...], size: int) -> Array:
    """For each window what each of `size` places counts in its mean."""
    shares = np.zeros((len(bins), size))
    for share, (start, stop) in zip(shares, bins, strict=True):
        share[start:stop] = 1 / (stop - start)
    return shares


class GlobalAvgPool(Layer):
    """The mean over height and width."""

    def forward(self, x: Array) -> Array:
        pixels = x.shape[2] * x.shape[3]
        size = root_mean_square(x, (2, 3)) / np.sqrt(pixels)
        return self.run.rounding.stored(self.run.rounding(x.mean((2, 3)), pixels, size))

    def backward(self, dy: Array) -> Array:
        height, width = self.node.input_shape[1:]
        share = dy / (height * width)
        share = self.run.rounding.handed_back(self.run.rounding(share, 2, share))
        return np.broadcast_to(share[:, :, None, None], (*dy.shape, height, width))


def _maxima(windows: Array) -> Branch:
    """The element of each window that wins, and those that come next: infinitely far behind where there is none."""
    rest = windows.copy()
    places, values = [], []
    for _ in range(1 + max(1, min(_NEXT, windows.shape[-1] - 1))):
        place = rest.argmax(-1)[..., None]
        places.append(place)
        values.append(np.take_along_axis(rest, place, -1))
        np.put_along_axis(rest, place, -np.inf, -1)
    margin = values[0] - np.concatenate(values[1:], -1)
    return Branch(places[0], margin, np.concatenate(places[1:], -1))


def _as_forced(windows: Array, forced: Branch) -> Branch:
    """The same elements, and by how much they are apart here."""
    assert forced.other is not None
    apart = np.take_along_axis(windows, forced.taken, -1)
    apart = apart - np.take_along_axis(windows, forced.other, -1)
    return dataclasses.replace(forced, margin=np.where(np.isinf(forced.margin), np.inf, apart))
