"""What a backend offers: an `AdapterBase` that declares what it can do and opens sessions, and nothing more.

A session is one workload live on one device in this process. It executes; deciding what to run,
when to synchronise and whether the answer is right belongs to the core. Anything an adapter needs
to know stands in its `Plan`, resolved before the process starts; it refuses the plan
(`PlanRefused`, `BackendUnavailable`) or obeys it.

The boundary of a timed step is one for all: it begins with the batch resident on the device in the backend's own
layout, where `Session.upload` put it, and copies nothing of it. The core checks a batch before it uploads it
(`check_batch`), so no session has to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt

from dlbench.errors import PlanRefused
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one case is to be executed. Every field is decided before the worker starts.

    Attributes
    ----------
    backend : the adapter's entry-point name.
    device : a name among the adapter's `Device`s, or a kind alone (``cuda``), or a kind and the beginning of a UUID
        (``cuda:GPU-…``). Empty where it is not decided yet: `AdapterBase.environment` alone meets that.
    batch : samples a step.
    threads : CPU threads the backend may use.
    precision : arithmetic, one of `dlbench.spec.precision.POLICIES`: ``fp32`` (no TF32, no reduced accumulation),
        ``tf32`` (factors of products rounded to TF32, sums in float32), ``bf16``, ``fp16`` (mixed), ``int8``.
    mode : one of the adapter's modes; empty for its first.
    seed : what dropout masks are drawn from.
    scenario : what the session is for: ``train``, where it trains and infers, or ``infer``, where nothing is asked of
        it but to infer, so that what only training needs may be left out (compiling it, room for gradients).
    input : ``resident``, or ``streamed`` where each training step is timed with its batch from `AdapterBase.loader`.
    world : ranks of a data-parallel training that share each batch, of which rank r has the r-th of equal parts;
        1 where this process trains alone. The session is rank 0, and has the others started. See `RanksSession`.
    """

    backend: str
    device: str
    batch: int
    threads: int
    precision: str = "fp32"
    mode: str = ""
    seed: int = 0
    scenario: str = "train"
    world: int = 1
    input: str = "resident"

    @property
    def rank_threads(self) -> int:
        """CPU threads of each rank: its share of all, and one at the least."""
        return max(1, self.threads // self.world)


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that a backend can use.

    Attributes
    ----------
    name : what a plan calls it: its kind, and a number where there may be several (``cpu``, ``cuda:0``, ``opencl:1``).
    description : what it is, for people.
    uuid : how the driver knows it, where it has a UUID.
    has_copies : whether batches and results are copied to it and back, having a memory of its own.
    telemetry : what samples it beside a timed process (``nvml``); empty where nothing does.
    """

    name: str
    description: str
    uuid: str = ""
    has_copies: bool = False
    telemetry: str = ""

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.name.partition(":")[0]


@dataclasses.dataclass(frozen=True)
class BackendInfo:
    """What a backend is and can do, as seen in this process.

    Attributes
    ----------
    version : the framework's version, ``2.13.0``.
    devices : what plans may name.
    modes : ways of executing, in the backend's own words, each a row of its own; a plan without a mode gets the
        first. Empty where there is only one and it needs no name.
    precisions : the arithmetic that plans may ask for, of `dlbench.spec.precision.POLICIES`.
    scenarios : ``train`` and ``infer``, or ``infer`` alone: then no session is asked to train.
    libraries : versions of what computes beneath (BLAS, oneDNN, CUDA, cuDNN).
    own_kernels : whether its pooling is written here, and so held to the first of several equal maxima.
    absent : by kind of device, why there is none among `devices`, where the backend can tell.
    worlds : the numbers of ranks that plans may ask for; sessions of more than one are `RanksSession`s.
    freezes : whether it can train networks of which layers are frozen (`dlbench.spec.layers.Freezable`).
    """

    version: str
    devices: tuple[Device, ...]
    modes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    scenarios: tuple[str, ...] = ("train", "infer")
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    own_kernels: bool = False
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    worlds: tuple[int, ...] = (1,)
    freezes: bool = False

    @property
    def mode(self) -> str:
        """The mode that a plan without one gets."""
        return self.modes[0] if self.modes else ""


class DeviceClock(Protocol):
    """The device's own clock, where it has one (CUDA events): marks in the stream of its work."""

    def mark(self) -> Any:
        """A mark behind everything asked for so far; does not wait for the device."""

    def between_ns(self, begin: Any, end: Any) -> int:
        """Device time from one mark to a later one (ns), both of which the device has passed."""


class Session(Protocol):
    """One workload, live on one device. Nothing here synchronises unless it says so.

    Resident batches and results are the backend's own objects; the core only hands them back. `SessionBase` has
    defaults for what a session may leave out.
    """

    learning_rate: float
    """Used by the next `train_step`; starts as the optimizer's. May be set between steps."""

    @property
    def device_clock(self) -> DeviceClock | None:
        """The device's own clock; None where it has none."""

    @property
    def facts(self) -> Mapping[str, str | int]:
        """What was observed, not asked for: ``threads``, ``device``, ``tf32``; on a GPU ``device_name``,
        ``cudnn``, ``cudnn_benchmark``, and by now ``peak_device_memory_bytes``, the most that the framework's
        allocator had in use since the session was opened; …

        A session on a GPU says which one, so that telemetry is sampled there: ``device_uuid``, as the framework or
        the CUDA runtime has it (``GPU-…`` or ``MIG-…``, the prefix may be missing), or where that cannot be had
        ``device_pci_bus_id`` (``0000:1b:00.0``). Indices will not do: the driver counts otherwise.
        """

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Any:
        """A resident batch from inputs N×C×H×W or N×F (float32) and targets, labels N (int64) or values
        N×… (float32), where and how a step reads it. N is the plan's batch; the core has seen to that."""

    def infer(self, batch: Any) -> Any:
        """Logits of a resident batch in inference mode, left on the device."""

    def train_step(self, batch: Any) -> Any:
        """One optimizer step on a resident batch; the mean loss before the step, left on the device."""

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A result of `infer` (N×classes, or N×C×H×W where the network ends there) or of `train_step` (a scalar)
        as an array. Waits for it."""

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics in the canonical layout. Waits for the device."""

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics; the optimizer's state (momentum, moments, step count)
        starts afresh unless `keep_optimizer`."""

    def synchronize(self) -> None:
        """Returns when everything asked for is done on the device."""


Track = Literal["forward", "backward", "update"]
"""A pass of a step: towards the loss, that included; back to the parameters' gradients; the optimizer's."""


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """What ran in a step from one moment to another, by the backend's own clock.

    Attributes
    ----------
    layers : those of the workload that it served: one, or all of those that a fused kernel serves, which is not to be
        split; none where it served no layer.
    track : the pass that it was part of.
    name : what ran, in the backend's words; ``loss`` and ``optimizer`` where it was that.
    step : which step of the block, from 0.
    began_ns, took_ns : from the beginning of that step, and how long (ns).
    """

    layers: tuple[str, ...]
    track: Track
    name: str
    step: int
    began_ns: int
    took_ns: int


class SpansSession(Session, Protocol):
    """A session that can say what its steps spend on each layer. It is an optional member: everything else works
    without it, and nothing is timed with it but in a process of its own."""

    def spans(self) -> AbstractContextManager[list[Span]]:
        """Steps that are taken within are observed; the list is filled when the block ends. The spans of a step do not
        overlap, so that they add up; what lies between them belongs to no layer.

        Raises
        ------
        PlanRefused : steps cannot be observed by this plan (a mode whose kernels do not say what they serve).
        """


class RanksSession(Session, Protocol):
    """What is asked beside that of a session by a plan whose `world` is more than 1.

    A batch is cut evenly, in its order: rank r has samples r·N/world up to (r + 1)·N/world. Each rank computes the
    gradients of its own part's mean loss, and every rank steps by their mean over ranks. Batch statistics are those of
    a rank's own part; running statistics are rank 0's, and so are the `weights`. Dropout masks are drawn by each rank
    for itself. `infer` and the loss are of the whole batch. A step is done when every rank has taken it.
    """

    def rank_weights(self) -> Sequence[Weights]:
        """Every rank's own copy of the parameters, rank 0's first; of running statistics too, of which nothing is
        asked but of rank 0's. Waits for all."""

    def alone_ns(self, batch: Any, steps: int) -> Sequence[Sequence[int]]:
        """Takes steps in which no rank waits for another, since none tells its gradients: how long each took, by rank,
        by the rank's own clock (ns). What weights and optimizers are afterwards is not asked before the next `load`."""


NO_SPANS = "this backend does not say what a step spends on each layer"


class SessionBase:
    """Defaults of a `Session`: it infers alone, has no clock of its own, and is done when a call returns.

    A session that trains has its own `learning_rate`, `train_step`, `weights` and `load`.
    """

    learning_rate: float = 0.0
    device_clock: DeviceClock | None = None

    def train_step(self, batch: Any) -> Any:
        """Refused."""
        raise PlanRefused("this backend does not train")

    def download(self, result: Any) -> npt.NDArray[np.float32]:
        """A copy of a result that NumPy takes for an array."""
        return np.array(result, np.float32)

    def weights(self) -> Weights:
        """Refused."""
        raise PlanRefused("this backend does not train")

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Refused."""
        raise PlanRefused("this backend does not train")

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def spans(self) -> AbstractContextManager[list[Span]]:
        """Refused."""
        raise PlanRefused(NO_SPANS)


class TrainingBatches(Protocol):
    """What a loader is to deliver, batch after batch without end: epoch by epoch in the drawn order, without what fills
    no batch. Can be pickled."""

    def indices(self, number: int) -> tuple[int, npt.NDArray[np.int64]]:
        """The epoch of a batch, and the samples in it: N int64. Both are numbered from 0."""

    def sample(self, index: int, epoch: int) -> tuple[npt.NDArray[np.float32], Any]:
        """A sample as the epoch has it: the input C×H×W or F, and a label (int64) or values (float32)."""

    def batch(self, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
        """A whole batch, as `Session.upload` takes it: its samples one upon the other, to the bit."""


class Loader(Protocol):
    """Delivers batches as `Session.upload` takes them, each never written to again. `name` is for people; `ahead` is
    how many batches it prepares before they are asked for."""

    name: str
    ahead: int

    def __next__(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]: ...

    def close(self) -> None: ...


class Adapter(Protocol):
    """What verification asks of a backend: what it can do, and sessions."""

    def info(self) -> BackendInfo:
        """Imports the framework and looks.

        Raises
        ------
        BackendUnavailable : it cannot be used here, and how that could be changed.
        """

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : as for `info`, or the device is not there.
        PlanRefused : a precision, mode or device that this backend has not got.
        """


class AdapterBase:
    """A backend. Made without arguments; nothing is imported or touched before a method is called.

    An adapter derives from it and has `info` and `open`; the rest is for what is different from here.

    Attributes
    ----------
    title : what people call the framework, in sentences; the backend's name where empty.
    packages : the distributions whose versions count and are compared; ``numpy`` and dlbench's own always do.
    default_device : the device of the row that says why the backend cannot be used.
    out_of_memory : names of the framework's exceptions for that, beside `MemoryError`.
    """

    title: ClassVar[str] = ""
    packages: ClassVar[tuple[str, ...]] = ()
    default_device: ClassVar[str] = "cpu"
    out_of_memory: ClassVar[tuple[str, ...]] = ("OutOfMemoryError",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """Environment variables that a worker sets first of all, before the framework is imported.

        Parameters
        ----------
        plan : what the worker is to do. Where it looks at the backend, only the threads are decided: the device is
            empty, so nothing may be hidden.
        """
        return {}

    def info(self) -> BackendInfo:
        """See `Adapter.info`."""
        raise NotImplementedError

    def start(self, plan: Plan) -> None:
        """Readies the plan's device for this process (threads, contexts, the first use of its libraries) and nothing of
        a workload. It is called before `open`, which must not need it, so that what a device costs and what a
        network costs are told apart.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """See `Adapter.open`."""
        raise NotImplementedError

    def loader(self, plan: Plan, batches: TrainingBatches) -> Loader | None:
        """The framework's own loader over these batches, from the first; None for dlbench's plain one."""
        return None


def check_batch(
    plan: Plan, workload: Workload, inputs: npt.NDArray[Any], targets: npt.NDArray[Any]
) -> None:
    """Holds a batch against what a session of `plan` takes, so that no session has to.

    Raises
    ------
    ValueError : another shape or type than the contract of `Session.upload` says.
    """
    labels = isinstance(workload.loss, CrossEntropy)
    wanted = (
        ("inputs", inputs, (plan.batch, *workload.input_shape), np.float32),
        ("labels", targets, (plan.batch,), np.int64)
        if labels
        else ("targets", targets, (plan.batch, *workload.output_shape), np.float32),
    )
    for what, array, shape, kind in wanted:
        if array.shape != shape or array.dtype != kind:
            raise ValueError(
                f"{what} are {array.dtype} {array.shape}, should be {np.dtype(kind)} {shape}"
            )
