"""What the CUDA driver says of its devices, asked through ctypes: their UUIDs, which not every framework tells.

The driver library of this very process is asked, so the answer is in the order of the framework's own indices,
whatever CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER say. Asking makes no context and takes no device memory.
"""

from __future__ import annotations

import ctypes
import re
import uuid
from pathlib import Path

_LIBRARY = "libcuda.so.1"
_SUCCESS = 0
_NAME_BYTES = 256
_NODES = tuple(
    Path(node)
    for node in (
        # the kernel module, also where a container has no device of it
        "/proc/driver/nvidia",
        "/dev/nvidiactl",
        # Windows' driver, seen from WSL 2
        "/dev/dxg",
        # the integrated GPU of Tegra
        "/dev/nvmap",
        "/dev/nvhost-ctrl",
        # AMD's: builds for ROCm call its devices CUDA and obey the same variable
        "/dev/kfd",
    )
)


def driver_is_here() -> bool:
    """Whether there is any sign of a CUDA driver: its kernel module, or else the library that every framework would
    have to load. Asking starts nothing, and loads nothing where the module is there."""
    if any(node.exists() for node in _NODES):
        return True
    try:
        ctypes.CDLL(_LIBRARY)
    except OSError:
        return False
    return True


def device_uuids() -> tuple[str, ...]:
    """The UUID of each device that this process can use, as ``GPU-…``, or ``MIG-…`` of an instance; none without
    a driver or a device, and none where one device refuses to tell, since indices would no longer fit.

    Source: CUDA driver API, cuInit, cuDeviceGetCount, cuDeviceGet, cuDeviceGetName, cuDeviceGetUuid(_v2).
    """
    try:
        driver = ctypes.CDLL(_LIBRARY)
        # version 2 tells a MIG instance from the GPU that it is part of
        read = getattr(driver, "cuDeviceGetUuid_v2", None) or driver.cuDeviceGetUuid
        count = ctypes.c_int()
        if driver.cuInit(0) != _SUCCESS or driver.cuDeviceGetCount(ctypes.byref(count)):
            return ()
        found = []
        for index in range(count.value):
            device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
            name = ctypes.create_string_buffer(_NAME_BYTES)
            if (
                driver.cuDeviceGet(ctypes.byref(device), index)
                or driver.cuDeviceGetName(name, _NAME_BYTES, device)
                or read(raw, device)
            ):
                return ()
            # an instance's name ends in its profile, "… MIG 1g.10gb"
            kind = "MIG" if b" MIG " in name.value else "GPU"
            found.append(f"{kind}-{uuid.UUID(bytes=bytes(raw))}")
    except (OSError, AttributeError):
        return ()
    return tuple(found)


def loaded_cudnn() -> str | None:
    """The version of the cuDNN library that this process has loaded, ``9.10.2``; None where it has none.

    What a framework was built with is not always what it found.
    """
    try:
        maps = Path("/proc/self/maps").read_text("utf-8", errors="replace")
    except OSError:
        return None
    path = re.search(r"\s(/\S*/libcudnn\.so\S*)$", maps, re.MULTILINE)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path[1])
        library.cudnnGetVersion.restype = ctypes.c_size_t
        return cudnn_name(int(library.cudnnGetVersion()))
    except (OSError, AttributeError):
        return None


def cudnn_name(number: int) -> str:
    """From 91002 (or 8907 before version 9) to what people write, ``9.10.2``."""
    base = 10_000 if number >= 90_000 else 1_000
    return f"{number // base}.{number % base // 100}.{number % 100}"
