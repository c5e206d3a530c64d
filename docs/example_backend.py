"""A small but whole dlbench backend, for the page `write-a-backend.md`: PyTorch's functions, without its modules.

It stands for any framework that has arrays, functions on them and automatic differentiation. It has
the layers of a plain CNN and refuses every other one, as a backend that is still growing should.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node
from dlbench.spec.workload import Weights, Workload

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]
    Batch = tuple[torch.Tensor, torch.Tensor]
    Step = Callable[[torch.Tensor, Tensors, bool], torch.Tensor]
    """A layer: from its input, all weights, and whether this is training, to its output."""

MODES = ("functional",)
DEVICES = ("cpu",)
HAS = (
    *(spec.Conv2d, spec.Linear, spec.BatchNorm, spec.MaxPool, spec.Dropout, spec.Flatten),
    *(spec.Relu, spec.Tanh, training.CrossEntropy, training.MeanSquaredError, training.Sgd),
)
LACKS = ((training.Sgd, "clip_norm"),)
"""What is not in `HAS`, and the options that are here, are refused when a session is opened."""


class Adapter(AdapterBase):
    """Opens sessions on the CPU. Nothing is imported before a method is called."""

    title = "the example"
    packages = ("torch",)

    def info(self) -> BackendInfo:
        """PyTorch's version.

        Raises
        ------
        BackendUnavailable : PyTorch is not installed.
        """
        torch = _torch()
        return BackendInfo(torch.__version__, (Device("cpu", "CPU"),), modes=MODES)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`.

        Raises
        ------
        BackendUnavailable : PyTorch is not installed.
        PlanRefused : what this backend has not got: a device, a precision, a mode, a layer, an optimizer.
        """
        torch = _torch()
        refuse_unless("example", plan, workload, devices=DEVICES, modes=MODES, has=HAS, lacks=LACKS)
        assert isinstance(workload.optimizer, training.Sgd)
        torch.set_num_threads(plan.threads)
        return Session(plan, workload, workload.optimizer, weights)


class Session(SessionBase):
    """One workload on the CPU: a list of functions, a dictionary of tensors, and SGD."""

    def __init__(
        self, plan: Plan, workload: Workload, rule: training.Sgd, weights: Weights
    ) -> None:
        import torch

        self._torch = torch
        self._steps = [_layer(node) for node in workload.nodes]
        self._loss = _loss(workload.loss)
        self._labels = isinstance(workload.loss, training.CrossEntropy)
        self._rule = rule
        # running statistics belong to the weights, but are not trained
        self._trained = [p.name for p in workload.parameters if p.trainable]
        self._weights: Tensors = {}
        self._velocity: Tensors = {}
        self.learning_rate = rule.learning_rate
        torch.manual_seed(plan.seed)
        self.load(weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What is so, read back from PyTorch."""
        return {"device": "cpu", "threads": self._torch.get_num_threads()}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Copies of both as tensors."""
        kind = self._torch.int64 if self._labels else self._torch.float32
        return self._torch.tensor(inputs), self._torch.tensor(targets, dtype=kind)

    def infer(self, batch: Batch) -> torch.Tensor:
        """Logits in inference mode."""
        with self._torch.no_grad():
            return self._forward(batch[0], training_mode=False)

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One step of SGD; the loss before it."""
        inputs, targets = batch
        loss = self._loss(self._forward(inputs, training_mode=True), targets)
        trained = [self._weights[name] for name in self._trained]
        gradients = self._torch.autograd.grad(loss, trained)
        with self._torch.no_grad():
            for name, gradient in zip(self._trained, gradients, strict=True):
                self._update(name, gradient)
        return loss.detach()

    def download(self, result: torch.Tensor) -> npt.NDArray[np.float32]:
        """A copy as an array."""
        return np.array(result.numpy(), np.float32)

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return {name: np.array(value.detach().numpy()) for name, value in self._weights.items()}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all of them by copies, and forgets the velocities unless they are to be kept."""
        for name, value in weights.items():
            self._weights[name] = self._torch.tensor(value, requires_grad=name in self._trained)
        if not keep_optimizer:
            self._velocity.clear()

    def _forward(self, x: torch.Tensor, training_mode: bool) -> torch.Tensor:
        for step in self._steps:
            x = step(x, self._weights, training_mode)
        return x

    def _update(self, name: str, gradient: torch.Tensor) -> None:
        """The rule of `dlbench.spec.training.Sgd`."""
        rule, weight = self._rule, self._weights[name]
        decay = rule.decay_of(name)
        if decay:
            gradient = gradient + decay * weight
        if rule.momentum:
            if name in self._velocity:
                self._velocity[name].mul_(rule.momentum).add_(gradient)
            else:
                self._velocity[name] = gradient.clone()
            velocity = self._velocity[name]
            gradient = gradient + rule.momentum * velocity if rule.nesterov else velocity
        weight.sub_(self.learning_rate * gradient)


def _torch() -> Any:
    return require("torch", "PyTorch", "pip install torch")


def _layer(node: Node) -> Step:
    """The function of one layer."""
    from torch.nn import functional as F

    # names of the layer's parameters by role: "weight", "bias", …
    name = {parameter.role: parameter.name for parameter in node.parameters}
    match node.layer:
        case spec.Conv2d() as conv:
            around = _even_padding(node, conv)
            return lambda x, w, _: F.conv2d(
                x,
                w[name["weight"]],
                w[name["bias"]] if conv.bias else None,
                conv.stride,
                around,
                conv.dilation,
                conv.groups,
            )
        case spec.Linear() as linear:
            return lambda x, w, _: F.linear(
                x, w[name["weight"]], w[name["bias"]] if linear.bias else None
            )
        case spec.BatchNorm() as norm:
            # in training it also moves the running statistics, in the way that the specification pins
            return lambda x, w, training_mode: F.batch_norm(
                x,
                w[name["running_mean"]],
                w[name["running_variance"]],
                w[name["scale"]],
                w[name["shift"]],
                training_mode,
                norm.momentum,
                norm.eps,
            )
        case spec.MaxPool() as pool:
            padding = _even_padding(node, pool)
            return lambda x, w, _: F.max_pool2d(
                x, pool.kernel, pool.step, padding, ceil_mode=pool.ceil_mode
            )
        case spec.Dropout() as dropout:
            return lambda x, w, training_mode: F.dropout(x, dropout.rate, training_mode)
        case spec.Relu():
            return lambda x, w, _: F.relu(x)
        case spec.Tanh():
            return lambda x, w, _: x.tanh()
        case spec.Flatten():
            return lambda x, w, _: x.flatten(1)
    raise AssertionError(f"{node.name} is in HAS, but not here")


def _even_padding(node: Node, layer: spec.Conv2d | spec.MaxPool) -> tuple[int, int]:
    """The padding of both sides alike, all that PyTorch's functions take."""
    if layer.even_padding is None:
        raise PlanRefused(f"example has no padding that differs from side to side ({node.name})")
    return layer.even_padding


def _loss(loss: training.Loss) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Both losses are means, as the specification has them."""
    from torch.nn import functional as F

    match loss:
        case training.CrossEntropy():
            return functools.partial(F.cross_entropy, label_smoothing=loss.label_smoothing)
        case training.MeanSquaredError():
            return F.mse_loss
