"""What CuPy says of itself and of the machine: whether it can be used, its devices, the versions beneath it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbench.contract import Device
from dlbench.errors import BackendUnavailable
from dlbench.helpers.refusals import require

from ..shared.cuda_index import NEEDS_GPU
from ..shared.framework import cuda_devices, cuda_uuids

_NO_DEVICE = "cudaErrorNoDevice"


def require_cupy(extra: str = "cupy") -> Any:
    """The module; `extra` is what dlbench is installed with to have it.

    Raises
    ------
    BackendUnavailable : CuPy, the CUDA compiler library, a driver or a device is missing.
    """
    cupy = require("cupy", "CuPy", f"{NEEDS_GPU} and  pip install 'dlbench[{extra}]'")
    if not _device_count(cupy):
        raise BackendUnavailable("no CUDA device", NEEDS_GPU)
    try:
        cupy.cuda.nvrtc.getVersion()
    except (RuntimeError, OSError) as error:
        reason = f"NVRTC, which compiles the kernels, cannot be loaded ({str(error).strip()})"
        raise BackendUnavailable(reason, "pip install 'cupy-cuda13x[ctk]'") from error
    return cupy


def devices(cupy: Any) -> tuple[Device, ...]:
    """The CUDA devices, in CuPy's order."""
    runtime, found = cupy.cuda.runtime, uuids(cupy)
    names = (runtime.getDeviceProperties(index)["name"].decode() for index in range(len(found)))
    return cuda_devices(names, found)


def uuids(cupy: Any) -> Sequence[str | None]:
    """The UUID of each device, in CuPy's order; None where none can be read."""
    return cuda_uuids(cupy.cuda.runtime.getDeviceCount())


def libraries(cupy: Any) -> dict[str, str]:
    """The versions of CUDA, the driver, and the compiler of the kernels."""
    runtime = cupy.cuda.runtime
    return {
        "cuda": _version(runtime.runtimeGetVersion()),
        "driver": _version(runtime.driverGetVersion()),
        "nvrtc": ".".join(str(part) for part in cupy.cuda.nvrtc.getVersion()),
    }


def _device_count(cupy: Any) -> int:
    # `cupy.cuda.is_available` answers "no" to whatever the runtime says, and so hides why.
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except RuntimeError as error:
        if _NO_DEVICE in str(error):
            return 0
        reason = f"CUDA cannot start ({str(error).strip()})"
        raise BackendUnavailable(reason, f"{NEEDS_GPU} with a recent driver") from error


def _version(number: int) -> str:
    """From 13020 to what people write, ``13.2``."""
    return f"{number // 1000}.{number % 1000 // 10}"
