"""Kernels compiled for a GPU without one: NVRTC, which is also what CuPy compiles with, and what ptxas says of each."""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import importlib.util
import re
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Resources:
    """What one kernel takes on one architecture.

    Attributes
    ----------
    registers : of a thread.
    spilled_bytes : of a thread's registers that did not fit and go through memory.
    stack_bytes : of a thread's arrays that are in memory, since they are indexed by what is not known.
    shared_bytes : of a block.
    """

    registers: int
    spilled_bytes: int
    stack_bytes: int
    shared_bytes: int


class CompileError(Exception):
    """NVRTC refused a text; holds its words."""


_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
_USED = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


def library() -> Path | None:
    """NVRTC from NVIDIA's wheel, for the newest CUDA that is there."""
    found = importlib.util.find_spec("nvidia")
    folders = [Path(place) for place in found.submodule_search_locations or ()] if found else []
    paths = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*")]
    return max((path for path in paths if "alt" not in path.name), default=None)


@functools.cache
def _nvrtc() -> ctypes.CDLL:
    path = library()
    assert path is not None, "nvidia-cuda-nvrtc is not installed"
    # NVRTC asks the loader for its builtins by name only, which finds what is loaded already.
    for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
        if "alt" not in builtins.name:
            ctypes.CDLL(str(builtins))
    return ctypes.CDLL(str(path))


def compiled(text: str, architecture: str) -> dict[str, Resources]:
    """What each kernel of a text takes on an architecture, ``sm_90``.

    Raises
    ------
    CompileError : the text does not compile, or calls a function whose use of the stack is not known.
    """
    nvrtc, program = _nvrtc(), ctypes.c_void_p()
    source = text.encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None) == 0
    try:
        options = [
            f"--gpu-architecture={architecture}".encode(),
            b"--ptxas-options=-v",
            b"-std=c++14",
            # What CuPy adds to every RawKernel.
            b"-ftz=true",
            b"--device-as-default-execution-space",
        ]
        array = (ctypes.c_char_p * len(options))(*options)
        failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    told = log.value.decode()
    if failed:
        raise CompileError(told)
    return _read(told)


def _read(log: str) -> dict[str, Resources]:
    found = {}
    for part in re.split(r"(?=ptxas info\s*: Compiling entry function)", log)[1:]:
        entry, stack, used = _ENTRY.search(part), _STACK.search(part), _USED.search(part)
        if not (entry and stack and used):
            raise CompileError(f"ptxas said nothing about a kernel's registers:\n{part}")
        shared = _SHARED.search(part)
        found[entry[1]] = Resources(
            registers=int(used[1]),
            spilled_bytes=max(int(stack[2]), int(stack[3])),
            stack_bytes=int(stack[1]),
            shared_bytes=int(shared[1]) if shared else 0,
        )
    return found
