"""A network as TensorFlow variables and the ops over them, channels last inside.

Everything outside is in the canonical layout; this is the one place that knows how the two differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from dlbench.spec import layers as spec
from dlbench.spec.network import Node, walk
from dlbench.spec.workload import Weights

from ..shared.flattening import flattened_inputs, from_inside, to_inside
from ..shared.framework import overlaps
from . import layers as ops
from .owners import layer_scope
from .precision import Short, alike, biased, widened


class Network:
    """Variables by canonical name, and the forward pass over them.

    A flatten gives features in H·W·C order where a linear layer follows, whose weight rows are
    stored in that order instead: the reordering then costs nothing per step. Elsewhere it
    transposes first.
    """

    def __init__(self, nodes: tuple[Node, ...], seed: int, short: Short | None = None) -> None:
        self._nodes = nodes
        self._short = short
        self._flattened = flattened_inputs(nodes)
        everything = list(walk(nodes))
        self._numbers = {node.name: number for number, node in enumerate(everything)}
        self._parameters = [parameter for node in everything for parameter in node.parameters]
        self.variables: dict[str, Any] = {}
        for node in everything:
            for parameter in node.parameters:
                zeros = np.zeros(parameter.shape, np.float32)
                shape = to_inside(zeros, self._flattened.get(node.name)).shape
                self.variables[parameter.name] = tf.Variable(
                    tf.zeros(shape), trainable=parameter.trainable, name=parameter.name
                )
        self._owners = {p.name: node.name for node in everything for p in node.parameters}
        # Two numbers seed an op's generator: TensorFlow's own default, and this one.
        names = [node.name for node in everything if isinstance(node.layer, spec.Dropout)]
        self._seeds = {name: (seed * 1_000_003 + index) % 2**31 for index, name in enumerate(names)}
        convolutions = [n.layer for n in everything if isinstance(n.layer, spec.Conv2d)]
        own = tf.float32 if short is None or short.wide_products else short.dtype
        dilated = any(layer.dilation != (1, 1) for layer in convolutions)
        self._direct = dilated and ops.dilated_gradients(own)
        grouped = any(layer.groups > 1 for layer in convolutions)
        self._grouped = grouped and ops.grouped_gradients(tf.float32)
        # rounded weights, which inference reads
        self._rounded: dict[str, Any] = {}
        if short is not None:
            for node in everything:
                if isinstance(node.layer, spec.Conv2d | spec.ConvTranspose2d | spec.Linear):
                    name = node.parameters[0].name
                    zeros = tf.zeros(self.variables[name].shape, short.dtype)
                    self._rounded[name] = tf.Variable(zeros, trainable=False)

    @property
    def trainable(self) -> dict[str, Any]:
        """The variables that the optimizer updates, by canonical name."""
        return {p.name: self.variables[p.name] for p in self._parameters if p.trainable}

    @property
    def running(self) -> dict[str, Any]:
        """The variables that a forward pass updates, by canonical name."""
        moved = (p for p in self._parameters if not (p.trainable or p.frozen))
        return {p.name: self.variables[p.name] for p in moved}

    def __call__(self, x: Any, *, training: bool) -> Any:
        """Outputs for inputs N×H×W×C (or N×F), float32, as ops of the graph being traced."""
        return tf.cast(self._sequence(self._nodes, x, training), tf.float32)

    def round_weights(self) -> None:
        """Rounds the weights for inference anew, where it reads rounded ones."""
        for name, kept in self._rounded.items():
            kept.assign(tf.cast(self.variables[name], kept.dtype))

    def read(self) -> Weights:
        """Copies of all variables in the canonical layout."""
        return {
            name: from_inside(variable.numpy(), self._flattened.get(self._owners[name]))
            for name, variable in self.variables.items()
        }

    def write(self, weights: Weights) -> None:
        """Assigns all variables from the canonical layout."""
        for name, variable in self.variables.items():
            variable.assign(to_inside(weights[name], self._flattened.get(self._owners[name])))

    def _sequence(self, nodes: tuple[Node, ...], x: Any, training: bool) -> Any:
        for node in nodes:
            with layer_scope(self._numbers[node.name]):
                x = self._apply(node, x, training)
        return x

    def _apply(self, node: Node, x: Any, training: bool) -> Any:
        own = [self.variables[parameter.name] for parameter in node.parameters]
        wide: Callable[..., Any] = functools.partial(widened, x)
        match node.layer:
            case spec.Conv2d():
                return self._conv2d(node, x, own, training)
            case spec.ConvTranspose2d():
                transposed = functools.partial(ops.conv_transpose2d, node)
                if self._short is None:
                    return transposed(x, *own)
                return self._short.wide_product(
                    transposed, x, self._weight(node, training), *own[1:]
                )
            case spec.Linear():
                return self._linear(node, x, own, training)
            case spec.GroupNorm():
                return wide(functools.partial(ops.group_norm, node, *own))
            case spec.LayerNorm():
                return wide(functools.partial(ops.layer_norm, node, *own))
            case spec.LocalResponseNorm() as layer:
                return wide(functools.partial(ops.local_response_norm, layer))
            case spec.BatchNorm():
                norm = functools.partial(self._norm, node, own, training)
                return wide(norm) if self._short is not None and self._short.wide_norms else norm(x)
            case spec.Relu():
                return tf.nn.relu(x)
            case spec.LeakyRelu() as layer:
                return wide(lambda x: tf.nn.leaky_relu(x, layer.slope))
            case spec.Sigmoid():
                return wide(tf.math.sigmoid)
            case spec.Tanh():
                return wide(tf.math.tanh)
            case spec.Relu6():
                return tf.nn.relu6(x)
            case spec.Silu():
                return wide(tf.nn.silu)
            case spec.HardSigmoid():
                return wide(lambda x: tf.nn.relu6(x + 3) / 6)
            case spec.HardSwish():
                return wide(lambda x: x * tf.nn.relu6(x + 3) / 6)
            case spec.Gelu() as layer:
                return wide(lambda x: tf.nn.gelu(x, approximate=layer.approximate == "tanh"))
            case spec.MaxPool() as layer:
                pool = functools.partial(ops.max_pool, node)
                return wide(pool) if overlaps(layer) else pool(x)
            case spec.AvgPool():
                return wide(functools.partial(ops.avg_pool, node))
            case spec.GlobalAvgPool():
                return wide(lambda x: tf.math.reduce_mean(x, (1, 2)))
            case spec.AdaptiveAvgPool():
                return wide(functools.partial(ops.adaptive_avg_pool, node))
            case spec.Dropout() as layer:
                if not training or layer.rate == 0:
                    return x
                return wide(lambda x: tf.nn.dropout(x, layer.rate, seed=self._seeds[node.name]))
            case spec.Flatten():
                return self._flatten(node, x)
            case spec.OptionA():
                return ops.option_a(node, x)
            case spec.Residual():
                bodies = (node.body, node.shortcut)
                one, other = alike([self._sequence(body, x, training) for body in bodies])
                return one + other
            case spec.Scale():
                one, gate = alike([x, self._sequence(node.body, x, training)])
                gate = gate[:, None, None] if len(x.shape) > len(gate.shape) else gate
                # the gate's gradient is a sum over positions
                return widened(one, lambda x: x * tf.cast(gate, tf.float32))
            case spec.Concat():
                return tf.concat(
                    alike([self._sequence(body, x, training) for body in node.bodies]), -1
                )

    def _norm(self, node: Node, own: list[Any], training: bool, x: Any) -> Any:
        return ops.batch_norm(node, x, *own, training=training and not node.frozen)

    def _conv2d(self, node: Node, x: Any, own: list[Any], training: bool) -> Any:
        conv = functools.partial(ops.conv2d, node, direct=self._direct, grouped=self._grouped)
        if self._short is None:
            return conv(x, *own)
        assert isinstance(node.layer, spec.Conv2d)
        weight = self._weight(node, training)
        if node.layer.groups > 1:
            # not every kernel for groups has short types
            return self._short.wide_product(conv, x, weight, *own[1:])
        y = self._short.product(conv, x, weight)
        return biased(y, own[1]) if len(own) > 1 else y

    def _linear(self, node: Node, x: Any, own: list[Any], training: bool) -> Any:
        if self._short is None:
            y = tf.linalg.matmul(x, own[0])
            return tf.nn.bias_add(y, own[1]) if len(own) > 1 else y
        y = self._short.product(tf.linalg.matmul, x, self._weight(node, training))
        return biased(y, own[1]) if len(own) > 1 else y

    def _weight(self, node: Node, training: bool) -> Any:
        name = node.parameters[0].name
        return self.variables[name] if training else self._rounded[name]

    def _flatten(self, node: Node, x: Any) -> Any:
        if len(node.input_shape) == 3 and node.name not in self._flattened:
            x = tf.transpose(x, (0, 3, 1, 2))
        return tf.reshape(x, (x.shape[0], *node.output_shape))
