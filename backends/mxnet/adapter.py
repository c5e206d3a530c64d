"""The Apache MXNet backend: hybridized Gluon blocks and `autograd`, as MXNet's users have them.

MXNet is retired: its last release, 1.9.1 of 2022, wants NumPy before 1.24 and so an interpreter of its own, which
``dlbench env create mxnet`` makes. Its operators begin when their inputs are there; the calls return before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload

Batch = tuple[Any, Any]


class Adapter(AdapterBase):
    """Opens sessions on the CPU."""

    title = "MXNet"
    packages = ("mxnet",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """OpenMP's threads are oneDNN's and those of MXNet's own loops; they are counted when the library is loaded,
        and without this MXNet takes half of the processors. Of operators there is one at a time."""
        threads = str(plan.threads)
        return {
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "MXNET_CPU_WORKER_NTHREADS": "1",
            # else it prints a warning of layouts that oneDNN does not take, once an operator
            "MXNET_STORAGE_FALLBACK_LOG_VERBOSE": "0",
        }

    def info(self) -> BackendInfo:
        """MXNet's version and its one device.

        Raises
        ------
        BackendUnavailable : MXNet is not installed, or cannot be imported.
        """
        mxnet = _mxnet()
        from . import runtime

        return BackendInfo(
            mxnet.__version__,
            (Device("cpu", "CPU"),),
            libraries=runtime.libraries(),
            absent={"cuda": "dlbench runs MXNet on the CPU alone"},
        )

    def start(self, plan: Plan) -> None:
        """Computes for the first time, which starts MXNet's threads.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        refuse_unless("mxnet", plan, devices=("cpu",))
        _mxnet().nd.ones(1).wait_to_read()

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : MXNet is not there.
        PlanRefused : an unknown precision, mode or device.
        """
        self.start(plan)
        return Session(plan, workload, weights)


class Session(SessionBase):
    """One workload as hybridized blocks."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights) -> None:
        import mxnet

        from . import network, optimizers, runtime

        self._mx = mxnet
        mxnet.random.seed(plan.seed)
        self.facts = runtime.facts()
        trains = plan.scenario == "train"
        self._network = network.Network(workload.nodes, plan.batch, trains=trains)
        self._loss = network.Loss(self._network, workload.loss)
        # memory is laid out once, and operators are not asked for anew each step
        self._loss.hybridize(static_alloc=True, static_shape=True)
        self._target_type = "int32" if isinstance(workload.loss, CrossEntropy) else "float32"
        trained = self._network.trained if trains else {}
        self._rule = optimizers.Rule(workload.optimizer, trained)
        self.learning_rate = workload.optimizer.learning_rate
        self.load(weights)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """MXNet's own arrays."""
        array = self._mx.nd.array
        return array(inputs, dtype="float32"), array(targets, dtype=self._target_type)

    def infer(self, batch: Batch) -> Any:
        """Logits in inference mode."""
        self._network.enter(training=False)
        return self._network(batch[0])

    def train_step(self, batch: Batch) -> Any:
        """One optimizer step; the mean loss before it."""
        self._network.enter(training=True)
        with self._mx.autograd.record():
            loss = self._loss(*batch)
        loss.backward()
        self._rule.step(self.learning_rate)
        return loss

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A copy of the result; MXNet has no arrays without axes, so that a loss has one."""
        array = np.array(result.asnumpy(), np.float32)
        return array.reshape(()) if array.ndim == 1 else array

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        self._network.enter(training=False)
        return self._network.read()

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._network.write(weights)
        if not keep_optimizer:
            self._rule.reset()

    def synchronize(self) -> None:
        """Waits for all that MXNet was asked for."""
        self._mx.nd.waitall()


def _mxnet() -> Any:
    return require("mxnet", "MXNet", "dlbench env create mxnet")
