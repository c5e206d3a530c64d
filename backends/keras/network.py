"""The Keras model that a user would build with the functional interface, and where the specification's parameters are
in it."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node, Shape, walk
from dlbench.spec.workload import Weights

from ..shared.flattening import flattened_inputs, from_inside, to_inside
from . import layers as own

_ATTRIBUTES = {
    "weight": "kernel",
    "bias": "bias",
    "scale": "gamma",
    "shift": "beta",
    "running_mean": "moving_mean",
    "running_variance": "moving_variance",
}


def loss_of(loss: training.Loss) -> Any:
    """Keras' own; each is the mean that the specification pins."""
    match loss:
        case training.CrossEntropy(label_smoothing=smoothed):
            if smoothed:
                return functools.partial(_smoothed, smoothed=smoothed)
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        case training.MeanSquaredError():
            return keras.losses.MeanSquaredError()


def _smoothed(labels: Any, logits: Any, *, smoothed: float) -> Any:
    """Keras' own with smoothing, which takes labels as rows."""
    wanted = keras.ops.one_hot(labels, logits.shape[-1])
    return keras.losses.categorical_crossentropy(
        wanted, logits, from_logits=True, label_smoothing=smoothed
    )


class Network:
    """A model for batches of one size; its weights go in and out in the canonical layout.

    Raises
    ------
    PlanRefused : a convolution that Keras does not have.
    """

    def __init__(
        self, nodes: tuple[Node, ...], shape: Shape, plan: Plan, *, channels_last: bool
    ) -> None:
        self._channels_last = channels_last
        self._format = "channels_last" if channels_last else "channels_first"
        self._axis = -1 if channels_last else 1
        self._seed = plan.seed
        self._flattened = flattened_inputs(nodes) if channels_last else {}
        self._variables: dict[str, Any] = {}
        self._owners = {p.name: node.name for node in walk(nodes) for p in node.parameters}
        inside = (*shape[1:], shape[0]) if channels_last and len(shape) == 3 else shape
        inputs = keras.Input(inside, batch_size=plan.batch)
        self.model = keras.Model(inputs, self._sequence(nodes, inputs))
        places = {id(variable): name for name, variable in self._variables.items()}
        self.trained = [places[id(variable)] for variable in self.model.trainable_variables]

    def inside(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """A copy of N×C×H×W in the model's layout."""
        last = array.transpose(0, 2, 3, 1) if self._channels_last and array.ndim == 4 else array
        return np.array(last, np.float32, order="C")

    def outside(self, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """The way back."""
        first = array.transpose(0, 3, 1, 2) if self._channels_last and array.ndim == 4 else array
        return np.array(first, np.float32, order="C")

    def read(self) -> Weights:
        """Copies of all variables."""
        return {
            name: from_inside(
                keras.ops.convert_to_numpy(variable), self._flattened.get(self._owners[name])
            )
            for name, variable in self._variables.items()
        }

    def write(self, weights: Weights) -> None:
        """Assigns all variables."""
        for name, variable in self._variables.items():
            inside = to_inside(weights[name], self._flattened.get(self._owners[name]))
            # PyTorch would keep the array that it is given
            variable.assign(np.array(inside, np.float32, order="C"))

    def _sequence(self, nodes: Iterable[Node], x: Any) -> Any:
        nodes, activated = tuple(nodes), False
        for node, following in zip(nodes, (*nodes[1:], None), strict=True):
            if activated:
                activated = False
                continue
            layers = self._layers(node)
            if layers is None:
                x = self._joined(node, x)
                continue
            activated = following is not None and isinstance(following.layer, spec.Relu)
            activated &= isinstance(layers[-1], keras.layers.Conv2D | keras.layers.Dense)
            if activated:
                # as users write it; a layer of its own takes time of each step where nothing is compiled
                layers[-1].activation = keras.activations.relu
            for layer in layers:
                layer.trainable = not node.frozen
                x = layer(x)
            holder = next((each for each in reversed(layers) if each.weights), None)
            for parameter in node.parameters:
                variable = getattr(holder, _ATTRIBUTES[parameter.role])
                self._variables[parameter.name] = variable
        return x

    def _joined(self, node: Node, x: Any) -> Any:
        bodies = [self._sequence(body, x) for body in node.bodies]
        if isinstance(node.layer, spec.Residual):
            return keras.layers.Add()(bodies)
        if isinstance(node.layer, spec.Scale):
            (gate,) = bodies
            if len(x.shape) > len(gate.shape):
                ones = (1, 1, -1) if self._channels_last else (-1, 1, 1)
                gate = keras.layers.Reshape(ones)(gate)
            return keras.layers.Multiply()([x, gate])
        if len(bodies) == 1:
            return bodies[0]
        return keras.layers.Concatenate(self._axis)(bodies)

    def _layers(self, node: Node) -> list[Any] | None:
        """The layers for a node, its parameters all in one; None for one that holds others."""
        of = {"data_format": self._format}
        match node.layer:
            case spec.Conv2d() as layer:
                return self._conv2d(layer)
            case spec.ConvTranspose2d() as layer:
                return self._conv_transpose2d(layer)
            case spec.GroupNorm() as layer:
                axis = self._axis if len(node.input_shape) == 3 else -1
                groups = keras.layers.GroupNormalization(layer.groups, axis, layer.eps)
                return [groups]
            case spec.LayerNorm() as layer:
                axis = self._axis if len(node.input_shape) == 3 else -1
                return [keras.layers.LayerNormalization(axis, layer.eps)]
            case spec.LocalResponseNorm() as layer:
                return [own.LocalResponseNorm(layer, channels_last=self._channels_last)]
            case spec.Linear() as layer:
                return [keras.layers.Dense(layer.out_features, use_bias=layer.bias)]
            case spec.BatchNorm() as layer:
                axis = self._axis if len(node.input_shape) == 3 else -1
                norm = own.BatchNorm(axis=axis, momentum=1 - layer.momentum, epsilon=layer.eps)
                return [norm]
            case spec.Relu():
                return [keras.layers.ReLU()]
            case spec.LeakyRelu() as layer:
                return [keras.layers.LeakyReLU(negative_slope=layer.slope)]
            case spec.Sigmoid():
                return [keras.layers.Activation("sigmoid")]
            case spec.Tanh():
                return [keras.layers.Activation("tanh")]
            case spec.Relu6() | spec.Silu() | spec.HardSigmoid() | spec.HardSwish():
                return [keras.layers.Activation(spec.WORDS[type(node.layer)])]
            case spec.Gelu() as layer:
                approximate = layer.approximate == "tanh"
                return [
                    keras.layers.Activation(
                        functools.partial(keras.activations.gelu, approximate=approximate)
                    )
                ]
            case spec.MaxPool() as layer:
                pool = keras.layers.MaxPooling2D(layer.kernel, layer.step, **of)
                return [*self._edges(node.window_edges, -math.inf), pool]
            case spec.AvgPool() as layer:
                pool = keras.layers.AveragePooling2D(layer.kernel, layer.step, **of)
                return [*self._edges(node.window_edges, 0.0), pool, *self._shares(node, layer)]
            case spec.GlobalAvgPool():
                return [keras.layers.GlobalAveragePooling2D(**of)]
            case spec.AdaptiveAvgPool():
                return [own.AdaptiveMeans(node, channels_last=self._channels_last)]
            case spec.Dropout() as layer:
                seed = zlib.crc32(f"{self._seed} {node.name}".encode()) % 2**31
                return [keras.layers.Dropout(layer.rate, seed=seed)]
            case spec.Flatten():
                return self._flatten(node)
            case spec.OptionA() as layer:
                return [own.OptionA(layer, channels_last=self._channels_last)]
            case spec.Residual() | spec.Concat() | spec.Scale():
                return None

    def _conv2d(self, layer: spec.Conv2d) -> list[Any]:
        if layer.dilation != (1, 1) and layer.stride != (1, 1):
            raise PlanRefused("keras has no conv2d with both a stride and a dilation")
        spans = [(size - 1) * d for size, d in zip(layer.kernel, layer.dilation, strict=True)]
        # the word of its users, where it means the same on each side
        same = layer.stride == (1, 1) and layer.edges == tuple((s // 2, s - s // 2) for s in spans)
        same = same and all(span % 2 == 0 for span in spans)
        conv = keras.layers.Conv2D(
            layer.out_channels,
            layer.kernel,
            layer.stride,
            padding="same" if same else "valid",
            data_format=self._format,
            dilation_rate=layer.dilation,
            groups=layer.groups,
            use_bias=layer.bias,
        )
        return [conv] if same else [*self._edges(layer.edges, 0.0), conv]

    def _conv_transpose2d(self, layer: spec.ConvTranspose2d) -> list[Any]:
        """All of it, then what the padding leaves."""
        conv = keras.layers.Conv2DTranspose(
            layer.out_channels,
            layer.kernel,
            layer.stride,
            padding="valid",
            output_padding=layer.output_padding,
            data_format=self._format,
            use_bias=layer.bias,
        )
        if not any(layer.padding):
            return [conv]
        sides = tuple((each, each) for each in layer.padding)
        return [conv, keras.layers.Cropping2D(sides, data_format=self._format)]

    def _edges(self, edges: spec.Edges, value: float) -> list[Any]:
        """What puts them around an image, where there are any."""
        if not any(map(any, edges)):
            return []
        if value == 0:
            return [keras.layers.ZeroPadding2D(edges, data_format=self._format)]
        return [own.Edges(edges, value, channels_last=self._channels_last)]

    def _shares(self, node: Node, layer: spec.AvgPool) -> list[Any]:
        """What makes means over whole windows those over what counts, where they differ."""
        shares = math.prod(layer.kernel) / np.multiply.outer(*node.divisors)
        if (shares == 1).all():
            return []
        wide = shares[..., None] if self._channels_last else shares
        return [own.Scaled(wide.astype(np.float32))]

    def _flatten(self, node: Node) -> list[Any]:
        """Features in the order C×H×W, unless the layer that reads them has its weight reordered instead."""
        flatten = keras.layers.Flatten(data_format="channels_last")
        moves = self._channels_last and len(node.input_shape) == 3
        if moves and node.name not in self._flattened:
            return [keras.layers.Permute((3, 1, 2)), flatten]
        return [flatten]
