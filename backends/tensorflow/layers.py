"""Layers with windows, and batch norm, as TensorFlow ops on N×H×W×C with the pinned meaning.

TensorFlow's paddings differ from the specification's, and its fastest kernels exist only for two of
them, so the choice among several equal ways to pad is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dlbench.spec import layers as spec
from dlbench.spec.decode import Pair
from dlbench.spec.network import Node

from ..shared.framework import is_misread

_UNIT: Pair = (1, 1)


def conv2d(
    node: Node, x: Any, weight: Any, bias: Any | None = None, *, direct: bool, grouped: bool
) -> Any:
    """Convolution with weight kH×kW×(I/groups)×O, of the type of `x`.

    Unless `direct`, a dilated kernel is spread out with zeros and applied undilated: more work, but
    its gradient exists everywhere (see `dilated_gradients`). Unless `grouped`, groups are convolutions of their own,
    or a depthwise one (see `grouped_gradients`).
    """
    assert isinstance(node.layer, spec.Conv2d)
    layer = node.layer
    dilation, stride = layer.dilation, layer.stride
    misread = x.dtype != tf.float32 and is_misread(node, layer)
    word, edges = _padding(node, same=not misread)
    if edges:
        x = tf.pad(x, edges)
    if misread and node.output_shape[2] == 1:
        # the one window of each row
        x, stride = x[:, :, : layer.span[1]], (stride[0], 1)
    if dilation != _UNIT and not direct:
        weight = _spread(weight, dilation)
        dilation = _UNIT
    if layer.groups == 1 or grouped:
        y = tf.nn.conv2d(x, weight, stride, word, dilations=dilation)
    elif layer.groups == x.shape[-1] and stride[0] == stride[1]:
        if dilation != _UNIT:
            weight = _spread(weight, dilation)
        # output channel c·m + j is the j-th of channel c in both
        each = tf.reshape(weight, (*weight.shape[:2], layer.groups, -1))
        y = tf.nn.depthwise_conv2d(x, each, (1, *stride, 1), word)
    else:
        parts = (tf.split(array, layer.groups, -1) for array in (x, weight))
        convolved = [
            tf.nn.conv2d(one, other, stride, word, dilations=dilation)
            for one, other in zip(*parts, strict=True)
        ]
        y = tf.concat(convolved, -1)
    return y if bias is None else tf.nn.bias_add(y, bias)


def conv_transpose2d(node: Node, x: Any, weight: Any, bias: Any | None = None) -> Any:
    """The transpose of a convolution, with weight kH×kW×O×I: all of it, then what the padding leaves."""
    assert isinstance(node.layer, spec.ConvTranspose2d)
    layer, (_, *size), (outputs, *left) = node.layer, node.input_shape, node.output_shape
    whole = [
        (length - 1) * stride + kernel + added
        for length, stride, kernel, added in zip(
            size, layer.stride, layer.kernel, layer.output_padding, strict=True
        )
    ]
    shape = (x.shape[0], *whole, outputs)
    y = tf.nn.conv2d_transpose(x, weight, shape, layer.stride, "VALID")
    (top, before), (height, width) = layer.padding, left
    y = y[:, top : top + height, before : before + width]
    return y if bias is None else tf.nn.bias_add(y, bias)


def group_norm(node: Node, scale: Any, shift: Any, x: Any) -> Any:
    """Over the channels of a group and their pixels."""
    assert isinstance(node.layer, spec.GroupNorm)
    parts = tf.reshape(x, (*x.shape[:-1], node.layer.groups, -1))
    axes = (*range(1, len(x.shape) - 1), len(x.shape))
    mean, variance = tf.nn.moments(parts, axes, keepdims=True)
    normal = (parts - mean) * tf.math.rsqrt(variance + node.layer.eps)
    return tf.reshape(normal, x.shape) * scale + shift


def layer_norm(node: Node, scale: Any, shift: Any, x: Any) -> Any:
    """Over the features, or the channels at each pixel."""
    assert isinstance(node.layer, spec.LayerNorm)
    mean, variance = tf.nn.moments(x, -1, keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, shift, scale, node.layer.eps)


def local_response_norm(layer: spec.LocalResponseNorm, x: Any) -> Any:
    """TensorFlow's own, whose alpha is that of one channel."""
    return tf.nn.local_response_normalization(
        x, layer.size // 2, layer.k, layer.alpha / layer.size, layer.beta
    )


def dilated_gradients(dtype: Any) -> bool:
    """Whether this device has the gradients of dilated convolutions in a type (the CPU only with oneDNN)."""
    return _has_gradients(tf.ones((1, 4, 4, 1), dtype), tf.ones((2, 2, 1, 1), dtype), 2)


def grouped_gradients(dtype: Any) -> bool:
    """Whether this device has the gradients of convolutions in groups in a type (the CPU only with oneDNN)."""
    return _has_gradients(tf.ones((1, 4, 4, 4), dtype), tf.ones((2, 2, 2, 4), dtype), 1)


def _has_gradients(x: Any, weight: Any, dilation: int) -> bool:
    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch((x, weight))
            y = tf.reduce_sum(tf.nn.conv2d(x, weight, 1, "VALID", dilations=dilation))
        return tape.gradient(y, [x, weight])

    try:
        tf.function(gradients, autograph=False, jit_compile=False)(x)
    except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        return False
    return True


