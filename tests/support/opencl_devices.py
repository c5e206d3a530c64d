"""Devices for tests of the OpenCL kernels: this processor, with the kernels for processors and with those for GPUs."""

from __future__ import annotations

import functools
import os
from typing import Any

import numpy as np
import pytest

from dlbench.contract import AdapterBase, Plan
from dlbench.errors import BackendUnavailable

cl = pytest.importorskip("pyopencl")

from dlbench.backends.launches.session import Session  # noqa: E402
from dlbench.backends.opencl import adapter as opencl  # noqa: E402
from dlbench.backends.opencl.device import OpenclDevice  # noqa: E402

PLAN = Plan("opencl", "cpu", 4, 1)


@functools.cache
def need_driver() -> None:
    """Skips where no driver computes on this processor; in continuous integration that is a failure."""
    try:
        opencl.Adapter().device("cpu")
    except BackendUnavailable as error:
        missing = f"{error.reason}: {error.remedy}"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


class Poisoned(OpenclDevice):
    """Memory that nobody has written yet holds no numbers, and so does what lies behind it."""

    def buffer(self, size: int, dtype: Any = np.float32) -> Any:
        made = super().buffer(size, dtype)
        cl.enqueue_fill_buffer(self._queue, made.buffer, np.uint8(0xFF), 0, made.buffer.size)
        return made


class OnDevice(AdapterBase):
    """The backend with its device exchanged."""

    def __init__(self, device: OpenclDevice) -> None:
        self.on = device

    def info(self) -> Any:
        return opencl.Adapter().info()

    def open(self, plan: Plan, workload: Any, weights: Any) -> Session:
        return Session(self.on, plan, workload, weights, "")


def device_of(
    kind: type[OpenclDevice] = Poisoned, *, is_processor: bool = True, optimised: bool = False
) -> OpenclDevice:
    """Another device of this processor; unless it is `optimised`, programs compile in half of the time."""
    need_driver()
    there, _ = opencl._examined(cl)
    made = kind(cl, "cpu", there["cpu"], is_processor=is_processor)
    if not optimised:
        made._build_options.append("-cl-opt-disable")
    return made
