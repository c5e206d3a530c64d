import math

import numpy as np
import pytest

from dlbench.data.noise import draw_noise
from dlbench.rng import integers, uniform


def test_images_are_bytes_of_the_shape_asked_for_with_every_label():
    noise = draw_noise((2, 17, 23), 7, (7,))
    inputs = np.asarray(noise.train.inputs)
    assert noise.train.inputs.shape == inputs.shape == (2_048, 2, 17, 23)
    assert inputs.dtype == np.uint8
    assert set(noise.train.targets.tolist()) == set(range(7))
    assert 120 < inputs.mean() < 135


def test_features_and_values_are_floats_of_their_shapes():
    noise = draw_noise((5,), 0, (3,))
    assert (noise.train.inputs.shape[1:], noise.train.targets.shape[1:]) == ((5,), (3,))
    assert noise.train.inputs.dtype == noise.train.targets.dtype == np.float32
    assert np.asarray(noise.train.inputs).std() == pytest.approx(1, abs=0.05)


def test_a_sample_is_the_same_whichever_others_are_drawn():
    images, features = draw_noise((3, 5, 7), 3, (3,)), draw_noise((5,), 0, (3,))
    whole = integers(2_048 * 105, 256, 0, "noise", "train", "inputs").reshape(2_048, 3, 5, 7)
    rows = np.array([[7, 2_047], [0, 7]])
    np.testing.assert_array_equal(images.train.inputs[rows], whole[rows])
    wanted = uniform((256, 5), math.sqrt(3), 0, "noise", "test", "inputs")
    np.testing.assert_array_equal(features.test.inputs[3:9], wanted[3:9])
    wanted = uniform((2_048, 3), 1.0, 0, "noise", "train", "targets")
    np.testing.assert_array_equal(features.train.targets[rows], wanted[rows])


def test_a_sample_of_a_large_shape_is_drawn_without_the_others():
    """All 2,560 of them would be 250 TiB."""
    noise = draw_noise((3, 2**17, 2**18), 10, (10,))
    assert noise.train.inputs.shape == (2_048, 3, 2**17, 2**18)
    assert len(noise.train) == 2_048
    photo = draw_noise((3, 224, 224), 1000, (1000,)).train.inputs[np.arange(4)]
    assert len({image.tobytes() for image in photo}) == 4


def test_the_same_shape_gives_the_same_noise_and_its_parts_differ():
    first, again = draw_noise((1, 8, 8), 3, (3,)), draw_noise((1, 8, 8), 3, (3,))
    assert first.fingerprint == again.fingerprint
    assert not np.array_equal(np.asarray(first.validation.inputs), np.asarray(first.test.inputs))


def test_the_fingerprint_tells_any_shape_and_number_of_classes_apart():
    drawn = [((1, 8, 8), 3, (3,)), ((1, 8, 9), 3, (3,)), ((1, 8, 8), 4, (4,)), ((64,), 3, (3,))]
    drawn += [((64,), 0, (3,)), ((64,), 0, (4,))]
    assert len({draw_noise(*each).fingerprint for each in drawn}) == len(drawn)
