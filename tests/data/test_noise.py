import numpy as np
import pytest

from dlbench.data.noise import draw_noise


def test_images_are_bytes_of_the_shape_asked_for_with_every_label():
    noise = draw_noise((2, 17, 23), 7, (7,))
    assert noise.train.inputs.shape[1:] == (2, 17, 23)
    assert noise.train.inputs.dtype == np.uint8
    assert set(noise.train.targets.tolist()) == set(range(7))
    assert 120 < noise.train.inputs.mean() < 135


def test_features_and_values_are_floats_of_their_shapes():
    noise = draw_noise((5,), 0, (3,))
    assert (noise.train.inputs.shape[1:], noise.train.targets.shape[1:]) == ((5,), (3,))
    assert noise.train.inputs.dtype == noise.train.targets.dtype == np.float32
    assert noise.train.inputs.std() == pytest.approx(1, abs=0.05)


def test_the_same_shape_gives_the_same_noise_and_its_parts_differ():
    first, again = draw_noise((1, 8, 8), 3, (3,)), draw_noise((1, 8, 8), 3, (3,))
    assert first.fingerprint == again.fingerprint
    part = len(first.test)
    assert not np.array_equal(first.validation.inputs[:part], first.test.inputs)
    assert draw_noise((1, 8, 9), 3, (3,)).fingerprint != first.fingerprint
