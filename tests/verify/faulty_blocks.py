"""Blocks and rarer layers of the faulty backend (`faulty.py`), with the ways in which they can be wrong."""

import torch
from torch.nn import functional as F

from dlbench.spec import layers as spec

_ACTIVATIONS = (spec.Relu, spec.Silu, spec.Tanh)


class Blocks:
    """Each written out, so that a fault stands where the right thing would."""

    def adaptive_pool(self, node, x):
        rows, columns = map(list, node.bins)
        height, width = x.shape[2:]
        if self.fault == "adaptive windows begin one late":
            rows = [(min(a + 1, height - 1), max(b, min(a + 2, height))) for a, b in rows]
        if self.fault == "adaptive windows end one early":
            rows, columns = ([(a, max(b - 1, a + 1)) for a, b in ends] for ends in (rows, columns))
        if self.fault == "adaptive windows that never overlap":
            rows, columns = (
                [
                    (a, max(b, a + 1))
                    for (a, _), b in zip(e, [*(n for n, _ in e[1:]), s], strict=True)
                ]
                for e, s in ((rows, height), (columns, width))
            )
        if self.fault == "adaptive windows sum":
            return self._means(x, rows, columns) * (rows[0][1] - rows[0][0])
        return self._means(x, rows, columns)

    def _means(self, x, rows, columns):
        wide = torch.stack([x[:, :, a:b].mean(2) for a, b in rows], 2)
        return torch.stack([wide[..., a:b].mean(3) for a, b in columns], 3)

    def transposed(self, node, layer, x, weight, bias):
        (height, width), (top, left) = node.output_shape[1:], layer.padding
        if self.fault == "transposed padding on the other side":
            top, left = 0, 0
        if self.fault == "transposed kernel flipped":
            weight = weight.flip(2, 3)
        if self.fault == "transposed weights read O×I":
            weight = weight.reshape(weight.shape[1], weight.shape[0], *weight.shape[2:])
            weight = weight.transpose(0, 1)
        # as much behind as there may be
        most = tuple(stride - 1 for stride in layer.stride)
        whole = F.conv_transpose2d(x, weight, bias, layer.stride, 0, most)
        if self.fault == "output padding above and on the left":
            below, right = layer.output_padding
            whole = F.pad(whole, (right, 0, below, 0))
        return whole[:, :, top : top + height, left : left + width]

    def sample_norm(self, layer, x, roles):
        shape, eps = x.shape, layer.eps
        groups = layer.groups if isinstance(layer, spec.GroupNorm) else 1
        parts = x.reshape(len(x), groups, -1)
        axes = (2,)
        if isinstance(layer, spec.LayerNorm):
            parts, axes = x, (1,)
            if self.fault == "layer norm over the whole sample":
                axes = tuple(range(1, x.ndim))
        if self.fault == "group norm over the batch too":
            axes = (0, 2)
        spread = self.fault == "group norm of every so many channels" and groups > 1
        if spread:
            parts = x.reshape(len(x), -1, groups, *x.shape[2:]).transpose(1, 2)
            axes = tuple(range(2, parts.ndim))
        if self.fault == "group norm of each channel":
            parts = x.reshape(len(x), x.shape[1], -1)
        mean = parts.mean(axes, keepdim=True)
        variance = parts.var(axes, keepdim=True, unbiased=False)
        if self.fault == "unbiased variance within a sample":
            variance = parts.var(axes, keepdim=True, unbiased=True)
        root = torch.sqrt(variance + eps)
        if self.fault == "a sample's eps outside the root":
            root = torch.sqrt(variance) + eps
        if self.fault == "a sample's eps is 1e-3":
            root = torch.sqrt(variance + 1e-3)
        normal = (parts - mean) / root
        if spread:
            normal = normal.transpose(1, 2)
        ones = (1, -1, *[1] * (x.ndim - 2))
        scale, shift = (roles[role].reshape(ones) for role in ("scale", "shift"))
        return normal.reshape(shape) * scale + shift

    def responses(self, layer, x):
        reach, share = layer.size // 2, layer.alpha / layer.size
        if self.fault == "alpha not divided by the size":
            share = layer.alpha
        if self.fault == "responses of half as many neighbours":
            reach = reach // 2
        squares = F.pad(x * x, (0, 0, 0, 0, reach, reach))
        if self.fault == "responses of pixels beside each other":
            sums = F.avg_pool2d(x * x, (1, layer.size), 1, (0, reach)) * layer.size
        else:
            sums = sum(squares[:, i : i + x.shape[1]] for i in range(2 * reach + 1))
        if self.fault == "responses are constants in backward":
            sums = sums.detach()
        base = layer.k + share * sums
        if self.fault == "k is 1":
            base = 1 + share * sums
        return x / base**layer.beta

    def scaled(self, node, x, training, before):
        """`before` is the node before and what it read."""
        gate = self.sequence(node.body, x, training)
        if self.fault == "scaling without its last activation":
            gate = self.sequence(node.body[:-1], x, training)
        if self.fault == "scaled by the sample before":
            gate = gate.roll(1, 0)
        if self.fault == "scaling is constant in backward":
            gate = gate.detach() + 0 * gate
        gate = gate.reshape(*gate.shape[:2], *[1] * (x.ndim - 2))
        if self.fault == "scaling added":
            return x + gate
        earlier, read = before
        if self.fault == "scaling before the activation" and isinstance(
            earlier and earlier.layer, _ACTIVATIONS
        ):
            return self.apply(earlier, earlier.layer, read * gate, training)
        return x * gate
