"""The CuPy backend: CUDA kernels of our own, without cuDNN, in two modes.

This file holds the adapter and is the one that asks for CuPy. A session (`session`) knows only the few
things of `device.Device`; docs/cupy-backend.md follows one training step from the layers to the
launches.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbench.contract import AdapterBase, BackendInfo, Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.workload import Weights, Workload

from ..launches.network import HAS, LACKS
from ..launches.session import Session
from ..shared.cuda_index import NEEDS_GPU, cuda_index
from ..shared.framework import cuda_devices, cuda_uuids
from .device import cuda_device

MODES = ("eager", "graph")
"""Launch by launch, or the whole step as one CUDA graph."""
PRECISIONS = ("fp32", "tf32")
_TF32_CAPABILITY = 8
"""Tensor cores multiply in tf32 from Ampere on."""
_NO_DEVICE = "cudaErrorNoDevice"


class Adapter(AdapterBase):
    """Opens sessions on ``cuda``, ``cuda:N`` and ``cuda:GPU-UUID``."""

    title = "CuPy"
    packages = ("cupy-cuda12x", "cupy-cuda13x")
    default_device = "cuda"

    def info(self) -> BackendInfo:
        """CuPy's version, the CUDA devices, and the compiler of the kernels.

        Raises
        ------
        BackendUnavailable : CuPy, the CUDA compiler library, a driver or a device is missing.
        """
        cupy = _require_cupy()
        runtime = cupy.cuda.runtime
        uuids = _uuids(cupy)
        names = (runtime.getDeviceProperties(index)["name"].decode() for index in range(len(uuids)))
        libraries = {
            "cuda": _version(runtime.runtimeGetVersion()),
            "driver": _version(runtime.driverGetVersion()),
            "nvrtc": ".".join(str(part) for part in cupy.cuda.nvrtc.getVersion()),
        }
        return BackendInfo(
            version=cupy.__version__,
            devices=cuda_devices(names, uuids),
            modes=MODES,
            precisions=PRECISIONS,
            libraries=libraries,
            own_kernels=True,
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer. Its device becomes the one in use: one a process, see
        `device.CupyDevice`.

        Raises
        ------
        BackendUnavailable : as for `info`, or the device is not there.
        PlanRefused : another precision than ``fp32`` and ``tf32``, or one that the device has not got; another
            mode than ``eager`` and ``graph``; another device than a CUDA one; a layer that has no kernel.
        """
        mode = refuse_unless(
            "cupy", plan, workload, modes=MODES, precisions=PRECISIONS, has=HAS, lacks=LACKS
        )
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
    cupy = require("cupy", "CuPy", f"{NEEDS_GPU} and  pip install 'dlbench[cupy]'")
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
    return cuda_uuids(cupy.cuda.runtime.getDeviceCount())


def _version(number: int) -> str:
    """From 13020 to what people write, ``13.2``."""
    return f"{number // 1000}.{number % 1000 // 10}"
