"""Windows and expansions of the NumPy backend against brute force, pooling against the oracle."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from dlbench.backends.numpy.convolutions.expansion import Expansion, Geometry
from dlbench.backends.numpy.pool import AvgPool, MaxPool
from dlbench.backends.numpy.schedule import Program, Value
from dlbench.backends.numpy.windows import Axis
from dlbench.backends.numpy.workers import Chunk, Team
from hypothesis import assume, given
from hypothesis import strategies as st

from dlbench.oracle import pooling
from dlbench.oracle.layers import Pass
from dlbench.spec.workload import read_workload

NAN = np.float32("nan")


@st.composite
def axis(draw):
    size, kernel = draw(st.integers(1, 12)), draw(st.integers(1, 4))
    stride, dilation = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding, behind = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    reach = (kernel - 1) * dilation + 1
    assume(size + padding + behind >= reach)
    out = (size + padding + behind - reach) // stride + 1
    return Axis(size, out, kernel, stride, padding, dilation)


def pairs(a, position):
    """Which window's kernel position lies on which input, inside or not."""
    return [(o, o * a.stride + position * a.dilation - a.padding) for o in range(a.out)]


@given(a=axis(), data=st.data())
def test_met_gives_the_windows_whose_position_lies_inside_and_what_it_lies_on(a, data):
    position = data.draw(st.integers(0, a.kernel - 1))
    first = data.draw(st.integers(0, a.out))
    last = data.draw(st.one_of(st.none(), st.integers(first, a.out)))
    out, into = a.met(position, first, last)
    met = list(zip(range(a.out)[out], range(a.size)[into], strict=True))
    end = a.out if last is None else last
    assert met == [(o, i) for o, i in pairs(a, position) if 0 <= i < a.size and first <= o < end]


@given(a=axis())
def test_inside_is_the_range_of_windows_that_meet_no_padding(a):
    taps = [[i for _, i in pairs(a, k)] for k in range(a.kernel)]
    whole = [o for o in range(a.out) if all(0 <= tap[o] < a.size for tap in taps)]
    low, high = a.inside
    assert 0 <= low <= high <= a.out
    assert list(range(low, high)) == whole


@given(a=axis())
def test_an_axis_that_tiles_meets_each_input_once(a):
    once = sorted(i for k in range(a.kernel) for _, i in pairs(a, k)) == list(range(a.size))
    if a.tiles:
        assert once
    elif a.stride == a.kernel and (a.padding, a.dilation) == (0, 1):
        assert not once


@st.composite
def geometry(draw):
    channels = draw(st.sampled_from([1, 2, 3, 4, 5, 8, 16]))
    axes = [draw(axis()) for _ in range(2)]
    return Geometry(
        channels,
        2,
        *(
            (getattr(axes[0], name), getattr(axes[1], name))
            for name in ("size", "out", "kernel", "stride")
        ),
        *((getattr(axes[0], name), getattr(axes[1], name)) for name in ("padding", "dilation")),
    )


def carried_out(calls):
    for function, *arguments in calls:
        function(*arguments)


def expansion_of(g, images):
    return Expansion(g, images, np.zeros(Expansion.elements(g, images), np.float32))


def whole_numbers(random, shape):
    """Float32 whose sums and products are exact."""
    return random.integers(-8, 9, shape).astype(np.float32)


@given(g=geometry(), images=st.integers(1, 3), seed=st.integers(0, 99))
def test_products_over_the_windows_are_the_convolution(g, images, seed):
    random = np.random.default_rng(seed)
    x = whole_numbers(random, (g.size[0], images, g.size[1], g.channels))
    w = whole_numbers(random, (*g.kernel, g.channels, g.out_channels))
    expansion = expansion_of(g, images)
    carried_out(expansion.fill(x))
    rows = zip(expansion.windows, g.kernel_rows(w), strict=True)
    actual = sum((window.T if g.tap_major else window) @ part for window, part in rows).reshape(
        g.out_size[0], images, g.out_size[1], g.out_channels
    )
    expected = np.zeros_like(actual)
    for r, c, i, j in itertools.product(*map(range, (*g.out_size, *g.kernel))):
        y = r * g.stride[0] + i * g.dilation[0] - g.padding[0]
        z = c * g.stride[1] + j * g.dilation[1] - g.padding[1]
        if 0 <= y < g.size[0] and 0 <= z < g.size[1]:
            expected[r, :, c] += x[y, :, z] @ w[i, j]
    np.testing.assert_array_equal(actual, expected)


