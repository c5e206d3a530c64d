"""What layers mean in MXNet, over its arrays or its symbols: `F` is `mxnet.nd` or `mxnet.sym`, as in Gluon's blocks.

Images are N×C×H×W and the weights of convolutions O×I×kH×kW, as the specification has them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Shape

_LOWEST = float(np.finfo(np.float32).min)
_BLOCK = 16


@dataclasses.dataclass(frozen=True)
class Pass:
    """What all layers of a pass share.

    Attributes
    ----------
    F : the namespace of operators.
    batch : samples.
    own : parameters and constants by name.
    """

    F: Any
    batch: int
    own: Mapping[str, Any]

    def of(self, node: Node) -> dict[str, Any]:
        """A node's parameters, by role."""
        return {parameter.role: self.own[parameter.name] for parameter in node.parameters}


def constants(node: Node) -> dict[str, npt.NDArray[np.float32]]:
    """What a layer reads beside its parameters, by name: of a mean whose windows MXNet does not have, what makes the
    mean over a whole window one over what counts."""
    if not isinstance(node.layer, spec.AvgPool) or _is_symmetric(node.layer):
        return {}
    shares = math.prod(node.layer.kernel) / np.multiply.outer(*node.divisors)
    return {f"{node.name}/shares": shares[None, None].astype(np.float32)}


def sequence(run: Pass, nodes: Iterable[Node], x: Any) -> Any:
    """The output of one layer after another."""
    for node in nodes:
        x = layer(run, node, x)
    return x


def layer(run: Pass, node: Node, x: Any) -> Any:
    """The output of one layer, by the meaning that its class in `dlbench.spec.layers` pins."""
    F, own, is_image = run.F, run.of(node), len(node.input_shape) == 3
    match node.layer:
        case spec.Conv2d() as conv:
            return _convolution(F, conv, x, own)
        case spec.ConvTranspose2d() as conv:
            return F.Deconvolution(
                x,
                *own.values(),
                kernel=conv.kernel,
                stride=conv.stride,
                pad=conv.padding,
                adj=conv.output_padding,
                num_filter=conv.out_channels,
                no_bias=not conv.bias,
            )
        case spec.Linear() as linear:
            features = {"num_hidden": linear.out_features, "flatten": False}
            return F.FullyConnected(x, *own.values(), no_bias=not linear.bias, **features)
        case spec.BatchNorm() as norm:
            return F.BatchNorm(
                x,
                own["scale"],
                own["shift"],
                own["running_mean"],
                own["running_variance"],
                eps=norm.eps,
                momentum=1 - norm.momentum,
                # by default the scale is a constant 1
                fix_gamma=False,
            )
        case spec.GroupNorm() as norm:
            return _group_norm(run, node, norm, x, own)
        case spec.LayerNorm() as norm:
            return F.LayerNorm(x, own["scale"], own["shift"], axis=1, eps=norm.eps)
        case spec.LocalResponseNorm() as norm:
            return _response_norm(run, node, norm, x)
        case spec.Relu():
            return F.relu(x)
        case spec.LeakyRelu() as leaky:
            return F.LeakyReLU(x, act_type="leaky", slope=leaky.slope)
        case spec.Sigmoid():
            return F.sigmoid(x)
        case spec.Tanh():
            return F.tanh(x)
        case spec.Relu6():
            return _up_to_six(F, x)
        case spec.Silu():
            return x * F.sigmoid(x)
        case spec.HardSigmoid():
            return _up_to_six(F, x + 3) / 6
        case spec.HardSwish():
            return x * _up_to_six(F, x + 3) / 6
        case spec.Gelu(approximate="tanh"):
            return 0.5 * x * (1 + F.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))
        case spec.Gelu():
            return F.LeakyReLU(x, act_type="gelu")
        case spec.MaxPool() as pool:
            return _max_pool(F, node, pool, x)
        case spec.AvgPool() as pool:
            return _avg_pool(run, node, pool, x)
        case spec.GlobalAvgPool():
            return F.flatten(F.Pooling(x, kernel=(1, 1), global_pool=True, pool_type="avg"))
        case spec.AdaptiveAvgPool() as pool:
            return F.contrib.AdaptiveAvgPooling2D(x, output_size=pool.output)
        case spec.Dropout() as dropout:
            return F.Dropout(x, p=dropout.rate)
        case spec.Flatten():
            return F.flatten(x)
        case spec.OptionA() as thinned:
            return _option_a(run, node, thinned, x)
        case spec.Residual():
            return sequence(run, node.body, x) + sequence(run, node.shortcut, x)
        case spec.Concat():
            channels = [
                (body[-1].output_shape if body else node.input_shape)[0] for body in node.bodies
            ]
            parts = [sequence(run, body, x) for body in node.bodies]
            return _joined(F, parts, channels, node.output_shape)
        case spec.Scale():
            gate = sequence(run, node.body, x)
            if is_image and len(node.body[-1].output_shape) == 1:
                gate = F.reshape(gate, (0, 0, 1, 1))
            return F.broadcast_mul(x, gate)


