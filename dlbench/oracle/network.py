"""A whole network in the oracle: from inputs to loss, and back to the gradient of every parameter."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.oracle import activations, convolution, layers, pooling, sample_norms
from dlbench.oracle.batch_norm import BatchNorm
from dlbench.oracle.layers import Layer, Pass
from dlbench.oracle.one_thread import one_thread
from dlbench.oracle.rounding import Array, Rounding
from dlbench.spec import layers as spec
from dlbench.spec.network import Node
from dlbench.spec.training import CrossEntropy, Loss

_beat: ContextVar[Callable[[], None]] = ContextVar("beat", default=lambda: None)


@contextlib.contextmanager
def beating(beat: Callable[[], None]) -> Iterator[None]:
    """Has `beat` called before each layer's pass inside the ``with`` block, whatever computes there: a sign of life. No
    two threads call it at the same time."""
    lock = threading.Lock()

    def alone() -> None:
        with lock:
            beat()

    token = _beat.set(alone)
    try:
        yield
    finally:
        _beat.reset(token)


class Sequence(Layer):
    """Layers one after the other."""

    def __init__(self, nodes: tuple[Node, ...], weights: Mapping[str, Array], run: Pass) -> None:
        self.run = run
        self.layers = [KINDS[type(node.layer)](node, weights, run) for node in nodes]

    def forward(self, x: Array) -> Array:
        for layer in self.layers:
            _beat.get()()
            x = layer.forward(x)
        return x

    def backward(self, dy: Array) -> Array:
        for layer in reversed(self.layers):
            _beat.get()()
            dy = layer.backward(dy)
        return dy

    def to_the_first_trained(self, dy: Array) -> None:
        """As `backward`, as far as something is trained."""
        for layer in reversed(self.layers):
            if not layer.node.has_backward:
                return
            _beat.get()()
            dy = layer.backward(dy)


class Residual(Layer):
    """body(x) + shortcut(x)."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        self.body = Sequence(node.body, weights, run)
        self.shortcut = Sequence(node.shortcut, weights, run)

    def forward(self, x: Array) -> Array:
        y = self.body.forward(x) + self.shortcut.forward(x)
        return self.run.rounding.stored(self.run.rounding(y, 1, y))

    def backward(self, dy: Array) -> Array:
        dx = self.body.backward(dy) + self.shortcut.backward(dy)
        return self.run.rounding.handed_back(self.run.rounding(dx, 1, dx))


class Concat(Layer):
    """The channels of each body, in their order."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        self.bodies = [Sequence(body, weights, run) for body in node.bodies]

    def forward(self, x: Array) -> Array:
        parts = [body.forward(x) for body in self.bodies]
        self.ends = np.cumsum([part.shape[1] for part in parts])
        return np.concatenate(parts, axis=1)

    def backward(self, dy: Array) -> Array:
        first, *others = (
            body.backward(part)
            for body, part in zip(self.bodies, np.split(dy, self.ends[:-1], axis=1), strict=True)
        )
        dx = first
        for other in others:
            dx = dx + other
            dx = self.run.rounding.handed_back(self.run.rounding(dx, 1, dx))
        return dx


class Scale(Layer):
    """x · body(x), channel by channel."""

    def __init__(self, node: Node, weights: Mapping[str, Array], run: Pass) -> None:
        super().__init__(node, weights, run)
        self.body = Sequence(node.body, weights, run)

    def forward(self, x: Array) -> Array:
        self.x, gate = x, self.body.forward(x)
        self.shape = gate.shape
        self.gate = gate.reshape(*gate.shape[:2], *[1] * (x.ndim - 2))
        y = x * self.gate
        return self.run.rounding.stored(self.run.rounding(y, 1, y))

    def backward(self, dy: Array) -> Array:
        rounding, axes = self.run.rounding, tuple(range(2, dy.ndim))
        # stored, before it is summed
        product = rounding.handed_back(dy * self.x)
        gate = product.sum(axes).reshape(self.shape)
        size = np.sqrt(np.square(product).sum(axes)).reshape(self.shape)
        terms = product[0, 0].size
        through = self.body.backward(rounding.handed_back(rounding(gate, terms, size)))
        around = dy * self.gate
        dx = through + rounding.handed_back(rounding(around, 1, around))
        return rounding.handed_back(rounding(dx, 1, dx))


KINDS: dict[type[spec.Layer], type[Layer]] = {
    spec.Conv2d: convolution.Conv2d,
    spec.ConvTranspose2d: convolution.ConvTranspose2d,
    spec.BatchNorm: BatchNorm,
    spec.GroupNorm: sample_norms.GroupNorm,
    spec.LayerNorm: sample_norms.LayerNorm,
    spec.LocalResponseNorm: sample_norms.LocalResponseNorm,
    spec.Relu: activations.Relu,
    spec.LeakyRelu: activations.LeakyRelu,
    spec.Sigmoid: activations.Sigmoid,
    spec.Tanh: activations.Tanh,
    spec.Relu6: activations.Relu6,
    spec.Silu: activations.Silu,
    spec.HardSigmoid: activations.HardSigmoid,
    spec.HardSwish: activations.HardSwish,
    spec.Gelu: activations.Gelu,
    spec.MaxPool: pooling.MaxPool,
    spec.AvgPool: pooling.AvgPool,
    spec.GlobalAvgPool: pooling.GlobalAvgPool,
    spec.AdaptiveAvgPool: pooling.AdaptiveAvgPool,
    spec.Dropout: layers.Dropout,
    spec.Flatten: layers.Flatten,
    spec.Linear: layers.Linear,
    spec.Residual: Residual,
    spec.OptionA: layers.OptionA,
    spec.Concat: Concat,
    spec.Scale: Scale,
}


def entering(nodes: tuple[Node, ...], inputs: Array, rounding: Rounding) -> Array:
    """What a network reads: a known factor where products alone read it, else a value that may or may not be stored
    in a short format on its way to the first layer."""
    return rounding.known(inputs) if _is_factor(nodes) else rounding.stored(inputs)


def _is_factor(nodes: tuple[Node, ...]) -> bool:
    """Whether nothing but products read what goes into these layers."""
    for node in nodes:
        if isinstance(node.layer, spec.Flatten):
            continue
        if isinstance(node.layer, spec.Residual):
            return _is_factor(node.body) and _is_factor(node.shortcut)
        if isinstance(node.layer, spec.Concat):
            return all(_is_factor(body) for body in node.bodies)
        return isinstance(node.layer, spec.Conv2d | spec.ConvTranspose2d | spec.Linear)
    return False


def forward(
    nodes: tuple[Node, ...], weights: Mapping[str, Array], inputs: Array, run: Pass
) -> Array:
    """The network's output for `inputs` (N×C×H×W or N×F)."""
    with one_thread():
        return Sequence(nodes, weights, run).forward(entering(nodes, inputs, run.rounding))


