"""The CuPy backend: for now it only tells what is missing.

It holds the row's place, so that a run says in the backend's own words why there is no raw-CUDA
row on this machine.
"""

from __future__ import annotations

import importlib
from typing import Never

from dlbench.contract import BackendInfo, Plan, Session
from dlbench.errors import BackendUnavailable
from dlbench.spec.workload import Weights, Workload

from .plans import NEEDS_GPU


class Adapter:
    """Refuses, with the reason that applies here."""

    default_device = "cuda"

    def info(self) -> BackendInfo:
        """Looks for CuPy and for a CUDA device.

        Raises
        ------
        BackendUnavailable : always.
        """
        _refuse()

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """As `info`.

        Raises
        ------
        BackendUnavailable : always.
        """
        _refuse()


def _refuse() -> Never:
    try:
        cupy = importlib.import_module("cupy")
    except ModuleNotFoundError:
        remedy = f"{NEEDS_GPU} and  pip install 'dlbench[cupy]'"
        raise BackendUnavailable("CuPy is not installed", remedy) from None
    except (ImportError, OSError) as error:
        remedy = "pip install --force-reinstall 'dlbench[cupy]'"
        raise BackendUnavailable(f"CuPy cannot be imported ({error})", remedy) from error
    if not cupy.cuda.is_available():
        raise BackendUnavailable("no CUDA device", NEEDS_GPU)
    raise BackendUnavailable("the raw CuPy kernels are not in this version")
