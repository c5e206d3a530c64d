"""A complete small backend of inference in integers that goes wrong on demand, written from the page on int8 and not
with the code that real backends quantise by, so that the page, that code and the oracle are held against each other.

`FaultyIntegers(None)` is right.
"""

import re
from pathlib import Path

import torch
from torch.nn import functional as F

from dlbench.contract import BackendInfo, Device, SessionBase
from dlbench.spec import layers as spec


def known_faults():
    """The name of every fault this file can have."""
    return re.findall(r'self\.fault == "([^"]+)"', Path(__file__).read_text("utf-8"))


class FaultyIntegers:
    """Right in everything but `fault`, one of `known_faults()`."""

    def __init__(self, fault=None):
        self.fault = fault

    def info(self):
        devices = (Device("cpu", "cpu"),)
        return BackendInfo(torch.__version__, devices, precisions=("int8",), scenarios=("infer",))

    def open(self, plan, workload, weights):
        return _Session(self.fault, workload, weights)


class _Session(SessionBase):
    def __init__(self, fault, workload, weights):
        self.facts = {}
        self.fault = fault
        self.workload = workload
        self.weights64 = {name: torch.tensor(w, dtype=torch.float64) for name, w in weights.items()}
        self.scales = dict(workload.calibration.layers)
        self.kept = None

    def upload(self, inputs, targets):
        return torch.tensor(inputs, dtype=torch.float64)

    def infer(self, batch):
        if self.fault == "keeps its first output":
            self.kept = self.run(batch) if self.kept is None else self.kept
            return self.kept
        return self.run(batch)

    def run(self, batch):
        if self.fault == "other data to calibrate on":
            self.scales = {name: scale * 1.02 for name, scale in self.scales.items()}
        scale = self.workload.calibration.input
        x, scale = self.sequence(self.workload.nodes, self.rounded(batch / scale), scale)
        named = dict(self.workload.calibration.layers)
        last = self.workload.nodes[-1].name
        return (x * (named.get(last, scale) if self.fault else scale)).to(torch.float32).numpy()

    def rounded(self, values):
        """Steps from real values, half to even, saturated."""
        whole = torch.round(values)
        if self.fault == "half away from zero":
            whole = torch.sign(values) * torch.floor(values.abs() + 0.5)
        if self.fault == "half up":
            whole = torch.floor(values + 0.5)
        if self.fault == "truncation":
            whole = torch.trunc(values)
        if self.fault == "wraps around":
            return torch.remainder(whole + 128, 256) - 128
        if self.fault == "clips at -127":
            return whole.clamp(-127, 127)
        if self.fault == "clips at 126":
            return whole.clamp(-128, 126)
        if self.fault == "no rounding":
            return values.clamp(-128, 127)
        return whole.clamp(-128, 127)

    def sequence(self, nodes, x, scale):
        place = 0
        while place < len(nodes):
            node, after = nodes[place], nodes[place + 1] if place + 1 < len(nodes) else None
            norm = None
            is_product = isinstance(node.layer, spec.Conv2d | spec.Linear)
            if is_product and after is not None and node.name not in self.scales:
                norm = after if isinstance(after.layer, spec.BatchNorm) else None
            x, scale = self.layer(node, norm, x, scale, after)
            place += 1 if norm is None else 2
        return x, scale

    def layer(self, node, norm, x, scale, after):
        layer = node.layer
        output = self.scales.get((norm or node).name, scale)
        match layer:
            case spec.Conv2d() | spec.Linear():
                return self.product(node, norm, x, scale, output, after), output
            case spec.BatchNorm():
                if self.fault == "a norm by itself is left out":
                    return self.rounded(x * scale / output), output
                w = {p.role: self.weights64[p.name] for p in node.parameters}
                factor = w["scale"] / torch.sqrt(w["running_variance"] + layer.eps)
                shift = w["shift"] - w["running_mean"] * factor
                axes = [-1] + [1] * (x.ndim - 2)
                y = x * (scale * factor / output).reshape(axes) + (shift / output).reshape(axes)
                return self.rounded(y), output
            case spec.Relu():
                if self.fault == "relu of the stored unsigned numbers":
                    return (x + 128).clamp(min=0) - 128, scale
                return x.clamp(min=0), scale
            case spec.MaxPool():
                lowest = -128.0
                if self.fault == "padding wins a pool":
                    lowest = 0.0
                padded = F.pad(x, _around(node.window_edges), value=lowest)
                return F.max_pool2d(padded, layer.kernel, layer.step), scale
            case spec.AvgPool():
                padded = F.pad(x, _around(node.window_edges))
                sums = F.avg_pool2d(padded, layer.kernel, layer.step, divisor_override=1)
                rows, columns = (torch.tensor(n, dtype=torch.float64) for n in node.divisors)
                if self.fault == "a mean in the scale of its input":
                    return self.rounded(sums / torch.outer(rows, columns)), output
                return self.rounded(sums / torch.outer(rows, columns) * (scale / output)), output
            case spec.GlobalAvgPool():
                means = x.mean((2, 3)) * (scale / output)
                if self.fault == "a mean cut off":
                    return torch.floor(means).clamp(-128, 127), output
                return self.rounded(means), output
            case spec.OptionA():
                down, across = layer.stride
                return F.pad(
                    x[:, :, ::down, ::across], (0, 0, 0, 0, 0, layer.extra_channels)
                ), scale
            case spec.Flatten():
                return x.flatten(1), scale
            case spec.Dropout():
                return x, scale
        parts = [self.sequence(body, x, scale) for body in node.bodies]
        if isinstance(layer, spec.Concat):
            if self.fault == "a concat without its own scale":
                return torch.cat([part for part, _ in parts], 1), output
            return torch.cat([self.rounded(part * (s / output)) for part, s in parts], 1), output
        (body, m), (shortcut, n) = parts
        if self.fault == "a sum of rounded parts":
            halves = self.rounded(body * (m / output)), self.rounded(shortcut * (n / output))
            return (halves[0] + halves[1]).clamp(-128, 127), output
        return self.rounded(body * (m / output) + shortcut * (n / output)), output

    def product(self, node, norm, x, scale, output, after):
        w = {p.role: self.weights64[p.name] for p in node.parameters}
        weight = w["weight"]
        bias = w.get("bias", torch.zeros(len(weight), dtype=torch.float64))
        along = [-1] + [1] * (weight.ndim - 1)
        if norm is not None:
            n = {p.role: self.weights64[p.name] for p in norm.parameters}
            eps = norm.layer.eps
            if self.fault == "folded with another eps":
                eps = 1e-3
            factor = n["scale"] / torch.sqrt(n["running_variance"] + eps)
            if self.fault == "folded with eps outside of the root":
                factor = n["scale"] / (torch.sqrt(n["running_variance"]) + eps)
            mean = n["running_mean"]
            if self.fault == "folded without the mean":
                mean = 0 * mean
            weight = _float32(weight * factor.reshape(along))
            bias = _float32((bias - mean) * factor + n["shift"])
        if self.fault == "floating point under the name":
            products = self.convolve(node, x * scale, weight) + bias.reshape(_channels(x))
            return self.rounded(products / output)
        largest = weight.abs().reshape(len(weight), -1).amax(1)
        if self.fault == "a scale for all channels":
            largest = largest.max().expand(len(weight))
        steps = _float32(torch.maximum(largest / 127, bias.abs() / (2.0**30 * scale)))
        steps = torch.where(steps > 0, steps, 1.0)
        whole = torch.round(weight / steps.reshape(along)).clamp(-127, 127)
        if self.fault == "weights cut off":
            whole = torch.trunc(weight / steps.reshape(along)).clamp(-127, 127)
        sums = bias / (scale * steps)
        if self.fault != "a bias in floating point":
            sums = torch.round(sums)
        if self.fault == "a bias of int8":
            sums = sums.clamp(-128, 127)
        if self.fault == "a bias left out":
            sums = 0 * sums
        if self.fault == "a zero point off by one":
            x = x + 1
        if self.fault == "pairs saturate in int16":
            total = self.in_pairs(node, x, whole)
        elif self.fault == "padding of the stored zero":
            total = self.convolve(node, x, whole, -128.0)
        else:
            total = self.convolve(node, x, whole)
        total = total + sums.reshape(_channels(x))
        multiplier = scale * steps / output
        if self.fault == "a multiplier of bf16":
            multiplier = multiplier.to(torch.bfloat16).to(torch.float64)
        values = total * multiplier.reshape(_channels(x))
        if self.fault == "relu below the first step" and after is not None:
            values = torch.where(values < 1, 0.0, values)
        if self.fault == "rounds twice":
            values = torch.round(values * 16) / 16
        return self.rounded(values)

    def convolve(self, node, x, weight, padding=0.0):
        if isinstance(node.layer, spec.Linear):
            return x @ weight.T
        layer = node.layer
        padded = F.pad(x, _around(layer.edges), value=padding)
        return F.conv2d(padded, weight, stride=layer.stride, dilation=layer.dilation)

    def in_pairs(self, node, x, weight):
        """As processors without VNNI do it: products of two neighbours, unsigned by signed, are added in int16."""
        if isinstance(node.layer, spec.Linear):
            columns, rows = x.T[None], weight
        else:
            layer = node.layer
            padded = F.pad(x, _around(layer.edges))
            columns = F.unfold(padded, layer.kernel, layer.dilation, 0, layer.stride)
            rows = weight.flatten(1)
        columns = columns + 128
        total = -128 * rows.sum(1).reshape(1, -1, 1)
        for begin in range(0, rows.shape[1], 2):
            pair = rows[:, begin : begin + 2] @ columns[:, begin : begin + 2]
            total = total + pair.clamp(-(2**15), 2**15 - 1)
        if isinstance(node.layer, spec.Linear):
            return total[0].T
        return total.reshape(len(x), *node.output_shape)


def _channels(x):
    return [1, -1, *[1] * (x.ndim - 2)]


def _float32(values):
    return values.to(torch.float32).to(torch.float64)


def _around(edges):
    rows, columns = edges
    return *columns, *rows
