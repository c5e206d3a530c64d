"""A network as TensorFlow variables and the ops over them, channels last inside.

Everything outside is in the canonical layout; this is the one place that knows how the two differ.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Shape, walk
from dlbench.spec.workload import Weights

from . import layers as ops

_ELEMENTWISE = spec.Relu | spec.LeakyRelu | spec.Sigmoid | spec.Tanh | spec.Dropout


class Network:
    """Variables by canonical name, and the forward pass over them.

    A flatten gives features in H·W·C order where a linear layer follows, whose weight rows are
    stored in that order instead: the reordering then costs nothing per step. Elsewhere it
    transposes first.
    """

    def __init__(self, nodes: tuple[Node, ...], seed: int) -> None:
        self._nodes = nodes
        self._flattened = _flattened_inputs(nodes)
        everything = list(walk(nodes))
        self._parameters = [parameter for node in everything for parameter in node.parameters]
        self.variables: dict[str, Any] = {}
        for node in everything:
            for parameter in node.parameters:
                shape = self._inside(node.name, np.zeros(parameter.shape, np.float32)).shape
                self.variables[parameter.name] = tf.Variable(
                    tf.zeros(shape), trainable=parameter.trainable, name=parameter.name
                )
        self._owners = {p.name: node.name for node in everything for p in node.parameters}
        # Two numbers seed an op's generator: TensorFlow's own default, and this one.
        names = [node.name for node in everything if isinstance(node.layer, spec.Dropout)]
        self._seeds = {name: (seed * 1_000_003 + index) % 2**31 for index, name in enumerate(names)}
        dilated = any(
            isinstance(node.layer, spec.Conv2d) and node.layer.dilation != (1, 1)
            for node in everything
        )
        self._direct = dilated and ops.dilated_gradients()

    @property
    def trainable(self) -> dict[str, Any]:
        """The variables that the optimizer updates, by canonical name."""
        return {p.name: self.variables[p.name] for p in self._parameters if p.trainable}

    def __call__(self, x: Any, *, training: bool) -> Any:
        """Outputs for inputs N×H×W×C (or N×F), as ops of the graph being traced."""
        return self._sequence(self._nodes, x, training)

    def read(self) -> Weights:
        """Copies of all variables in the canonical layout."""
        return {name: self._canonical(name) for name in self.variables}

    def write(self, weights: Weights) -> None:
        """Assigns all variables from the canonical layout."""
        for name, variable in self.variables.items():
            variable.assign(self._inside(self._owners[name], weights[name]))

    def _inside(self, node: str, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if array.ndim == 4:
            return array.transpose(2, 3, 1, 0)
        if array.ndim == 2 and node in self._flattened:
            outputs = array.shape[0]
            image = array.reshape(outputs, *self._flattened[node])
            return image.transpose(2, 3, 1, 0).reshape(-1, outputs)
        return array.T

    def _canonical(self, name: str) -> npt.NDArray[np.float32]:
        array = self.variables[name].numpy()
        if array.ndim == 2 and self._owners[name] in self._flattened:
            channels, height, width = self._flattened[self._owners[name]]
            image = array.reshape(height, width, channels, -1).transpose(3, 2, 0, 1)
            array = image.reshape(array.shape[1], -1).T
        axes = (3, 2, 0, 1) if array.ndim == 4 else range(array.ndim)[::-1]
        return np.array(array.transpose(axes), np.float32, order="C")

    def _sequence(self, nodes: tuple[Node, ...], x: Any, training: bool) -> Any:
        for node in nodes:
            x = self._apply(node, x, training)
        return x

    def _apply(self, node: Node, x: Any, training: bool) -> Any:
        own = [self.variables[parameter.name] for parameter in node.parameters]
        match node.layer:
            case spec.Conv2d():
                bias = own[1] if len(own) > 1 else None
                return ops.conv2d(node, x, own[0], bias, direct=self._direct)
            case spec.Linear():
                y = tf.linalg.matmul(x, own[0])
                return tf.nn.bias_add(y, own[1]) if len(own) > 1 else y
            case spec.BatchNorm():
                return ops.batch_norm(node, x, *own, training=training)
            case spec.Relu():
                return tf.nn.relu(x)
            case spec.LeakyRelu() as layer:
                return tf.nn.leaky_relu(x, layer.slope)
            case spec.Sigmoid():
                return tf.math.sigmoid(x)
            case spec.Tanh():
                return tf.math.tanh(x)
            case spec.MaxPool():
                return ops.max_pool(node, x)
            case spec.AvgPool():
                return ops.avg_pool(node, x)
            case spec.GlobalAvgPool():
                return tf.math.reduce_mean(x, (1, 2))
            case spec.Dropout() as layer:
                dropped = training and layer.rate > 0
                return tf.nn.dropout(x, layer.rate, seed=self._seeds[node.name]) if dropped else x
            case spec.Flatten():
                return self._flatten(node, x)
            case spec.OptionA():
                return ops.option_a(node, x)
            case spec.Residual():
                body = self._sequence(node.body, x, training)
                return body + self._sequence(node.shortcut, x, training)
            case spec.Concat():
                return tf.concat([self._sequence(body, x, training) for body in node.bodies], -1)

    def _flatten(self, node: Node, x: Any) -> Any:
        if len(node.input_shape) == 3 and node.name not in self._flattened:
            x = tf.transpose(x, (0, 3, 1, 2))
        return tf.reshape(x, (x.shape[0], *node.output_shape))


def _flattened_inputs(nodes: tuple[Node, ...]) -> dict[str, Shape]:
    """C×H×W by name, of each flatten that need not transpose and of the linear that reads it."""
    found: dict[str, Shape] = {}
    for index, node in enumerate(nodes):
        for body in node.bodies:
            found |= _flattened_inputs(body)
        if isinstance(node.layer, spec.Flatten) and len(node.input_shape) == 3:
            following = (n for n in nodes[index + 1 :] if not isinstance(n.layer, _ELEMENTWISE))
            reader = next(following, None)
            if reader is not None and isinstance(reader.layer, spec.Linear):
                found |= {node.name: node.input_shape, reader.name: node.input_shape}
    return found
