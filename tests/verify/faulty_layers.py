"""The layers of the faulty backend (`faulty.py`), each with the ways in which it can be wrong."""

import math

import torch
from faulty_activations import Activations
from faulty_blocks import Blocks
from torch.nn import functional as F

from dlbench.spec import layers as spec


class Layers(Activations, Blocks):
    """Walks a network; `self.arrays` holds its parameters, which batch norm replaces as it goes."""

    def sequence(self, nodes, x, training):
        before = (None, x)
        for node in nodes:
            read = x
            if isinstance(node.layer, spec.Scale):
                x = self.scaled(node, x, training, before)
            else:
                x = self.apply(node, node.layer, x, training)
            before = (node, read)
        return x

    def apply(self, node, layer, x, training):
        roles = {p.role: self.arrays[p.name] for p in node.parameters}
        match layer:
            case spec.Conv2d():
                return self.conv(layer, x, roles["weight"], roles.get("bias"))
            case spec.ConvTranspose2d():
                return self.transposed(node, layer, x, roles["weight"], roles.get("bias"))
            case spec.GroupNorm() | spec.LayerNorm():
                return self.sample_norm(layer, x, roles)
            case spec.LocalResponseNorm():
                return self.responses(layer, x)
            case spec.Linear():
                weight, bias = roles["weight"], roles.get("bias")
                if self.fault == "weights with ten bits of mantissa":
                    scale = 2.0 ** (torch.floor(torch.log2(weight.detach().abs() + 1e-30)) - 10)
                    weight = weight + (torch.round(weight / scale) * scale - weight).detach()
                if self.fault == "products through bfloat16":
                    return (x.bfloat16() @ weight.bfloat16().T).float() + (
                        0 if bias is None else bias
                    )
                return x @ weight.T + (0 if bias is None else bias)
            case spec.BatchNorm():
                return self.batch_norm(node, layer, x, roles, training)
            case spec.Relu():
                if self.fault == "relu's derivative at zero is one":
                    return torch.where(x >= 0, x, 0.0)
                if self.fault == "relu clipped at six":
                    return x.clamp(0, 6)
                return torch.where(x > 0, x, 0.0)
            case spec.LeakyRelu():
                slope = layer.slope
                if self.fault == "leaky slope of 0.2":
                    slope = 0.2
                return torch.where(x > 0, x, slope * x)
            case spec.Sigmoid():
                if self.fault == "hard sigmoid":
                    return F.hardsigmoid(x)
                return 1 / (1 + torch.exp(-x))
            case spec.Tanh():
                return torch.tanh(x)
            case spec.Relu6() | spec.Silu() | spec.HardSigmoid() | spec.HardSwish() | spec.Gelu():
                return self.activation(layer, x)
            case spec.MaxPool() | spec.AvgPool():
                return self.pool(node, layer, x)
            case spec.GlobalAvgPool():
                if self.fault == "global average pooling sums":
                    return x.sum((2, 3))
                return x.mean((2, 3))
            case spec.AdaptiveAvgPool():
                return self.adaptive_pool(node, x)
            case spec.Dropout():
                return self.dropout(layer, x, training)
            case spec.Flatten():
                if self.fault == "flatten in height, width, channels order" and x.ndim == 4:
                    x = x.permute(0, 2, 3, 1)
                return x.reshape(len(x), -1)
            case spec.OptionA():
                return self.option_a(layer, x)
            case spec.Residual():
                body = self.sequence(node.body, x, training)
                if self.fault == "shortcut forgotten":
                    return body
                shortcut = self.sequence(node.shortcut, x, training)
                if self.fault == "shortcut added twice":
                    return body + 2 * shortcut
                if self.fault == "shortcut has no gradient":
                    shortcut = shortcut.detach()
                return body + shortcut
            case spec.Concat():
                parts = [self.sequence(body, x, training) for body in node.bodies]
                if self.fault == "bodies of a concatenation in reverse":
                    parts.reverse()
                if self.fault == "each body reads the one before it":
                    parts = [x]
                    for body in node.bodies:
                        parts.append(self.sequence(body, parts[-1], training))
                    parts = parts[1:]
                if self.fault == "last body has no gradient":
                    parts[-1] = parts[-1].detach()
                if self.fault == "concatenation along height" and parts[0].shape == parts[1].shape:
                    return torch.cat(parts, 2).reshape(len(x), *node.output_shape)
                return torch.cat(parts, 1)

    def conv(self, layer, x, weight, bias):
        ((up, down), (left, right)), stride, dilation = layer.edges, layer.stride, layer.dilation
        pads, groups = [left, right, up, down], layer.groups
        if self.fault == "weights of groups in reverse":
            weight = weight.reshape(groups, -1, *weight.shape[1:]).flip(0).reshape(weight.shape)
        if self.fault == "groups of every so many channels" and groups > 1:
            x = x.reshape(len(x), -1, groups, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        if self.fault == "outputs of groups interleaved":
            order = torch.arange(len(weight)).reshape(groups, -1).T.reshape(-1)
            weight, bias = weight[order], None if bias is None else bias[order]
        if self.fault == "all groups read the first" and groups > 1:
            x = x[:, : x.shape[1] // groups].repeat(1, groups, 1, 1)
        if self.fault == "padding behind only":
            pads = [0, left + right, 0, up + down]
        if self.fault == "padding before and behind exchanged":
            pads = [right, left, down, up]
        if self.fault == "padding of rows and columns exchanged":
            pads = [up, down, left, right]
        if self.fault == "padding evened out":
            pads = [
                (left + right) // 2,
                (left + right + 1) // 2,
                (up + down) // 2,
                (up + down + 1) // 2,
            ]
        if self.fault == "padding of TensorFlow's SAME":
            pads = same_padding(layer, x.shape[2:]) or pads
        if self.fault == "kernel flipped":
            weight = weight.flip(2, 3)
        if self.fault == "kernel transposed" and layer.kernel[0] == layer.kernel[1]:
            weight = weight.transpose(2, 3)
        if self.fault == "dilation ignored":
            pads = [p - (layer.kernel[0] - 1) * (dilation[0] - 1) // 2 for p in pads]
            dilation = (1, 1)
        if self.fault == "stride transposed":
            stride = stride[::-1]
        if self.fault == "border replicated instead of zero" and any(pads):
            return F.conv2d(F.pad(x, pads, "replicate"), weight, bias, stride, 0, dilation)
        return F.conv2d(F.pad(x, pads), weight, bias, stride, 0, dilation, groups)

    def batch_norm(self, node, layer, x, roles, training):
        of_features = x.ndim == 2
        if of_features and self.fault == "features normalised within each sample":
            return F.layer_norm(x, x.shape[1:], roles["scale"], roles["shift"], layer.eps)
        x = x[:, :, None, None] if of_features else x
        y = self.normalised(node, layer, x, roles, training)
        return y[:, :, 0, 0] if of_features else y

    def normalised(self, node, layer, x, roles, training):
        eps, momentum, axes = layer.eps, layer.momentum, (0, 2, 3)
        if self.fault == "batch norm's momentum read the Keras way":
            momentum = 1 - momentum
        if self.fault == "batch norm's eps is 1e-3":
            eps = 1e-3
        if self.fault == "batch norm's eps is 0":
            eps = 0.0
        if self.fault == "statistics of each sample":
            axes = (2, 3)
        if self.fault == "all features share their statistics" and x[0, 0].numel() == 1:
            axes = (0, 1, 2, 3)
        mean = x.mean(axes, keepdim=True)
        count = x.numel() // mean.numel()
        if self.fault == "statistics of features over half of the batch" and x[0, 0].numel() == 1:
            mean = x[: (len(x) + 1) // 2].mean(axes, keepdim=True)
        biased = (x - mean).square().mean(axes, keepdim=True)
        unbiased = biased * count / max(count - 1, 1)
        used, moved = self.by_batch(node, training)
        if self.fault == "batch statistics in inference":
            used = True
        if self.fault == "running statistics are never updated":
            moved = False
        if self.fault == "running statistics move in inference too":
            moved = True
        if not used:
            mean = roles["running_mean"].view(1, -1, 1, 1)
            variance = roles["running_variance"].view(1, -1, 1, 1)
        else:
            variance = biased
            if self.fault == "unbiased variance to normalise":
                variance = unbiased
        root = torch.sqrt(variance + eps)
        if self.fault == "batch norm's eps outside the root":
            root = torch.sqrt(variance) + eps
        if self.fault == "batch statistics are constants in backward" and used:
            mean, root = mean.detach(), root.detach()
        if moved:
            entering = unbiased
            if self.fault == "biased running variance":
                entering = biased
            if self.fault == "biased running variance of features" and x[0, 0].numel() == 1:
                entering = biased
            if self.fault == "running standard deviation":
                entering = entering.sqrt()
            if self.fault == "eps enters the running variance":
                entering = entering + layer.eps
            if self.fault == "running statistics move twice a step":
                momentum = 1 - (1 - momentum) ** 2
            if self.fault == "running variance never moves":
                entering = roles["running_variance"].view(1, -1, 1, 1)
            channels = x.shape[1]
            new_mean = x.mean((0, 2, 3)).detach()
            new_variance = entering.detach().expand(-1, channels, 1, 1).mean((0, 2, 3))
            for role, new in (("running_mean", new_mean), ("running_variance", new_variance)):
                old = roles[role]
                self.arrays[f"{node.name}.{role}"] = (1 - momentum) * old + momentum * new
        scale, shift = (roles[role].view(1, -1, 1, 1) for role in ("scale", "shift"))
        return (x - mean) / root * scale + shift

    def pool(self, node, layer, x):
        (height, width), (down, across) = layer.kernel, layer.step
        (up, below), (left, right) = layer.edges
        largest = isinstance(layer, spec.MaxPool)
        fill = -math.inf if largest else 0.0
        if self.fault == "max pool's padding is zeros":
            fill = 0.0
        if self.fault == "pooling stride is 1 off":
            across = across + 1
        if self.fault == "a pool's padding before and behind exchanged":
            left, right, up, below = right, left, below, up
        counted = getattr(layer, "count_include_pad", False)
        if self.fault == "average pooling counts padding":
            counted = True
        if self.fault == "average pooling never counts padding":
            counted = False
        padded = F.pad(x, (left, right, up, below), value=fill)
        inside = F.pad(torch.ones_like(x), (left, right, up, below), value=float(counted))
        ceils = layer.ceil_mode
        if self.fault == "pooling in ceil mode":
            ceils = True
        if self.fault == "pooling never in ceil mode":
            ceils = False
        if ceils:
            more = []
            for size, kernel, step, begun in (
                (padded.shape[3], width, across, x.shape[3] + left),
                (padded.shape[2], height, down, x.shape[2] + up),
            ):
                last = -(-(size - kernel) // step) * step
                last -= step if last >= begun else 0
                if self.fault == "a last window that begins behind the input":
                    last = -(-(size - kernel) // step) * step
                more.append(max(last + kernel - size, 0))
            beyond = float(counted and self.fault == "what lies beyond the padding counts too")
            padded = F.pad(padded, (0, more[0], 0, more[1]), value=fill)
            inside = F.pad(inside, (0, more[0], 0, more[1]), value=beyond)
        windows = padded.unfold(2, height, down).unfold(3, width, across).flatten(4)
        known = inside.unfold(2, height, down).unfold(3, width, across).flatten(4)
        if not largest:
            return windows.sum(-1) / known.sum(-1)
        if self.fault == "ties send the gradient to each maximum":
            top = windows.max(-1, keepdim=True).values
            finite = windows.masked_fill(windows == -math.inf, 0)
            return (finite * (windows == top)).sum(-1) + _no_gradient(finite, windows == top)
        if self.fault == "max pool averages":
            return windows.masked_fill(known == 0, 0).sum(-1) / known.sum(-1)
        return windows.gather(-1, windows.argmax(-1, keepdim=True))[..., 0]

    def option_a(self, layer, x):
        (down, across), extra = layer.stride, layer.extra_channels
        first = 0
        if self.fault == "option A starts at pixel 1" and max(layer.stride) > 1:
            first = 1
        taken = x[:, :, first::down, first::across]
        if self.fault == "option A averages":
            taken = F.avg_pool2d(x, (down, across), (down, across), ceil_mode=True)
        if self.fault == "option A's zeros in front":
            return F.pad(taken, (0, 0, 0, 0, extra, 0))
        if self.fault == "option A's zeros on both sides":
            return F.pad(taken, (0, 0, 0, 0, extra // 2, extra - extra // 2))
        return F.pad(taken, (0, 0, 0, 0, 0, extra))

    def dropout(self, layer, x, training):
        if self.fault == "dropout in inference":
            training = True
        if self.fault == "dropout rescales in inference" and not training:
            return x * (1 - layer.rate)
        if not training or layer.rate == 0:
            return x
        rate, factor, shape = layer.rate, 1 / (1 - layer.rate), x.shape
        if self.fault == "keep probability taken for the rate":
            rate, factor = 1 - rate, 1 / rate
        if self.fault == "dropout is not rescaled":
            factor = 1.0
        if self.fault == "dropout is only a scale":
            rate, factor = 0.0, 1.0
        if self.fault == "one mask for all steps":
            self.random.manual_seed(self.mask_seed)
        if self.fault == "masks repeat every fourth step":
            self.random.manual_seed(self.steps_ever % 4)
        if self.fault == "one mask for all dropout layers":
            self.random.manual_seed(self.steps_ever)
        if self.fault == "one mask for all samples":
            shape = (1, *x.shape[1:])
        if self.fault == "dropout of whole channels" and x.ndim == 4:
            shape = (*x.shape[:2], 1, 1)
        if self.fault == "dropout drops pairs":
            pairs = torch.rand((-(-x.numel() // 2),), generator=self.random)
            draws = pairs.repeat_interleave(2)[: x.numel()].view(x.shape)
        else:
            draws = torch.rand(shape, generator=self.random)
        if self.fault == "both halves of a batch have one mask":
            half = len(draws) // 2
            draws[half : 2 * half] = draws[:half]
        kept = (draws >= rate).float().expand(x.shape)
        if self.fault == "dropout's gradient is not masked":
            return x * factor + (x * kept * factor - x * factor).detach()
        return x * kept * factor


def same_padding(layer, size):
    """TensorFlow's one-sided padding, where it gives an output of the same size; None elsewhere."""
    pads = []
    for axis in (1, 0):
        stride, span = layer.stride[axis], layer.dilation[axis] * (layer.kernel[axis] - 1) + 1
        outputs = (size[axis] + sum(layer.edges[axis]) - span) // stride + 1
        if outputs != -(-size[axis] // stride):
            return None
        total = max((outputs - 1) * stride + span - size[axis], 0)
        pads += [total // 2, total - total // 2]
    return pads


def _no_gradient(values, where):
    """What takes the surplus of a sum over ties away again, as a constant."""
    ties = where.sum(-1)
    return -((values * where).sum(-1) * (ties - 1) / ties).detach()
