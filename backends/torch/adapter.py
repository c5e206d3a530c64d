"""The PyTorch backend: a module, `loss.backward()`, `optimizer.step()`, in the modes in which people run it.

This file holds the session; the modules are built in `layers`, what a mode makes of them stands in `modes`, and both
are imported when a session is opened. Inputs keep PyTorch's default memory format (contiguous N×C×H×W), on CPU and GPU
alike, but in the mode that is called after another one.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.errors import BackendUnavailable
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_driver import cudnn_name, device_uuids
from ..shared.cuda_index import NEEDS_GPU, cuda_index
from ..shared.framework import (
    TERMS,
    VALUE,
    cuda_devices,
    rounds,
    without_cuda,
)

if TYPE_CHECKING:
    import torch

    Batch = tuple[torch.Tensor, torch.Tensor]

MODES = ("eager", "channels-last", "compile", "compile-max-autotune")


class Adapter(AdapterBase):
    """Opens PyTorch sessions on ``cpu`` and on CUDA devices, by index or UUID."""

    title = "PyTorch"
    packages = ("torch",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """No GPU for a process that computes on the CPU: PyTorch would look for one."""
        return without_cuda(plan)

    def info(self) -> BackendInfo:
        """PyTorch's version, its devices, and the libraries that compute beneath it.

        Raises
        ------
        BackendUnavailable : PyTorch is not installed or cannot be imported.
        """
        torch = _require_torch()
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
            libraries=_libraries(),
            absent=absent,
        )

    def start(self, plan: Plan) -> None:
        """Readies the device, with a first product and a first convolution there.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        _rounds_inputs(_device(plan))

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : PyTorch, the CUDA device or the compiler that a mode needs is not there.
        PlanRefused : a precision other than ``fp32``, an unknown mode or device.
        """
        return Session(plan, workload, weights, _device(plan))


class Session(SessionBase):
    """One workload as an `nn.Module` with its `torch.optim` optimizer."""

    def __init__(
        self, plan: Plan, workload: Workload, weights: Weights, device: torch.device
    ) -> None:
        import torch

        from . import layers, modes

        mode = modes.find(plan.mode or MODES[0], device)
        # An import statement in `infer` would be 3 % of the smallest network's time.
        self._inference_mode = torch.inference_mode
        self._device = device
        self._takes_labels = isinstance(workload.loss, CrossEntropy)
        self._target_shape = workload.output_shape
        self._network = layers.Network(workload.nodes)
        self._layout = mode.layout
        self._network.to(device, memory_format=self._layout)  # type: ignore[call-overload]
        self._network.train()
        self._forward = mode.forward(self._network)
        self._loss = layers.make_loss(workload.loss)
        self._optimizer = layers.make_optimizer(workload.optimizer, self._network)
        self.load(weights)
        self._facts = _facts(device)
        if device.type == "cuda":
            self.device_clock = _Events(device)
            # what the set-up above needed is not the workload's
            torch.cuda.reset_peak_memory_stats(device)
        # Last, because making modules draws (unused) initial values from the same generator.
        torch.manual_seed(plan.seed)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Device, threads, whether TF32 was seen in products; on a GPU also which, cuDNN's settings, and the most
        memory that tensors have had there."""
        import torch

        if self._device.type == "cpu":
            return self._facts
        peak_bytes = torch.cuda.max_memory_allocated(self._device)
        return self._facts | {"peak_device_memory_bytes": peak_bytes}

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = value

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
        return images, wanted

    def infer(self, batch: Batch) -> torch.Tensor:
        """Logits in inference mode, left on the device."""
        if self._network.training:
            self._network.eval()
        with self._inference_mode():
            logits = self._forward(batch[0])
        return logits

    def train_step(self, batch: Batch) -> torch.Tensor:
        """One optimizer step; the mean loss before it, left on the device."""
        if not self._network.training:
            self._network.train()
        inputs, targets = batch
        self._optimizer.zero_grad(set_to_none=True)
        loss = self._loss(self._forward(inputs), targets)
        loss.backward()  # type: ignore[no-untyped-call]
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
            self._optimizer.state.clear()

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
    refuse_unless("torch", plan, modes=MODES)
    index = cuda_index(plan.device, _cuda_devices)
    _require_torch()
    import torch

    _set_threads(plan.threads)
    _set_strict_fp32()
    return torch.device("cpu") if index is None else torch.device("cuda", index)


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != threads:
        # PyTorch takes this once a process; a second session keeps what the first one set.
        with contextlib.suppress(RuntimeError):
            torch.set_num_interop_threads(threads)


def _set_strict_fp32() -> None:
    """IEEE float32 everywhere: some operators have settings that outrank the general one."""
    import torch

    torch.backends.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    for library in (torch.backends.cudnn, torch.backends.mkldnn):
        for name in ("conv", "rnn", "matmul"):
            if hasattr(library, name):
                getattr(library, name).fp32_precision = "ieee"


def _facts(device: torch.device) -> dict[str, str | int]:
    import torch

    facts: dict[str, str | int] = {
        "device": str(device),
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "tf32": "on" if _rounds_inputs(device) else "off",
    }
    if device.type == "cuda":
        facts["device_name"] = torch.cuda.get_device_name(device)
        facts["device_uuid"] = _cuda_devices()[device.index] or "unknown"
        facts["cudnn"] = _cudnn_version()
        facts["cudnn_benchmark"] = "on" if torch.backends.cudnn.benchmark else "off"
    return facts


def _rounds_inputs(device: torch.device) -> bool:
    """Whether matrix products or convolutions round their inputs to fewer bits than float32 has."""
    import torch

    side = (TERMS, TERMS)
    with torch.inference_mode():
        product = torch.full(side, VALUE, device=device) @ torch.ones(side, device=device)
        image = torch.full((8, TERMS, 8, 8), VALUE, device=device)
        response = torch.nn.functional.conv2d(image, torch.ones(64, TERMS, 1, 1, device=device))
    return rounds(float(product.min()), float(response.min()))


def _libraries() -> dict[str, str]:
    import torch

    config = torch.__config__.show()
    patterns = {
        "mkl": r"Math Kernel Library Version (\S+?)-Product",
        "onednn": r"MKL-DNN v(\S+)",
    }
    found = {name: re.search(pattern, config) for name, pattern in patterns.items()}
    libraries = {name: match[1] for name, match in found.items() if match}
    if torch.version.cuda:
        libraries |= {"cuda": torch.version.cuda, "cudnn": _cudnn_version()}
    return libraries


def _cudnn_version() -> str:
    import torch

    number = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return "none" if number is None else cudnn_name(number)
