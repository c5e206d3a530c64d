"""The Keras backend: one model, trained as Keras' users train it, on each engine that Keras has.

A mode is an engine and a way. ``tensorflow``, ``jax`` and ``torch`` call `train_on_batch` and `predict_on_batch`, which
hand out NumPy arrays and so wait for each step; the modes that end in ``-step`` are a loop of the engine's own around
Keras' layers and optimizer, and do not wait. XLA is on or off as the mode says and never ``auto``: ``tensorflow-xla``
has it, ``jax`` cannot be without.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.errors import BackendUnavailable
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload

if TYPE_CHECKING:
    from .engines import Engine

MODES = (
    "tensorflow",
    "tensorflow-xla",
    "jax",
    "torch",
    "tensorflow-step",
    "jax-step",
    "torch-step",
)
Batch = tuple[Any, Any]


class Adapter(AdapterBase):
    """Opens sessions on the CPU. A process has one engine, from the environment in which Keras is imported."""

    title = "Keras"
    packages = ("keras", "tensorflow", "tensorflow-cpu", "jax", "jaxlib", "torch")

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """Keras takes its engine from here when it is imported; the rest is what that engine's own backend wants."""
        engine = _engine_of(plan.mode or MODES[0])
        own = importlib.import_module(f"..{engine}.adapter", __package__).Adapter()
        return {**own.environment(plan), "KERAS_BACKEND": engine}

    def info(self) -> BackendInfo:
        """Keras' version, and the modes, those first whose engine is installed. No engine is imported.

        Raises
        ------
        BackendUnavailable : Keras is not installed, or none of its engines.
        """
        modes = _modes()
        return BackendInfo(
            importlib.metadata.version("keras"),
            (Device("cpu", "CPU"),),
            modes=modes,
            absent={"cuda": "dlbench runs Keras on the CPU alone"},
            freezes=True,
        )

    def start(self, plan: Plan) -> None:
        """Imports Keras on its engine, and starts that with the plan's threads.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        _started(plan)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : Keras or the mode's engine is not there.
        PlanRefused : an unknown precision, mode or device, another engine than an earlier session of this process had,
            or a convolution with a stride and a dilation, which Keras does not have.
        """
        return Session(plan, workload, weights, _started(plan))


class Session(SessionBase):
    """One workload as a compiled Keras model."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights, engine: Engine) -> None:
        from . import engines, network, optimizers

        self._engine = engine
        self._takes_labels = isinstance(workload.loss, CrossEntropy)
        self._output_shape = workload.output_shape
        self._network = network.Network(
            workload.nodes, workload.input_shape, plan, channels_last=engine.channels_last
        )
        self._rule = optimizers.Rule(
            workload.optimizer,
            [workload.optimizer.decay_of(name) for name in self._network.trained],
        )
        model = self._network.model
        model.compile(
            optimizer=self._rule,
            loss=network.loss_of(workload.loss),
            jit_compile=engine.compiles,
            auto_scale_loss=False,
        )
        self._rule.build(model.trainable_variables)
        self._steps = engines.steps_of(engine, model)
        self._rate = workload.optimizer.learning_rate
        self._last: Any = None
        self.load(weights)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Of the engine, and which it is; whether XLA compiles."""
        return self._engine.facts

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._rate = value
        self._steps.settle()
        self._rule.learning_rate = value
        self._steps.adopt()

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """The engine's own tensors; images in its layout."""
        if not self._takes_labels:
            targets = self._network.inside(targets.reshape(len(targets), *self._output_shape))
        return self._engine.tensor(self._network.inside(inputs)), self._engine.tensor(targets)

    def infer(self, batch: Batch) -> Any:
        """Logits in inference mode."""
        self._last = self._steps.infer(batch[0])
        return self._last

    def train_step(self, batch: Batch) -> Any:
        """One optimizer step; the mean loss before it."""
        self._last = self._steps.train(*batch)
        return self._last

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A copy of the result, images channels first."""
        return self._network.outside(np.array(self._engine.array(result), np.float32))

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        self._steps.settle()
        return self._network.read()

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._steps.settle()
        self._network.write(weights)
        if not keep_optimizer:
            self._rule.reset()
        self._steps.adopt()

    def synchronize(self) -> None:
        """Waits for what was asked of the engine last; where a NumPy array was handed out there is nothing left."""
        self._engine.wait((self._last, self._steps.state))


def _engine_of(mode: str) -> str:
    return mode.partition("-")[0]


def _modes() -> tuple[str, ...]:
    """All modes, those first whose engine is installed.

    Raises
    ------
    BackendUnavailable : Keras is not installed, or none of its engines.
    """
    if importlib.util.find_spec("keras") is None:
        raise BackendUnavailable("Keras is not installed", "pip install 'dlbench[keras]'")
    absent = {e for e in map(_engine_of, MODES) if importlib.util.find_spec(e) is None}
    if absent == set(map(_engine_of, MODES)):
        raise BackendUnavailable(
            "Keras has none of its engines here", "pip install 'dlbench[tensorflow]'"
        )
    return tuple(sorted(MODES, key=lambda mode: _engine_of(mode) in absent))


def _started(plan: Plan) -> Engine:
    """The plan's engine, running."""
    modes = _modes()
    mode = refuse_unless("keras", plan, devices=("cpu",), modes=modes)
    engine = _engine_of(mode)
    require(engine, f"Keras' engine {engine}", f"pip install 'dlbench[{engine}]'")
    from . import engines

    return engines.start(mode, plan.threads)
