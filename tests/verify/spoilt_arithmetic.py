"""The emulated backend with planted faults of arithmetic, one at a time."""

import torch
from emulated import KINDS, EmulatedAdapter, EmulatedSession, Rounded, same
from torch.nn import functional as F

from dlbench.spec import layers as spec


class SpoiltAdapter(EmulatedAdapter):
    """Right in everything but one of the faults below."""

    def open(self, plan, workload, weights):
        torch.set_num_threads(plan.threads)
        return SpoiltSession(self.fault, plan, workload, weights)


def bfloat(x):
    return x.to(torch.bfloat16).float()


def to_tf32(x):
    steps = 2.0 ** (torch.floor(torch.log2(x.abs().clamp_min(1e-30))) - 10)
    return torch.round(x / steps) * steps


def without_bits(x, kind):
    """To a short format by truncation."""
    near = x.to(kind).float()
    toward = torch.nextafter(x.to(kind), torch.zeros_like(x, dtype=kind)).float()
    return torch.where(near.abs() > x.abs(), toward, near)


def ties_away(x, kind):
    near, beyond = x.to(kind), torch.nextafter(x * (1 + 2.0**-14), x * 4).to(kind)
    is_tie = (x - near.float()).abs() * 2 == (
        torch.nextafter(near, torch.full_like(near, torch.inf)).float()
        - torch.nextafter(near, torch.full_like(near, -torch.inf)).float()
    ).abs() / 2
    return torch.where(is_tie, beyond.float(), near.float())


def at_random(x, kind, generator):
    low = without_bits(x, kind)
    high = torch.where(
        low == x, low, torch.nextafter(low.to(kind), (x.sign() * torch.inf).to(kind)).float()
    )
    share = torch.where(high == low, torch.zeros_like(x), (x - low) / (high - low))
    return torch.where(torch.rand(x.shape, generator=generator) < share, high, low)


def short_product(a, b, kind, block=1):
    """a·b with a sum that is rounded after every `block` terms."""
    total = torch.zeros(*a.shape[:-1], b.shape[-1])
    for begin in range(0, a.shape[-1], block):
        part = a[..., begin : begin + block] @ b[..., begin : begin + block, :]
        total = (total + part).to(kind).float()
    return total


class ShortLinear(torch.autograd.Function):
    """x·Wᵀ with short sums in some of its three products."""

    @staticmethod
    def forward(context, x, weight, kind, where, block):
        context.save_for_backward(x, weight)
        context.kind, context.where, context.block = kind, where, block
        return short_product(x, weight.T, kind, block) if "forward" in where else x @ weight.T

    @staticmethod
    def backward(context, dy):
        x, weight = context.saved_tensors
        kind, where, block = context.kind, context.where, context.block
        dx = short_product(dy, weight, kind, block) if "input" in where else dy @ weight
        dw = short_product(dy.T, x, kind, block) if "weight" in where else dy.T @ x
        return dx, dw, None, None, None


