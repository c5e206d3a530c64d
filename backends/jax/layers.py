"""What layers and losses mean in JAX, as pure functions on N×H×W×C.

Products ask for their highest precision, since on a GPU JAX would round the factors of float32 to TF32 by itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlbench.helpers.functional import Array, Pass
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node

_LAYOUT = ("NHWC", "HWIO", "NHWC")
_EXACT = jax.lax.Precision.HIGHEST

Sequence = Callable[[Iterable[Node], Array, Pass], Array]


def loss(kind: training.Loss, outputs: Array, targets: Array) -> Array:
    """The mean loss, a scalar."""
    match kind:
        case training.CrossEntropy():
            logs = jax.nn.log_softmax(outputs)
            chosen = jnp.take_along_axis(logs, targets[:, None], 1).mean()
            smoothed = kind.label_smoothing
            return -((1 - smoothed) * chosen + smoothed * logs.mean()) if smoothed else -chosen
        case training.MeanSquaredError():
            return jnp.square(outputs - targets).mean()


def layer(sequence: Sequence, node: Node, x: Array, run: Pass) -> Array:
    """The output of one layer; `sequence` computes those inside it."""
    own = run.own(node)
    match node.layer:
        case spec.Conv2d() as conv:
            y = convolution(x, own["weight"], conv.stride, conv.edges, conv.dilation, conv.groups)
            return y + own["bias"] if conv.bias else y
        case spec.ConvTranspose2d() as conv:
            y = _transposed(conv, x, own["weight"])
            return y + own["bias"] if conv.bias else y
        case spec.GroupNorm() as norm:
            parts = x.reshape(*x.shape[:-1], norm.groups, -1)
            axes = (*range(1, x.ndim - 1), x.ndim)
            return _normal(parts, axes, norm.eps).reshape(x.shape) * own["scale"] + own["shift"]
        case spec.LayerNorm() as norm:
            return _normal(x, (-1,), norm.eps) * own["scale"] + own["shift"]
        case spec.LocalResponseNorm() as norm:
            return _response_norm(norm, x)
        case spec.Linear() as linear:
            y = product(x, own["weight"].T)
            return y + own["bias"] if linear.bias else y
        case spec.BatchNorm() as norm:
            return _batch_norm(norm, node, x, run)
        case spec.Relu():
            return jax.nn.relu(x)
        case spec.LeakyRelu() as leaky:
            return jnp.where(x > 0, x, leaky.slope * x)
        case spec.Sigmoid():
            return jax.nn.sigmoid(x)
        case spec.Tanh():
            return jnp.tanh(x)
        case spec.Relu6():
            return jax.nn.relu6(x)
        case spec.Silu():
            return jax.nn.silu(x)
        case spec.HardSigmoid():
            return jax.nn.hard_sigmoid(x)
        case spec.HardSwish():
            return jax.nn.hard_swish(x)
        case spec.Gelu() as gelu:
            return jax.nn.gelu(x, approximate=gelu.approximate == "tanh")
        case spec.MaxPool() as pool:
            return _windows(node, pool, x, -np.inf, jax.lax.max)
        case spec.AvgPool() as pool:
            sums = _windows(node, pool, x, 0.0, jax.lax.add)
            return sums / np.multiply.outer(*node.divisors)[..., None].astype(np.float32)
        case spec.GlobalAvgPool():
            return x.mean((1, 2))
        case spec.AdaptiveAvgPool():
            return _adaptive_means(node, x)
        case spec.Dropout() as dropout:
            return _dropout(dropout, node, x, run)
        case spec.Flatten():
            # features are in the order C×H×W
            return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(len(x), -1)
        case spec.OptionA() as thinned:
            down, across = thinned.stride
            none = (0, 0)
            return jnp.pad(x[:, ::down, ::across], (none, none, none, (0, thinned.extra_channels)))
        case spec.Residual():
            return sequence(node.body, x, run) + sequence(node.shortcut, x, run)
        case spec.Concat():
            return jnp.concatenate([sequence(body, x, run) for body in node.bodies], -1)
        case spec.Scale():
            gate = sequence(node.body, x, run)
            return x * (gate[:, None, None] if x.ndim > gate.ndim else gate)


def convolution(
    x: Array,
    weight: Array,
    stride: Any = (1, 1),
    edges: Any = "VALID",
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Array:
    """Cross-correlation of N×H×W×I with kH×kW×(I/groups)×O."""
    return jax.lax.conv_general_dilated(
        x,
        weight,
        stride,
        edges,
        rhs_dilation=dilation,
        dimension_numbers=_LAYOUT,
        feature_group_count=groups,
        precision=_EXACT,
    )


def _transposed(conv: spec.ConvTranspose2d, x: Array, weight: Array) -> Array:
    """A convolution of pixels that lie a stride apart, with the kernel kH×kW×O×I turned around."""
    edges = [
        (kernel - 1 - padding, kernel - 1 - padding + added)
        for kernel, padding, added in zip(
            conv.kernel, conv.padding, conv.output_padding, strict=True
        )
    ]
    return jax.lax.conv_general_dilated(
        x,
        weight[::-1, ::-1].swapaxes(2, 3),
        (1, 1),
        edges,
        lhs_dilation=conv.stride,
        dimension_numbers=_LAYOUT,
        precision=_EXACT,
    )


def _normal(x: Array, axes: tuple[int, ...], eps: float) -> Array:
    """Less the mean, divided by the deviation."""
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + eps)


def _response_norm(norm: spec.LocalResponseNorm, x: Array) -> Array:
    reach, none = norm.size // 2, (0, 0)
    sums = jax.lax.reduce_window(
        x * x,
        0.0,
        jax.lax.add,
        (1, 1, 1, norm.size),
        (1, 1, 1, 1),
        [none, none, none, (reach, reach)],
    )
    return x * (norm.k + norm.alpha / norm.size * sums) ** -norm.beta


def product(x: Array, y: Array) -> Array:
    """Of two matrices."""
    return jnp.matmul(x, y, precision=_EXACT)


def _windows(
    node: Node, pool: spec.MaxPool | spec.AvgPool, x: Array, start: float, joined: Any
) -> Array:
    """What is left of each window."""
    edges = [(0, 0), *node.window_edges, (0, 0)]
    return jax.lax.reduce_window(x, start, joined, (1, *pool.kernel, 1), (1, *pool.step, 1), edges)


def _adaptive_means(node: Node, x: Array) -> Array:
    """What is left of adaptive windows, rows first."""
    rows, columns = node.bins
    wide = jnp.stack([x[:, start:stop].mean(1) for start, stop in rows], 1)
    return jnp.stack([wide[:, :, start:stop].mean(2) for start, stop in columns], 2)


def _batch_norm(norm: spec.BatchNorm, node: Node, x: Array, run: Pass) -> Array:
    """Over all axes but the channels'; in training the running statistics are moved too."""
    own = run.own(node)
    mean, variance = own["running_mean"], own["running_variance"]
    if run.training and not node.frozen:
        axes = tuple(range(x.ndim - 1))
        mean, variance = x.mean(axes), x.var(axes)
        run.move(node, mean, variance, x.size // x.shape[-1], norm.momentum)
    return (x - mean) / jnp.sqrt(variance + norm.eps) * own["scale"] + own["shift"]


def _dropout(dropout: spec.Dropout, node: Node, x: Array, run: Pass) -> Array:
    """A mask of its own for each layer and step."""
    if not (run.training and dropout.rate):
        return x
    key = jax.random.fold_in(jax.random.key(run.seed), run.step)
    key = jax.random.fold_in(key, zlib.crc32(node.name.encode()))
    kept = jax.random.bernoulli(key, 1 - dropout.rate, x.shape)
    return jnp.where(kept, x / (1 - dropout.rate), 0)
