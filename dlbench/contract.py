"""What a backend must offer: an `Adapter` that opens a `Session`, and nothing more.

A session is one workload live on one device in this process. It executes; deciding what to run,
when to synchronise and whether the answer is right belongs to the core. Anything an adapter needs
to know stands in its `Plan`, resolved before the process starts; it refuses the plan
(`PlanRefused`, `BackendUnavailable`) or obeys it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from dlbench.spec.workload import Weights, Workload


@dataclasses.dataclass(frozen=True)
class Plan:
    """How one case is to be executed. Every field is decided before the worker starts.

    Attributes
    ----------
    backend : the adapter's entry-point name.
    device : ``cpu``, ``cuda``, ``cuda:N``, or ``cuda:`` and a UUID as the driver writes it (``GPU-…``, ``MIG-…``).
    batch : samples a step.
    threads : CPU threads the backend may use.
    precision : arithmetic, ``fp32`` (no TF32, no reduced accumulation) or ``tf32`` (factors of products
        rounded to TF32, sums in float32).
    mode : ``eager`` or ``graph``; empty for the backend's own choice.
    seed : what dropout masks are drawn from.
    """

    backend: str
    device: str
    batch: int
    threads: int
    precision: str = "fp32"
    mode: str = ""
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Device:
    """A device that a backend can use: its `plan` name (``cpu``, ``cuda:0``), what it is, and the UUID by which
    the driver knows it, where it has one."""

    name: str
    description: str
    uuid: str = ""


@dataclasses.dataclass(frozen=True)
class BackendInfo:
    """What a backend is, as seen in this process.

    Attributes
    ----------
    version : the framework's version, ``2.13.0``.
    devices : what plans may name.
    mode : the mode a plan with none gets.
    libraries : versions of what computes beneath (BLAS, oneDNN, CUDA, cuDNN).
    modes : all modes that plans may name, each a row of its own; empty where there is only `mode`.
    own_kernels : whether its pooling is written here, and so held to the first of several equal maxima.
    no_gpu : why there is no CUDA device among `devices`, where it can tell.
    """

    version: str
    devices: tuple[Device, ...]
    mode: str = ""
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    own_kernels: bool = False
    modes: tuple[str, ...] = ()
    no_gpu: str = ""


class DeviceClock(Protocol):
    """The device's own clock, where it has one (CUDA events): marks in the stream of its work."""

    def mark(self) -> Any:
        """A mark behind everything asked for so far; does not wait for the device."""

    def between_ns(self, begin: Any, end: Any) -> int:
        """Device time from one mark to a later one (ns), both of which the device has passed."""


class Session(Protocol):
    """One workload, live on one device. Nothing here synchronises unless it says so.

    Resident batches and results are the backend's own objects; the core only hands them back. A
    session on a device with a clock of its own may have one member more, ``device_clock``, a
    `DeviceClock`.
    """

    learning_rate: float
    """Used by the next `train_step`; starts as the optimizer's. May be set between steps."""

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
        N×… (float32), in whatever layout the backend likes best. N is the plan's batch."""

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


class Adapter(Protocol):
    """A backend. Made without arguments; nothing is imported or touched before a method is called.

    It may have one method more, ``start(plan)``, which readies the plan's device for this process (threads,
    contexts, the first use of its libraries) and nothing of a workload; `open` must not need it. It is called
    before `open`, so that what a device costs and what a network costs are told apart.
    """

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
