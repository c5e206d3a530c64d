"""The OpenCL backend: kernels of our own in OpenCL C, for processors and for GPUs from one source.

A session is that of `dlbench.backends.launches`; this folder has the device, the kernels and their tiles.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from dlbench.contract import AdapterBase, BackendInfo, Device, Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec.workload import Weights, Workload

from ..launches.session import Session
from .device import OpenclDevice, built

_PYOPENCL = "pip install 'dlbench[opencl]'"
_DRIVER = "apt-get install pocl-opencl-icd, or the driver of a GPU"
_DOUBLE = "cl_khr_fp64"
_PROCESSOR, _GPU = "cpu", "opencl"


class Adapter(AdapterBase):
    """Opens sessions on ``cpu``, where a driver computes on the processor, and on ``opencl:N``, the GPUs of all drivers
    in their order."""

    title = "OpenCL"
    packages = ("pyopencl",)
    out_of_memory = ("MemoryError",)

    def environment(self, plan: Plan) -> Mapping[str, str]:
        """PoCL takes the number of its threads from a variable, whose name has changed."""
        count = str(plan.threads)
        return {"POCL_MAX_PTHREAD_COUNT": count, "POCL_CPU_MAX_CU_COUNT": count}

    def info(self) -> BackendInfo:
        """PyOpenCL's version, and the devices of all drivers.

        Raises
        ------
        BackendUnavailable : PyOpenCL is missing, or any driver with a device that can be used.
        """
        cl = _require()
        found, absent = _examined(cl)
        if not found:
            raise BackendUnavailable("; ".join(absent.values()), _DRIVER)
        platforms = {device.platform for device in found.values()}
        return BackendInfo(
            version=str(cl.VERSION_TEXT),
            devices=tuple(
                Device(name, str(device.name).strip(), has_copies=name.startswith(_GPU))
                for name, device in found.items()
            ),
            libraries={str(each.name): str(each.version).strip() for each in platforms},
            own_kernels=True,
            absent=absent,
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer.

        Raises
        ------
        BackendUnavailable : as for `info`, or the device is not there.
        PlanRefused : another precision than ``fp32``, or a device of another kind.
        """
        mode = refuse_unless("opencl", plan, workload)
        return Session(self.device(plan.device), plan, workload, weights, mode)

    def device(self, name: str) -> OpenclDevice:
        """The device that a plan calls so; one for all sessions of the process.

        Raises
        ------
        BackendUnavailable, PlanRefused : as for `open`.
        """
        return _device(name)


@functools.cache
def _device(name: str) -> OpenclDevice:
    kind, _, number = name.partition(":")
    if kind not in (_PROCESSOR, _GPU) or (number and not number.isdecimal()):
        raise PlanRefused(f"opencl computes on {_PROCESSOR} and on {_GPU}:N, not on {name!r}")
    cl = _require()
    found, absent = _examined(cl)
    full = f"{_GPU}:{number or 0}" if kind == _GPU else name
    if full not in found:
        raise BackendUnavailable(absent.get(kind, f"there is no OpenCL device {full}"), _DRIVER)
    return OpenclDevice(cl, full, found[full])


@functools.cache
def _examined(cl: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The devices that can be used, by what plans call them; and by kind why there is none of it."""
    found: dict[str, Any] = {}
    troubles: dict[str, str] = {}
    for device in (device for platform in _platforms(cl) for device in platform.get_devices()):
        kind = _PROCESSOR if device.type & cl.device_type.CPU else _GPU
        trouble = _trouble(cl, device)
        if trouble:
            troubles.setdefault(kind, f"{str(device.name).strip()} cannot be used: {trouble}")
            continue
        number = sum(name.partition(":")[0] == kind for name in found)
        found[f"{kind}:{number}" if number or kind == _GPU else kind] = device
    kinds = {name.partition(":")[0] for name in found}
    what = {_PROCESSOR: "no OpenCL driver for this processor", _GPU: "no OpenCL driver has a GPU"}
    return found, {kind: troubles.get(kind, what[kind]) for kind in what if kind not in kinds}


def _trouble(cl: Any, device: Any) -> str:
    """Why a device cannot be used; empty where it can."""
    if _DOUBLE not in device.extensions.split():
        return "it has no double precision, which Adam's powers of beta need"
    try:
        built(cl, cl.Context([device]), "__kernel void nothing(void) {}")
    except cl.Error as error:
        said = [line.strip() for line in str(error).splitlines() if "error:" in line]
        return (said or [str(error).strip()])[0]
    return ""


def _platforms(cl: Any) -> list[Any]:
    try:
        return list(cl.get_platforms())
    except cl.LogicError:
        # what the loader raises where it finds no driver
        return []


def _require() -> Any:
    return require("pyopencl", "PyOpenCL", _PYOPENCL)
