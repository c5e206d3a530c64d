"""Builds the PyTorch network that a user would write by hand: plain modules in one `nn.Sequential`.

Only the three layers that PyTorch has no module for are written out here. Imported by the adapter
once a session is opened, because it needs PyTorch to define classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node, Role

_ATTRIBUTES: dict[Role, str] = {
    "weight": "weight",
    "bias": "bias",
    "scale": "weight",
    "shift": "bias",
    "running_mean": "running_mean",
    "running_variance": "running_var",
}
_OPTIMIZERS: dict[type[training.Optimizer], type[torch.optim.Optimizer]] = {
    training.Sgd: torch.optim.SGD,
    training.Adam: torch.optim.Adam,
    training.AdamW: torch.optim.AdamW,
    training.Adagrad: torch.optim.Adagrad,
    training.RMSprop: torch.optim.RMSprop,
    training.Adadelta: torch.optim.Adadelta,
}


class Network(nn.Sequential):
    """The layers in order; `arrays` holds each parameter and running statistic by canonical name.

    PyTorch's own layouts are the canonical ones, so nothing is transposed anywhere.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.arrays: dict[str, torch.Tensor] = {}
        super().__init__(*_modules(nodes, self.arrays))


class _Residual(nn.Module):
    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        joined: torch.Tensor = self.body(x) + self.shortcut(x)
        return joined


class _Concat(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat((x, self.body(x)), 1)


class _OptionA(nn.Module):
    def __init__(self, layer: spec.OptionA) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        down, across = self.layer.stride
        return F.pad(x[:, :, ::down, ::across], (0, 0, 0, 0, 0, self.layer.extra_channels))


def _modules(nodes: Iterable[Node], arrays: dict[str, torch.Tensor]) -> Iterator[nn.Module]:
    """A module for each node; what belongs to it goes into `arrays`."""
    for node in nodes:
        module = _module(node, arrays)
        for parameter in node.parameters:
            arrays[parameter.name] = getattr(module, _ATTRIBUTES[parameter.role])
        yield module


def _module(node: Node, arrays: dict[str, torch.Tensor]) -> nn.Module:
    match node.layer:
        case spec.Conv2d() as layer:
            return nn.Conv2d(
                node.input_shape[0],
                layer.out_channels,
                layer.kernel,
                stride=layer.stride,
                padding=layer.padding,
                dilation=layer.dilation,
                bias=layer.bias,
            )
        case spec.Linear() as layer:
            return nn.Linear(node.input_shape[0], layer.out_features, bias=layer.bias)
        case spec.BatchNorm() as layer:
            norm = nn.BatchNorm2d if len(node.input_shape) == 3 else nn.BatchNorm1d
            return norm(node.input_shape[0], eps=layer.eps, momentum=layer.momentum)
        case spec.Relu():
            return nn.ReLU()
        case spec.LeakyRelu() as layer:
            return nn.LeakyReLU(layer.slope)
        case spec.Sigmoid():
            return nn.Sigmoid()
        case spec.Tanh():
            return nn.Tanh()
        case spec.MaxPool() as layer:
            return nn.MaxPool2d(layer.kernel, layer.step, layer.padding)
        case spec.AvgPool() as layer:
            return nn.AvgPool2d(layer.kernel, layer.step, layer.padding, count_include_pad=False)
        case spec.GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case spec.Dropout() as layer:
            return nn.Dropout(layer.rate)
        case spec.Flatten():
            return nn.Flatten()
        case spec.OptionA() as layer:
            return _OptionA(layer)
        case spec.Residual():
            body = nn.Sequential(*_modules(node.body, arrays))
            shortcut = list(_modules(node.shortcut, arrays))
            return _Residual(body, nn.Sequential(*shortcut) if shortcut else nn.Identity())
        case spec.Concat():
            return _Concat(nn.Sequential(*_modules(node.body, arrays)))


def make_loss(loss: training.Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The module for a loss; each is the mean that the specification pins."""
    match loss:
        case training.CrossEntropy():
            return nn.CrossEntropyLoss()
        case training.MeanSquaredError():
            return nn.MSELoss()


def make_optimizer(optimizer: training.Optimizer, network: Network) -> torch.optim.Optimizer:
    """PyTorch's own optimizer; the specification's rules are its rules."""
    options: dict[str, Any] = dataclasses.asdict(optimizer)
    del options["weight_decay"], options["decay_biases_and_norms"]
    options["lr"] = options.pop("learning_rate")
    if isinstance(optimizer, training.Adam | training.AdamW):
        options["betas"] = options.pop("beta1"), options.pop("beta2")
    if isinstance(optimizer, training.RMSprop):
        options["alpha"] = options.pop("rho")
    alike: dict[float, list[torch.Tensor]] = {}
    for name, tensor in network.arrays.items():
        if isinstance(tensor, nn.Parameter):
            alike.setdefault(optimizer.decay_of(name), []).append(tensor)
    groups = [{"params": params, "weight_decay": decay} for decay, params in alike.items()]
    # An empty group, since there must be one: networks of pools alone can still infer.
    return _OPTIMIZERS[type(optimizer)](groups or [{"params": []}], **options)
