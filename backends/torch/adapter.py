"""The PyTorch backend: a module, `loss.backward()`, `optimizer.step()`, in the modes in which people run it.

This file holds the session; the modules are built in `layers`, what a mode makes of them stands in `modes`, and both
are imported when a session is opened. Inputs keep PyTorch's default memory format (contiguous N×C×H×W), on CPU and GPU
alike, but in the mode that is called after another one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import (
    AdapterBase,
    BackendInfo,
    Device,
    Plan,
    SessionBase,
    Span,
    TrainingBatches,
)
from dlbench.contract import Loader as AnyLoader
from dlbench.contract import Session as AnySession
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.precision import policy_of
from dlbench.spec.quantization import NO_TRAINING
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_driver import device_uuids
from ..shared.cuda_index import NEEDS_GPU, cuda_index
from ..shared.framework import STRICT_ONEDNN, cuda_devices, without_cuda

if TYPE_CHECKING:
    import torch

    Batch = tuple[torch.Tensor, torch.Tensor]

MODES = (
    "eager",
    "channels-last",
    "compile",
    "compile-max-autotune",
    "cuda-graph",
    "compile-cuda-graph",
)
PRECISIONS = ("fp32", "bf16", "fp16", "int8")
WORLDS = (1, 2, 4, 8)


class Adapter(AdapterBase):
    """Opens PyTorch sessions on ``cpu`` and on CUDA devices, by index or UUID."""

    title = "PyTorch"
    packages = ("torch",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """No GPU for a process that computes on the CPU: PyTorch would look for one. oneDNN does not round factors of
        its own accord."""
        return {**STRICT_ONEDNN, **without_cuda(plan)}

    def info(self) -> BackendInfo:
        """PyTorch's version, its devices, and the libraries that compute beneath it.

        Raises
        ------
        BackendUnavailable : PyTorch is not installed or cannot be imported.
        """
        torch = _require_torch()
        from . import runtime

        cpu = f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        gpus: tuple[Device, ...] = ()
        absent = {}
        try:
            uuids = _cuda_devices()
            gpus = cuda_devices(map(torch.cuda.get_device_name, range(len(uuids))), uuids)
        except BackendUnavailable as error:
            # the CPU is left
            absent["cuda"] = error.reason
        return BackendInfo(
            version=torch.__version__,
            devices=(Device("cpu", cpu), *gpus),
            modes=MODES,
            precisions=PRECISIONS,
            libraries=runtime.libraries(),
            absent=absent,
            worlds=WORLDS if torch.distributed.is_available() else WORLDS[:1],
            freezes=True,
        )

    def start(self, plan: Plan) -> None:
        """Readies the device, with a first product and a first convolution there.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        device = _device(plan)
        from . import runtime

        runtime.rounds_inputs(device)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> AnySession:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : PyTorch, the CUDA device or the compiler that a mode needs is not there.
        PlanRefused : an unknown precision, mode or device, an optimizer that a mode cannot record, or what several
            ranks do not do.
        """
        device = _device(plan)
        if plan.world > 1:
            from .data_parallel import ParallelSession

            return ParallelSession(plan, workload, weights, device)
        if plan.precision == "int8":
            return _open_integers(plan, workload, weights, device)
        return Session(plan, workload, weights, device)

    def loader(self, plan: Plan, batches: TrainingBatches) -> AnyLoader:
        """A DataLoader with a worker for each of the plan's threads."""
        from .loader import Loader

        return Loader(batches, plan.threads)


def _open_integers(
    plan: Plan, workload: Workload, weights: Weights, device: torch.device
) -> AnySession:
    from . import runtime
    from .integers import IntegerSession

    if device.type != "cpu" or plan.mode not in ("", MODES[0]):
        raise PlanRefused(f"torch has int8 on cpu in mode {MODES[0]} alone")
    if plan.scenario == "train":
        raise PlanRefused(NO_TRAINING)
    return IntegerSession(
        workload, weights, plan.batch, runtime.facts(device, policy_of(plan.precision), None)
    )


