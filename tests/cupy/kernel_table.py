"""How near each launch of a CuPy training step comes to what its GPU can do.

    python tests/cupy/kernel_table.py cnn-mnist 64
    python tests/cupy/kernel_table.py cnn-mnist 64 tf32

Prints a Markdown table. A launch is timed by CUDA events around a graph of many of it. Its bytes are those of its
arguments, each once, its operations those of its matrix product: what it must do, not what it does. They are held
against a copy within the device and against cuBLAS' product of large matrices, both measured here. Small launches stay
far below either, since starting takes longer than they do.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dlbench.backends.cupy.device import cuda_device
from dlbench.backends.launches.device import Device
from dlbench.backends.launches.program import Launch, Placed, Program, Value
from dlbench.backends.launches.session import Session

from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Workload, initial_weights

REPEATS = 50
COPIED_BYTES = 2**30
SIDE = 8192


@dataclasses.dataclass(frozen=True)
class Share:
    """A launch with its time, and what it must move and compute in it."""

    name: str
    seconds: float
    moved_bytes: int
    flops: int


def session_after_a_step(device: Device, workload: Workload, batch: int, precision: str) -> Session:
    """A session whose launches have been done once."""
    plan = Plan("cupy", "cuda", batch, 1, precision)
    session = Session(device, plan, workload, initial_weights(workload, 0), "eager")
    inputs = np.zeros((batch, *workload.input_shape), np.float32)
    shape = () if isinstance(workload.loss, CrossEntropy) else workload.output_shape
    session.train_step(session.upload(inputs, np.zeros((batch, *shape), np.int64)))
    return session


def shares(device: Device, program: Program, repeats: int = REPEATS) -> list[Share]:
    """Every launch of a program that is prepared, in order."""
    return [
        Share(
            launch.name,
            seconds_of(device, run, repeats),
            moved_bytes(launch),
            launch.flops,
        )
        for launch, run in program.bound
    ]


def seconds_of(device: Device, run: Callable[[], None], repeats: int) -> float:
    """Device time of one of many, queued as one graph so that asking for them does not count."""

    def many() -> None:
        for _ in range(repeats):
            run()

    replay = device.capture(many)
    replay()
    begin = device.mark()
    replay()
    end = device.mark()
    device.synchronize()
    return device.between_ns(begin, end) / repeats / 1e9


def moved_bytes(launch: Launch) -> int:
    """Of all that it is given, each once; of a part of a wider value, the part."""
    found: dict[int, int] = {}
    for arg in launch.args:
        if isinstance(arg, Value):
            found[id(arg)] = arg.size * arg.dtype.itemsize
        elif not isinstance(arg, np.generic):
            memory = arg.memory if isinstance(arg, Placed) else arg
            found[id(arg)] = int(memory.nbytes)
    return sum(found.values())


def table(rows: Sequence[Share], bytes_per_s: float, flops_per_s: float) -> str:
    """Markdown."""
    total_s = sum(row.seconds for row in rows)
    lines = [
        f"A copy moves {bytes_per_s / 1e9:,.0f} GB/s, cuBLAS computes {flops_per_s / 1e12:.1f} TFLOP/s.",
        "",
        "| | kernel | µs | of the step | MB | of the bandwidth | MFLOP | of the rate |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for number, row in enumerate(rows, 1):
        bandwidth = row.moved_bytes / row.seconds / bytes_per_s
        rate = f"{row.flops / row.seconds / flops_per_s:.0%}" if row.flops else ""
        lines.append(
            f"| {number} | `{row.name}` | {row.seconds * 1e6:.1f} | {row.seconds / total_s:.0%}"
            f" | {row.moved_bytes / 1e6:.2f} | {bandwidth:.0%} | {row.flops / 1e6:,.0f} | {rate} |"
        )
    return "\n".join(lines)


def copied_bytes_per_s(device: Device) -> float:
    """Bytes read and written by a copy within the device."""
    source, target = (device.zeros(COPIED_BYTES, np.uint8) for _ in range(2))
    device.copy(target, source)
    begin = device.mark()
    for _ in range(REPEATS):
        device.copy(target, source)
    end = device.mark()
    device.synchronize()
    return 2e9 * COPIED_BYTES * REPEATS / device.between_ns(begin, end)


def cublas_flops_per_s(cupy: Any) -> float:
    """Of a product of square matrices, in the precision that CUPY_TF32 chose when CuPy was imported."""
    a, b, c = (cupy.ones((SIDE, SIDE), cupy.float32) for _ in range(3))
    cupy.matmul(a, b, out=c)
    begin, end = cupy.cuda.Event(), cupy.cuda.Event()
    begin.record()
    for _ in range(REPEATS):
        cupy.matmul(a, b, out=c)
    end.record()
    end.synchronize()
    return float(2 * SIDE**3 * REPEATS / (cupy.cuda.get_elapsed_time(begin, end) / 1e3))


def main(suite: str, batch: str = "64", precision: str = "fp32") -> None:
    """Prints the table of a suite's step."""
    os.environ["CUPY_TF32"] = str(int(precision == "tf32"))
    import cupy

    device = cuda_device(cupy, 0)
    session = session_after_a_step(device, load_suite(suite).workload, int(batch), precision)
    rows = shares(device, session.programs[True])
    print(f"{suite}, training at batch {batch} in {precision} on {device.description}\n")
    print(table(rows, copied_bytes_per_s(device), cublas_flops_per_s(cupy)))


if __name__ == "__main__":
    main(*sys.argv[1:])
