"""A whole dlbench backend in functional style, for the page `write-a-backend.md`: JAX, with all of the specification.

State, optimizers, gradients and results are `dlbench.helpers.functional`'s; here stand JAX and its layers.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.helpers.functional import Array, Framework, FunctionalAdapter, Pass
from dlbench.helpers.refusals import require
from dlbench.helpers.threads import thread_names
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.network import Node


class Adapter(FunctionalAdapter):
    """Opens sessions on the CPU: one compiled function a step, arrays N×C×H×W."""

    title = "JAX"
    packages = ("jax", "jaxlib")

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """XLA reads the size of its thread pool when the first array is made, from this variable before all else."""
        return {"JAX_PLATFORMS": "cpu", "NPROC": str(plan.threads)}

    def info(self) -> BackendInfo:
        """JAX's version. Asking starts no thread pool."""
        return BackendInfo(_jax().__version__, (Device("cpu", "CPU"),))

    def start(self, plan: Plan) -> None:
        """Wakes the thread pool."""
        self.framework().wait(_jax().numpy.zeros(()))

    def facts(self, plan: Plan) -> Mapping[str, str | int]:
        """The device, and the threads that XLA computes with, as the system counts them."""
        self.start(plan)
        threads = sum(name.startswith("tf_XLAEigen") for name in thread_names())
        return {"device": _jax().devices()[0].platform} | ({"threads": threads} if threads else {})

    def framework(self) -> Framework:
        """JAX, as the base wants it."""
        jax = _jax()
        return Framework(
            xp=jax.numpy,
            compile=lambda function, donated: jax.jit(function, donate_argnums=donated),
            differentiate=functools.partial(jax.value_and_grad, has_aux=True),
            wait=jax.block_until_ready,
        )

    def loss(self, loss: training.Loss, outputs: Array, targets: Array) -> Array:
        """Both are means, as the specification has them."""
        jax = _jax()
        match loss:
            case training.CrossEntropy():
                logs = jax.nn.log_softmax(outputs)
                return -jax.numpy.take_along_axis(logs, targets[:, None], 1).mean()
            case training.MeanSquaredError():
                return jax.numpy.square(outputs - targets).mean()

    def layer(self, node: Node, x: Array, run: Pass) -> Array:
        """One layer, by the meaning that its class in `dlbench.spec.layers` pins."""
        jax = _jax()
        jnp, own = jax.numpy, run.own(node)
        match node.layer:
            case spec.Conv2d() as conv:
                y = jax.lax.conv_general_dilated(
                    x,
                    own["weight"],
                    conv.stride,
                    conv.edges,
                    rhs_dilation=conv.dilation,
                )
                return y + own["bias"][:, None, None] if conv.bias else y
            case spec.Linear() as linear:
                y = x @ own["weight"].T
                return y + own["bias"] if linear.bias else y
            case spec.BatchNorm() as norm:
                return _batch_norm(norm, node, x, run)
            case spec.Relu():
                return jax.nn.relu(x)
            case spec.LeakyRelu() as leaky:
                return jnp.where(x > 0, x, leaky.slope * x)
            case spec.Sigmoid():
                return jax.nn.sigmoid(x)
            case spec.Tanh():
                return jnp.tanh(x)
            case spec.MaxPool() as pool:
                return _windows(node, pool, x, -np.inf, jax.lax.max)
            case spec.AvgPool() as pool:
                sums = _windows(node, pool, x, 0.0, jax.lax.add)
                return sums / np.multiply.outer(*node.divisors).astype(np.float32)
            case spec.GlobalAvgPool():
                return x.mean((2, 3))
            case spec.Dropout() as dropout:
                if not (run.training and dropout.rate):
                    return x
                key = jax.random.fold_in(jax.random.key(run.seed), run.step)
                key = jax.random.fold_in(key, zlib.crc32(node.name.encode()))
                kept = jax.random.bernoulli(key, 1 - dropout.rate, x.shape)
                return jnp.where(kept, x / (1 - dropout.rate), 0)
            case spec.Flatten():
                return x.reshape(len(x), -1)
            case spec.OptionA() as thinned:
                down, across = thinned.stride
                channels = (0, thinned.extra_channels)
                return jnp.pad(x[:, :, ::down, ::across], ((0, 0), channels, (0, 0), (0, 0)))
            case spec.Residual():
                return self.sequence(node.body, x, run) + self.sequence(node.shortcut, x, run)
            case spec.Concat():
                return jnp.concatenate([self.sequence(body, x, run) for body in node.bodies], 1)


def _jax() -> Any:
    return require("jax", "JAX", "pip install jax")


def _windows(
    node: Node, pool: spec.MaxPool | spec.AvgPool, x: Array, start: float, joined: Any
) -> Array:
    """What is left of each window."""
    edges = [(0, 0), (0, 0), *node.window_edges]
    return _jax().lax.reduce_window(
        x, start, joined, (1, 1, *pool.kernel), (1, 1, *pool.step), edges
    )


def _batch_norm(norm: spec.BatchNorm, node: Node, x: Array, run: Pass) -> Array:
    """Over all axes but the channels'; in training the running statistics are moved too."""
    jnp, own = _jax().numpy, run.own(node)
    axes = (0, *range(2, x.ndim))
    mean, variance = own["running_mean"], own["running_variance"]
    if run.training:
        mean, variance = x.mean(axes), x.var(axes)
        run.move(node, mean, variance, x.size // x.shape[1], norm.momentum)

    def wide(values: Array) -> Array:
        return values.reshape(-1, *[1] * (x.ndim - 2))

    normal = (x - wide(mean)) / jnp.sqrt(wide(variance) + norm.eps)
    return normal * wide(own["scale"]) + wide(own["shift"])
