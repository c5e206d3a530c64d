"""The CuPy backend: CUDA kernels of our own, without cuDNN, in two modes.

This file holds the adapter and is the one that asks for CuPy. A session (`session`) knows only the few
things of `device.Device`; docs/cupy-backend.md follows one training step from the layers to the
launches.
"""

from __future__ import annotations

from dlbench.contract import AdapterBase, BackendInfo, Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload

from ..launches.network import HAS, LACKS
from ..launches.session import Session
from ..shared.cuda_index import cuda_index
from . import runtime
from .device import CupyDevice, cuda_device

MODES = ("eager", "graph")
"""Launch by launch, or the whole step as one CUDA graph."""
PRECISIONS = ("fp32", "tf32")
_TF32_CAPABILITY = 8


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
        cupy = runtime.require_cupy()
        return BackendInfo(
            version=cupy.__version__,
            devices=runtime.devices(cupy),
            modes=MODES,
            precisions=PRECISIONS,
            libraries=runtime.libraries(cupy),
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
        index = cuda_index(plan.device, lambda: runtime.uuids(runtime.require_cupy())) or 0
        device = cuda_device(runtime.require_cupy(), index)
        refuse_tf32_before_ampere(plan, device)
        device.use()
        return Session(device, plan, workload, weights, mode)


def refuse_tf32_before_ampere(plan: Plan, device: CupyDevice) -> None:
    """Tensor cores multiply in tf32 from Ampere on.

    Raises
    ------
    PlanRefused : the plan is in tf32, and the device has not got it.
    """
    if plan.precision == "tf32" and device.compute_capability[0] < _TF32_CAPABILITY:
        shown = ".".join(str(part) for part in device.compute_capability)
        raise PlanRefused(f"{device.description} (sm {shown}) has no tf32; it came with sm 8.0")