def max_pool(node: Node, x: Any) -> Any:
    """Maximum over windows; padding is minus infinity, so it never wins."""
    assert isinstance(node.layer, spec.MaxPool)
    layer = node.layer
    word, edges = _padding(node)
    if edges:
        x = tf.pad(x, edges, constant_values=-np.inf)
    return tf.nn.max_pool2d(x, layer.kernel, layer.step, word)


def avg_pool(node: Node, x: Any) -> Any:
    """Mean over the elements of each window that lie inside the input, or the input and its padding."""
    assert isinstance(node.layer, spec.AvgPool)
    layer = node.layer
    # a window that is SAME is divided by what lies inside
    word, edges = _padding(node, same=not layer.count_include_pad)
    if edges:
        x = tf.pad(x, edges)
    means = tf.nn.avg_pool2d(x, layer.kernel, layer.step, word)
    if word == "SAME":
        return means
    shares = layer.kernel[0] * layer.kernel[1] / np.multiply.outer(*node.divisors)[..., None]
    return means if (shares == 1).all() else means * tf.constant(shares, tf.float32)


def adaptive_avg_pool(node: Node, x: Any) -> Any:
    """Mean over each of so many windows: a pool where all are alike and none overlap, else products with shares."""
    (height, width), (rows, columns) = node.input_shape[1:], node.output_shape[1:]
    if height % rows == 0 and width % columns == 0:
        kernel = (height // rows, width // columns)
        return tf.nn.avg_pool2d(x, kernel, kernel, "VALID")
    along = [
        tf.constant(_shares(bins, size), tf.float32)
        for bins, size in zip(node.bins, (height, width), strict=True)
    ]
    return tf.einsum("jw,niwc->nijc", along[1], tf.einsum("ih,nhwc->niwc", along[0], x))


def _shares(bins: Sequence[tuple[int, int]], size: int) -> npt.NDArray[np.float32]:
    """For each window what each of `size` places counts in its mean."""
    places = np.arange(size)
    return np.stack(
        [((places >= a) & (places < b)) / np.float32(b - a) for a, b in bins], dtype=np.float32
    )


def batch_norm(
    node: Node, x: Any, scale: Any, shift: Any, mean: Any, variance: Any, *, training: bool
) -> Any:
    """Batch norm; in training the running statistics `mean` and `variance` (variables) are updated.

    The raw op, because the public wrapper raises eps to at least 1.001e-5. It moves the running
    statistics itself, with the unbiased variance. Features are images of one pixel to it.

    Statistics are float32 for a short `x` too.

    Raises
    ------
    ValueError : training on one value per channel or feature.
    """
    assert isinstance(node.layer, spec.BatchNorm)
    if training and np.prod(x.shape[:-1]) == 1:
        raise ValueError(f"{node.name}: batch norm cannot be trained on one value per channel")
    result = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, (x.shape[0], 1, 1, x.shape[1])) if len(x.shape) == 2 else x,
        scale=scale,
        offset=shift,
        mean=mean,
        variance=variance,
        epsilon=node.layer.eps,
        exponential_avg_factor=node.layer.momentum if training else 1.0,
        is_training=training,
    )
    if training:
        mean.assign(result.batch_mean)
        variance.assign(result.batch_variance)
    return tf.reshape(result.y, x.shape) if len(x.shape) == 2 else result.y


def option_a(node: Node, x: Any) -> Any:
    """Every stride-th row and column, with channels of zeros behind.

    Not by ``tf.pad``: TensorFlow 2.21 fuses a biased convolution with a sum behind it, and where the sum's
    other side is a pad, that kernel ends the process with a segmentation fault.
    """
    assert isinstance(node.layer, spec.OptionA)
    down, across = node.layer.stride
    thinned = x[:, ::down, ::across, :]
    zeros = tf.zeros((*thinned.shape[:3], node.layer.extra_channels), x.dtype)
    return tf.concat((thinned, zeros), -1)


def _padding(node: Node, *, same: bool = True) -> tuple[str, list[list[int]] | None]:
    """TensorFlow's word for a padding, and the edges to add before where no word means it.

    ``SAME`` wherever it happens to be the padding asked for, unless not `same`, else edges and ``VALID``.
    Explicit padding is not used: its kernels bypass oneDNN (a 3×3 convolution took twice as long, a
    pool three times).
    """
    assert isinstance(node.layer, spec.Conv2d | spec.MaxPool | spec.AvgPool)
    layer, edges = node.layer, node.window_edges
    if edges == ((0, 0), (0, 0)):
        return "VALID", None
    for axis, (before, _) in enumerate(edges):
        size, count = node.input_shape[1 + axis], node.output_shape[1 + axis]
        reach = max((count - 1) * layer.step[axis] + layer.span[axis] - size, 0)
        same &= count == -(-size // layer.step[axis]) and before == reach // 2
    return ("SAME", None) if same else ("VALID", [[0, 0], *map(list, edges), [0, 0]])


def _spread(weight: Any, dilation: Pair) -> Any:
    """A kernel kH×kW×I×O with dilation − 1 zeros between its rows and columns."""
    height, width, *channels = weight.shape
    down, across = dilation
    rows = tf.reshape(weight, (height, 1, width, 1, *channels))
    zeros = [[0, 0], [0, down - 1], [0, 0], [0, across - 1], [0, 0], [0, 0]]
    spread = tf.reshape(tf.pad(rows, zeros), (height * down, width * across, *channels))
    return spread[: down * (height - 1) + 1, : across * (width - 1) + 1]
