"""Convolution as a few large matrix products a chunk, forward and backward side by side.

How images become matrices stands in `expansion`. With the expansion E of the input x, one product for
each kernel row i: y += Eᵢ·Wᵢ forward, dWᵢ += Eᵢᵀ·dy and dEᵢ += dy·Wᵢᵀ backward, and dE folds to dx. Where
a kernel of few channels leaves the size of the image as it is, dx is had more cheaply as what it
also is: the convolution of dy with the kernel turned around.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from ..blas import product
from ..layers import Array, Back, Layer, Maybe, inner_shape
from ..norm import BatchNorm
from ..parameters import Parameters
from ..schedule import Calls, Program, Value
from ..workers import Chunk, Team
from .expansion import Expansion, Geometry

_FEW_CHANNELS = 64
"""Up to so many output channels, expanding dy costs less than folding dE."""


class Conv2d(Layer):
    """The layer: its parameters and its geometry. Each worker has an expansion for each
    geometry and size of chunk."""

    keeps = "input"
    in_place = False

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters, team: Team) -> None:
        super().__init__(node)
        self.geometry = geometry_of(node, layer)
        channels, out_channels = self.geometry.channels, self.geometry.out_channels
        self.weight = parameters.add(
            f"{node.name}.weight",
            (*layer.kernel, channels, out_channels),
            (3, 2, 0, 1),
            summed=True,
        )
        self.bias = None
        if layer.bias:
            self.bias = parameters.add(f"{node.name}.bias", (out_channels,), summed=True)
        self.bias_row = team.shared((self.geometry.out_size[1], out_channels))
        self.turned = self._turned_geometry() if node.needs_input_gradient else None
        self.turned_weight = team.shared((*layer.kernel, out_channels, channels))
        self.workspace_bytes = self.geometry.bytes_per_image
        self.least_images = self.geometry.least_images(self.geometry.height)
        self._parameters = parameters
        # layers refer to themselves, and a team goes with its session, at once
        self._team = weakref.proxy(team)
        self._prepared = (-1, False)
        self.folded_weight: Array
        self.folded_row: Array

    def _turned_geometry(self) -> Geometry | None:
        g = self.geometry
        if g.stride != (1, 1) or g.size != g.out_size or g.out_channels > _FEW_CHANNELS:
            return None
        # What a window reached before the image, its mirror image reaches behind it.
        behind = self.node.window_edges[0][1], self.node.window_edges[1][1]
        return dataclasses.replace(
            g, channels=g.out_channels, out_channels=g.channels, padding=behind
        )

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """As every layer; before each run, what depends on the parameters only is brought up to date."""
        program.at_start(self._prepare_once)
        return super().emit(program, x)

    def emit_folded(self, program: Program, x: Value, norm: BatchNorm) -> Value:
        """The step of inference that normalises too: what `norm` multiplies each channel with is in the kernel, and
        what it adds is in the bias."""
        self.folded_row = self._team.shared(self.bias_row.shape)
        self.provide_folded()
        norm.declare(Value(inner_shape(self.node.output_shape)))
        program.at_start(functools.partial(self._prepare_once, norm))
        y = self.output(x)
        program.add(self.forward_folded, [x], [y, None], **self.options(x))
        return y

    def provide_folded(self) -> None:
        """Memory for the kernel that normalises too."""
        self.folded_weight = self._team.shared(self.weight.shape)

    def _prepare_once(self, norm: BatchNorm | None = None) -> None:
        wanted = self._parameters.state, norm is not None
        if self._prepared == wanted:
            return
        if norm is None:
            self.prepare()
        else:
            factor, offset = norm.of_inference()
            self.folded_row[...] = offset
            if self.bias is not None:
                self.folded_row[...] += self.bias.value * factor
            self.fold(factor)
        self._prepared = wanted

    def prepare(self) -> None:
        """Brings up to date what depends on the parameters alone."""
        if self.bias is not None:
            # A whole row of biases: a few long copies instead of one short copy a pixel.
            self.bias_row[...] = self.bias.value
        if self.turned is not None:
            self.turned_weight[...] = self.weight.value[::-1, ::-1].transpose(0, 1, 3, 2)

    def fold(self, factor: Array) -> None:
        """Makes the kernel whose output channels are `factor` times as large."""
        np.multiply(self.weight.value, factor, self.folded_weight)

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        row = None if self.bias is None else self.bias_row
        yield from self._outputs(chunk, x, y, self.weight.value, row)

    def forward_folded(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> Calls:
        """As `forward`, with the kernel that normalises too."""
        yield from self._outputs(chunk, x, y, self.folded_weight, self.folded_row)

    def _outputs(self, chunk: Chunk, x: Array, y: Array, weight: Array, row: Array | None) -> Calls:
        expansion = self._expansion(chunk, self.geometry)
        yield from expansion.fill(x)
        whole = contiguous(y, chunk)
        if row is not None:
            yield np.copyto, whole, row
        yield from self._multiply(expansion, weight, whole, row is not None)
        if whole is not y:
            yield np.copyto, y, whole

    def _multiply(
        self, expansion: Expansion, weight: Array, out: Array, accumulate: bool = False
    ) -> Calls:
        """The sum of the products of windows and rows of the kernel."""
        geometry = expansion.geometry
        rows = out.reshape(-1, geometry.out_channels)
        pairs = zip(expansion.windows, geometry.kernel_rows(weight), strict=True)
        for i, (window, part) in enumerate(pairs):
            yield product(
                window, part, rows, transpose_a=geometry.tap_major, accumulate=accumulate or i > 0
            )

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> Calls:
        whole = contiguous(dy, chunk)
        if whole is not dy:
            yield np.copyto, whole, dy
        if not self.node.frozen:
            yield from self._parameter_gradients(chunk, whole, saved)
        if dx is not None:
            yield from self.input_gradient(chunk, whole, dx)

    def _parameter_gradients(self, chunk: Chunk, whole: Array, saved: Array) -> Calls:
        g = self.geometry
        expansion = self._expansion(chunk, g)
        # Filled a second time: cheaper than keeping kw times the input for the whole batch.
        yield from expansion.fill(saved)
        rows = whole.reshape(-1, g.out_channels)
        gradients = g.kernel_rows(self.weight.gradients[chunk.worker.index])
        for window, gradient in zip(expansion.windows, gradients, strict=True):
            yield product(
                window, rows, gradient, transpose_a=not g.tap_major, accumulate=not chunk.first
            )
        if self.bias is not None:
            ones = chunk.worker.buffer(("ones", len(rows)), (1, len(rows)))
            ones.fill(1)
            gradient = self.bias.gradients[chunk.worker.index].reshape(1, -1)
            yield product(ones, rows, gradient, accumulate=not chunk.first)

    def input_gradient(self, chunk: Chunk, whole: Array, dx: Array) -> Calls:
        """The calls that fill `dx` from the output's gradient, which is contiguous."""
        g = self.geometry
        rows = whole.reshape(-1, g.out_channels)
        if self.turned is not None:
            turned = self._expansion(chunk, self.turned)
            yield from turned.fill(whole)
            into = contiguous(dx, chunk, "contiguous too")
            yield from self._multiply(turned, self.turned_weight, into)
            if into is not dx:
                yield np.copyto, dx, into
        else:
            # In memory that all layers share: nothing in it has to stay.
            memory = chunk.worker.buffer("expansion", (Expansion.elements(g, chunk.size),))
            folded = Expansion(g, chunk.size, memory)
            yield from folded.clear_tail()
            pairs = zip(folded.windows, g.kernel_rows(self.weight.value), strict=True)
            for i, (window, part) in enumerate(pairs):
                a, b = (part, rows) if g.tap_major else (rows, part)
                yield product(a, b, window, transpose_b=True, accumulate=i > 0)
            yield from folded.fold(dx, chunk.worker.buffer("image", dx.shape))

    def _expansion(self, chunk: Chunk, geometry: Geometry) -> Expansion:
        # Layers with the same geometry share one: each of them leaves the same places zero.
        key = (geometry, chunk.size)
        elements = Expansion.elements(geometry, chunk.size)
        return Expansion(geometry, chunk.size, chunk.worker.zeros(key, elements))


def geometry_of(node: Node, layer: spec.Conv2d) -> Geometry:
    """The sizes of a convolution."""
    (channels, *size), (out_channels, *out_size) = node.input_shape, node.output_shape
    return Geometry(
        channels,
        out_channels,
        (size[0], size[1]),
        (out_size[0], out_size[1]),
        layer.kernel,
        layer.stride,
        layer.before,
        layer.dilation,
    )


def contiguous(array: Array, chunk: Chunk, name: str = "contiguous") -> Array:
    """`array` itself where products can work on it, else memory of its shape."""
    if array.flags.c_contiguous:
        return array
    return chunk.worker.buffer(name, array.shape)