@given(g=geometry(), images=st.integers(1, 3), seed=st.integers(0, 99))
def test_fold_is_the_adjoint_of_fill(g, images, seed):
    random = np.random.default_rng(seed)
    x = whole_numbers(random, (g.size[0], images, g.size[1], g.channels))
    filled, given_back = expansion_of(g, images), expansion_of(g, images)
    carried_out(filled.fill(x))
    given_back.memory[:] = whole_numbers(random, given_back.memory.shape)
    dx, scratch = np.full_like(x, NAN), np.full_like(x, NAN)
    carried_out(given_back.fold(dx, scratch))
    assert np.vdot(filled.memory, given_back.memory) == np.vdot(x, dx)


@given(g=geometry(), seed=st.integers(0, 99))
def test_filling_again_writes_every_place_it_wrote_before_and_no_other(g, seed):
    random = np.random.default_rng(seed)
    shape = (g.size[0], 2, g.size[1], g.channels)
    first, second = whole_numbers(random, shape) + 20, whole_numbers(random, shape) - 20
    used, fresh = expansion_of(g, 2), expansion_of(g, 2)
    carried_out(used.fill(first))
    carried_out(used.fill(second))
    carried_out(fresh.fill(second))
    np.testing.assert_array_equal(used.memory, fresh.memory)


@st.composite
def pool(draw):
    """A pool as a node whose input's gradient is wanted."""
    kernel = [draw(st.integers(1, 4)) for _ in range(2)]
    layer = {
        "type": draw(st.sampled_from(["max_pool", "avg_pool"])),
        "kernel": kernel,
        "stride": [draw(st.integers(1, 5)) for _ in range(2)],
        "padding": [[draw(st.integers(0, k // 2)) for _ in range(2)] for k in kernel],
        "ceil_mode": draw(st.booleans()),
    }
    if layer["type"] == "avg_pool":
        layer["count_include_pad"] = draw(st.booleans())
    size = [draw(st.integers(k, 9)) for k in kernel]
    table = {
        "input_shape": [draw(st.integers(1, 3)), *size],
        "layers": [layer],
        "loss": "mean_squared_error",
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
    return dataclasses.replace(read_workload(table).nodes[0], needs_input_gradient=True)


def by_backend(node, x, dy):
    """Output and gradient of a pool for N×C×H×W."""
    team = Team(1, len(x), 0)
    chunk = Chunk(team.workers[0], 0, len(x), (0, len(x)))
    program = Program(team, training=True, stores=[])

    def stored(array):
        value = Value((*array.shape[2:], array.shape[1]))
        value.store = team.shared((len(array), value.size))
        value.view(chunk)[...] = array.transpose(2, 0, 3, 1)
        return value

    given = stored(x)
    kind = {"MaxPool": MaxPool, "AvgPool": AvgPool}[type(node.layer).__name__]
    y, back = kind(node, node.layer).emit(program, given)
    dx = back(stored(dy))
    program.prepare([given, y, dx])
    program.run()
    return [value.view(chunk).transpose(1, 3, 0, 2) for value in (y, dx)]


@given(node=pool(), images=st.integers(1, 3), seed=st.integers(0, 99))
def test_pooling_is_the_oracles_with_ties_overlaps_gaps_and_padding(node, images, seed):
    random = np.random.default_rng(seed)
    # Of three values, so that most windows have ties, and 0 may be the largest of negative ones.
    x = random.integers(-2, 1, (images, *node.input_shape)).astype(np.float32)
    dy = whole_numbers(random, (images, *node.output_shape))
    kind = getattr(pooling, type(node.layer).__name__)
    oracle = kind(node, {}, Pass(True, np.ones(images)))
    expected_y, expected_dx = oracle.forward(x.astype(np.float64)), oracle.backward(dy)
    y, dx = by_backend(node, x, dy)
    np.testing.assert_allclose(y, expected_y, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-5, atol=1e-5)
