"""Convolution as a few large matrix products a chunk, forward and backward side by side.

How images become matrices stands in `numpy_expansion`. With the expansion E of the input x, one product for
each kernel row i: y += Eᵢ·Wᵢ forward, dWᵢ += Eᵢᵀ·dy and dEᵢ += dy·Wᵢᵀ backward, and dE folds to dx. Where
a kernel of few channels leaves the size of the image as it is, dx is had more cheaply as what it
also is: the convolution of dy with the kernel turned around.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from .numpy_blas import Matrix, product
from .numpy_expansion import Expansion, Geometry
from .numpy_layers import Array, Back, Layer, Maybe
from .numpy_parameters import Parameters
from .numpy_program import Program, Value
from .numpy_team import Chunk, Worker, aligned

_FEW_CHANNELS = 64
"""Up to so many output channels, expanding dy costs less than folding dE."""


class Conv2d(Layer):
    """The layer: its parameters, its geometry, and a `_Workspace` for each worker and chunk size."""

    keeps = "input"
    in_place = False

    def __init__(self, node: Node, layer: spec.Conv2d, parameters: Parameters) -> None:
        super().__init__(node)
        (channels, *size), (out_channels, *out_size) = node.input_shape, node.output_shape
        self.geometry = Geometry(
            channels,
            out_channels,
            (size[0], size[1]),
            (out_size[0], out_size[1]),
            layer.kernel,
            layer.stride,
            layer.padding,
            layer.dilation,
        )
        self.weight = parameters.add(
            f"{node.name}.weight",
            (*layer.kernel, channels, out_channels),
            (3, 2, 0, 1),
            summed=True,
        )
        self.bias = None
        if layer.bias:
            self.bias = parameters.add(f"{node.name}.bias", (out_channels,), summed=True)
        self.bias_row = np.zeros((out_size[1], out_channels), np.float32)
        self.turned = self._turned_geometry() if node.needs_input_gradient else None
        self.turned_weight = np.zeros((*layer.kernel, out_channels, channels), np.float32)
        self.workspace_bytes = self.geometry.bytes_per_image
        self._workspaces: dict[tuple[Worker, int], _Workspace] = {}

    def _turned_geometry(self) -> Geometry | None:
        g = self.geometry
        if g.stride != (1, 1) or g.size != g.out_size or g.out_channels > _FEW_CHANNELS:
            return None
        return dataclasses.replace(g, channels=g.out_channels, out_channels=g.channels)

    def emit(self, program: Program, x: Value) -> tuple[Value, Back]:
        """As every layer; before each run, what depends on the parameters only is brought up to date."""
        program.starts.append(self._prepare)
        return super().emit(program, x)

    def _prepare(self) -> None:
        if self.bias is not None:
            # A whole row of biases: a few long copies instead of one short copy a pixel.
            self.bias_row[...] = self.bias.value
        if self.turned is not None:
            self.turned_weight[...] = self.weight.value[::-1, ::-1].transpose(0, 1, 3, 2)

    def _workspace(self, chunk: Chunk) -> _Workspace:
        key = (chunk.worker, chunk.size)
        if key not in self._workspaces:
            self._workspaces[key] = _Workspace(self, *key)
        return self._workspaces[key]

    def forward(self, chunk: Chunk, x: Array, y: Array, extra: Maybe) -> None:
        workspace = self._workspace(chunk)
        workspace.expansion.fill(x)
        whole = _contiguous(y, chunk, copy=False)
        if self.bias is not None:
            whole[...] = self.bias_row
        workspace.y.point_to(whole)
        _run(workspace.forward)
        if whole is not y:
            y[...] = whole

    def backward(self, chunk: Chunk, dy: Array, saved: Maybe, dx: Maybe) -> None:
        workspace = self._workspace(chunk)
        # Filled a second time: cheaper than keeping kw times the input for the whole batch.
        workspace.expansion.fill(saved)
        whole = _contiguous(dy, chunk, copy=True)
        workspace.y.point_to(whole)
        _run(workspace.weight_start if chunk.first else workspace.weight_add)
        if self.bias is not None:
            sums = np.dot(workspace.ones, whole.reshape(-1, self.geometry.out_channels))
            gradient = self.bias.gradients[chunk.worker.index]
            np.add(sums, 0 if chunk.first else gradient, out=gradient)
        if dx is None:
            return
        if self.turned is not None:
            expansion, products = workspace.turned()
            expansion.fill(whole)
            into = _contiguous(dx, chunk, copy=False)
            workspace.x.point_to(into)
            _run(products)
            if into is not dx:
                dx[...] = into
        else:
            expansion, products = workspace.unturned()
            expansion.clear_tail()
            _run(products)
            expansion.fold(dx)


class _Workspace:
    """The expansions of a chunk of a fixed size, and the matrix products bound to them."""

    def __init__(self, conv: Conv2d, worker: Worker, images: int) -> None:
        self.conv, self.worker, self.images = conv, worker, images
        g = conv.geometry
        self.expansion = Expansion(g, images, _zeros(Expansion.elements(g, images)))
        rows = images * g.out_size[0] * g.out_size[1]
        self.ones = np.ones(rows, np.float32)
        self.y = Matrix(np.empty((rows, g.out_channels), np.float32))
        self.x = Matrix(np.empty((images * g.size[0] * g.size[1], g.channels), np.float32))
        self.weights = g.kernel_rows(conv.weight.value)
        windows = self.expansion.windows
        has_bias = conv.bias is not None
        self.forward = [
            product(window, weight, self.y, transpose_a=g.tap_major, accumulate=has_bias or i > 0)
            for i, (window, weight) in enumerate(zip(windows, self.weights, strict=True))
        ]
        gradients = g.kernel_rows(conv.weight.gradients[worker.index])
        self.weight_start, self.weight_add = (
            [
                product(window, self.y, gradient, transpose_a=not g.tap_major, accumulate=add)
                for window, gradient in zip(windows, gradients, strict=True)
            ]
            for add in (False, True)
        )
        self._backward: tuple[Expansion, _Products] | None = None

    def turned(self) -> tuple[Expansion, _Products]:
        """The expansion of dy, and the products from it into dx."""
        g = self.conv.turned
        assert g is not None
        if self._backward is None:
            expansion = Expansion(g, self.images, _zeros(Expansion.elements(g, self.images)))
            weights = g.kernel_rows(self.conv.turned_weight)
            self._backward = (
                expansion,
                [
                    product(window, weight, self.x, transpose_a=g.tap_major, accumulate=i > 0)
                    for i, (window, weight) in enumerate(
                        zip(expansion.windows, weights, strict=True)
                    )
                ],
            )
        return self._backward

    def unturned(self) -> tuple[Expansion, _Products]:
        """The gradient of the expansion, in memory that the worker's layers share, and the products into it."""
        g = self.conv.geometry
        memory = self.worker.buffer("expansion", (Expansion.elements(g, self.images),))
        if self._backward is None or self._backward[0].memory.ctypes.data != memory.ctypes.data:
            expansion = Expansion(g, self.images, memory)
            pairs = list(enumerate(zip(expansion.windows, self.weights, strict=True)))
            self._backward = (
                expansion,
                [
                    product(weight, self.y, window, transpose_b=True, accumulate=i > 0)
                    if g.tap_major
                    else product(self.y, weight, window, transpose_b=True, accumulate=i > 0)
                    for i, (window, weight) in pairs
                ],
            )
        return self._backward


_Products = list[Callable[[], None]]


def _run(products: _Products) -> None:
    for multiply in products:
        multiply()


def _zeros(count: int) -> Any:
    memory = aligned(count)
    memory.fill(0)
    return memory


def _contiguous(array: Array, chunk: Chunk, *, copy: bool) -> Array:
    """`array` itself where products can work on it, else memory of its shape."""
    if array.flags.c_contiguous:
        return array
    whole = chunk.worker.buffer("contiguous", array.shape)
    if copy:
        whole[...] = array
    return whole
