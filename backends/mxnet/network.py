"""A network and its loss as Gluon blocks, and what is kept of batch normalisation while it trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import mxnet as mx
import numpy as np

from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node, walk
from dlbench.spec.workload import Weights

from . import layers

_STATISTICS = ("running_mean", "running_variance")


class Network(mx.gluon.HybridBlock):
    """The network for batches of one size, its parameters by the specification's names and in its layouts.

    MXNet's running variance is of the biased one. While batches are trained on it is therefore kept as the
    specification's times (n − 1) / n, which MXNet's rule moves as the specification's moves its own; what infers or
    reads it has it multiplied back. So no step is longer for it, and `enter` says which of the two is wanted next.
    """

    def __init__(self, nodes: tuple[Node, ...], batch: int, *, trains: bool) -> None:
        super().__init__()
        self._nodes, self._batch = nodes, batch
        self._own: dict[str, Any] = {}
        for parameter in (each for node in walk(nodes) for each in node.parameters):
            learns = trains and parameter.role not in _STATISTICS
            made = self.params.get(
                parameter.name,
                shape=parameter.shape,
                grad_req="write" if learns else "null",
                init=mx.init.Zero(),
            )
            made.initialize(ctx=mx.cpu())
            self._own[parameter.name] = made
            # becomes an argument of `hybrid_forward`
            setattr(self, parameter.name, made)
        for name, value in (
            each for node in walk(nodes) for each in layers.constants(node).items()
        ):
            constant = self.params.get_constant(name, value)
            constant.initialize(ctx=mx.cpu())
            setattr(self, name, constant)
        self._is_biased = False
        self._shares = {
            f"{node.name}.running_variance": (n - 1) / n
            for node in walk(nodes)
            if isinstance(node.layer, spec.BatchNorm)
            and (n := batch * math.prod(node.input_shape[1:])) > 1
        }

    @property
    def trained(self) -> Mapping[str, Any]:
        """Of each trained parameter its array and that of its gradient, by name."""
        return {
            name: (made.data(), made.grad())
            for name, made in self._own.items()
            if made.grad_req != "null"
        }

    def hybrid_forward(self, F: Any, x: Any, **own: Any) -> Any:
        """The network's output, as arrays or as the symbols of a graph."""
        return layers.sequence(layers.Pass(F, self._batch, own), self._nodes, x)

    def enter(self, *, training: bool) -> None:
        """Brings running variances to what training or inference wants."""
        if training == self._is_biased:
            return
        self._is_biased = training
        for name, share in self._shares.items():
            variance = self._own[name].data()
            variance *= share if training else 1 / share

    def read(self) -> Weights:
        """Copies of all parameters."""
        return {name: made.data().asnumpy() for name, made in self._own.items()}

    def write(self, weights: Weights) -> None:
        """Replaces all of them."""
        self._is_biased = False
        for name, made in self._own.items():
            made.set_data(mx.nd.array(weights[name], dtype=np.float32))


class Loss(mx.gluon.HybridBlock):
    """The mean loss of a network's output, in one graph with it."""

    def __init__(self, network: Network, loss: training.Loss) -> None:
        super().__init__()
        self.network = network
        self._loss = loss

    def hybrid_forward(self, F: Any, x: Any, targets: Any) -> Any:
        """One number, along one axis."""
        outputs = self.network(x)
        match self._loss:
            case training.CrossEntropy(label_smoothing=smoothed):
                logs = _log_softmax(F, outputs)
                chosen = F.mean(F.pick(logs, targets))
                return -(1 - smoothed) * chosen - smoothed * F.mean(logs) if smoothed else -chosen
            case training.MeanSquaredError():
                return F.mean(F.square(outputs - targets))


def _log_softmax(F: Any, x: Any) -> Any:
    """MXNet has oneDNN compute its own, which in version 2.4 is off by up to 5e-6."""
    largest = F.BlockGrad(F.max(x, axis=1, keepdims=True))
    below = F.broadcast_sub(x, largest)
    return F.broadcast_sub(below, F.log(F.sum(F.exp(below), axis=1, keepdims=True)))
