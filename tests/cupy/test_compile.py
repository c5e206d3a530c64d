"""The kernels that the suites need compile for real GPUs, with every register in a register."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os

import pytest
from dlbench.backends.cupy_device import source_text
from host_adapter import HostAdapter, launches
from host_device import HostDevice
from nvrtc import compiled, library
from test_suites import PLAN, SUITES

from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

pytestmark = pytest.mark.skipif(library() is None, reason="needs pip install nvidia-cuda-nvrtc")

# multiprocessors of a usual GPU of that kind: T4, A100, H100
ARCHITECTURES = {"sm_75": 40, "sm_80": 108, "sm_90": 132}
MOST_SHARED_BYTES = 48 * 1024


def builds(name, batch, precision, multiprocessors):
    """All kernels of a suite: name, sources and constants."""
    workload = load_suite(name).workload
    device = HostDevice(source_text)
    device.multiprocessors = multiprocessors
    plan = dataclasses.replace(PLAN, batch=batch, precision=precision)
    session = HostAdapter(device).open(plan, workload, initial_weights(workload, 0))
    return {(i.name, i.sources, tuple(i.defines.items())) for i in launches(session)}


def faults(found, architecture):
    """What is wrong with each build, in words."""

    def look(build):
        name, sources, defines = build
        used = compiled(source_text(sources, dict(defines)), architecture)[name]
        good = (
            used.spilled_bytes == used.stack_bytes == 0 and used.shared_bytes <= MOST_SHARED_BYTES
        )
        return None if good else f"{name} {dict(defines)}: {used}"

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [told for told in pool.map(look, sorted(found)) if told]


def precisions(architecture):
    """Tensor cores multiply in TF32 from sm_80 on."""
    return ["fp32"] if architecture == "sm_75" else ["fp32", "tf32"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_kernels_of_the_suites_compile_without_spilling(architecture):
    found = set()
    for name in SUITES:
        (batch,) = load_suite(name).matrix.batches
        for precision in precisions(architecture):
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
        for precision in precisions(architecture)
        for build in builds(name, batch, precision, ARCHITECTURES[architecture])
    }
    assert [] == faults(found, architecture)