def forward_backward(
    nodes: tuple[Node, ...],
    loss: Loss,
    weights: Mapping[str, Array],
    inputs: Array,
    targets: npt.NDArray[Any],
    run: Pass,
) -> tuple[Array, float]:
    """Output and mean loss of a training pass; the gradients of the loss are left in `run.gradients`."""
    network = Sequence(nodes, weights, run)
    with one_thread():
        output = network.forward(entering(nodes, inputs, run.rounding))
        args = output, targets, run.counts, run.rounding
        if isinstance(loss, CrossEntropy):
            value, gradient = cross_entropy(*args, loss.label_smoothing)
        else:
            value, gradient = mean_squared_error(*args)
        network.to_the_first_trained(run.rounding.handed_back(gradient))
    return output, value


def cross_entropy(
    logits: Array,
    labels: npt.NDArray[Any],
    counts: Array,
    rounding: Rounding,
    smoothing: float = 0.0,
) -> tuple[float, Array]:
    """Mean of −log softmax(logits)[label], or of all of them as smoothed labels weigh them, and its gradient for one
    copy of each sample."""
    samples = np.arange(len(logits))
    shifted = logits - logits.max(1, keepdims=True)
    shifted = rounding(shifted, 2, np.abs(logits).max(1, keepdims=True))
    log_sum = np.log(np.exp(shifted).sum(1, keepdims=True))
    log_softmax = rounding(shifted - log_sum, logits.shape[1], np.hypot(shifted, 1.0))
    total = counts.sum()
    losses = -log_softmax[samples, labels]
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_softmax.mean(1)
    size = np.sqrt((counts * np.square(losses)).sum()) / total
    gradient = np.exp(log_softmax)
    gradient[samples, labels] -= 1 - smoothing
    if smoothing:
        gradient -= smoothing / logits.shape[1]
    gradient = rounding(gradient / total, 4, np.exp(log_softmax) / total)
    length = int(total * counts.max())
    return float(rounding(np.asarray((counts * losses).sum() / total), length, size)), gradient


def mean_squared_error(
    output: Array, targets: npt.NDArray[Any], counts: Array, rounding: Rounding
) -> tuple[float, Array]:
    """Mean of (output − target)² over all elements, and its gradient for one copy of each sample."""
    difference = rounding(output - targets, 1, np.hypot(output, targets))
    elements = counts.sum() * output[0].size
    squares = np.square(difference)
    weighted = (squares * counts.reshape(-1, *[1] * (output.ndim - 1))).sum()
    size = (
        np.sqrt((np.square(squares) * counts.reshape(-1, *[1] * (output.ndim - 1))).sum())
        / elements
    )
    gradient = 2 * difference / elements
    length = int(elements * counts.max())
    return float(rounding(np.asarray(weighted / elements), length, size)), rounding(
        gradient, 2, gradient
    )
