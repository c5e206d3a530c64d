"""One workload live on one device: its programs for training and inference, and what goes in and out of them.

A reader's way through a training step: `_build` makes the network's layers (`network`), which append
their launches to a `Program`; `train_step` says where the batch lies and runs the list, or the graph of
it that reads the batch there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlbench.contract import NO_SPANS, Plan, SessionBase, Span
from dlbench.errors import PlanRefused
from dlbench.spec import layers as spec
from dlbench.spec.network import walk
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload, read_workload

from ..shared.lent import Lent
from ..shared.stamps import LOSS, OPTIMIZER, Owner
from .device import Buffer, Device, Pointer
from .layers import emit_gradient, inner_shape
from .network import Chain, Context
from .parameters import LEARNING_RATE_BYTES, PROGRESS, Parameters, Update, betas_of
from .program import Program, Value

_LOSS_SLOTS = 65536
"""Losses that are kept apart."""
_LOSS_THREADS = 512
"""A power of two: sums are halved until one is left."""
_ALIGNMENT_BYTES = 256


LINEAR = ({"type": "flatten"}, {"type": "linear", "out_features": 1, "bias": False})
"""A product, of as many numbers as an image has."""


class Place:
    """Memory of a batch: inputs N×H×W×C, then labels (int32) or values in the order of the outputs; and the graphs that
    read it there, of a training step (True) and of an inference (False)."""

    def __init__(self, buffer: Buffer, parts: tuple[Buffer, Buffer]) -> None:
        self.buffer = buffer
        self.inputs, self.targets = parts
        self.graphs: dict[bool, Callable[[], None]] = {}


Batch = Lent[Place]
Logits = Lent[Buffer]
"""The output of an inference."""


class Way(Protocol):
    """Appends the backward launches of a whole network."""

    def __call__(self, dy: Value, /) -> Value | None:
        """From the gradient of its output, before the output's finish."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of a step, which stays readable for `_LOSS_SLOTS` more."""

    step: int


