"""The kernels that the suites need compile for real GPUs, with every register in a register."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os

import pytest
from dlbench.backends.cupy.device import source_text
from host_adapter import HostAdapter, launches
from host_device import HostDevice
from nvrtc import compiled, library
from vectors import PLAN, SUITES

from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

pytestmark = pytest.mark.skipif(library() is None, reason="needs pip install nvidia-cuda-nvrtc")

# multiprocessors of a usual GPU of that kind: T4, A100, H100
ARCHITECTURES = {"sm_75": 40, "sm_80": 108, "sm_90": 132}
MOST_SHARED_BYTES = 48 * 1024


def builds(name, batch, precision, multiprocessors):
    """All that a suite has compiled: sources and constants, and the kernel that is wanted of them."""
    workload = load_suite(name).workload
    device = HostDevice(source_text)
    device.multiprocessors = multiprocessors
    plan = dataclasses.replace(PLAN, batch=batch, precision=precision)
    session = HostAdapter(device).open(plan, workload, initial_weights(workload, 0))
    return {(i.sources, tuple(i.defines.items()), i.name) for i in launches(session)}


def faults(found, architecture):
    """What is wrong with each kernel, in words."""
    wanted = {}
    for sources, defines, name in sorted(found):
        wanted.setdefault((sources, defines), []).append(name)

    def look(build):
        sources, defines = build
        used = compiled(source_text(sources, dict(defines)), architecture)
        return [
            f"{name} {dict(defines)}: {used[name]}"
            for name in wanted[build]
            if used[name].spilled_bytes
            or used[name].stack_bytes
            or used[name].shared_bytes > MOST_SHARED_BYTES
        ]

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [told for list_of_one in pool.map(look, wanted) for told in list_of_one]


# Tensor cores multiply in TF32 from sm_80 on; the fp32 of sm_80 lies between that of its neighbours.
PRECISIONS = {"sm_75": ["fp32"], "sm_80": ["tf32"], "sm_90": ["fp32", "tf32"]}


# the newest compiles both precisions, and most of what differs between architectures is decided by its limits
NEWEST = "sm_90"
OLDER = [pytest.param(a, marks=pytest.mark.soak) for a in ARCHITECTURES if a != NEWEST]


@pytest.mark.parametrize("architecture", [NEWEST, *OLDER])
def test_the_kernels_of_the_suites_compile_without_spilling(architecture):
    found = set()
    for name in SUITES:
        (batch,) = load_suite(name).matrix.batches
        for precision in PRECISIONS[architecture]:
            found |= builds(name, batch, precision, ARCHITECTURES[architecture])
    assert found
    assert [] == faults(found, architecture)


@pytest.mark.soak
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_of_other_batches_compile_without_spilling(architecture):
    found = {
        build
        for name in SUITES
        for batch in (1, 64, 512)
        for precision in (["fp32", "tf32"] if architecture != "sm_75" else ["fp32"])
        for build in builds(name, batch, precision, ARCHITECTURES[architecture])
    }
    assert [] == faults(found, architecture)