class SpoiltSession(EmulatedSession):
    """Each fault is one condition where the right thing would stand."""

    def __init__(self, fault, plan, workload, weights):
        self.generator = torch.Generator().manual_seed(1)
        super().__init__(fault, plan, workload, weights)
        self.asked = self.kind
        if self.fault == "autocast left on in float32":
            self.kind = torch.bfloat16
        if self.fault == "half precision left on in float32":
            self.kind = torch.float16
        if self.fault == "float32 under a short label":
            self.kind = None
        if self.fault == "the other short format":
            others = {torch.bfloat16: torch.float16, torch.float16: torch.bfloat16}
            self.kind = others[self.kind]
        self.scale = self.policy.loss_scale
        if self.fault == "no loss scale":
            self.scale = 1.0
        if self.fault == "a loss scale of 2^15":
            self.scale = 2.0**15

    def short(self, x):
        kind = self.kind
        if kind is None:
            return x
        if self.fault == "rounding by truncation":
            return without_bits(x, kind)
        if self.fault == "ties away from zero":
            return ties_away(x, kind)
        if self.fault == "stochastic rounding":
            return at_random(x, kind, self.generator)
        if self.fault == "rounded twice":
            return x.to(torch.float16).to(kind).float()
        if self.fault == "float16 through bfloat16":
            return bfloat(x).to(kind).float()
        if self.fault == "clipped at the end of float16":
            return x.clamp(-65504, 65504).to(kind).float()
        if self.fault == "subnormal numbers are flushed":
            return torch.where(x.abs() < 2.0**-14, torch.zeros_like(x), x).to(kind).float()
        return super().short(x)

    def stored(self, x):
        if self.fault == "gradients between layers stay in float32":
            return Rounded.apply(x, self.short, same)
        if self.fault == "activations stay in float32":
            return Rounded.apply(x, same, self.short)
        if self.fault == "activations are kept in eight bits":
            return super().stored(Rounded.apply(x, lambda v: torch.round(v * 16) / 16, same))
        return super().stored(x)

    def handed(self, x):
        if self.fault == "gradients between layers stay in float32":
            return x
        if self.fault == "gradients through bfloat16 in float32":
            return Rounded.apply(x, same, bfloat)
        return super().handed(x)

    def cast(self, weight):
        if self.fault == "weights are not rounded":
            return Rounded.apply(weight, same, self.short)
        if self.fault == "weights are truncated":
            return Rounded.apply(weight, lambda w: without_bits(w, self.kind), self.short)
        if self.fault == "weight gradients stay in float32":
            return Rounded.apply(weight, self.short, same)
        if self.fault == "weight gradients in bfloat16":
            return Rounded.apply(weight, self.short, bfloat)
        if self.fault == "weights rounded once and never again":
            old = self.stale.setdefault(self.name, self.short(weight.detach()))
            return Rounded.apply(weight, lambda w: old, self.short)
        return super().cast(weight)

    def load(self, weights, *, keep_optimizer=False):
        super().load(weights, keep_optimizer=keep_optimizer)
        self.stale = {}
        if self.fault == "master weights are short":
            self.arrays = {k: self.short(v) for k, v in self.arrays.items()}

    def product(self, layer, x, weight):
        is_linear = isinstance(layer, spec.Linear)
        kind = self.kind
        if self.fault == "tf32 in float32":
            return super().product(layer, to_tf32(x), to_tf32(weight))
        if self.fault == "tf32 backward alone" and is_linear:
            return Backward.apply(x, weight, to_tf32)
        if self.fault == "bfloat16 backward alone" and is_linear:
            return Backward.apply(x, weight, bfloat)
        if self.fault == "convolutions alone in bfloat16" and not is_linear:
            return bfloat(super().product(layer, bfloat(x), bfloat(weight)))
        if self.fault == "short sums forward" and is_linear:
            return ShortLinear.apply(x, weight, kind, ("forward",), 1)
        if self.fault == "short sums of blocks of 16" and is_linear:
            return ShortLinear.apply(x, weight, kind, ("forward", "input", "weight"), 16)
        if self.fault == "short sums of weight gradients" and is_linear:
            return ShortLinear.apply(x, weight, kind, ("weight",), 1)
        if self.fault == "short sums of input gradients" and is_linear:
            return ShortLinear.apply(x, weight, kind, ("input",), 1)
        if self.fault == "short sums of convolutions" and not is_linear:
            return self.conv_in_parts(layer, x, weight, kind)
        return super().product(layer, x, weight)

    def conv_in_parts(self, layer, x, weight, kind):
        """A sum over input channels, short after each."""
        total = 0.0
        for channel in range(x.shape[1]):
            part = self.conv(layer, x[:, [channel]], weight[:, [channel]], None)
            total = Rounded.apply(total + part, lambda v: v.to(kind).float(), same)
        return total

    def pool(self, node, layer, x):
        if self.fault == "sums of pools are short" and isinstance(layer, spec.AvgPool):
            (height, width), (down, across) = layer.kernel, layer.step
            windows = x.unfold(2, height, down).unfold(3, width, across).flatten(4)
            total = torch.zeros_like(windows[..., 0])
            for place in range(windows.shape[-1]):
                total = Rounded.apply(total + windows[..., place], self.short, same)
            return total / windows.shape[-1]
        if self.fault == "pools hand back short sums":
            return ShortBack.apply(x, layer, self.short)
        return super().pool(node, layer, x)

    def apply(self, node, layer, x, training):
        if self.fault == "global means are short" and isinstance(layer, spec.GlobalAvgPool):
            total = torch.zeros_like(x[..., 0, 0])
            for value in x.flatten(2).unbind(2):
                total = self.short(total + value)
            return self.stored(total / x[0, 0].numel())
        if self.fault == "convolutions alone in float32" and isinstance(layer, spec.Conv2d):
            kind, self.kind = self.kind, None
            y = super().apply(node, layer, x, training)
            self.kind = kind
            return y
        self.name = node.name
        return super().apply(node, layer, x, training)

    def biased(self, y, bias):
        if self.fault == "bias in eight bits":
            return super().biased(y, Rounded.apply(bias, lambda b: torch.round(b * 16) / 16, same))
        return super().biased(y, bias)

    def normalised(self, node, layer, x, roles, training):
        if self.fault == "gradients of scale and shift are short":
            roles = roles | {
                role: Rounded.apply(roles[role], same, self.short) for role in ("scale", "shift")
            }
        if self.fault == "scale and shift are short":
            roles = roles | {role: self.short(roles[role]) for role in ("scale", "shift")}
        if self.fault == "batch statistics are short" and training:
            mean = self.short(x.mean((0, 2, 3), keepdim=True))
            variance = self.short((x - mean).square().mean((0, 2, 3), keepdim=True))
            self.move(node, layer, roles, mean, variance, x)
            scale, shift = (roles[role].view(1, -1, 1, 1) for role in ("scale", "shift"))
            return (x - mean) / torch.sqrt(variance + layer.eps) * scale + shift
        y = super().normalised(node, layer, x, roles, training)
        if self.fault == "running statistics are short" and training:
            for role in ("running_mean", "running_variance"):
                name = f"{node.name}.{role}"
                self.arrays[name] = self.short(self.arrays[name])
        if self.fault == "inference normalises in short numbers" and not training:
            mean, variance = (
                self.short(roles[role]).view(1, -1, 1, 1)
                for role in ("running_mean", "running_variance")
            )
            scale, shift = (roles[role].view(1, -1, 1, 1) for role in ("scale", "shift"))
            return (x - mean) / torch.sqrt(variance + layer.eps) * scale + shift
        return y

    def move(self, node, layer, roles, mean, variance, x):
        count = x.numel() // mean.numel()
        for role, new in (
            ("running_mean", mean),
            ("running_variance", variance * count / (count - 1)),
        ):
            old = roles[role]
            moved = (1 - layer.momentum) * old + layer.momentum * new.detach().flatten()
            self.arrays[f"{node.name}.{role}"] = moved

    def loss(self, output, targets):
        if self.fault == "softmax is short" and not targets.is_floating_point():
            shares = Rounded.apply(torch.softmax(output, 1), self.short, same)
            output = torch.log(shares.clamp_min(1e-30))
        if self.fault == "the squared error is short" and targets.is_floating_point():
            output, targets = self.short(output), self.short(targets)
            output = Rounded.apply(output - targets, self.short, same)
            targets = torch.zeros_like(output)
        value = super().loss(output, targets) / self.policy.loss_scale * self.scale
        if self.fault == "the loss is short":
            self.told = self.short(self.told)
        if self.fault == "the loss is told with its scale":
            self.told = self.told * self.scale
        return value

    def spoil(self, gradients):
        policy, scale = self.policy, self.scale
        if self.fault == "the loss scale is not taken off":
            scale = 1.0
        if self.fault == "the loss scale is taken off twice":
            scale = scale**2
        if self.fault == "the loss scale is taken off after weight decay":
            decayed = {p.name: self.rule.decay_of(p.name) for p in self.trained}
            # the decay that is added later is as it were divided too
            gradients = {
                k: g / scale + decayed[k] * self.arrays[k] * (1 / scale - 1)
                for k, g in gradients.items()
            }
            scale = 1.0
        if self.fault == "the loss scale is taken off in float16":
            gradients = {k: (g / scale).half().float() for k, g in gradients.items()}
            scale = 1.0
        factor = policy.loss_scale / scale
        return super().spoil({k: g * factor for k, g in gradients.items()})

    def update(self, parameter, w, g):
        if self.fault == "the update is computed in short numbers":
            w, g = self.short(w), self.short(g)
        new = super().update(parameter, w, g)
        if self.fault in (
            "master weights are short",
            "the update is computed in short numbers",
        ):
            return self.short(new)
        return new

    def moment(self, kind, name, keep, add, start=None):
        new = super().moment(kind, name, keep, add, start)
        if self.fault == "the optimizer's state is short":
            new = self.state[kind, name] = self.short(new)
        if self.fault == "the state of convolutions is short" and new.ndim == 4:
            new = self.state[kind, name] = self.short(new)
        if self.fault == "second moments alone are short" and kind == "second":
            new = self.state[kind, name] = self.short(new)
        return new

    def weights(self):
        arrays = super().weights()
        if self.fault == "weights are given as they are rounded":
            return {k: self.short(torch.tensor(v)).numpy() for k, v in arrays.items()}
        return arrays

    def infer(self, batch):
        if self.fault == "inference alone in float32":
            kind, self.kind = self.kind, None
            y = super().infer(batch)
            self.kind = kind
            return y
        return super().infer(batch)


