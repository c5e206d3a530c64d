"""Batch normalisation in two halves, because its statistics need the whole batch and the rest does not.

The first half ends a segment: it takes each chunk's statistics while the chunk is in the cache. The
second begins the next segment, with the statistics of all chunks combined. The backward pass has the
same two halves the other way round.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Role

from .layers import Array, Back, Layer, scope_of
from .parameters import Parameter, Parameters
from .schedule import Calls, Program, Value
from .workers import Chunk, Team


class BatchNorm(Layer):
    """Batch normalisation with running estimates. Per-channel factors are kept as whole rows W×C, because
    NumPy's loops over a single pixel's channels would be too short to be fast. Features are a row of their own."""

    def __init__(
        self, node: Node, layer: spec.BatchNorm, parameters: Parameters, team: Team
    ) -> None:
        super().__init__(node)
        self.layer = layer
        self.parameters = parameters
        channels, width = node.input_shape[0], node.input_shape[-1] if self.of_images else 1
        self.count = team.batch * math.prod(node.input_shape[1:])
        # What each chunk adds up, at the number of its first image, and over how many pixels.
        self.sums = team.shared((team.batch, 2, channels))
        self.pixels = team.shared((team.batch,), np.int64)
        self.ones: dict[int, Array] = {}
        self._used = -1
        """At which state of the parameters the running estimates were turned into factors."""
        self.mean = np.zeros(channels)
        self.inverse = np.zeros(channels)
        rows = team.shared((6, width, channels))
        self.factor, self.offset, self.mean_row, self.from_dy, self.from_x, self.constant = rows

    @property
    def of_images(self) -> bool:
        """Whether it normalises channels of images, and not features."""
        return len(self.node.input_shape) == 3

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """Training: statistics, a barrier, the normalisation. Inference, and where it is frozen: the normalisation."""
        self.declare(x)
        y, scope = Value(x.shape), scope_of(x)
        y.canonical = x.canonical
        if self.node.frozen or not program.training:
            program.at_start(self._use_running)
            program.add(self.normalise, [x], [y], scope=scope, in_place=True)
            return y, functools.partial(self._back_through_running, program)
        kept = Value(x.shape)
        program.add(self.collect, [x], [kept], scope=scope, settle=self._settle_forward)
        program.add(self.normalise, [kept], [y], scope=scope)

        def back(dy: Value) -> Value | None:
            settle = self._settle_backward
            program.add(self.collect_gradients, [dy, kept], [], scope=scope, settle=settle)
            if not self.node.needs_input_gradient:
                return None
            dx = Value(x.shape)
            program.add(self.spread, [dy, kept], [dx], scope=scope)
            return dx

        return y, back

    def _back_through_running(self, program: Program, dy: Value) -> Value | None:
        if not self.node.needs_input_gradient:
            return None
        dx = Value(dy.shape)
        program.add(self.scaled, [dy], [dx], scope=scope_of(dy), in_place=True)
        return dx

    def declare(self, x: Value) -> None:
        """Asks for its parameters in the order of the features of `x`, which need not be the canonical one."""
        shape: tuple[int, ...] = self.node.input_shape[:1]
        axes: tuple[int, ...] = (0,)
        if x.canonical is not None:
            channels, height, width = x.canonical
            shape, axes = (height, width, channels), (2, 0, 1)

        def add(role: Role, trainable: bool = True) -> Parameter:
            return self.parameters.add(f"{self.node.name}.{role}", shape, axes, trainable=trainable)

        self.scale, self.shift = add("scale"), add("shift")
        self.running_mean = add("running_mean", trainable=False)
        self.running_variance = add("running_variance", trainable=False)

    def collect(self, chunk: Chunk, x: Array, kept: Array) -> Calls:
        """Mean and sum of squared distances from it of each channel of the chunk; keeps `x`."""
        mean, squares = self.sums[chunk.start]
        distances = chunk.worker.buffer("temporary", x.shape)
        row = chunk.worker.buffer("row", self.factor.shape)
        yield np.copyto, kept, x
        whole = x
        if not x.flags.c_contiguous:
            # To reshape it would copy it once and for all, while the calls are bound.
            yield np.copyto, distances, x
            whole = distances
        pixels = whole.reshape(-1, x.shape[-1])
        ones = self._ones(len(pixels))
        yield np.dot, ones, pixels, mean
        yield np.divide, mean, np.float32(len(pixels)), mean
        # From the chunk's own mean: squares of large values would cancel.
        yield np.copyto, row, mean
        yield np.subtract, x, row, distances
        yield np.multiply, distances, distances, distances
        yield np.dot, ones, distances.reshape(pixels.shape), squares
        yield self.pixels.__setitem__, chunk.start, len(pixels)

    def _settle_forward(self) -> None:
        """Combines the chunks' statistics (Chan et al. 1983) and updates the running estimates."""
        total, mean, squares = 0, np.zeros_like(self.mean), np.zeros_like(self.mean)
        for count, (chunk_mean, chunk_squares) in zip(*self._added(), strict=True):
            step = chunk_mean - mean
            mean += step * (count / (total + count))
            squares += chunk_squares + step**2 * (total * count / (total + count))
            total += count
        self.mean = mean
        self._set_factors(mean, squares / total)
        momentum = self.layer.momentum
        for running, batch in (
            (self.running_mean, mean),
            (self.running_variance, squares / max(total - 1, 1)),
        ):
            old = running.value.reshape(-1)
            old[...] = (1 - momentum) * old + momentum * batch

    def of_inference(self) -> tuple[Array, Array]:
        """What inference multiplies each channel with (C), and what it adds to a row (W×C)."""
        self._use_running()
        return self.factor[0], self.offset

    def _use_running(self) -> None:
        if self._used == self.parameters.state:
            return
        self._used = self.parameters.state
        mean, variance = (p.value.reshape(-1) for p in (self.running_mean, self.running_variance))
        self._set_factors(mean.astype(np.float64), variance)

    def _set_factors(self, mean: npt.NDArray[np.float64], variance: npt.NDArray[Any]) -> None:
        self.inverse = 1 / np.sqrt(variance + self.layer.eps)
        factor = self.scale.value.reshape(-1) * self.inverse
        self.factor[...] = factor
        self.offset[...] = self.shift.value.reshape(-1) - mean * factor
        self.mean_row[...] = mean

    def normalise(self, chunk: Chunk, x: Array, y: Array) -> Calls:
        """scale · (x − mean) / deviation + shift, as one factor and one offset."""
        yield np.multiply, x, self.factor, y
        yield np.add, y, self.offset, y

    def scaled(self, chunk: Chunk, dy: Array, dx: Array) -> Calls:
        """The gradient through running statistics."""
        yield np.multiply, dy, self.factor, dx

    def collect_gradients(self, chunk: Chunk, dy: Array, kept: Array) -> Calls:
        """Sums over the chunk of dy and of dy · (x − mean)."""
        product = chunk.worker.buffer("temporary", dy.shape)
        pixels = product.reshape(-1, dy.shape[-1])
        total, along = self.sums[chunk.start]
        ones = self._ones(len(pixels))
        yield np.subtract, kept, self.mean_row, product
        yield np.multiply, product, dy, product
        yield np.dot, ones, pixels, along
        if not dy.flags.c_contiguous:
            yield np.copyto, product, dy
        else:
            pixels = dy.reshape(pixels.shape)
        yield np.dot, ones, pixels, total
        yield self.pixels.__setitem__, chunk.start, len(pixels)

    def _settle_backward(self) -> None:
        total, along = self._added()[1].sum(axis=0, dtype=np.float64)
        along *= self.inverse
        self.shift.gradients[0].reshape(-1)[...] = total
        self.scale.gradients[0].reshape(-1)[...] = along
        factor = self.scale.value.reshape(-1) * self.inverse
        slope = -factor * self.inverse * along / self.count
        self.from_dy[...] = factor
        self.from_x[...] = slope
        self.constant[...] = -factor * total / self.count - slope * self.mean

    def spread(self, chunk: Chunk, dy: Array, kept: Array, dx: Array) -> Calls:
        """scale / deviation · (dy − mean of dy − normalised x · mean of dy · normalised x)."""
        product = chunk.worker.buffer("temporary", dy.shape)
        yield np.multiply, kept, self.from_x, product
        yield np.multiply, dy, self.from_dy, dx
        yield np.add, dx, product, dx
        yield np.add, dx, self.constant, dx

    def _added(self) -> tuple[list[int], Array]:
        """What the chunks have added, in the order of their images; for the next to begin afresh."""
        chunks = self.pixels.nonzero()[0]
        pixels = self.pixels[chunks].tolist()
        self.pixels.fill(0)
        return pixels, self.sums[chunks]

    def _ones(self, count: int) -> Array:
        if count not in self.ones:
            self.ones[count] = np.ones(count, np.float32)
        return self.ones[count]
