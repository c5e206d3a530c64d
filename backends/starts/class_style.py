"""A dlbench backend, begun by `dlbench new-backend`: NumPy stands where your framework is to go.

It has `conv2d`, `linear`, `relu`, `tanh` and `flatten`, both losses and every optimizer, passes
``dlbench conformance`` in them, and refuses everything else. Put your framework in, add layers to `_layer` and to
`HAS`, and run the conformance again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.helpers import update_rules
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node
from dlbench.spec.workload import Weights, Workload

NAME = "start"
HAS = (
    *(spec.Conv2d, spec.Linear, spec.Relu, spec.Tanh, spec.Flatten),
    *(training.CrossEntropy, training.MeanSquaredError),
    *training.OPTIMIZERS.values(),
)
LACKS = ((spec.Conv2d, "groups"), (training.CrossEntropy, "label_smoothing"))
"""What is not in `HAS`, and the options that are here, are refused when a session is opened."""

Array = npt.NDArray[Any]
Batch = tuple[Array, Array]
Gradients = dict[str, Array]
Back = Callable[[Array], tuple[Array, Gradients]]
"""A layer's backward pass: from the gradient of its output to that of its input, and to those of its parameters by
role."""


class Adapter(AdapterBase):
    """Opens sessions on the CPU. A framework is imported in its methods: `dlbench.helpers.refusals.require`."""

    title = NAME
    packages = ("numpy",)

    def info(self) -> BackendInfo:
        """The framework's version, and what plans may name."""
        return BackendInfo(np.__version__, (Device("cpu", "CPU"),))

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`.

        Raises
        ------
        PlanRefused : what this backend has not got.
        """
        refuse_unless(NAME, plan, workload, devices=("cpu",), has=HAS, lacks=LACKS)
        return Session(plan, workload, weights)


class Session(SessionBase):
    """One workload: its layers, its weights by name, and the optimizer's state."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights) -> None:
        self._workload = workload
        self._trained = [p.name for p in workload.parameters if p.trainable]
        self._weights: dict[str, Array] = {}
        self._state: update_rules.State = {}
        self.learning_rate = workload.optimizer.learning_rate
        self.load(weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What was observed; add ``threads``, as your framework tells them."""
        return {"device": "cpu"}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Copies where the framework computes."""
        return np.array(inputs), np.array(targets)

    def infer(self, batch: Batch) -> Array:
        """Outputs in inference mode."""
        return self._forward(batch[0])[0]

    def train_step(self, batch: Batch) -> Array:
        """One step of the optimizer; the loss before it."""
        inputs, targets = batch
        outputs, backs = self._forward(inputs)
        loss, slope = _loss(self._workload.loss, outputs, targets)
        gradients: Gradients = {}
        for node, back in reversed(backs):
            slope, own = back(slope)
            gradients |= {f"{node.name}.{role}": value for role, value in own.items()}
        trained = {name: self._weights[name] for name in self._trained}
        moved, self._state = update_rules.update(
            self._workload.optimizer, np, trained, gradients, self._state, self.learning_rate
        )
        self._weights |= moved
        return loss

    def weights(self) -> Weights:
        """Copies of all parameters."""
        return {name: np.array(value) for name, value in self._weights.items()}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all of them by copies; the optimizer begins anew unless it is to be kept."""
        self._weights = {name: np.array(value) for name, value in weights.items()}
        if not keep_optimizer:
            trained = {name: self._weights[name] for name in self._trained}
            self._state = update_rules.begin(self._workload.optimizer, np, trained)

    def _forward(self, x: Array) -> tuple[Array, list[tuple[Node, Back]]]:
        backs = []
        for node in self._workload.nodes:
            own = {str(p.role): self._weights[p.name] for p in node.parameters}
            x, back = _layer(node, x, own)
            backs.append((node, back))
        return x, backs


def _layer(node: Node, x: Array, own: Mapping[str, Array]) -> tuple[Array, Back]:
    """A layer's output, and its backward pass. What each layer means stands in `dlbench.spec.layers`."""
    match node.layer:
        case spec.Conv2d() as conv:
            return _conv2d(conv, node, x, own)
        case spec.Linear() as linear:
            weight = own["weight"]
            y = x @ weight.T

            def back(dy: Array) -> tuple[Array, Gradients]:
                bias = {"bias": dy.sum(0)} if linear.bias else {}
                return dy @ weight, {"weight": dy.T @ x, **bias}

            return (y + own["bias"] if linear.bias else y), back
        case spec.Relu():
            return np.maximum(x, 0), lambda dy: (dy * (x > 0), {})
        case spec.Tanh():
            bent = np.tanh(x)
            return bent, lambda dy: (dy * (1 - bent * bent), {})
        case spec.Flatten():
            return x.reshape(len(x), -1), lambda dy: (dy.reshape(x.shape), {})
    raise AssertionError(f"{node.name} is in HAS, but not here")


def _conv2d(
    conv: spec.Conv2d, node: Node, x: Array, own: Mapping[str, Array]
) -> tuple[Array, Back]:
    """A convolution as a sum over the positions of its kernel: plain, and slow."""
    weight = own["weight"]
    (above, before), (height, width) = conv.before, node.output_shape[1:]
    padded = np.pad(x, ((0, 0), (0, 0), *conv.edges))

    def under(array: Array, i: int, j: int) -> Array:
        """The inputs under a position of the kernel, one for each output."""
        top, left = i * conv.dilation[0], j * conv.dilation[1]
        rows = slice(top, top + (height - 1) * conv.stride[0] + 1, conv.stride[0])
        columns = slice(left, left + (width - 1) * conv.stride[1] + 1, conv.stride[1])
        return array[:, :, rows, columns]

    y = np.zeros((len(x), *node.output_shape), np.float32)
    for i, j in np.ndindex(*conv.kernel):
        y += np.einsum("nchw,oc->nohw", under(padded, i, j), weight[:, :, i, j])
    if conv.bias:
        y += own["bias"][:, None, None]

    def back(dy: Array) -> tuple[Array, Gradients]:
        dx, dweight = np.zeros_like(padded), np.zeros_like(weight)
        for i, j in np.ndindex(*conv.kernel):
            dweight[:, :, i, j] = np.einsum("nohw,nchw->oc", dy, under(padded, i, j))
            under(dx, i, j)[...] += np.einsum("nohw,oc->nchw", dy, weight[:, :, i, j])
        inner = dx[:, :, above : above + x.shape[2], before : before + x.shape[3]]
        return inner, {"weight": dweight, **({"bias": dy.sum((0, 2, 3))} if conv.bias else {})}

    return y, back


def _loss(loss: training.Loss, outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The mean loss, and its gradient with respect to the outputs."""
    match loss:
        case training.CrossEntropy():
            logs = outputs - outputs.max(1, keepdims=True)
            logs -= np.log(np.exp(logs).sum(1, keepdims=True))
            labels = np.arange(len(logs)), targets
            slope = np.exp(logs)
            slope[labels] -= 1
            return -logs[labels].mean(), slope / len(logs)
        case training.MeanSquaredError():
            error = outputs - targets
            return np.square(error).mean(), error * (2 / error.size)
