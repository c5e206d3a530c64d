"""The transpose of a convolution: a product for each position of the kernel, added up where its pixels come to lie."""

from __future__ import annotations

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..blas import product
from ..layers import Array, Layer, Maybe
from ..parameters import Parameters
from ..schedule import Calls
from ..windows import Tap, axes, taps
from ..workers import Chunk, Team
from .dense import contiguous


class ConvTranspose2d(Layer):
    """The convolution that it is the transpose of reads this one's output: there its windows lie."""

    keeps = "input"
    in_place = False

    def __init__(
        self, node: Node, layer: spec.ConvTranspose2d, parameters: Parameters, team: Team
    ) -> None:
        super().__init__(node)
        (self.channels, *size), (self.outputs, *out_size) = node.input_shape, node.output_shape
        sizes = (out_size[0], out_size[1]), (size[0], size[1])
        self.taps: list[Tap] = taps(*axes(*sizes, layer.kernel, layer.stride, layer.padding))
        self.weight = parameters.add(
            f"{node.name}.weight",
            (*layer.kernel, self.channels, self.outputs),
            (2, 3, 0, 1),
            summed=True,
        )
        self.bias = None
        if layer.bias:
            self.bias = parameters.add(f"{node.name}.bias", (self.outputs,), summed=True)
        self.workspace_bytes = 4 * size[0] * size[1] * (self.channels + 2 * self.outputs)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        whole = contiguous(x, chunk)
        if whole is not x:
            yield np.copyto, whole, x
        term = chunk.worker.buffer("temporary", (*x.shape[:3], self.outputs))
        yield np.copyto, y, np.float32(0) if self.bias is None else self.bias.value
        for tap, weight in zip(self.taps, self._positions(self.weight.value), strict=True):
            target = y[tap.into[0], :, tap.into[1]]
            yield product(whole.reshape(-1, self.channels), weight, term.reshape(-1, self.outputs))
            yield np.add, target, term[tap.out[0], :, tap.out[1]], target

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        number, first = chunk.worker.index, chunk.first
        x = contiguous(saved, chunk)
        if x is not saved:
            yield np.copyto, x, saved
        if self.bias is not None and self.bias.trainable:
            slope = contiguous(dy, chunk, "contiguous too")
            if slope is not dy:
                yield np.copyto, slope, dy
            pixels = dy.size // self.outputs
            ones = chunk.worker.buffer(("ones", pixels), (1, pixels))
            ones.fill(1)
            gradient = self.bias.gradients[number].reshape(1, -1)
            yield product(ones, slope.reshape(-1, self.outputs), gradient, accumulate=not first)
        met = chunk.worker.buffer("temporary", (*x.shape[:3], self.outputs))
        rows, seen = x.reshape(-1, self.channels), met.reshape(-1, self.outputs)
        into = None if dx is None else contiguous(dx, chunk, "contiguous gradient")
        trained = self.weight.trainable
        gradients = self._positions(self.weight.gradients[number]) if trained else ()
        weights = self._positions(self.weight.value)
        for position, (tap, weight) in enumerate(zip(self.taps, weights, strict=True)):
            # where the padding cuts a position off, nothing comes back
            yield met.fill, 0
            yield np.copyto, met[tap.out[0], :, tap.out[1]], dy[tap.into[0], :, tap.into[1]]
            if trained:
                gradient = gradients[position]
                yield product(rows, seen, gradient, transpose_a=True, accumulate=not first)
            if into is not None:
                back = into.reshape(-1, self.channels)
                yield product(seen, weight, back, transpose_b=True, accumulate=position > 0)
        if into is not dx:
            yield np.copyto, dx, into

    def _positions(self, weight: Array) -> Array:
        """I×O for each position of the kernel."""
        return weight.reshape(-1, self.channels, self.outputs)
