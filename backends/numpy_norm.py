"""Batch normalisation in two halves, because its statistics need the whole batch and the rest does not.

The first half ends a segment: it takes each chunk's statistics while the chunk is in the cache. The
second begins the next segment, with the statistics of all chunks combined. The backward pass has the
same two halves the other way round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_layers import Array, Back, Layer
from .numpy_parameters import Parameters
from .numpy_program import Program, Value
from .numpy_team import Chunk, Team

_Sums = tuple[int, npt.NDArray[np.float32], npt.NDArray[np.float32]]


class BatchNorm(Layer):
    """Batch normalisation with running estimates. Per-channel factors are kept as whole rows W×C, because
    NumPy's loops over a single pixel's channels would be too short to be fast."""

    def __init__(
        self, node: Node, layer: spec.BatchNorm, parameters: Parameters, team: Team
    ) -> None:
        super().__init__(node)
        self.layer = layer
        channels, height, width = node.input_shape
        self.count = team.batch * height * width
        name = node.name
        self.scale = parameters.add(f"{name}.scale", (channels,))
        self.shift = parameters.add(f"{name}.shift", (channels,))
        self.running_mean = parameters.add(f"{name}.running_mean", (channels,), trainable=False)
        self.running_variance = parameters.add(
            f"{name}.running_variance", (channels,), trainable=False
        )
        self.sums: list[list[_Sums]] = [[] for _ in team.workers]
        self.ones: dict[int, Array] = {}
        self.mean = np.zeros(channels)
        self.inverse = np.zeros(channels)
        rows = np.zeros((6, width, channels), np.float32)
        self.factor, self.offset, self.mean_row, self.from_dy, self.from_x, self.constant = rows

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Training: statistics, a barrier, the normalisation. Inference: the normalisation."""
        y = Value(x.shape)
        if not program.training:
            program.starts.append(self._use_running)
            program.add(self.normalise, [x], [y], in_place=True)
            return y, lambda dy: None
        kept = Value(x.shape)
        program.add(self.collect, [x], [kept], settle=self._settle_forward)
        program.add(self.normalise, [kept], [y])

        def back(dy: Value) -> Value | None:
            program.add(self.collect_gradients, [dy, kept], [], settle=self._settle_backward)
            if not self.node.needs_input_gradient:
                return None
            dx = Value(x.shape)
            program.add(self.spread, [dy, kept], [dx])
            return dx

        return y, back

    def collect(self, chunk: Chunk, x: Array, kept: Array) -> None:
        """Mean and sum of squared distances from it of each channel of the chunk; keeps `x`."""
        kept[...] = x
        pixels = x.reshape(-1, x.shape[-1])
        ones = self._ones(len(pixels))
        mean = np.dot(ones, pixels) / np.float32(len(pixels))
        # From the chunk's own mean: squares of large values would cancel.
        distances = chunk.worker.buffer("temporary", x.shape)
        row = chunk.worker.buffer("row", self.factor.shape)
        row[...] = mean
        np.subtract(x, row, out=distances)
        np.multiply(distances, distances, out=distances)
        squares = np.dot(ones, distances.reshape(pixels.shape))
        self._append(chunk, (len(pixels), mean, squares))

    def _settle_forward(self) -> None:
        """Combines the chunks' statistics (Chan et al. 1983) and updates the running estimates."""
        total, mean, squares = 0, np.zeros_like(self.mean), np.zeros_like(self.mean)
        for count, chunk_mean, chunk_squares in (s for sums in self.sums for s in sums):
            step = chunk_mean - mean
            mean += step * (count / (total + count))
            squares += chunk_squares + step**2 * (total * count / (total + count))
            total += count
        self.mean = mean
        self._set_factors(mean, squares / total)
        momentum = self.layer.momentum
        for running, batch in (
            (self.running_mean, mean),
            (self.running_variance, squares / (total - 1)),
        ):
            running.value[...] = (1 - momentum) * running.value + momentum * batch

    def _use_running(self) -> None:
        self._set_factors(self.running_mean.value.astype(np.float64), self.running_variance.value)

    def _set_factors(self, mean: npt.NDArray[np.float64], variance: npt.NDArray[Any]) -> None:
        self.inverse = 1 / np.sqrt(variance + self.layer.eps)
        factor = self.scale.value * self.inverse
        self.factor[...] = factor
        self.offset[...] = self.shift.value - mean * factor
        self.mean_row[...] = mean

    def normalise(self, chunk: Chunk, x: Array, y: Array) -> None:
        """scale · (x − mean) / deviation + shift, as one factor and one offset."""
        np.multiply(x, self.factor, out=y)
        np.add(y, self.offset, out=y)

    def collect_gradients(self, chunk: Chunk, dy: Array, kept: Array) -> None:
        """Sums over the chunk of dy and of dy · (x − mean)."""
        channels = dy.shape[-1]
        product = chunk.worker.buffer("temporary", dy.shape)
        np.subtract(kept, self.mean_row, out=product)
        np.multiply(product, dy, out=product)
        ones = self._ones(dy.size // channels)
        distances = np.dot(ones, product.reshape(-1, channels))
        product[...] = dy
        self._append(chunk, (0, np.dot(ones, product.reshape(-1, channels)), distances))

    def _settle_backward(self) -> None:
        parts = [s for sums in self.sums for s in sums]
        total = np.sum([s[1] for s in parts], axis=0, dtype=np.float64)
        along = np.sum([s[2] for s in parts], axis=0, dtype=np.float64) * self.inverse
        self.shift.gradients[0][...] = total
        self.scale.gradients[0][...] = along
        factor = self.scale.value * self.inverse
        slope = -factor * self.inverse * along / self.count
        self.from_dy[...] = factor
        self.from_x[...] = slope
        self.constant[...] = -factor * total / self.count - slope * self.mean

    def spread(self, chunk: Chunk, dy: Array, kept: Array, dx: Array) -> None:
        """scale / deviation · (dy − mean of dy − normalised x · mean of dy · normalised x)."""
        product = chunk.worker.buffer("temporary", dy.shape)
        np.multiply(kept, self.from_x, out=product)
        np.multiply(dy, self.from_dy, out=dx)
        np.add(dx, product, out=dx)
        np.add(dx, self.constant, out=dx)

    def _append(self, chunk: Chunk, sums: _Sums) -> None:
        mine = self.sums[chunk.worker.index]
        if chunk.first:
            mine.clear()
        mine.append(sums)

    def _ones(self, count: int) -> Array:
        if count not in self.ones:
            self.ones[count] = np.ones(count, np.float32)
        return self.ones[count]
