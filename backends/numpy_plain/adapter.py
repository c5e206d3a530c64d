"""The adapter of plain NumPy: what NumPy gives without the care that the backend ``numpy`` takes.

It is a row that readers know from lectures, beside the fast one: what lies between the two is layout, caches and
memory, not the computer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.helpers import update_rules
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.training import CrossEntropy, Loss
from dlbench.spec.workload import Weights, Workload

from .layers import Array, Pass, sequence

HAS = (
    *(spec.Conv2d, spec.Linear, spec.BatchNorm, spec.MaxPool, spec.AvgPool, spec.GlobalAvgPool),
    *(spec.Relu, spec.LeakyRelu, spec.Tanh, spec.Sigmoid, spec.Dropout, spec.Flatten),
    *(spec.Residual, spec.Concat, spec.OptionA),
    *(training.CrossEntropy, training.MeanSquaredError),
    *training.OPTIMIZERS.values(),
)
LACKS = ((spec.Conv2d, "groups"), (training.CrossEntropy, "label_smoothing"))
"""What is not in `HAS`, and the options that are here, are refused when a session is opened."""


class Adapter(AdapterBase):
    """Opens sessions of plain NumPy."""

    title = "plain NumPy"

    def info(self) -> BackendInfo:
        """NumPy's version."""
        return BackendInfo(np.__version__, (Device("cpu", "CPU"),), own_kernels=True)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`.

        Raises
        ------
        PlanRefused : a device other than ``cpu``, a precision other than ``fp32``, a layer that it has not got.
        """
        refuse_unless("numpy-plain", plan, workload, devices=("cpu",), has=HAS, lacks=LACKS)
        return Session(plan, workload, weights)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Inputs N×C×H×W or N×F, and targets."""

    inputs: Array
    targets: npt.NDArray[Any]


class Session(SessionBase):
    """One workload at its current weights."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights) -> None:
        self.learning_rate = workload.optimizer.learning_rate
        self._workload = workload
        self._random = np.random.default_rng(plan.seed)
        self._weights: Weights = {}
        self._state: update_rules.State = {}
        self._trained = {p.name for p in workload.parameters if p.trainable}
        self.load(weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The device; BLAS has the threads that its environment says."""
        return {"device": "cpu"}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """A copy of the batch."""
        return Batch(np.array(inputs), np.array(targets))

    def infer(self, batch: Batch) -> Array:
        """The network's output in inference mode."""
        run = Pass(self._weights, training=False, random=self._random)
        return sequence(self._workload.nodes, batch.inputs, run)[0]

    def train_step(self, batch: Batch) -> Array:
        """One optimizer step; the mean loss before it."""
        run = Pass(self._weights, training=True, random=self._random)
        output, back = sequence(self._workload.nodes, batch.inputs, run)
        loss, gradient = _loss(self._workload.loss, output, batch.targets)
        back(gradient)
        trained, self._state = update_rules.update(
            self._workload.optimizer,
            np,
            {name: self._weights[name] for name in self._trained},
            run.gradients,
            self._state,
            np.float32(self.learning_rate),
        )
        self._weights = self._weights | run.running | trained
        return loss

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return {name: np.array(each, np.float32) for name, each in self._weights.items()}

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._weights = {name: np.array(each, np.float32) for name, each in weights.items()}
        if not keep_optimizer:
            trained = {name: self._weights[name] for name in self._trained}
            self._state = update_rules.begin(self._workload.optimizer, np, trained)


def _loss(loss: Loss, output: Array, targets: npt.NDArray[Any]) -> tuple[Array, Array]:
    """The mean loss, and its gradient with respect to the output."""
    if not isinstance(loss, CrossEntropy):
        away = output - targets.reshape(output.shape)
        return np.asarray(np.square(away).mean(dtype=np.float32)), away * np.float32(2 / away.size)
    rows = np.arange(len(output))
    shifted = output - output.max(1, keepdims=True)
    exponentials = np.exp(shifted)
    sums = exponentials.sum(1, keepdims=True)
    value = (np.log(sums[:, 0]) - shifted[rows, targets]).mean(dtype=np.float32)
    gradient = exponentials / sums
    gradient[rows, targets] -= 1
    return np.asarray(value), gradient / np.float32(len(output))
