"""A CUDA device through CuPy, with cuDNN and cuBLAS on its stream: the device of `cupy`, and calls of the libraries."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..cupy.device import CupyDevice
from ..launches.device import Pointer
from .algorithms import Search
from .handles import Libraries

_LAST_WITH_A_FOLDER_EACH = 12
"""From CUDA 13 on NVIDIA's packages share one folder."""
_WORKSPACE_BYTES = 32 * 2**20
"""What cuBLAS asks for on Hopper when it is given nothing."""


def library_paths(cuda_major: int) -> tuple[str, str]:
    """The files of cuDNN and cuBLAS: those of NVIDIA's packages, or else what the system's loader finds. The number is
    that of the CUDA that CuPy uses, whose cuBLAS it has to be."""
    package = f"nvidia.cu{cuda_major}" if cuda_major > _LAST_WITH_A_FOLDER_EACH else "nvidia.cublas"
    cublas = f"libcublas.so.{cuda_major}"
    return _path("nvidia.cudnn", "libcudnn.so.9"), _path(package, cublas)


def _path(package: str, name: str) -> str:
    try:
        found = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        found = None
    for folder in (found and found.submodule_search_locations) or ():
        if (path := Path(folder) / "lib" / name).exists():
            return str(path)
    return name


class CudnnDevice(CupyDevice):
    """A `dlbench.backends.cudnn.calls.LibraryDevice`; all sessions of a process share one (`cudnn_device`)."""

    def __init__(self, cupy: Any, index: int, paths: tuple[str, str]) -> None:
        super().__init__(cupy, index)
        self._workspace = self.buffer(_WORKSPACE_BYTES, np.uint8)
        address = self._workspace.data.ptr
        self.libraries = Libraries(*paths, self._stream.ptr, address, _WORKSPACE_BYTES)
        self.search = Search(self.libraries)

    @property
    def facts(self) -> Mapping[str, str | int]:
        """Those of the device, and cuDNN's version; that algorithms were searched is what frameworks call benchmark."""
        cudnn = {"cudnn": self.libraries.cudnn.version(), "cudnn_benchmark": "on"}
        return {**super().facts, **cudnn}

    def bind_call(self, function: Callable[..., None], args: Sequence[Any]) -> Callable[[], None]:
        """Addresses that stay are looked up once."""
        known = [arg.data.ptr if self._is_buffer(arg) else arg for arg in args]
        places = [number for number, arg in enumerate(args) if isinstance(arg, Pointer)]
        if not places:
            return functools.partial(_held, args, function, known)

        def call_there() -> None:
            for number in places:
                known[number] = args[number].buffer.data.ptr
            function(*known)

        return call_there


def _held(args: Sequence[Any], function: Callable[..., None], known: Sequence[Any]) -> None:
    """Calls the function; `args` are here so that their memory stays."""
    function(*known)


@functools.cache
def cudnn_device(cupy: Any, index: int, paths: tuple[str, str]) -> CudnnDevice:
    """The process' device of that number."""
    return CudnnDevice(cupy, index, paths)
