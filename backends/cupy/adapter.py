"""The CuPy backend: CUDA kernels of our own, without cuDNN, in two modes.

This file holds the adapter and is the one that asks for CuPy. A session (`session`) knows only the few
things of `device.Device`; docs/cupy-backend.md follows one training step from the layers to the
launches.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.workload import Weights, Workload

from ..shared.cuda_driver import device_uuids
from ..shared.plan_checks import NEEDS_GPU, cuda_index
from .device import cuda_device
from .session import Session

MODES = ("eager", "graph")
"""Launch by launch, or the whole step as one CUDA graph."""
PRECISIONS = ("fp32", "tf32")
_TF32_CAPABILITY = 8
"""Tensor cores multiply in tf32 from Ampere on."""
_NO_DEVICE = "cudaErrorNoDevice"


class Adapter:
    """Opens sessions on ``cuda``, ``cuda:N`` and ``cuda:GPU-UUID``."""

    default_device = "cuda"

    def info(self) -> BackendInfo:
        """CuPy's version, the CUDA devices, and the compiler of the kernels.

        Raises
        ------
        BackendUnavailable : CuPy, the CUDA compiler library, a driver or a device is missing.
        """
        cupy = _require_cupy()
        runtime = cupy.cuda.runtime
        devices = tuple(
            Device(f"cuda:{index}", runtime.getDeviceProperties(index)["name"].decode(), uuid or "")
            for index, uuid in enumerate(_uuids(cupy))
        )
        libraries = {
            "cuda": _version(runtime.runtimeGetVersion()),
            "driver": _version(runtime.driverGetVersion()),
            "nvrtc": ".".join(str(part) for part in cupy.cuda.nvrtc.getVersion()),
        }
        return BackendInfo(
            cupy.__version__, devices, MODES[0], libraries, own_kernels=True, modes=MODES
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer. Its device becomes the one in use: one a process, see
        `device.CupyDevice`.

        Raises
        ------
        BackendUnavailable : as for `info`, or the device is not there.
        PlanRefused : another precision than ``fp32`` and ``tf32``, or one that the device has not got; another
            mode than ``eager`` and ``graph``; another device than a CUDA one.
        """
        mode = plan.mode or MODES[0]
        if plan.precision not in PRECISIONS:
            known = " or ".join(PRECISIONS)
            raise PlanRefused(f"cupy computes in {known}, not in {plan.precision!r}")
        if mode not in MODES:
            raise PlanRefused(f"cupy has the modes {' and '.join(MODES)}; it has no {mode!r}")
        if plan.device == "cpu":
            raise PlanRefused("cupy has no CPU; cuda, cuda:N or cuda:GPU-UUID")
        index = cuda_index(plan.device, lambda: _uuids(_require_cupy())) or 0
        cupy = _require_cupy()
        device = cuda_device(cupy, index)
        if plan.precision == "tf32" and device.compute_capability[0] < _TF32_CAPABILITY:
            shown = ".".join(str(part) for part in device.compute_capability)
            raise PlanRefused(f"{device.description} (sm {shown}) has no tf32; it came with sm 8.0")
        device.use()
        return Session(device, plan, workload, weights, mode)


def _require_cupy() -> Any:
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError:
        remedy = f"{NEEDS_GPU} and  pip install 'dlbench[cupy]'"
        raise BackendUnavailable("CuPy is not installed", remedy) from None
    except (ImportError, OSError) as error:
        remedy = "pip install --force-reinstall 'dlbench[cupy]'"
        raise BackendUnavailable(f"CuPy cannot be imported ({error})", remedy) from error
    if not _device_count(cupy):
        raise BackendUnavailable("no CUDA device", NEEDS_GPU)
    try:
        cupy.cuda.nvrtc.getVersion()
    except (RuntimeError, OSError) as error:
        reason = f"NVRTC, which compiles the kernels, cannot be loaded ({str(error).strip()})"
        raise BackendUnavailable(reason, "pip install 'cupy-cuda13x[ctk]'") from error
    return cupy


def _device_count(cupy: Any) -> int:
    # `cupy.cuda.is_available` answers "no" to whatever the runtime says, and so hides why.
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except RuntimeError as error:
        if _NO_DEVICE in str(error):
            return 0
        reason = f"CUDA cannot start ({str(error).strip()})"
        raise BackendUnavailable(reason, f"{NEEDS_GPU} with a recent driver") from error


def _uuids(cupy: Any) -> Sequence[str | None]:
    """The UUID of each device, in CuPy's order; None where none can be read."""
    count, uuids = cupy.cuda.runtime.getDeviceCount(), device_uuids()
    return uuids if len(uuids) == count else [None] * count


def _version(number: int) -> str:
    """From 13020 to what people write, ``13.2``."""
    return f"{number // 1000}.{number % 1000 // 10}"
