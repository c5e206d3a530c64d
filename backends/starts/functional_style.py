"""A dlbench backend, begun by `dlbench new-backend --functional`: JAX stands where your framework is to go.

It has `conv2d`, `linear`, `relu`, `tanh` and `flatten`, both losses and every optimizer, passes
``dlbench conformance`` in them, and refuses everything else. Put your framework in, add layers to `layer` and to
`HAS`, and run the conformance again. State, gradients, optimizers and results are the base's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.helpers.functional import Array, Framework, FunctionalAdapter, Pass
from dlbench.helpers.refusals import require
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node

NAME = "start"
HAS = (
    *(spec.Conv2d, spec.Linear, spec.Relu, spec.Tanh, spec.Flatten),
    *(training.CrossEntropy, training.MeanSquaredError),
    *training.OPTIMIZERS.values(),
)
"""What is not here is refused when a session is opened."""


class Adapter(FunctionalAdapter):
    """Opens sessions on the CPU; arrays are N×C×H×W inside."""

    title = NAME
    packages = ("jax", "jaxlib")
    has = HAS

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """What has to be set before the framework is imported."""
        return {"JAX_PLATFORMS": "cpu", "NPROC": str(plan.threads)}

    def info(self) -> BackendInfo:
        """The framework's version, and what plans may name."""
        return BackendInfo(_jax().__version__, (Device("cpu", "CPU"),))

    def facts(self, plan: Plan) -> Mapping[str, str | int]:
        """What was observed; add ``threads``, as your framework tells them."""
        return {"device": _jax().devices()[0].platform}

    def framework(self) -> Framework:
        """What the base needs of it."""
        jax = _jax()
        return Framework(
            xp=jax.numpy,
            compile=lambda function, donated: jax.jit(function, donate_argnums=donated),
            differentiate=functools.partial(jax.value_and_grad, has_aux=True),
            wait=jax.block_until_ready,
        )

    def layer(self, node: Node, x: Array, run: Pass) -> Array:
        """The output of a layer. What each layer means stands in `dlbench.spec.layers`.

        `run.own(node)` has its parameters by role; `self.sequence(nodes, x, run)` computes the layers inside it.

        Batch norm: if `run.training and not node.frozen`, take mean and biased variance of the batch over the axes 0, 2
        and 3, and hand them on by ``run.move(node, mean, variance, N * H * W, norm.momentum)``, which leaves the new
        running statistics; else take ``own["running_mean"]`` and ``own["running_variance"]``.

        Dropout: where `run.training`, draw a mask by a key of `run.seed` (an int), `run.step` (a traced int32; None in
        inference) and the layer's name, and scale what is kept by ``1 / (1 - rate)``::

            key = jax.random.fold_in(jax.random.key(run.seed), run.step)
            key = jax.random.fold_in(key, zlib.crc32(node.name.encode()))
            kept = jax.random.bernoulli(key, 1 - dropout.rate, x.shape)
            return jax.numpy.where(kept, x / (1 - dropout.rate), 0)

        Where arrays need more than `xp.array` on their way here and `np.asarray` on their way back, override
        ``put(self, array, role)`` and ``get(self, array, role)`` of the base.
        """
        jax, own = _jax(), run.own(node)
        match node.layer:
            case spec.Conv2d() as conv:
                y = jax.lax.conv_general_dilated(
                    x,
                    own["weight"],
                    conv.stride,
                    conv.edges,
                    rhs_dilation=conv.dilation,
                    feature_group_count=conv.groups,
                )
                return y + own["bias"][:, None, None] if conv.bias else y
            case spec.Linear() as linear:
                y = x @ own["weight"].T
                return y + own["bias"] if linear.bias else y
            case spec.Relu():
                return jax.nn.relu(x)
            case spec.Tanh():
                return jax.numpy.tanh(x)
            case spec.Flatten():
                return x.reshape(len(x), -1)
        raise AssertionError(f"{node.name} is in HAS, but not here")

    def loss(self, loss: training.Loss, outputs: Array, targets: Array) -> Array:
        """The mean loss."""
        jax = _jax()
        match loss:
            case training.CrossEntropy():
                logs = jax.nn.log_softmax(outputs)
                chosen = jax.numpy.take_along_axis(logs, targets[:, None], 1).mean()
                return -(1 - loss.label_smoothing) * chosen - loss.label_smoothing * logs.mean()
            case training.MeanSquaredError():
                return jax.numpy.square(outputs - targets).mean()


def _jax() -> Any:
    return require("jax", "JAX", "pip install jax")
