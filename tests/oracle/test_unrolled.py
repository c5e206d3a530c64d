"""The three products of `Unrolled` against a loop over windows, where columns are made for several samples at a time,
for one, and for a few rows of one."""

import numpy as np
import pytest

from dlbench.oracle import unrolled
from dlbench.oracle.unrolled import Unrolled

SAMPLES, CHANNELS, GROUPS, ROWS = 3, 4, 2, 3
HEIGHT, WIDTH = 7, 6
KERNEL, EDGES, STRIDE, DILATION = (3, 2), ((2, 1), (0, 1)), (2, 1), (1, 2)
POSITIONS = (4, 5)


@pytest.fixture(params=[(256, 2**20), (1, 2**20), (1, 1)], ids=["samples", "one", "rows"])
def windows(request, monkeypatch):
    columns, values = request.param
    monkeypatch.setattr(unrolled, "_COLUMNS", columns)
    monkeypatch.setattr(unrolled, "_VALUES", values)
    depth = CHANNELS // GROUPS * KERNEL[0] * KERNEL[1]
    matrix = np.random.default_rng(0).normal(size=(GROUPS, ROWS, depth))
    return Unrolled(matrix, KERNEL, EDGES, POSITIONS, STRIDE, DILATION)


def drawn(*shape):
    return np.random.default_rng(1).normal(size=shape)


def each_window(images):
    """Index of sample and position, and what the window sees of each group: G×K."""
    padded = np.pad(images, ((0, 0), (0, 0), *EDGES))
    for n, r, c in np.ndindex(len(images), *POSITIONS):
        down = r * STRIDE[0] + DILATION[0] * np.arange(KERNEL[0])
        across = c * STRIDE[1] + DILATION[1] * np.arange(KERNEL[1])
        yield (n, slice(None), r, c), padded[n][:, down][:, :, across].reshape(GROUPS, -1)


def by_loop(windows, images):
    result = np.empty((len(images), GROUPS * ROWS, *POSITIONS))
    for place, seen in each_window(images):
        result[place] = np.einsum("grk,gk->gr", windows.matrix, seen).reshape(-1)
    return result


def test_the_product_is_that_of_each_window(windows):
    images = drawn(SAMPLES, CHANNELS, HEIGHT, WIDTH)
    np.testing.assert_allclose(windows.product(images), by_loop(windows, images), atol=1e-12)


def test_the_gradient_of_the_matrix_sums_over_all_windows(windows):
    images = drawn(SAMPLES, CHANNELS, HEIGHT, WIDTH)
    values = drawn(SAMPLES, GROUPS * ROWS, *POSITIONS)
    wanted = sum(
        np.einsum("gr,gk->grk", values[place].reshape(GROUPS, ROWS), seen)
        for place, seen in each_window(images)
    )
    np.testing.assert_allclose(windows.outer(values, images), wanted, atol=1e-12)


def test_the_transposed_is_the_products_own(windows):
    images = drawn(SAMPLES, CHANNELS, HEIGHT, WIDTH)
    values = drawn(SAMPLES, GROUPS * ROWS, *POSITIONS)
    back = windows.transposed(values, images.shape[1:])
    assert images.shape == back.shape
    assert np.vdot(values, by_loop(windows, images)) == pytest.approx(np.vdot(back, images))


def test_windows_of_one_pixel_see_the_images_as_they_lie():
    images = drawn(SAMPLES, CHANNELS, HEIGHT, WIDTH)
    matrix = np.random.default_rng(0).normal(size=(1, ROWS, CHANNELS))
    one = Unrolled(matrix, (1, 1), ((0, 0), (0, 0)), (HEIGHT, WIDTH), (1, 1), (1, 1))
    wanted = np.einsum("rc,nchw->nrhw", matrix[0], images)
    np.testing.assert_allclose(one.product(images), wanted, atol=1e-12)
