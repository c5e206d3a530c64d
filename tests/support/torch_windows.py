"""Convolutions, pools and concatenations in PyTorch's own functions, for any padding: what rivals of ours are made of.

Padding that differs from side to side is put there first, and windows that begin in it are left out afterwards.
"""

import math

import torch
from torch.nn import functional as F


def conv2d(layer, x, weight, bias):
    """With PyTorch's padding where both sides are alike."""
    padding = layer.even_padding
    if padding is None:
        x, padding = _padded(x, layer, 0.0), (0, 0)
    return F.conv2d(x, weight, bias, layer.stride, padding, layer.dilation, layer.groups)


def max_pool(node, x):
    """As `conv2d`."""
    layer, padding = node.layer, node.layer.even_padding
    if padding is None:
        x, padding = _padded(x, layer, -math.inf), (0, 0)
    y = F.max_pool2d(x, layer.kernel, layer.step, padding, ceil_mode=layer.ceil_mode)
    return _begun_inside(y, node)


def avg_pool(node, x):
    """As `conv2d`. Without padding, what PyTorch divides by is the windows' part of what it is given."""
    layer, padding = node.layer, node.layer.even_padding
    if padding is not None:
        return F.avg_pool2d(
            x, layer.kernel, layer.step, padding, layer.ceil_mode, layer.count_include_pad
        )
    means, shares = (
        F.avg_pool2d(_padded(each, layer, 0.0), layer.kernel, layer.step, 0, layer.ceil_mode)
        for each in (x, torch.ones_like(x))
    )
    return _begun_inside(means if layer.count_include_pad else means / shares, node)


def concat(node, through, x):
    """What `through` makes of each body and x, side by side."""
    return torch.cat([through(body, x) for body in node.bodies], 1)


def _padded(x, layer, value):
    rows, columns = layer.edges
    return F.pad(x, (*columns, *rows), value=value)


def _begun_inside(y, node):
    rows, columns = node.output_shape[1:]
    return y[:, :, :rows, :columns]
