"""The kernels under the address and undefined-behaviour sanitizers, and that these see what they are there for."""

from __future__ import annotations

import concurrent.futures
import os
import sys
from pathlib import Path

import pytest
import sanitized
from host_device import HostDevice

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(sanitized.ACTIVE, reason="runs the others in a sanitized process"),
    pytest.mark.skipif(not sanitized.libraries(), reason="the compiler has no sanitizers"),
]

FAULTY = {
    "a read behind an argument": (
        "x[threadIdx.x] = y[threadIdx.x + 1];",
        "AddressSanitizer: use-after-poison kernel.cu:3",
    ),
    "a write before an argument": (
        "x[(int)threadIdx.x - 1] = 1.0f;",
        "AddressSanitizer: use-after-poison kernel.cu:3",
    ),
    "a read behind a shared array": (
        "__shared__ float kept[31]; float* all = kept; x[threadIdx.x] = all[threadIdx.x];",
        "AddressSanitizer: global-buffer-overflow kernel.cu:3",
    ),
    "a read behind an array of a thread's own": (
        "float kept[4] = {}; x[threadIdx.x] = kept[threadIdx.x % 5];",
        "index 4 out of bounds for type 'float [4]'",
    ),
    "a load of four floats at an odd place": (
        "x[threadIdx.x] = ((const float4*)(y + 1))->x;",
        "misaligned address",
    ),
    "a sum that does not fit an int": (
        "int n = 2147483647; n += (int)threadIdx.x; x[threadIdx.x] = n;",
        "signed integer overflow",
    ),
}


@pytest.fixture(scope="module")
def results():
    """What became of each faulty kernel; they run side by side."""

    def result(what):
        return sanitized.run([str(HERE / "test_sanitizers.py"), FAULTY[what][0]], 60)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(FAULTY, pool.map(result, FAULTY), strict=True))


@pytest.mark.parametrize("what", FAULTY)
def test_the_sanitizers_see(what, results):
    result, told = results[what], FAULTY[what][1]
    assert sanitized.FOUND == result.returncode, result.stderr
    assert told in sanitized.shortened(result.stderr)


@pytest.mark.parametrize("chosen", ["16x16x8", pytest.param("not 16x16x8", marks=pytest.mark.soak)])
def test_the_convolution_kernels_touch_nothing_that_is_not_theirs(chosen):
    options = ["-q", "-x", "-p", "no:cacheprovider", "--capture=sys", "-k", chosen]
    tests = str(HERE / "test_convolution_kernels.py")
    result = sanitized.run(["-m", "pytest", *options, tests], 600)
    assert 0 == result.returncode, result.stdout[-2000:] + sanitized.shortened(result.stderr)
    assert "passed" in result.stdout


def launch(body: str) -> None:
    """32 threads of a kernel with this body, with two buffers of 32 floats."""
    text = f'extern "C" __global__ void faulty(float* x, const float* y)\n{{\n{body}\n}}'
    device = HostDevice(lambda sources, defines: text)
    buffers = device.zeros(32), device.zeros(32)
    device.launch(device.kernel([], {}, "faulty"), (1, 1, 1), (32, 1, 1), buffers)


if __name__ == "__main__":
    launch(sys.argv[1])
