"""The device that runs kernels on the CPU: it computes what CUDA says, and it notices what a GPU would not forgive."""

from __future__ import annotations

import numpy as np
import pytest
from host_build import SourceError
from host_device import ORDERS, HostDevice, LaunchError, Schedule, sample_text
from hypothesis import given, settings
from hypothesis import strategies as st
from mutants import switchable

DEVICE = HostDevice(sample_text)
SCHEDULES = [Schedule("forward"), Schedule("reversed"), *(Schedule("shuffled", s) for s in (1, 2))]
TILE = 8


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def run(text, name, grid, block, *args, schedule=SCHEDULES[0], mutant=-1):
    """Launches a kernel of a text; arrays are given as flat copies. Those copies, in their order."""
    device = HostDevice(lambda sources, defines: text, schedule)
    given = [device.from_host(a) if isinstance(a, np.ndarray) else a for a in args]
    kernel = device.kernel([], {}, name)
    kernel.ready.mutate(mutant)
    device.launch(kernel, grid, block, given)
    return [a for a in given if isinstance(a, np.ndarray)]


def matmul(text, a, b, schedule, mutant=-1):
    (m, k), n = a.shape, b.shape[1]
    grid = (-(-n // TILE), -(-m // TILE), 1)
    empty = np.full(m * n, np.nan, np.float32)
    sizes = map(np.int32, (m, n, k))
    *_, c = run(
        text, "matmul", grid, (TILE**2, 1, 1), a, b, empty, *sizes, schedule=schedule, mutant=mutant
    )
    return c.reshape(m, n)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@given(count=st.integers(1, 700), blocks=st.integers(1, 4), threads=st.integers(1, 130))
@settings(max_examples=20)
def test_a_grid_stride_loop_covers_every_element_once(schedule, count, blocks, threads):
    x, y = normal(count), normal(count, seed=1)
    grid, block = (blocks, 1, 1), (threads, 1, 1)
    text = sample_text(["saxpy.cu"], {})
    args = (np.int32(count), np.float32(2), x, y)
    _, got = run(text, "saxpy", grid, block, *args, schedule=schedule)
    np.testing.assert_array_equal(2 * x + y, got)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@given(m=st.integers(1, 30), n=st.integers(1, 30), k=st.integers(1, 30))
@settings(max_examples=20)
def test_tiles_in_shared_memory_multiply_matrices_of_any_shape(schedule, m, n, k):
    a, b = normal(m, k), normal(k, n, seed=1)
    got = matmul(sample_text(["matmul.cu"], {"TILE": TILE}), a, b, schedule)
    np.testing.assert_allclose(a @ b, got, rtol=0, atol=1e-5 * np.sqrt(k))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
@given(rows=st.integers(1, 5), columns=st.integers(1, 300), warps=st.integers(1, 8))
@settings(max_examples=20)
def test_shuffles_add_over_warps_of_any_number(schedule, rows, columns, warps):
    x = normal(rows, columns)
    text = sample_text(["row_sums.cu"], {})
    empty = np.full(rows, np.nan, np.float32)
    grid, block = (rows, 1, 1), (32 * warps, 1, 1)
    args = (x, empty, np.int32(columns))
    _, got = run(text, "row_sums", grid, block, *args, schedule=schedule)
    np.testing.assert_allclose(x.sum(1), got, rtol=0, atol=1e-5 * np.sqrt(columns))


def tf32(x):
    """Rounded to 10 fraction bits, to nearest, ties away from zero."""
    return ((x.view(np.uint32) + 0x1000) & 0xFFFFE000).view(np.float32)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_a_tensor_core_tile_is_the_product_of_rounded_factors(schedule):
    a, b, c = normal(16, 24), normal(24, 8, seed=1), normal(16, 8, seed=2)
    empty = np.full(128, np.nan, np.float32)
    text = sample_text(["tensor_tile.cu"], {})
    args = (a, b, c, empty, np.int32(24))
    *_, got = run(text, "tensor_tile", (1, 1, 1), (32, 1, 1), *args, schedule=schedule)
    exact = tf32(a).astype(np.float64) @ tf32(b) + c
    np.testing.assert_allclose(exact, got.reshape(16, 8), rtol=0, atol=2e-6)
    assert np.abs(a @ b + c - got.reshape(16, 8)).max() > 1e-4


@pytest.mark.parametrize("name", ["matmul", "row_sums"])
def test_leaving_out_any_barrier_changes_a_result(name):
    text = sample_text([f"{name}.cu"], {"TILE": TILE})
    a, b = normal(20, 20), normal(20, 20, seed=1)

    def result(text, schedule, mutant=-1):
        if name == "matmul":
            return matmul(text, a, b, schedule, mutant)
        args = (a, np.full(20, np.nan, np.float32), np.int32(20))
        return run(text, name, (20, 1, 1), (64, 1, 1), *args, schedule=schedule, mutant=mutant)[1]

    right = result(text, SCHEDULES[0])
    for schedule in SCHEDULES:
        np.testing.assert_array_equal(right, result(text, schedule))
    text, found = switchable(f"{name}.cu", text, 0)
    barriers = [mutant for mutant in found if mutant.what == "__syncthreads()"]
    assert barriers
    for mutant in barriers:
        results = [result(text, schedule, mutant.number) for schedule in SCHEDULES]
        assert any(not np.array_equal(right, r) for r in results), mutant


def test_fibers_of_the_c_library_do_the_same():
    x = normal(3, 50)
    device = HostDevice(sample_text, mode="portable")
    sums = device.buffer(3)
    kernel = device.kernel(["row_sums.cu"], {}, "row_sums")
    device.launch(kernel, (3, 1, 1), (96, 1, 1), (device.from_host(x), sums, np.int32(50)))
    np.testing.assert_allclose(x.sum(1), device.to_host(sums), rtol=0, atol=1e-5)


def test_a_write_outside_an_argument_is_caught():
    text = sample_text(["saxpy.cu"], {}).replace("i < count", "i <= count")
    args = (np.int32(100), np.float32(2), normal(101), normal(100))
    with pytest.raises(LaunchError, match="saxpy: wrote behind an argument of 400 bytes"):
        run(text, "saxpy", (1, 1, 1), (128, 1, 1), *args)


def test_a_read_outside_an_argument_gives_nan():
    text = sample_text(["saxpy.cu"], {}).replace("x[i]", "x[i + 1]")
    args = (np.int32(100), np.float32(2), normal(100), normal(100))
    _, y = run(text, "saxpy", (1, 1, 1), (128, 1, 1), *args)
    assert np.flatnonzero(np.isnan(y)).tolist() == [99]


def test_a_view_is_guarded_like_a_buffer_of_its_own():
    text = sample_text(["saxpy.cu"], {})
    device = HostDevice(lambda sources, defines: text)
    whole = device.from_host(normal(200))
    kernel = device.kernel([], {}, "saxpy")
    args = (np.int32(101), np.float32(2), device.from_host(normal(101)), whole[20:120])
    with pytest.raises(LaunchError, match="behind an argument of 400 bytes"):
        device.launch(kernel, (1, 1, 1), (128, 1, 1), args)


def test_views_that_overlap_are_one_memory():
    text = """extern "C" __global__ void shift(const float* from, float* to)
    { to[threadIdx.x] = from[threadIdx.x]; }"""
    device = HostDevice(lambda sources, defines: text)
    whole = device.from_host(np.arange(10, dtype=np.float32))
    device.launch(device.kernel([], {}, "shift"), (1, 1, 1), (9, 1, 1), (whole[:9], whole[1:]))
    assert [0.0] * 10 == whole.tolist()


def test_memory_that_nobody_wrote_reads_as_nan():
    assert np.isnan(DEVICE.buffer(5)).all()
    text = """extern "C" __global__ void reveal(float* out)
    { __shared__ float kept[4]; out[blockIdx.x] = kept[1]; __syncthreads(); kept[1] = 3.0f; }"""
    (out,) = run(text, "reveal", (3, 1, 1), (4, 1, 1), np.zeros(3, np.float32))
    assert np.isnan(out).all()


def test_a_capture_keeps_launches_and_each_replay_does_them():
    text = """extern "C" __global__ void count(int* n) { *n += 1; }"""
    device = HostDevice(lambda sources, defines: text)
    number = device.zeros(1, np.int32)
    launch = device.bind(device.kernel([], {}, "count"), (1, 1, 1), (1, 1, 1), (number,))
    replay = device.capture(lambda: [launch(), launch()])
    assert [0] == number.tolist()
    replay()
    replay()
    launch()
    assert [5] == number.tolist()


@pytest.mark.parametrize(
    "call",
    [
        lambda device, kept: device.buffer(1),
        lambda device, kept: device.zeros(1),
        lambda device, kept: device.from_host(kept),
        lambda device, kept: device.write(kept, kept),
        lambda device, kept: device.copy(kept, kept),
        lambda device, kept: device.to_host(kept),
        lambda device, kept: device.kernel(["saxpy.cu"], {}, "saxpy"),
        lambda device, kept: device.synchronize(),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_while_it_is_captured(call):
    device = HostDevice(sample_text)
    kept = device.zeros(1)
    with pytest.raises(LaunchError, match="while a graph is captured"):
        device.capture(lambda: call(device, kept))
    call(device, kept)


BARRIER_FAULTS = {
    "a barrier that some threads never reach": (
        "if (threadIdx.x == 5) return;\n __syncthreads();",
        "waits at the barrier in line 2, while thread (5, 0, 0) has ended",
    ),
    "threads at two different barriers": (
        "if (threadIdx.x < 5) __syncthreads();\n else __syncthreads();",
        "waits at the barrier in line 2, while thread (0, 0, 0) waits at the barrier in line 1",
    ),
    "a shuffle that a lane of its mask does not take part in": (
        "if (threadIdx.x != 5) x[0] = __shfl_xor_sync(0xffffffffu, x[0], 1);\n else __syncthreads();",
        "waits for its warp in line 1",
    ),
    "a lane outside its own mask": (
        "x[0] = __shfl_xor_sync(0xffu, x[0], 1);",
        "lane 8 is not in its own mask 000000ff",
    ),
}


@pytest.mark.parametrize("what", BARRIER_FAULTS)
def test_threads_that_part_end_the_launch_with_their_places(what):
    body, told = BARRIER_FAULTS[what]
    text = f'extern "C" __global__ void parts(float* x) {{ {body} }}'
    with pytest.raises(LaunchError) as caught:
        run(text, "parts", (2, 1, 1), (32, 1, 1), np.zeros(1, np.float32))
    assert told in str(caught.value)


def test_a_factor_that_was_not_rounded_to_tf32_is_a_fault():
    text = sample_text(["tensor_tile.cu"], {}).replace("part_b[i] = to_tf32(", "part_b[i] = (")
    args = (normal(16, 8), normal(8, 8), normal(16, 8), normal(16, 8), np.int32(8))
    with pytest.raises(LaunchError, match="operand b0 of lane 0 is not rounded to TF32"):
        run(text, "tensor_tile", (1, 1, 1), (32, 1, 1), *args)


LAUNCHES = {
    "takes 4 arguments, got 3": ((1, 1, 1), (1, 1, 1), (np.int32(1), np.float32(1), normal(1))),
    "argument 0 is int64": (
        (1, 1, 1),
        (1, 1, 1),
        (np.int64(1), np.float32(1), normal(1), normal(1)),
    ),
    "argument 1 is float": ((1, 1, 1), (1, 1, 1), (np.int32(1), 1.0, normal(1), normal(1))),
    "argument 3 is ndarray int32": (
        (1, 1, 1),
        (1, 1, 1),
        (np.int32(1), np.float32(1), normal(1), np.zeros(1, np.int32)),
    ),
    "argument 2 is not a flat buffer": (
        (1, 1, 1),
        (1, 1, 1),
        (np.int32(1), np.float32(1), normal(4)[::2], normal(1)),
    ),
    "block (1025, 1, 1) is not within": ((1, 1, 1), (1025, 1, 1), ()),
    "grid (1, 65536, 1) is not within": ((1, 65536, 1), (1, 1, 1), ()),
    "grid (0, 1, 1) is not within": ((0, 1, 1), (1, 1, 1), ()),
}


@pytest.mark.parametrize("told", LAUNCHES)
def test_a_launch_that_a_device_would_refuse_is_refused(told):
    grid, block, args = LAUNCHES[told]
    with pytest.raises(LaunchError) as caught:
        DEVICE.launch(DEVICE.kernel(["saxpy.cu"], {}, "saxpy"), grid, block, args)
    assert told in str(caught.value)


def test_a_block_larger_than_the_kernel_was_compiled_for_is_refused():
    kernel = DEVICE.kernel(["matmul.cu"], {"TILE": TILE}, "matmul")
    with pytest.raises(LaunchError, match="matmul: 128 threads; at most 64"):
        DEVICE.launch(kernel, (1, 1, 1), (128, 1, 1), ())


def test_an_error_in_a_source_is_told_with_its_line():
    with pytest.raises(SourceError, match=r"kernel\.cu:2:.*nonsense"):
        run(
            'extern "C" __global__ void bad(float* x) {\n nonsense(x); }',
            "bad",
            (1, 1, 1),
            (1, 1, 1),
        )


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_runs_all_threads_of_all_blocks(order):
    text = """extern "C" __global__ void where(int* turn, int* seen)
    { int i = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)
            + blockDim.x * blockDim.y * blockDim.z * (blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
      seen[i] = (*turn)++; }"""
    zero, empty = np.zeros(1, np.int32), np.full(144, -1, np.int32)
    schedule = Schedule(order, 7)
    _, seen = run(text, "where", (2, 2, 1), (3, 4, 3), zero, empty, schedule=schedule)
    assert sorted(seen) == list(range(144))
    assert (seen.tolist() == list(range(144))) == (order == "forward")
    assert (seen.tolist() == list(range(143, -1, -1))) == (order == "reversed")