class Session(SessionBase):
    """One workload as an `nn.Module` with its `torch.optim` optimizer."""

    def __init__(
        self, plan: Plan, workload: Workload, weights: Weights, device: torch.device
    ) -> None:
        import torch

        from . import graphs, layers, modes, precision, runtime

        mode = modes.find(plan.mode or MODES[0], device)
        policy = policy_of(plan.precision)
        recorder = graphs.Recorder(device) if mode.recorded else None
        self._recorded = mode.recorded
        # An import statement in `infer` would be 3 % of the smallest network's time.
        self._inference_mode = torch.inference_mode
        self._device = device
        self._takes_labels = isinstance(workload.loss, CrossEntropy)
        self._target_shape = workload.output_shape
        self._network = layers.Network(workload.nodes, precision.short_of(policy, device))
        self._layout = mode.layout
        self._network.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self._network.train()
        self._forward = mode.forward(self._network)
        self._loss = layers.make_loss(workload.loss)
        self._scale: torch.Tensor | None = None
        self._unscale = 1 / policy.loss_scale
        if policy.loss_scale != 1:
            self._scale = torch.tensor(policy.loss_scale, device=device)
            self._unscaled = torch._foreach_mul_
        self._optimizer = layers.make_optimizer(
            workload.optimizer, self._network, device if recorder else None
        )
        self._trained = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._clip_norm = workload.optimizer.clip_norm
        self._clip = torch.nn.utils.clip_grad_norm_
        self._learning_rate = workload.optimizer.learning_rate
        self._resident: Callable[..., Batch] = lambda *batch: batch
        self._step, self._logits = self._one_step, self._outputs
        if recorder:
            self._resident = graphs.resident
            self._step = recorder.step("train", self._one_step)  # type: ignore[assignment]
            self._logits = recorder.step("infer", self._outputs)  # type: ignore[assignment]
        self.load(weights)
        uuid = _cuda_devices()[device.index] if device.type == "cuda" else None
        self._facts = runtime.facts(device, policy, uuid)
        if device.type == "cuda":
            self.device_clock = _Events(device)
            # what the set-up above needed is not the workload's
            torch.cuda.reset_peak_memory_stats(device)
        # Last, because making modules draws (unused) initial values from the same generator.
        torch.manual_seed(plan.seed)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Device, threads, whether TF32 was seen; on a GPU also which, cuDNN's settings, and tensors' peak memory."""
        import torch

        if self._device.type == "cpu":
            return self._facts
        peak_bytes = torch.cuda.max_memory_allocated(self._device)
        return self._facts | {"peak_device_memory_bytes": peak_bytes}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self._learning_rate = value
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], float):
                group["lr"] = value
            else:
                group["lr"].fill_(value)

    def upload(self, inputs: npt.NDArray[np.float32], targets: npt.NDArray[Any]) -> Batch:
        """Copies on the device. Values get the output's shape, lest the loss broadcasts them."""
        import torch

        if self._takes_labels:
            wanted = torch.tensor(targets, dtype=torch.int64, device=self._device)
        else:
            shaped = targets.reshape(len(targets), *self._target_shape)
            wanted = torch.tensor(shaped, dtype=torch.float32, device=self._device)
        # Else `torch.tensor` keeps the strides of a transposed array, and the layers compute in them.
        contiguous = np.ascontiguousarray(inputs)
        images = torch.tensor(contiguous, dtype=torch.float32, device=self._device)
        if images.ndim == 4:
            images = images.contiguous(memory_format=self._layout)
        return self._resident(images, wanted)

    def infer(self, batch: Batch) -> torch.Tensor:
        """Logits in inference mode, left on the device."""
        if self._network.training:
            self._network.eval()
        return self._logits(batch)

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One optimizer step; the mean loss before it, left on the device."""
        if not self._network.training:
            self._network.train()
        return self._step(batch)

    def _outputs(self, batch: Batch) -> torch.Tensor:
        with self._inference_mode():
            return self._forward(batch[0])

    def _one_step(self, batch: Batch) -> torch.Tensor:
        inputs, targets = batch
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._forward(inputs), targets)
        loss.backward(self._scale)  # type: ignore[no-untyped-call]
        if self._scale is not None:
            self._unscaled([parameter.grad for parameter in self._trained], self._unscale)
        if self._clip_norm is not None:
            self._clip(self._trained, self._clip_norm)
        self._optimizer.step()
        return loss.detach()

    def download(self, result: torch.Tensor) -> npt.NDArray[np.float32]:
        """A copy of the result."""
        return np.array(result.cpu().numpy(), np.float32, order="C")

    def weights(self) -> Weights:
        """Copies of all parameters and running statistics."""
        arrays = self._network.arrays
        return {
            name: np.array(tensor.detach().cpu().numpy(), order="C")
            for name, tensor in arrays.items()
        }

    def load(self, weights: Weights, *, keep_optimizer: bool = False) -> None:
        """Replaces all parameters and running statistics."""
        import torch

        with torch.no_grad():
            for name, tensor in self._network.arrays.items():
                tensor.copy_(torch.tensor(weights[name]))
            if not keep_optimizer:
                # in place, where a recorded step reads it; zeros are how every rule begins
                for state in self._optimizer.state.values():
                    for moment in state.values():
                        if moment is not None:
                            moment.zero_()
        # puts the network into inference again before the next outputs, and so rounds the new weights
        self._network.train()

    @contextlib.contextmanager
    def spans(self) -> Iterator[list[Span]]:
        """By PyTorch's profiler, of steps whose layers are called one by one.

        Raises
        ------
        PlanRefused : a mode that compiles them into common kernels, or records steps.
        """
        if self._forward is not self._network or self._recorded:
            raise PlanRefused(
                "PyTorch's profiler does not say which layers a kernel serves that was compiled, or recorded in a graph"
            )
        from . import spans

        kept = self._step, self._logits
        self._step, self._logits = map(spans.named, kept)  # type: ignore[assignment]
        layers = self._network.named_layers
        try:
            with spans.observed(layers, self._loss, self._device) as found:
                yield found
        finally:
            self._step, self._logits = kept

    def synchronize(self) -> None:
        """Waits for the GPU; CPU calls are done when they return."""
        import torch

        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


class _Events:
    """CUDA events on the device's current stream, which are what CUDA itself times with."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._make = torch.cuda.Event
        self._stream = torch.cuda.current_stream(device)

    def mark(self) -> torch.cuda.Event:
        """An event behind the work so far."""
        event = self._make(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event

    def between_ns(self, begin: torch.cuda.Event, end: torch.cuda.Event) -> int:
        """From one event to another; PyTorch tells ms."""
        return round(float(begin.elapsed_time(end)) * 1e6)


def _cuda_devices() -> list[str | None]:
    """The UUIDs of PyTorch's CUDA devices, in its order; none where the driver has no device either.

    Raises
    ------
    BackendUnavailable : this PyTorch cannot use what there is, and what would change that.
    """
    torch = _require_torch()
    if not torch.backends.cuda.is_built():
        raise BackendUnavailable(
            f"no CUDA device: PyTorch {torch.__version__} was built for the CPU alone",
            f"{NEEDS_GPU} and a CUDA build of PyTorch",
        )
    uuids = device_uuids()
    try:
        # `device_count` alone may ask the driver's tools, which see a device that this build cannot use
        torch.cuda.init()
    except RuntimeError as error:
        if not uuids:
            return []
        raise BackendUnavailable(
            f"PyTorch {torch.__version__} cannot use the GPU: {error}",
            "a newer driver, or a build of PyTorch for the CUDA version of this one",
        ) from error
    count = torch.cuda.device_count()
    return list(uuids) if len(uuids) == count else [_uuid(index) for index in range(count)]


def _uuid(index: int) -> str | None:
    """What PyTorch tells, where the driver itself cannot be asked; not every version tells it."""
    import torch

    found = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return None if found is None else f"GPU-{str(found).removeprefix('GPU-')}"


def _require_torch() -> Any:
    return require("torch", "PyTorch", "pip install 'dlbench[torch]'")


def _device(plan: Plan) -> torch.device:
    """The plan's device, with this process' settings as the plan wants them."""
    refuse_unless("torch", plan, modes=MODES, precisions=PRECISIONS, worlds=WORLDS)
    index = cuda_index(plan.device, _cuda_devices)
    _require_torch()
    import torch

    from . import runtime

    runtime.set_threads(plan.threads)
    runtime.set_strict_fp32()
    return torch.device("cpu") if index is None else torch.device("cuda", index)
