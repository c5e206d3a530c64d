"""The convolution kernels against the oracle: several tiles, shapes that fill none of them, any order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sanitized
from convolutions import SLOPE, Bench, Geometry, draw
from dlbench.backends.cupy.device import source_text
from dlbench.backends.cupy.tiling import TILES, Tile
from host_device import HostDevice, Schedule
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 3 if sanitized.ACTIVE else 10
SCHEDULES = [Schedule("forward"), Schedule("reversed"), Schedule("shuffled", 1)]

PLAIN = Geometry()
SMALL = Tile(16, 16, 8, 4, 4, efficiency=1)
NARROW = Tile(64, 32, 8, 4, 8, efficiency=1)


@dataclasses.dataclass(frozen=True)
class Build:
    """What is compiled: a tile, loads of one or of four, a geometry, options."""

    tile: Tile
    loads: tuple[int, int] = (1, 1)
    geometry: Geometry = PLAIN
    options: tuple[tuple[str, int | str], ...] = ()

    def __str__(self) -> str:
        tile = self.tile
        parts = [f"{tile.rows}x{tile.columns}x{tile.depth}", f"loads {self.loads}"]
        parts += ["tensor cores"] * tile.tensor_cores
        parts += [f"kernel {self.geometry.kernel}"] * (self.geometry != PLAIN)
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self.options)])

    @property
    def multiple(self) -> int:
        """What channels are a multiple of."""
        return max(self.loads)


SHARED = (("SPLIT", 1), ("ADD", 1))
TOGETHER = (("STORE", 1), ("ACTIVATION", "RELU"))
OWN = [
    Build(SMALL),
    Build(NARROW, (4, 1), Geometry((1, 5), (2, 1)), (("ACTIVATION", "LEAKY_RELU"),)),
    Build(SMALL, (1, 1), Geometry((3, 2), (2, 3), (2, 1)), (("ADD", 1),)),
    Build(SMALL, (1, 1), Geometry((1, 1)), (("POINTWISE", 1), ("BIAS", 0))),
]
BUILDS = [
    *OWN,
    *(Build(tile, (4, 4), options=TOGETHER) for tiles in TILES.values() for tile in tiles),
    *(Build(tiles[-1], options=SHARED) for tiles in TILES.values()),
]


@st.composite
def problems(draw_from, build):
    """A convolution that fits the build, how far pixels lie apart, and how many share a sum."""
    k, d = build.geometry.kernel, build.geometry.dilation
    pointwise = dict(build.options).get("POINTWISE")
    padding = (0, 0) if pointwise else tuple(draw_from(st.integers(0, n - 1)) for n in k)
    least = [(k[i] - 1) * d[i] + 1 - 2 * padding[i] for i in (0, 1)]
    height, width = (draw_from(st.integers(max(1, n), max(1, n) + 6)) for n in least)
    some = st.integers(1, -(-21 // build.multiple)).map(lambda n: n * build.multiple)
    images = (draw_from(st.integers(1, 3)), draw_from(some), height, width)
    seed = draw_from(st.integers(0, 99))
    problem = draw(build.geometry, padding, images, draw_from(some), seed, build.tile.tensor_cores)
    return problem, draw_from(st.sampled_from([0, 4])), draw_from(st.integers(1, 3))


def bench_for(build, schedule):
    device = HostDevice(source_text, schedule)
    return Bench(device, build.tile, build.geometry, build.loads, **dict(build.options))


@pytest.fixture(scope="module", autouse=True)
def _compiling_ahead():
    """All kernels, on all cores, while the first tests run."""
    for build in () if sanitized.ACTIVE else BUILDS:
        bench_for(build, SCHEDULES[0]).compile()


def check(name, expected, bound, got):
    assert expected.shape == got.shape
    wrong = ~(np.abs(got - expected) <= bound + 2.0**-23 * np.abs(expected))
    assert not wrong.any(), f"{name}: {got[wrong][:3]} is not {expected[wrong][:3]}"


def check_forward(bench, build, problem, apart, shares):
    got = bench.forward(problem, apart, shares)
    options = dict(build.options)
    expected = problem.y
    if not options.get("BIAS", 1):
        expected = expected - problem.bias.reshape(1, -1, 1, 1)
    if "ACTIVATION" in options:
        slope = SLOPE if options["ACTIVATION"] == "LEAKY_RELU" else 0
        expected = np.where(expected > 0, expected, slope * expected)
    check("y", expected, problem.y_bound, got)


def check_input_gradient(bench, build, problem, apart, shares):
    other = np.random.default_rng(5).normal(size=problem.x.shape).astype(np.float32)
    got = bench.input_gradient(problem, apart, shares, other)
    options = dict(build.options)
    expected, bound = problem.dx, problem.dx_bound
    if options.get("ADD"):
        expected = expected + other
        bound = bound + 2.0**-23 * np.abs(other)
    if "ACTIVATION" in options:
        slope = SLOPE if options["ACTIVATION"] == "LEAKY_RELU" else 0
        expected = np.where(problem.x > 0, expected, slope * expected)
    check("dx", expected, bound, got)


def check_weight_gradient(bench, build, problem, apart, shares):
    weight, bias = bench.weight_gradient(problem, apart, shares)
    check("weight", problem.dweight, problem.dweight_bound, weight)
    if dict(build.options).get("BIAS", 1):
        check("bias", problem.dbias, problem.dbias_bound, bias)


@pytest.mark.parametrize("tile", [tile for tile in TILES["tf32"] if tile.columns <= 32], ids=str)
@pytest.mark.parametrize("load", [1, 4])
def test_the_gradient_of_a_bias_is_a_sum_of_what_was_not_rounded(tile, load):
    build = Build(tile, (1, load))
    problem = draw(build.geometry, (1, 1), (1, 3, 2, 2), 4 * tile.columns // 3 * load, seed=0)
    _, bias = bench_for(build, SCHEDULES[0]).weight_gradient(problem, apart=0, shares=1)
    check("bias", problem.dbias, problem.dbias_bound, bias)


PRODUCTS = [check_forward, check_input_gradient, check_weight_gradient]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda f: f.__name__.removeprefix("check_"))
@pytest.mark.parametrize("build", BUILDS, ids=str)
@given(data=st.data(), schedule=st.sampled_from(SCHEDULES))
@settings(max_examples=EXAMPLES)
def test_a_product_is_the_oracles(product, build, data, schedule):
    problem, apart, shares = data.draw(problems(build))
    product(bench_for(build, schedule), build, problem, apart, shares)
