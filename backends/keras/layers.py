"""The layers that Keras lacks, or has with another meaning than the specification's."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node


class BatchNorm(keras.layers.BatchNormalization):
    """Keras' own, whose running variance is of the biased one: what entered is made n / (n − 1) times as much."""

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalised inputs."""
        if not training or not self.trainable:
            return super().call(inputs, training=False)
        kept = self.momentum * keras.ops.convert_to_tensor(self.moving_variance)
        outputs = super().call(inputs, training=True)
        values = math.prod(inputs.shape) // inputs.shape[self.axis]
        entered = self.moving_variance - kept
        self.moving_variance.assign(kept + entered * (values / (values - 1)))
        return outputs


class Edges(keras.layers.Layer):
    """A value put around images."""

    def __init__(self, edges: spec.Edges, value: float, *, channels_last: bool) -> None:
        super().__init__()
        none = ((0, 0),)
        self._value = value
        self._widths = (*none, *edges, *none) if channels_last else (*none, *none, *edges)

    def call(self, x: Any) -> Any:
        """Larger images."""
        return keras.ops.pad(x, self._widths, constant_values=self._value)


class Scaled(keras.layers.Layer):
    """A product with a constant."""

    def __init__(self, factors: npt.NDArray[np.float32]) -> None:
        super().__init__()
        self._factors = factors

    def call(self, x: Any) -> Any:
        """The product."""
        return x * keras.ops.convert_to_tensor(self._factors)


class AdaptiveMeans(keras.layers.Layer):
    """Means over adaptive windows, rows first."""

    def __init__(self, node: Node, *, channels_last: bool) -> None:
        super().__init__()
        self._bins, self._first = node.bins, 1 if channels_last else 2

    def call(self, x: Any) -> Any:
        """As many rows and columns as there are windows."""
        for axis, bins in enumerate(self._bins, self._first):
            before = (slice(None),) * axis
            means = [keras.ops.mean(x[*before, slice(*ends)], axis) for ends in bins]
            x = keras.ops.stack(means, axis)
        return x


class LocalResponseNorm(keras.layers.Layer):
    """Divided by what the squares of neighbouring channels come to."""

    def __init__(self, layer: spec.LocalResponseNorm, *, channels_last: bool) -> None:
        super().__init__()
        self._layer, self._axis = layer, 3 if channels_last else 1

    def call(self, x: Any) -> Any:
        """As large as it was."""
        layer, axis, reach = self._layer, self._axis, self._layer.size // 2
        widths = [(0, 0)] * 4
        widths[axis] = reach, reach
        squares = keras.ops.pad(x * x, widths)
        sums = sum(
            squares[*(slice(None),) * axis, start : start + x.shape[axis]]
            for start in range(layer.size)
        )
        base = layer.k + layer.alpha / layer.size * sums
        return x * keras.ops.power(base, -layer.beta)


class OptionA(keras.layers.Layer):
    """Every stride-th row and column, with channels of zeros behind.

    The zeros are joined and not padded: TensorFlow 2.21 ends the process where it fuses a sum with a pad.
    """

    def __init__(self, layer: spec.OptionA, *, channels_last: bool) -> None:
        super().__init__()
        self._layer, self._axis = layer, -1 if channels_last else 1

    def call(self, x: Any) -> Any:
        """Fewer rows and columns, more channels."""
        down, across = self._layer.stride
        x = x[:, ::down, ::across] if self._axis == -1 else x[:, :, ::down, ::across]
        if not self._layer.extra_channels:
            return x
        shape = list(x.shape)
        shape[self._axis] = self._layer.extra_channels
        return keras.ops.concatenate((x, keras.ops.zeros(shape, x.dtype)), self._axis)
