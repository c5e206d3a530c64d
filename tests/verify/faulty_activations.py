"""Activations of the faulty backend (`faulty.py`) beside the plain ones, with the ways in which they can be wrong."""

import math

import torch

from dlbench.spec import layers as spec


class Activations:
    """Each written out, so that a fault stands where the right thing would."""

    def activation(self, layer, x):
        """The output of an activation."""
        match layer:
            case spec.Relu6():
                return self.relu6(x)
            case spec.Silu():
                return self.silu(x)
            case spec.HardSigmoid():
                return self.hard_sigmoid(x)
            case spec.HardSwish():
                return self.hard_swish(x)
            case spec.Gelu():
                return self.gelu(layer, x)
        raise AssertionError(f"{layer} is none")

    def relu6(self, x):
        most = 6.0
        if self.fault == "relu6 without its upper end":
            most = math.inf
        if self.fault == "relu6 with the gradient of relu":
            return torch.where(x > 0, x, 0.0) + (x.clamp(0, 6) - x.clamp(0)).detach()
        return x.clamp(0, most)

    def silu(self, x):
        gate = torch.sigmoid(x)
        if self.fault == "silu of 1.702 x":
            gate = torch.sigmoid(1.702 * x)
        if self.fault == "silu's gate is constant in backward":
            gate = gate.detach()
        return x * gate

    def hard_sigmoid(self, x):
        if self.fault == "hard_sigmoid with a slope of 0.2":
            return (0.2 * x + 0.5).clamp(0, 1)
        return (x + 3).clamp(0, 6) / 6

    def hard_swish(self, x):
        if self.fault == "hard_swish is the smooth one":
            return x * torch.sigmoid(x)
        gate = (x + 3).clamp(0, 6) / 6
        if self.fault == "hard_swish divided by 5":
            gate = gate * 6 / 5
        return x * gate

    def gelu(self, layer, x):
        approximate = layer.approximate
        if self.fault == "gelu's tanh form for the exact one":
            approximate = "tanh"
        if self.fault == "gelu's exact form for the one by tanh":
            approximate = "none"
        if self.fault == "gelu by a sigmoid of 1.702 x":
            return x * torch.sigmoid(1.702 * x)
        if approximate == "none":
            return x * (1 + torch.erf(x / math.sqrt(2))) / 2
        return x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2