def _up_to_six(F: Any, x: Any) -> Any:
    """Between 0 and 6. MXNet's clip has the derivative 1 at both, and after its `hard_sigmoid` gradients are wrong
    where that ends a residual's body."""
    above = F.relu(x)
    return F.where(above < 6, above, 6 * F.ones_like(above))


def _convolution(F: Any, conv: spec.Conv2d, x: Any, own: Mapping[str, Any]) -> Any:
    pad = conv.even_padding
    return F.Convolution(
        _surrounded(F, x, conv.edges, 0.0) if pad is None else x,
        *own.values(),
        kernel=conv.kernel,
        stride=conv.stride,
        dilate=conv.dilation,
        pad=pad or (0, 0),
        num_filter=conv.out_channels,
        num_group=conv.groups,
        no_bias=not conv.bias,
    )


def _surrounded(F: Any, x: Any, edges: spec.Edges, value: float) -> Any:
    """An image with a value around it."""
    if not any(map(any, edges)):
        return x
    widths = (0, 0, 0, 0, *edges[0], *edges[1])
    return F.pad(x, mode="constant", pad_width=widths, constant_value=value)


def _group_norm(run: Pass, node: Node, norm: spec.GroupNorm, x: Any, own: Mapping[str, Any]) -> Any:
    """MXNet's own has a scale and a shift for each group and none for each channel."""
    F, ones = run.F, (1,) * (len(node.input_shape) - 1)
    parts = F.reshape(x, (run.batch, norm.groups, -1))
    groups = {"num_groups": norm.groups, "eps": norm.eps}
    normal = F.GroupNorm(parts, F.ones(norm.groups), F.zeros(norm.groups), **groups)
    whole = F.reshape(normal, (run.batch, *node.input_shape))
    scale, shift = (F.reshape(own[role], (1, -1, *ones)) for role in ("scale", "shift"))
    return F.broadcast_add(F.broadcast_mul(whole, scale), shift)


def _response_norm(run: Pass, node: Node, norm: spec.LocalResponseNorm, x: Any) -> Any:
    """Means of squares along channels are a pool's that counts padding. The gradient of MXNet's own LRN is wrong
    where a global pool reads it."""
    F, (channels, *_) = run.F, node.input_shape
    means = F.Pooling(
        F.reshape(x * x, (run.batch, 1, channels, -1)),
        kernel=(norm.size, 1),
        stride=(1, 1),
        pad=(norm.size // 2, 0),
        pool_type="avg",
        count_include_pad=True,
    )
    means = F.reshape(means, (run.batch, *node.input_shape))
    return x * (norm.k + norm.alpha * means) ** -norm.beta


def _is_symmetric(pool: spec.MaxPool | spec.AvgPool) -> bool:
    """Whether MXNet's windows are the specification's with no more than the same padding on both sides."""
    return pool.even_padding is not None and not pool.ceil_mode


def _max_pool(F: Any, node: Node, pool: spec.MaxPool, x: Any) -> Any:
    """What MXNet calls the full convention has one more window where that begins in the padding."""
    pad = pool.even_padding if _is_symmetric(pool) else None
    return F.Pooling(
        _surrounded(F, x, node.window_edges, _LOWEST) if pad is None else x,
        kernel=pool.kernel,
        stride=pool.step,
        pad=pad or (0, 0),
        pool_type="max",
    )


def _avg_pool(run: Pass, node: Node, pool: spec.AvgPool, x: Any) -> Any:
    F, of = run.F, {"kernel": pool.kernel, "stride": pool.step, "pool_type": "avg"}
    if _is_symmetric(pool):
        counted = pool.count_include_pad
        return F.Pooling(x, pad=pool.even_padding, count_include_pad=counted, **of)
    means = F.Pooling(_surrounded(F, x, node.window_edges, 0.0), **of)
    return F.broadcast_mul(means, run.own[f"{node.name}/shares"])


def _option_a(run: Pass, node: Node, thinned: spec.OptionA, x: Any) -> Any:
    """Its padding is of rows and columns alone, so that channels of zeros are joined."""
    F = run.F
    if thinned.stride != (1, 1):
        none = (None,) * 4
        x = F.slice(x, begin=none, end=none, step=(1, 1, *thinned.stride))
    if not thinned.extra_channels:
        return x
    zeros = F.zeros((run.batch, thinned.extra_channels, *node.output_shape[1:]))
    channels = node.input_shape[0], thinned.extra_channels
    return _joined(F, [x, zeros], channels, node.output_shape)


def _joined(F: Any, parts: Sequence[Any], channels: Sequence[int], shape: Shape) -> Any:
    """Channels behind channels. oneDNN keeps them in blocks of 16, and MXNet 1.9.1 raises where the gradient of a part
    begins inside one ("could not construct a sub-memory"); with all pixels along one axis it joins them itself."""
    if len(shape) == 1 or all(count % _BLOCK == 0 for count in channels):
        return F.concat(*parts, dim=1)
    flat = F.concat(*(F.reshape(part, (0, 0, -1)) for part in parts), dim=1)
    return F.reshape(flat, (0, 0, *shape[1:]))
