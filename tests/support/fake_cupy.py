"""What the adapters on CUDA ask of CuPy before they open a session."""

from __future__ import annotations

import types


def fake_cupy(gpus, nvrtc=(13, 0), capability=(9, 0), error=""):
    """A module with so many devices; `error` is what the runtime says instead."""

    def device_count():
        if error:
            raise RuntimeError(error)
        return gpus

    def nvrtc_version():
        if nvrtc is None:
            raise RuntimeError("No such file: libnvrtc.so.13\n")
        return nvrtc

    def properties(index):
        major, minor = capability
        named = {"name": f"GPU {index}".encode(), "multiProcessorCount": 132}
        return named | {"major": major, "minor": minor}

    runtime = types.SimpleNamespace(
        getDeviceCount=device_count,
        getDeviceProperties=properties,
        runtimeGetVersion=lambda: 13020,
        driverGetVersion=lambda: 13010,
    )
    module = types.ModuleType("cupy")
    module.__version__ = "14.2.0"
    module.get_default_memory_pool = lambda: None
    module.cuda = types.SimpleNamespace(
        runtime=runtime,
        nvrtc=types.SimpleNamespace(getVersion=nvrtc_version),
        Device=lambda index: types.SimpleNamespace(use=lambda: None),
        Stream=lambda non_blocking: None,
    )
    return module