class Backward(torch.autograd.Function):
    """x·Wᵀ whose gradients are products of factors that `rounds` has rounded."""

    @staticmethod
    def forward(context, x, weight, rounds):
        context.save_for_backward(x, weight)
        context.rounds = rounds
        return x @ weight.T

    @staticmethod
    def backward(context, dy):
        x, weight = (context.rounds(saved) for saved in context.saved_tensors)
        dy = context.rounds(dy)
        return dy @ weight, dy.T @ x, None


class ShortBack(torch.autograd.Function):
    """A pool without padding whose windows hand back what is added up in short numbers."""

    @staticmethod
    def forward(context, x, layer, short):
        context.layer, context.short = layer, short
        pooled = F.max_pool2d if isinstance(layer, spec.MaxPool) else F.avg_pool2d
        with torch.enable_grad():
            context.x = x.detach().requires_grad_()
            context.parts = []
            for row in range(0, x.shape[2] - layer.kernel[0] + 1, layer.step[0]):
                for column in range(0, x.shape[3] - layer.kernel[1] + 1, layer.step[1]):
                    window = context.x[
                        :, :, row : row + layer.kernel[0], column : column + layer.kernel[1]
                    ]
                    context.parts.append(pooled(window, layer.kernel))
        columns = (x.shape[3] - layer.kernel[1]) // layer.step[1] + 1
        y = torch.stack([part[:, :, 0, 0] for part in context.parts], -1).detach()
        return y.view(*y.shape[:2], -1, columns)

    @staticmethod
    def backward(context, dy):
        total = torch.zeros_like(context.x)
        for part, d in zip(context.parts, dy.flatten(2).unbind(2), strict=True):
            (one,) = torch.autograd.grad(part, context.x, d[:, :, None, None], retain_graph=True)
            total = context.short(total + one)
        return total, None, None


__all__ = ["KINDS", "SpoiltAdapter"]
