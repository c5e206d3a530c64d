"""The cuDNN backend's adapter with its device exchanged: kernels run on the CPU, and the libraries are the stub."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from dlbench.backends.cudnn.algorithms import Search
from dlbench.backends.cudnn.handles import Libraries
from dlbench.backends.cudnn.network import HAS, LACKS
from dlbench.backends.cudnn.session import Session
from dlbench.backends.cupy.adapter import MODES, PRECISIONS
from dlbench.backends.cupy.device import source_text
from dlbench.backends.launches.device import Pointer
from host_device import HostDevice, Schedule, begin

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.helpers.refusals import refuse_unless
from dlbench.record.facts import Verdict
from dlbench.spec.workload import Weights, Workload, read_workload
from dlbench.verify.conformance import Backend, Trial, judge

SOURCE = Path(__file__).with_name("libraries_stub.c")
STREAM = 0x5EED
_WORKSPACE_BYTES = 1024
PLAN = Plan("cudnn", "cuda:0", batch=2, threads=1)


def c_compiler() -> str | None:
    """The system's."""
    return shutil.which("cc") or shutil.which("gcc")


@functools.cache
def library_path() -> str:
    """The stub, compiled."""
    folder = tempfile.mkdtemp(prefix="dlbench-cudnn-stub-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = str(Path(folder) / "libcudnn_stub.so")
    flags = ["-O2", "-shared", "-fPIC", "-ffp-contract=off"]
    subprocess.run([c_compiler(), *flags, str(SOURCE), "-o", path, "-lm"], check=True)
    return path


@functools.cache
def library() -> ctypes.CDLL:
    """What tests ask of the stub itself."""
    return ctypes.CDLL(library_path())


@contextlib.contextmanager
def biased_variance() -> Iterator[None]:
    """A cuDNN whose running variance takes the biased estimate."""
    library().stub_biased(1)
    try:
        yield
    finally:
        library().stub_biased(0)


class StubDevice(HostDevice):
    """A `dlbench.backends.cudnn.calls.LibraryDevice` whose calls may touch nothing but the buffers they are given."""

    def __init__(self) -> None:
        super().__init__(source_text, Schedule(), mode="fast")
        self._workspace = self.buffer(_WORKSPACE_BYTES, np.uint8)
        paths = (library_path(), library_path())
        self.libraries = Libraries(*paths, STREAM, begin(self._workspace), _WORKSPACE_BYTES)
        self.search = Search(self.libraries)

    def bind_call(self, function: Callable[..., None], args: Sequence[Any]) -> Callable[[], None]:
        """A call to be done any number of times; during a capture, to be kept."""

        def run(given: Sequence[Any]) -> None:
            buffers = [arg for arg in given if isinstance(arg, np.ndarray)]
            sizes = (ctypes.c_size_t * len(buffers))(*(buffer.nbytes for buffer in buffers))
            addresses = (ctypes.c_void_p * len(buffers))(*map(begin, buffers))
            library().stub_memory(len(buffers), addresses, sizes)
            function(*(begin(arg) if isinstance(arg, np.ndarray) else arg for arg in given))

        def call() -> None:
            given = [arg.buffer if isinstance(arg, Pointer) else arg for arg in args]
            queued = functools.partial(run, given)
            if self._captured is not None:
                self._captured.append(queued)
            else:
                queued()

        return call


class StubAdapter:
    """Opens sessions on one `StubDevice`."""

    def __init__(self, device: StubDevice | None = None) -> None:
        self.device = device or StubDevice()

    def info(self) -> BackendInfo:
        """What the device is called."""
        there = Device(self.device.name, self.device.description)
        return BackendInfo("stub", (there,), MODES, PRECISIONS)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session in the plan's mode; what cuDNN has not got is refused, as by the adapter."""
        mode = refuse_unless(
            "cudnn", plan, workload, modes=MODES, precisions=PRECISIONS, has=HAS, lacks=LACKS
        )
        return Session(self.device, plan, workload, weights, mode)


def verdict_of(adapter: StubAdapter, trial: Trial, cache_dir: Path) -> Verdict:
    """A trial as `dlbench conformance` judges it."""
    return judge(Backend(adapter), PLAN, trial, cache_dir)


def workload_of(shape: list[int], layers: list[dict[str, Any]]) -> Workload:
    """A network that learns classes by plain SGD."""
    return read_workload(
        {
            "input_shape": shape,
            "layers": layers,
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
