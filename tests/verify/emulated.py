"""A backend that computes by a policy of mixed precision, on top of float32, and goes wrong on demand.

It is the faulty backend of `faulty.py`, with every rounding of the policy put in by hand: PyTorch's own conversions to
bfloat16 and float16 and back, and sums in float32. `EmulatedAdapter(None)` is right in every precision.
"""

import torch
from faulty import FaultySession

from dlbench.contract import BackendInfo, Device
from dlbench.spec import layers as spec
from dlbench.spec.precision import policy_of

KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}


class EmulatedAdapter:
    """Right in everything but `fault`."""

    def __init__(self, fault=None):
        self.fault = fault

    def info(self):
        return BackendInfo(
            "1", (Device("cpu", "cpu"),), precisions=("fp32", "bf16", "fp16"), own_kernels=True
        )

    def open(self, plan, workload, weights):
        torch.set_num_threads(plan.threads)
        return EmulatedSession(self.fault, plan, workload, weights)


class Rounded(torch.autograd.Function):
    """Rounds on the way there, and what comes back; each by a function of its own."""

    @staticmethod
    def forward(context, x, there, back):
        context.back = back
        return there(x)

    @staticmethod
    def backward(context, dy):
        return context.back(dy), None, None


def same(x):
    return x


class EmulatedSession(FaultySession):
    """One workload in the plan's precision; what is a fault of arithmetic stands in `arithmetic_faults.py`."""

    def __init__(self, fault, plan, workload, weights):
        self.policy = policy_of(plan.precision)
        self.kind = KINDS.get(self.policy.stored.name)
        super().__init__(fault, plan, workload, weights)

    # -- roundings --------------------------------------------------------------------------------------------------

    def short(self, x):
        """To the nearest of the short format, ties to even."""
        return x if self.kind is None else x.to(self.kind).float()

    def stored(self, x):
        """An activation between two layers: rounded, and so is the gradient that comes back to it."""
        return Rounded.apply(x, self.short, self.short)

    def handed(self, x):
        """What a layer reads: its gradient with respect to it leaves rounded."""
        return Rounded.apply(x, same, self.short)

    def cast(self, weight):
        """A weight as a factor: rounded, and so is its gradient as it leaves the product."""
        return Rounded.apply(weight, self.short, self.short)

    # -- layers -----------------------------------------------------------------------------------------------------

    def apply(self, node, layer, x, training):
        if isinstance(layer, spec.Residual | spec.Concat | spec.Flatten | spec.OptionA):
            y = super().apply(node, layer, x, training)
            return self.stored(y) if isinstance(layer, spec.Residual) else y
        x = self.handed(x)
        if not isinstance(layer, spec.Conv2d | spec.Linear):
            return self.stored(super().apply(node, layer, x, training))
        roles = {p.role: self.arrays[p.name] for p in node.parameters}
        y = self.product(layer, x, self.cast(roles["weight"]))
        if "bias" in roles:
            y = self.biased(y, self.handed(roles["bias"]))
        return self.stored(y)

    def product(self, layer, x, weight):
        if isinstance(layer, spec.Linear):
            return x @ weight.T
        return self.conv(layer, x, weight, None)

    def biased(self, y, bias):
        return y + bias.view(1, -1, *[1] * (y.ndim - 2))

    def sequence(self, nodes, x, training):
        if nodes is self.workload.nodes:
            x = self.stored(x)
        return super().sequence(nodes, x, training)

    # -- a step -----------------------------------------------------------------------------------------------------

    def loss(self, output, targets):
        value = super().loss(output, targets)
        self.told = value.detach()
        return value * self.policy.loss_scale

    def spoil(self, gradients):
        scale = self.policy.loss_scale
        return super().spoil({name: g / scale for name, g in gradients.items()})

    def train_step(self, batch):
        super().train_step(batch)
        return self.told
