"""The OpenCL backend: which devices it finds, what it refuses, its tiles, what its kernels are given, its clock."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
from dlbench.backends.launches.tiling import Product
from dlbench.backends.opencl import adapter as opencl
from dlbench.backends.opencl import sources
from dlbench.backends.opencl.tiling import TILES, on_gpu, on_processor
from dlbench.backends.opencl.views import BEHIND_BYTES, Memory
from opencl_devices import PLAN, need_driver

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.conformance import example_of

PRODUCTS = [
    Product("forward", 43_264, 64, 288, "fp32", 1),
    Product("forward", 64, 128, 9_216, "fp32", 1),
    Product("forward", 1, 10, 128, "fp32", 1),
    Product("input_gradient", 43_264, 32, 576, "fp32", 1),
    Product("input_gradient", 64, 9_216, 128, "fp32", 1),
    Product("input_gradient", 7, 3, 5, "fp32", 1),
    Product("weight_gradient", 9, 32, 43_264, "fp32", 0),
    Product("weight_gradient", 9_216, 128, 64, "fp32", 0),
    Product("weight_gradient", 4_608, 512, 1_024, "fp32", 0),
    Product("weight_gradient", 1, 1, 1, "fp32", 0),
]


class Unusable(Exception):
    """What a driver raises that compiles nothing."""


def drivers(*devices, loader=None):
    """A stand-in for PyOpenCL with one driver that has these devices, each a kind, a name, extensions and what it says
    when it is to compile."""

    class Program:
        def __init__(self, context, text):
            self.said = context.devices[0].said

        def build(self, **more):
            if self.said:
                raise Unusable(self.said)

    def platforms():
        if loader is not None:
            raise loader
        made = [
            SimpleNamespace(type=kind, name=name, extensions=extensions, said=said)
            for kind, name, extensions, said in devices
        ]
        platform = SimpleNamespace(name="Driver", version="1", get_devices=lambda: made)
        for each in made:
            each.platform = "Driver"
        return [platform]

    return SimpleNamespace(
        get_platforms=platforms,
        device_type=SimpleNamespace(CPU=2, GPU=4),
        Context=lambda devices: SimpleNamespace(devices=devices),
        Program=Program,
        Error=Unusable,
        LogicError=LookupError,
    )


# namespaces cannot be keys of a cache
examined = opencl._examined.__wrapped__


def test_devices_are_named_by_their_kind_and_counted_over_all_drivers():
    double = "cl_khr_fp64 cl_khr_other"
    module = drivers((4, "one", double, ""), (2, "chip", double, ""), (4, "two", double, ""))
    found, absent = examined(module)
    names = {name: device.name for name, device in found.items()}
    assert {"opencl:0": "one", "cpu": "chip", "opencl:1": "two"} == names
    assert {} == absent


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ((2, "chip", "", ""), "chip cannot be used: it has no double precision, which"),
        (
            (2, "chip", "cl_khr_fp64", "build\nerror: unknown target CPU 'generic'\nsorry"),
            "chip cannot be used: error: unknown target CPU 'generic'",
        ),
    ],
)
def test_a_device_that_cannot_be_used_is_left_out_and_says_why(device, reason):
    found, absent = examined(drivers(device))
    assert {} == found
    assert absent["cpu"].startswith(reason)
    assert "no OpenCL driver has a GPU" == absent["opencl"]


def test_without_a_driver_the_row_says_what_to_install(monkeypatch):
    module = drivers(loader=LookupError("PLATFORM_NOT_FOUND_KHR"))
    monkeypatch.setattr(opencl, "_require", lambda: module)
    monkeypatch.setattr(opencl, "_examined", examined)
    with pytest.raises(BackendUnavailable) as error:
        opencl.Adapter().info()
    assert "no OpenCL driver for this processor; no OpenCL driver has a GPU" == error.value.reason
    assert error.value.remedy.startswith("apt-get install pocl-opencl-icd")


@pytest.mark.parametrize("name", ["cuda", "cpu:x", "opencl:-1", "gpu:0"])
def test_a_device_of_another_kind_is_refused(name):
    with pytest.raises(
        PlanRefused, match=re.escape(f"opencl computes on cpu and on opencl:N, not on {name!r}")
    ):
        opencl.Adapter().device(name)


def test_a_gpu_that_is_not_there_is_said_to_be_missing():
    need_driver()
    with pytest.raises(BackendUnavailable):
        opencl.Adapter().device("opencl:99")


@pytest.mark.parametrize("plan", [{"precision": "bf16"}, {"mode": "graph"}])
def test_what_it_has_not_got_is_refused(plan):
    workload = example_of("layer", "linear").workload
    with pytest.raises(PlanRefused, match="opencl"):
        opencl.Adapter().open(Plan("opencl", "cpu", 1, 1, **plan), workload, {})


@pytest.mark.parametrize("product", PRODUCTS, ids=str)
@pytest.mark.parametrize("units", [1, 2, 96])
@pytest.mark.parametrize("choose", [on_processor, on_gpu])
def test_a_tiling_covers_the_product_and_no_share_is_empty(choose, units, product):
    tiling = choose(product, units)
    tile = tiling.tile
    assert tiling.grid[0] * tile.rows >= product.rows > (tiling.grid[0] - 1) * tile.rows
    assert tiling.grid[1] * tile.columns >= product.columns > (tiling.grid[1] - 1) * tile.columns
    assert tiling.grid[2] == tiling.shares
    assert tiling.shares * tiling.per_share >= product.depth
    assert (tiling.shares - 1) * tiling.per_share < product.depth
    assert 0 == tile.rows % tile.unit_rows
    if choose is on_gpu:
        # a thread reads along the side at one place in every pass
        assert 0 == tile.threads % (tile.depth // 1) == tile.threads % 32
        assert 0 == tile.columns % tile.unit_columns
    else:
        assert 1 == tile.threads


def test_no_tile_is_for_nothing():
    sizes = (1, 9, 64, 300, 5_000)
    products = [
        Product("forward", rows, columns, depth, "fp32", 1)
        for rows in (*sizes, 40_000)
        for columns in sizes
        for depth in sizes
    ]
    chosen = {on_gpu(product, units).tile for product in products for units in (4, 132)}
    assert chosen <= set(TILES)
    assert len(chosen) >= len(TILES) - 2


def test_a_processors_kernels_are_compiled_for_no_layer():
    layer = {"KH": 3, "KW": 5, "SH": 1, "ACTIVATION": "RELU", "THREADS": 1, "TM": 8, "POOL": 0}
    constants, options = sources.split(layer, cpu=True)
    assert {"THREADS": 1, "TM": 8, "POOL": 0} == constants
    given = sources.read_at_run_time(["common", "gemm"], options)
    assert 3 == given[sources.OPTIONS.index("KH")]
    assert 5 == given[sources.OPTIONS.index("KW")]
    assert 1 == given[sources.OPTIONS.index("ACTIVATION")]
    assert not given[sources.OPTION_COUNT :].any()
    text = sources.text_of(["common"], constants, cpu=True)
    assert "#define KH options[6]" in text
    assert (dict(layer), {}) == sources.split(layer, cpu=False)


def test_what_is_counted_twice_is_counted_alike():
    gemm = sources._text("gemm")
    assert f"#define NOTHING_COUNT {sources.NOTHING_COUNT}\n" in gemm
    (lanes,) = re.findall(r"#define LANES (\d+)", sources._text("common"))
    # two vectors, of which one element at the least is there
    assert BEHIND_BYTES >= 4 * (2 * int(lanes) - 1)
    assert len(sources.OPTIONS) <= sources.OPTION_COUNT
    assert len(set(sources.OPTIONS)) == len(sources.OPTIONS)


def test_a_view_of_memory_begins_where_it_should():
    whole = Memory(SimpleNamespace(buffer="b"), 0, 100, np.dtype(np.float32))
    part = whole[10:30]
    assert (40, 20, 80) == (part.offset_bytes, part.size, part.nbytes)
    assert (48, 5) == (part[2:7].offset_bytes, part[2:7].size)
    assert (360, 10) == (whole[-10:].offset_bytes, whole[-10:].size)
    viewed = part.view(np.uint8)
    assert (40, 80, np.uint8) == (viewed.offset_bytes, viewed.size, viewed.dtype)


def test_threads_are_those_of_the_driver_and_its_clock_runs():
    need_driver()
    workload = read_workload(
        {
            "input_shape": [64],
            "layers": [{"type": "linear", "out_features": 64}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    session = opencl.Adapter().open(PLAN, workload, initial_weights(workload, 0))
    assert session.facts["threads"] >= 1
    assert "off" == session.facts["tf32"]
    assert opencl.Adapter().environment(Plan("", "cpu", 1, 3))["POCL_MAX_PTHREAD_COUNT"] == "3"
    batch = session.upload(np.ones((4, 64), np.float32), np.ones((4, 64), np.float32))
    session.synchronize()
    began_ns = time.perf_counter_ns()
    first = session.device_clock.mark()
    for _ in range(3):
        session.train_step(batch)
    second = session.device_clock.mark()
    session.synchronize()
    took_ns = time.perf_counter_ns() - began_ns
    assert 0 < session.device_clock.between_ns(first, second) <= took_ns
