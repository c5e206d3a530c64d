"""Builds the layer objects of a network and runs them in order: sequences, residual sums, concatenations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec.network import Node

from . import numpy_layers as layers
from .numpy_layers import Array, Layer


class Chain:
    """Layers one after the other; no layers are the identity."""

    def __init__(self, nodes: Sequence[Node], generator: np.random.Generator) -> None:
        self.layers = [_make(node, generator) for node in nodes]

    def forward(self, x: Array, training: bool) -> Array:
        """The output of the last layer for the input `x`."""
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, dy: Array) -> Array | None:
        """The gradient of the chain's input; stops, with None, where nothing before has parameters."""
        gradient: Array | None = dy
        for layer in reversed(self.layers):
            if gradient is None:
                break
            gradient = layer.backward(gradient)
            if not layer.node.needs_input_gradient:
                gradient = None
        return gradient

    def walk(self) -> Iterator[Layer]:
        """All layers with parameters of their own or without, those inside others included."""
        for layer in self.layers:
            if isinstance(layer, Residual | Concat):
                yield from layer.body.walk()
            if isinstance(layer, Residual):
                yield from layer.shortcut.walk()
            yield layer


class Residual(Layer):
    """body(x) + shortcut(x)."""

    def __init__(self, node: Node, generator: np.random.Generator) -> None:
        super().__init__(node)
        self.body = Chain(node.body, generator)
        self.shortcut = Chain(node.shortcut, generator)

    def forward(self, x: Array, training: bool) -> Array:
        return self.body.forward(x, training) + self.shortcut.forward(x, training)

    def backward(self, dy: Array) -> Array | None:
        through, around = self.body.backward(dy), self.shortcut.backward(dy)
        return None if through is None or around is None else through + around


class Concat(Layer):
    """The channels of x, then those of body(x)."""

    def __init__(self, node: Node, generator: np.random.Generator) -> None:
        super().__init__(node)
        self.body = Chain(node.body, generator)

    def forward(self, x: Array, training: bool) -> Array:
        return np.concatenate((x, self.body.forward(x, training)), axis=1)

    def backward(self, dy: Array) -> Array | None:
        channels = self.node.input_shape[0]
        through = self.body.backward(dy[:, channels:])
        return None if through is None else dy[:, :channels] + through


def _make(node: Node, generator: np.random.Generator) -> Layer:
    match node.layer:
        case spec.Conv2d() as layer:
            return layers.Conv2d(node, layer)
        case spec.BatchNorm() as layer:
            return layers.BatchNorm(node, layer)
        case spec.Relu():
            return layers.Relu(node, 0.0)
        case spec.LeakyRelu(slope=slope):
            return layers.Relu(node, slope)
        case spec.Sigmoid():
            return layers.Sigmoid(node)
        case spec.Tanh():
            return layers.Tanh(node)
        case spec.MaxPool() as layer:
            return layers.MaxPool(node, layer)
        case spec.AvgPool() as layer:
            return layers.AvgPool(node, layer)
        case spec.GlobalAvgPool():
            return layers.GlobalAvgPool(node)
        case spec.Dropout(rate=rate):
            return layers.Dropout(node, rate, generator)
        case spec.Flatten():
            return layers.Flatten(node)
        case spec.Linear():
            return layers.Linear(node)
        case spec.Residual():
            return Residual(node, generator)
        case spec.OptionA() as layer:
            return layers.OptionA(node, layer)
        case spec.Concat():
            return Concat(node, generator)
