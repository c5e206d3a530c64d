"""What the compile checks would say of kernels that are known to be good or bad."""

from __future__ import annotations

import pytest
from host_device import sample_text
from nvrtc import CompileError, compiled, library

pytestmark = pytest.mark.skipif(library() is None, reason="needs pip install nvidia-cuda-nvrtc")

ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", ["saxpy", "matmul", "row_sums"])
def test_a_sample_compiles_without_spilling(name, architecture):
    found = compiled(sample_text([f"{name}.cu"], {"TILE": 16}), architecture)
    assert (0, 0) == (found[name].spilled_bytes, found[name].stack_bytes)
    assert {"saxpy": 0, "matmul": 2 * 16 * 17 * 4, "row_sums": 128}[name] == found[
        name
    ].shared_bytes


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_tensor_cores_with_tf32_are_there_from_sm_80_on(architecture):
    text = sample_text(["tensor_tile.cu"], {})
    if architecture == "sm_75":
        with pytest.raises(CompileError, match="sm_80 or higher"):
            compiled(text, architecture)
    else:
        assert 0 == compiled(text, architecture)["tensor_tile"].spilled_bytes


def test_registers_that_do_not_fit_are_seen():
    text = """extern "C" __global__ void __launch_bounds__(1024, 2) crowded(float* x, int n) {
        float kept[64];
        #pragma unroll
        for (int i = 0; i < 64; ++i) kept[i] = x[i * n + threadIdx.x];
        for (int j = 0; j < n; ++j)
            #pragma unroll
            for (int i = 0; i < 64; ++i) kept[i] = kept[i] * x[j] + kept[(i + 7) % 64];
        #pragma unroll
        for (int i = 0; i < 64; ++i) x[i * n + threadIdx.x] = kept[i];
    }"""
    assert compiled(text, "sm_90")["crowded"].spilled_bytes > 0


def test_an_array_that_lands_in_memory_is_seen():
    text = """extern "C" __global__ void indexed(float* x, const int* at) {
        float kept[64];
        for (int i = 0; i < 64; ++i) kept[i] = x[i];
        for (int i = 0; i < 64; ++i) kept[at[i] % 64] += x[i];
        for (int i = 0; i < 64; ++i) x[i] = kept[i];
    }"""
    assert 256 == compiled(text, "sm_90")["indexed"].stack_bytes


def test_a_text_that_is_wrong_is_refused_with_its_line():
    with pytest.raises(CompileError, match=r"kernel\.cu\(2\): error: identifier \"nonsense\""):
        compiled('extern "C" __global__ void bad(float* x) {\n nonsense(x); }', "sm_90")