class Session(SessionBase):
    """See `dlbench.contract.Session`. Uses nothing of a device but what `device.Device` has.

    `programs` are the launches of a training step (True) and of an inference (False).
    """

    products: Sequence[Sequence[Mapping[str, Any]]] = (LINEAR,)
    """Networks in which it shows how products round, one for each way in which they are made."""
    knows_owners = True
    """Whether it is known which layers each launch serves."""

    def __init__(
        self, device: Device, plan: Plan, workload: Workload, weights: Weights, mode: str
    ) -> None:
        device.new_peak()
        self.learning_rate = workload.optimizer.learning_rate
        self._device = device
        self._plan = plan
        self._workload = workload
        self._mode = mode
        self._parameters = Parameters(device)
        self._progress = device.from_host(np.zeros(1, PROGRESS).view(np.uint8))
        self._losses = device.zeros(_LOSS_SLOTS)
        self._steps = 0
        self._rounds: bool | None = None
        self._places: list[Place] = []
        self._outputs: list[Buffer] = []
        self._output_memory: Buffer | Pointer | None = None
        self.device_clock = device
        self._written_rate: float | None = None
        self._marks: list[list[tuple[Owner, Any]]] | None = None
        """Of the steps that are observed."""
        self._input = Value(plan.batch, self._inner(workload.input_shape))
        self._labels = isinstance(workload.loss, CrossEntropy)
        shape = (1, 1, 1) if self._labels else self._inner(workload.output_shape)
        self._targets = Value(plan.batch, shape, np.int32 if self._labels else np.float32)
        self._input_at, self._targets_at = Pointer(), Pointer()
        self._input.buffer, self._targets.buffer = self._input_at, self._targets_at
        training, _ = self._build(training=True)
        self._parameters.allocate()
        self._update = Update(device, self._parameters, workload.optimizer)
        with training.owned((), "update", OPTIMIZER.name):
            self._update.emit(training)
        inference, self._output = self._build(training=False)
        self.programs = {True: training, False: inference}
        start = np.zeros(1, PROGRESS)
        start["seed"] = plan.seed % 2**32
        device.write(self._progress, start.view(np.uint8))
        self.load(weights)

    def _build(self, training: bool) -> tuple[Program, Value]:
        """The launches of a training step (but for the update) or of an inference, and the network's output."""
        program = Program(self._device, self._plan.batch, self._progress, training)
        nodes = self._workload.nodes
        dropouts = [node.name for node in walk(nodes) if isinstance(node.layer, spec.Dropout)]
        numbers = {name: number for number, name in enumerate(dropouts)}
        context = Context(self._parameters, self._plan.precision, numbers, training)
        output, back = self._emit_network(program, context)
        if training:
            with program.owned((), "forward", LOSS.name):
                gradient = self._emit_loss(program, output)
            if any(node.parameters for node in walk(nodes)):
                back(gradient)
        return program, output

    def _emit_network(self, program: Program, context: Context) -> tuple[Value, Way]:
        """Appends the forward launches of all layers: the output, and the way back to the input."""
        return Chain(self._workload.nodes, context).emit(program, self._input)

    def _inner(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """A sample's shape as values have it."""
        return inner_shape(shape)

    def _laid_out(self, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """N×C×H×W in the order in which values are kept; features as they are."""
        return images.transpose(0, 2, 3, 1) if images.ndim == 4 else images

    def _emit_loss(self, program: Program, output: Value) -> Value:
        """The gradient of the network's output before its finish."""
        gradient = program.like(output)
        count = output.samples if self._labels else output.size
        rows = output.samples if self._labels else output.rows
        betas = [np.float64(beta) for beta in betas_of(self._workload.optimizer)]
        loss = self._workload.loss
        smoothing = (np.float32(loss.label_smoothing),) if isinstance(loss, CrossEntropy) else ()
        told = (*smoothing, np.float32(1 / count), self._losses, self._progress, *betas)
        program.launch(
            ("loss",),
            {"SLOTS": _LOSS_SLOTS},
            "cross_entropy" if self._labels else "mean_squared_error",
            (1,),
            _LOSS_THREADS,
            (*output.at, self._targets, rows, output.channels, *gradient.at, *told),
        )
        if output.finish.is_identity:
            return gradient
        with program.owned((), "backward"):
            return emit_gradient(program, output, gradient)

    def _run(self, training: bool, place: Place) -> None:
        self._input_at.buffer, self._targets_at.buffer = place.inputs, place.targets
        program, run = self.programs[training], place.graphs.get(training)
        if run is None:
            program.prepare([self._input, self._targets, self._output])
            run = program.run
            if self._marks is not None:
                self._marks.append(program.run_marked(self._device.mark))
                return
            if self._mode == "graph":
                run = place.graphs[training] = self._device.capture(run)
        run()

    @property
    def facts(self) -> Mapping[str, str | int]:
        """The device, what it tells, and whether the matrix products were seen to round their factors."""
        if self._rounds is None:
            # The memory that it takes to see that is not this session's.
            peak_bytes = self._device.peak_bytes
            self._rounds = any(self._rounds_in(layers) for layers in self.products)
            self._device.peak_bytes = peak_bytes
        seen: dict[str, str | int] = {
            "device": self._device.name,
            "tf32": "on" if self._rounds else "off",
        }
        return {**seen, **self._device.facts}

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """A copy of the batch in the order of the network's values; queued.

        Raises
        ------
        ValueError : a label that is none of the classes.
        """
        given = np.asarray(inputs, np.float32)
        wanted = np.asarray(targets)
        if self._labels:
            order = self._label_order()
            if not ((wanted >= 0) & (wanted < len(order))).all():
                # A negative one would count from the end.
                raise ValueError(f"labels must be from 0 to {len(order) - 1}, got {wanted}")
            wanted = order[wanted].astype(np.int32)
        else:
            shape = (len(wanted), *self._workload.output_shape)
            wanted = self._from_canonical(wanted.reshape(shape).astype(np.float32))
        # One behind the other, so that a batch is one copy.
        size = _aligned(4 * self._input.size) + 4 * self._targets.size
        host = np.zeros(size, np.uint8)
        for part, values in zip(self._parts(host), (self._laid_out(given), wanted), strict=True):
            part[...] = values.reshape(-1)
        if not self._places:
            buffer = self._device.buffer(size, np.uint8)
            self._places.append(Place(buffer, self._parts(buffer)))
        batch = Lent(self._places.pop(), self._places)
        self._device.write(batch.thing.buffer, host)
        return batch

    def _parts(self, buffer: Buffer) -> tuple[Buffer, Buffer]:
        """The inputs and the targets in the memory of a batch."""
        inputs, targets = self._input, self._targets
        return (
            buffer[: 4 * inputs.size].view(inputs.dtype),
            buffer[-4 * targets.size :].view(targets.dtype),
        )

    def _label_order(self) -> npt.NDArray[np.int64]:
        """Where in the network's output each label's logit is."""
        labels = np.arange(self._workload.output_shape[0])
        inner = self._from_canonical(labels[None])[0]
        return np.argsort(inner.reshape(-1))

    def _from_canonical(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrays like the network's output, N×C×H×W or N×F, in the order in which it is kept."""
        if array.ndim == 2 and self._output.canonical:
            array = array.reshape(len(array), *self._output.canonical)
        return self._laid_out(array)

    def infer(self, batch: Batch) -> Logits:
        """The network's output, in memory of its own."""
        self._run(False, batch.thing)
        if self._output_memory is None:
            self._output_memory = self._output.memory
        memory = self._output_memory
        if isinstance(memory, Pointer):
            # A network that changes nothing.
            memory = memory.buffer
        kept = self._outputs.pop() if self._outputs else self._device.buffer(memory.size)
        self._device.copy(kept, memory)
        return Lent(kept, self._outputs)

    def train_step(self, batch: Batch) -> Loss:
        """One optimizer step. The learning rate lies on the device, where a graph finds it too."""
        if self._written_rate != self.learning_rate:
            rate = np.full(1, self.learning_rate, np.float32).view(np.uint8)
            self._device.write(self._progress[LEARNING_RATE_BYTES], rate)
            self._written_rate = self.learning_rate
        self._run(True, batch.thing)
        loss = Loss(self._steps)
        # The optimizer's launch counts the steps on the device, and there is none without parameters.
        self._steps += bool(self._parameters.trained)
        return loss

    def download(self, result: Logits | Loss) -> npt.NDArray[np.float32]:
        """A copy of the result; waits for the stream."""
        if isinstance(result, Loss):
            if self._steps - result.step > _LOSS_SLOTS:
                raise LookupError(f"a loss is kept for {_LOSS_SLOTS} steps; read it earlier")
            slot = result.step % _LOSS_SLOTS
            return np.array(self._device.to_host(self._losses[slot : slot + 1])[0], np.float32)
        output = self._output
        flat = self._device.to_host(result.thing)
        wide = np.zeros(output.rows * output.stride, np.float32)
        wide[: flat.size] = flat
        rows = wide.reshape(output.rows, output.stride)[:, : output.channels]
        height, width, channels = output.shape
        if output.canonical:
            channels, height, width = output.canonical
        images = rows.reshape(output.samples, height, width, channels).transpose(0, 3, 1, 2)
        return np.array(images.reshape(output.samples, *self._workload.output_shape), order="C")

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        return self._parameters.copy({p.name: p.shape for p in self._workload.parameters})

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        self._parameters.load(weights)
        if not keep_optimizer:
            self._update.reset(self._progress)

    def synchronize(self) -> None:
        """Waits for the device's only stream."""
        self._device.synchronize()

    @contextlib.contextmanager
    def spans(self) -> Iterator[list[Span]]:
        """By marks of the device's clock, where launches pass from one layer's work to another's.

        Raises
        ------
        PlanRefused : a step that is launched as a whole, or launches of which it is not known.
        """
        if not self.knows_owners:
            raise PlanRefused(NO_SPANS)
        if self._mode == "graph":
            raise PlanRefused("a graph is launched as a whole, with no event between its kernels")
        found: list[Span] = []
        marks: list[list[tuple[Owner, Any]]] = []
        self._marks = marks
        try:
            yield found
        finally:
            self._marks = None
        self._device.synchronize()
        for step, of_step in enumerate(marks):
            (_, zero), *_ = of_step
            # each from the first mark, since differences are rounded
            moments_ns = [self._device.between_ns(zero, mark) for _, mark in of_step]
            owners = (owner for owner, _ in of_step[:-1])
            for owner, (begin, end) in zip(owners, itertools.pairwise(moments_ns), strict=True):
                took_ns = max(end - begin, 0)
                found.append(Span(owner.layers, owner.track, owner.name, step, begin, took_ns))

    def _rounds_in(self, layers: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the product that these layers are rounds its factors to fewer bits than float32 has: 1 + 2⁻¹² becomes
        1 in TF32."""
        terms, value = 64, 1 + 2.0**-12
        workload = read_workload(
            {
                "input_shape": [terms, 1, 1],
                "layers": [dict(layer) for layer in layers],
                "loss": "mean_squared_error",
                "optimizer": {"type": "sgd", "learning_rate": 1.0},
            }
        )
        weights = {p.name: np.ones(p.shape, np.float32) for p in workload.parameters}
        plan = Plan("", "", 1, 1, self._plan.precision)
        session = type(self)(self._device, plan, workload, weights, "eager")
        images = np.full((1, terms, 1, 1), value, np.float32)
        batch = session.upload(images, np.zeros((1, 1), np.float32))
        return bool(session.download(session.infer(batch))[0, 0] != terms * value)


def _aligned(size_bytes: int) -> int:
    return -(-size_bytes // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
