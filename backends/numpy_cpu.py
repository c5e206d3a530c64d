"""The NumPy backend: float32 on the CPU, with matrix products by whatever BLAS NumPy was built with.

It is the row that every other backend is compared with. This file holds the session; the layers are in
the ``numpy_….py`` files beside it.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.errors import PlanRefused
from dlbench.spec.workload import Weights, Workload

from .numpy_losses import loss_and_gradient
from .numpy_network import Chain
from .numpy_optimizers import make_rule

Array = npt.NDArray[np.float32]


class Adapter:
    """Opens NumPy sessions."""

    def info(self) -> BackendInfo:
        """NumPy's version and the BLAS beneath it."""
        return BackendInfo(np.__version__, (Device("cpu", "CPU"),), libraries=_blas(), own_kernels=True)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`.

        Raises
        ------
        PlanRefused : a device other than ``cpu``, a precision other than ``fp32``, a mode other than ``eager``.
        """
        if plan.device != "cpu":
            raise PlanRefused(f"numpy runs on cpu, not on {plan.device!r}")
        if plan.precision != "fp32":
            raise PlanRefused(f"numpy computes in fp32, not in {plan.precision!r}")
        if plan.mode not in ("", "eager"):
            raise PlanRefused(f"numpy has one mode, eager; it has no {plan.mode!r}")
        return Session(plan, workload, weights)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs N×C×H×W (or N×F) and targets."""

    inputs: Array
    targets: npt.NDArray[Any]


class Session:
    """One workload at its current weights."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights) -> None:
        self.workload = workload
        self.learning_rate = workload.optimizer.learning_rate
        self._chain = Chain(workload.nodes, np.random.Generator(np.random.SFC64(plan.seed)))
        self._arrays: Weights = {}
        self._trained = []
        for layer in self._chain.walk():
            for parameter in layer.node.parameters:
                role = parameter.name.rpartition(".")[2]
                self._arrays[parameter.name] = layer.weights[role]
                if parameter.trainable:
                    self._trained.append((layer, role))
        self._threads = _set_threads(plan.threads)
        self._rule = make_rule(workload.optimizer, self._parameters())
        self.load(weights)

    def _parameters(self) -> list[Array]:
        return [layer.weights[role] for layer, role in self._trained]

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The device, and the BLAS threads that were observed where that is possible."""
        return {"device": "cpu", **({"threads": self._threads} if self._threads else {})}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """A copy of the batch in NumPy's own layout."""
        return Batch(np.array(inputs, np.float32, order="C"), np.array(targets))

    def infer(self, batch: Batch) -> Array:
        """The network's output in inference mode."""
        return self._chain.forward(batch.inputs, training=False)

    def train_step(self, batch: Batch) -> Array:
        """One optimizer step; the mean loss before it."""
        outputs = self._chain.forward(batch.inputs, training=True)
        loss, gradient = loss_and_gradient(self.workload.loss, outputs, batch.targets)
        self._chain.backward(gradient)
        gradients = [layer.gradients[role] for layer, role in self._trained]
        self._rule.step(self._parameters(), gradients, self.learning_rate)
        return loss

    def download(self, result: Array) -> Array:
        """A copy of the result."""
        return np.array(result, np.float32)

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        for name, array in self._arrays.items():
            array[...] = weights[name]
        if not keep_optimizer:
            self._rule.reset()

    def synchronize(self) -> None:
        """Nothing to wait for: every call is done when it returns."""


def _blas() -> dict[str, str]:
    """Name and version of the BLAS that NumPy was built with, where this NumPy says so."""
    config = getattr(np.__config__, "CONFIG", {})
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return {"blas": f"{blas['name']} {blas.get('version', '')}".strip()} if blas.get("name") else {}


def _set_threads(threads: int) -> int:
    """Sets the BLAS threads where threadpoolctl is installed (else the environment has); the number observed, or 0."""
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return 0
    controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
    controller.limit(limits=threads)
    counts = [
        library["num_threads"]
        for library in threadpoolctl.threadpool_info()
        if library["user_api"] == "blas"
    ]
    return max(counts, default=0)
