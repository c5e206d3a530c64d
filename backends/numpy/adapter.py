"""The NumPy backend: float32 on the CPU, as near to the limit of its matrix products as NumPy gets.

It is the row that every other backend is compared with. This file holds the session; how it computes
stands in the ``numpy_….py`` files beside it, the idea in ``docs/numpy-backend.md``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase, Span
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.training import Loss
from dlbench.spec.workload import Weights, Workload

from ..shared.lent import Lent
from ..shared.stamps import LOSS, OPTIMIZER, Owner, Stamps
from .blas import blas_facts
from .layers import Canonical, Flatten, inner_shape
from .losses import loss_and_gradient
from .network import Chain
from .optimizers import Rule
from .parameters import Parameters
from .schedule import Calls, Program, Resident, Scope, Value
from .workers import Chunk, Team

Array = npt.NDArray[np.float32]


class Adapter(AdapterBase):
    """Opens NumPy sessions."""

    title = "NumPy"

    def info(self) -> BackendInfo:
        """NumPy's version and the BLAS beneath it."""
        return BackendInfo(
            np.__version__,
            (Device("cpu", "CPU"),),
            libraries=blas_facts(),
            own_kernels=True,
            freezes=True,
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`.

        Raises
        ------
        PlanRefused : a device other than ``cpu``, a precision other than ``fp32``, a mode that
            does not exist.
        """
        refuse_unless("numpy", plan, devices=("cpu",), modes=("eager",))
        return Session(plan, workload, weights)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Where the inputs lie (`Resident.put`), and the targets, images among them as they came."""

    inputs: Lent[int]
    targets: npt.NDArray[Any]


class _LossOfBatch:
    """The loss as a step of a program: the targets that it reads, the value that it leaves."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self.targets: npt.NDArray[Any]
        self.value: Array

    def step(self, chunk: Chunk, outputs: Array, gradient: Array) -> Calls:
        """Fills `gradient`."""

        def compute() -> None:
            self.value, gradient[...] = loss_and_gradient(self.loss, outputs, self.targets)

        yield (compute,)


class Session(SessionBase):
    """One workload at its current weights."""

    def __init__(self, plan: Plan, workload: Workload, weights: Weights) -> None:
        self.learning_rate = workload.optimizer.learning_rate
        self._workload = workload
        self._team = Team(plan.threads, plan.batch, plan.seed)
        self._parameters = Parameters({p.name for p in workload.parameters if p.frozen})
        self._chain = Chain(workload.nodes, self._parameters, self._team)
        self._input = Resident(inner_shape(workload.input_shape), self._team)
        self._loss = _LossOfBatch(workload.loss)
        self._stores: list[npt.NDArray[Any]] = []
        self._training, self._logits = self._program(training=True)
        self._inference, self._output = self._program(training=False)
        self._parameters.allocate(self._team, workload.optimizer.decay_of)
        self._rule = Rule(workload.optimizer, self._parameters.trained_size, self._team.shared)
        self._moment = self._team.shared((3,), np.float64)
        """What all workers have to know of a step: the learning rate, its number for the optimizer, and what gradients
        are multiplied by."""
        self._clips = workload.optimizer.clip_norm is not None
        update = functools.partial(
            self._parameters.update, self._rule, self._moment, gathered=self._clips
        )
        self._update = self._team.task(update)
        self._squares = self._team.shared((len(self._team.workers),), np.float64)
        self._gather = self._team.task(functools.partial(self._parameters.gather, self._squares))
        self._prepared: set[Program] = set()
        self._stamps: Stamps | None = None
        self.load(weights)

    def _program(self, training: bool) -> tuple[Program, Value]:
        """The steps of a training step (without the optimizer) or of inference, and the value they end in."""
        program = Program(self._team, training, self._stores)
        last = dataclasses.replace(self._workload.nodes[-1], needs_input_gradient=True)
        y, chain_back = self._chain.emit(program, self._input)
        with program.owned(Owner((last.name,), "forward")):
            y, flatten_back = Flatten(last).emit(program, y)
            y, canonical_back = Canonical(last).emit(program, y)
        if training:
            dy = Value(y.shape)
            with program.owned(LOSS):
                program.add(self._loss.step, [y], [dy], scope=Scope.ONCE)
            with program.owned(Owner((last.name,), "backward")):
                gradient = canonical_back(dy)
                gradient = gradient and flatten_back(gradient)
            if gradient is not None:
                chain_back(gradient)
        return program, y

    def _take(self, program: Program, batch: Batch, output: Value) -> None:
        """Makes `program` ready to run on `batch`."""
        if program not in self._prepared:
            program.prepare([self._input, output])
            self._prepared.add(program)
        self._input.choose(batch.inputs.thing)
        self._loss.targets = batch.targets

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The device, and the threads that are there to compute, each with single-threaded BLAS."""
        return {"device": "cpu", "threads": self._team.present()}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """A copy of the batch, where all workers read it and as the first layer does."""
        return Batch(self._input.put(inputs, self._team), np.array(targets))

    def infer(self, batch: Batch) -> Array:
        """The network's output in inference mode."""
        self._take(self._inference, batch, self._output)
        if self._stamps is not None:
            self._stamps.begin()
        with self._team.step():
            self._inference.run()
        output = self._output.store
        assert output is not None
        return output.reshape(-1, *self._workload.output_shape).copy()

    def train_step(self, batch: Batch) -> Array:
        """One optimizer step; the mean loss before it."""
        self._take(self._training, batch, self._logits)
        if self._stamps is not None:
            self._stamps.begin()
        with self._team.step():
            self._training.run()
            if self._stamps is not None:
                self._stamps.mark(OPTIMIZER)
            self._moment[:2] = self.learning_rate, self._moment[1] + 1
            if self._clips:
                self._team.run(self._gather)
                norm = float(np.sqrt(self._squares.sum()))
                self._moment[2] = self._workload.optimizer.clipping(norm)
            self._team.run(self._update)
            self._parameters.state += 1
            if self._stamps is not None:
                self._stamps.mark(None)
        return self._loss.value

    @contextlib.contextmanager
    def spans(self) -> Iterator[list[Span]]:
        """By stamps of the first worker, between the calls of one layer and the next; it has its share of the samples,
        chunk by chunk. The update is one piece of work for all parameters."""
        found: list[Span] = []
        programs = self._training, self._inference
        self._stamps = stamps = Stamps()
        for program in programs:
            program.watch.stamps = stamps
        try:
            yield found
        finally:
            self._stamps = None
            for program in programs:
                program.watch.stamps = None
        found += stamps.take()

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return self._parameters.copy({p.name: p.shape for p in self._workload.parameters})

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._parameters.load(weights)
        if not keep_optimizer:
            self._rule.reset()
            self._moment[1] = 0
