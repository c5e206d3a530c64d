"""The convolution kernels against the oracle: several tiles, shapes that fill none of them, any order."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import sanitized
from convolutions import SLOPE, Bench, Geometry, Tile, draw
from dlbench.backends.cupy_device import source_text
from host_device import HostDevice, Schedule
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 4 if sanitized.ACTIVE else 15
SCHEDULES = [Schedule("forward"), Schedule("reversed"), Schedule("shuffled", 1)]

SMALL = Tile((16, 16, 8), (4, 4))
WIDE = Tile((64, 32, 16), (8, 4), (4, 4))
TALL = Tile((64, 32, 8), (4, 8), (4, 1))
TENSOR = Tile((64, 32, 16), (32, 16), (4, 4), tf32=True)
PLAIN = Geometry()
TENSOR_SMALL = Tile((32, 16, 8), (16, 8), tf32=True)


@dataclasses.dataclass(frozen=True)
class Build:
    """What is compiled: a tile, a geometry, options, and of what the channels must be a multiple."""

    name: str
    tile: Tile
    geometry: Geometry = PLAIN
    multiple: int = 1
    options: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        return self.name


BUILDS = [
    Build("small tiles", SMALL),
    Build("small tiles, shared sums", SMALL, options=(("SPLIT", 1),)),
    Build("loads of four", WIDE, multiple=4, options=(("STORE", 1), ("ACTIVATION", 1))),
    Build("tall tiles", TALL, Geometry((1, 5), (2, 1)), multiple=4, options=(("ACTIVATION", 2),)),
    Build("stride and dilation", SMALL, Geometry((3, 2), (2, 3), (2, 1)), options=(("ADD", 1),)),
    Build("pointwise", SMALL, Geometry((1, 1)), options=(("POINTWISE", 1), ("BIAS", 0))),
    Build("tensor cores", TENSOR, multiple=4, options=(("STORE", 1),)),
    Build("small tensor cores, shared sums", TENSOR_SMALL, options=(("SPLIT", 1), ("ADD", 1))),
]

BY_BUILD = pytest.mark.parametrize("build", BUILDS, ids=str)


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
    problem = draw(build.geometry, padding, images, draw_from(some), seed, build.tile.tf32)
    return problem, draw_from(st.sampled_from([0, 4])), draw_from(st.integers(1, 3))


def bench_for(build, schedule):
    device = HostDevice(source_text, schedule)
    return Bench(device, build.tile, build.geometry, **dict(build.options))


def check(name, expected, bound, got):
    assert expected.shape == got.shape
    wrong = ~(np.abs(got - expected) <= bound + 2.0**-23 * np.abs(expected))
    assert not wrong.any(), f"{name}: {got[wrong][:3]} is not {expected[wrong][:3]}"


@BY_BUILD
@given(data=st.data(), schedule=st.sampled_from(SCHEDULES))
@settings(max_examples=EXAMPLES)
def test_the_forward_product_is_the_oracles(build, data, schedule):
    problem, apart, shares = data.draw(problems(build))
    got = bench_for(build, schedule).forward(problem, apart, shares)
    options = dict(build.options)
    expected = problem.y
    if not options.get("BIAS", 1):
        expected = expected - problem.bias.reshape(1, -1, 1, 1)
    if options.get("ACTIVATION", 0):
        slope = SLOPE if options["ACTIVATION"] == 2 else 0
        expected = np.where(expected > 0, expected, slope * expected)
    check("y", expected, problem.y_bound, got)


@BY_BUILD
@given(data=st.data(), schedule=st.sampled_from(SCHEDULES))
@settings(max_examples=EXAMPLES)
def test_the_gradient_of_the_input_is_the_oracles(build, data, schedule):
    problem, apart, shares = data.draw(problems(build))
    other = np.random.default_rng(5).normal(size=problem.x.shape).astype(np.float32)
    got = bench_for(build, schedule).input_gradient(problem, apart, shares, other)
    options = dict(build.options)
    expected, bound = problem.dx, problem.dx_bound
    if options.get("ADD"):
        expected = expected + other
        bound = bound + 2.0**-23 * np.abs(other)
    if options.get("ACTIVATION", 0):
        slope = SLOPE if options["ACTIVATION"] == 2 else 0
        expected = np.where(problem.x > 0, expected, slope * expected)
    check("dx", expected, bound, got)


@BY_BUILD
@given(data=st.data(), schedule=st.sampled_from(SCHEDULES))
@settings(max_examples=EXAMPLES)
def test_the_gradients_of_weight_and_bias_are_the_oracles(build, data, schedule):
    problem, apart, shares = data.draw(problems(build))
    weight, bias = bench_for(build, schedule).weight_gradient(problem, apart, shares)
    check("weight", problem.dweight, problem.dweight_bound, weight)
    if dict(build.options).get("BIAS", 1):
        check("bias", problem.dbias, problem.dbias_bound, bias)
