"""The cuDNN backend: cuDNN without a framework, in two modes.

CuPy brings the memory, the stream, the graphs, and the kernels of what cuDNN has not got (losses, dropout,
optimizers); all else is cuDNN and cuBLAS, through their C libraries. docs/cudnn-backend.md says which call
does what. Nobody has run it on a GPU yet: what is known of it comes from a stub that computes on the CPU.
"""

from __future__ import annotations

from typing import Any

from dlbench.contract import AdapterBase, BackendInfo, Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload

from ..cupy import runtime
from ..cupy.adapter import MODES, PRECISIONS, refuse_tf32_before_ampere
from ..shared.cuda_index import cuda_index
from .device import cudnn_device, library_paths
from .library import CUBLAS, CUDNN, Library, LibraryError
from .network import HAS, LACKS
from .session import Session

_REMEDY = "pip install 'dlbench[cudnn]'"


class Adapter(AdapterBase):
    """Opens sessions on ``cuda``, ``cuda:N`` and ``cuda:GPU-UUID``."""

    title = "cuDNN"
    packages = ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "cupy-cuda13x", "cupy-cuda12x")
    default_device = "cuda"

    def info(self) -> BackendInfo:
        """cuDNN's version, the CUDA devices, and the libraries besides.

        Raises
        ------
        BackendUnavailable : CuPy, cuDNN, cuBLAS, the CUDA compiler library, a driver or a device is missing.
        """
        cupy = runtime.require_cupy("cudnn")
        version = Library(_libraries(cupy)[0], CUDNN).version()
        return BackendInfo(
            version=version,
            devices=runtime.devices(cupy),
            modes=MODES,
            precisions=PRECISIONS,
            libraries={**runtime.libraries(cupy), "cudnn": version, "cupy": cupy.__version__},
        )

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session at `weights`, with a fresh optimizer. Its device becomes the one in use: one a process, as with
        `dlbench.backends.cupy.device.CupyDevice`.

        Raises
        ------
        BackendUnavailable : as for `info`, or the device is not there.
        PlanRefused : another precision than ``fp32`` and ``tf32``, or one that the device has not got; another
            mode than ``eager`` and ``graph``; another device than a CUDA one; a layer or an option of one that
            cuDNN has not got.
        """
        mode = refuse_unless(
            "cudnn", plan, workload, modes=MODES, precisions=PRECISIONS, has=HAS, lacks=LACKS
        )
        if plan.device == "cpu":
            raise PlanRefused("cudnn has no CPU; cuda, cuda:N or cuda:GPU-UUID")
        index = cuda_index(plan.device, lambda: runtime.uuids(runtime.require_cupy("cudnn"))) or 0
        cupy = runtime.require_cupy("cudnn")
        device = cudnn_device(cupy, index, _libraries(cupy))
        refuse_tf32_before_ampere(plan, device)
        device.use()
        return Session(device, plan, workload, weights, mode)


def _libraries(cupy: Any) -> tuple[str, str]:
    """The files of cuDNN and cuBLAS, which can be loaded."""
    paths = library_paths(cupy.cuda.runtime.runtimeGetVersion() // 1000)
    for title, path, functions in zip(("cuDNN", "cuBLAS"), paths, (CUDNN, CUBLAS), strict=True):
        try:
            Library(path, functions)
        except (OSError, LibraryError) as error:
            raise BackendUnavailable(f"{title} cannot be loaded ({error})", _REMEDY) from error
    return paths
