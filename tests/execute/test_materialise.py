import dataclasses
import re

import numpy as np
import pytest

from dlbench import parts
from dlbench.data.datasets import load_dataset
from dlbench.data.order import epoch_order, normalise
from dlbench.data.preprocessing import Recipe
from dlbench.errors import UsageError
from dlbench.execute.materialise import RESIDENT_BATCHES, load, prepare
from dlbench.record.schema import Case
from dlbench.spec.suite import Suite
from dlbench.spec.workload import initial_weights


def arrays(path):
    with np.load(path) as file:
        return dict(file)


@pytest.fixture
def files(request_for, tmp_path):
    """Prepares a request and gives the files of its jobs."""

    def files(batch, **choices):
        material = prepare(request_for(batches=(batch,), seed=3, **choices), tmp_path)
        case = Case("tiny", "train", "numpy", "cpu", batch, 1, "fp32", "")
        return material.job(case.plan(3))["files"]

    return files


@pytest.fixture
def linear(cache_dir):
    return load_dataset("linear", data_dir=None, cache_dir=cache_dir)


@pytest.mark.parametrize("batch", [16, 300])
def test_resident_batches_are_training_samples_in_the_drawn_order(files, linear, batch):
    resident = arrays(files(batch)["batches"])
    count = len(linear.train)
    order = np.concatenate([epoch_order(count, 3, epoch) for epoch in range(3)])
    wanted = order[: RESIDENT_BATCHES * batch].reshape(RESIDENT_BATCHES, batch)
    np.testing.assert_array_equal(resident["inputs"], linear.train.inputs[wanted])
    np.testing.assert_array_equal(resident["targets"], linear.train.targets[wanted])


def test_the_held_out_batch_has_the_plans_size_and_comes_from_the_validation_part(files, linear):
    held_out = arrays(files(250)["held_out"])
    assert 250 == len(held_out["inputs"]) > len(linear.validation)
    np.testing.assert_array_equal(held_out["inputs"][:200], linear.validation.inputs)


def test_the_weights_are_those_of_the_seed(files, tiny):
    wanted = initial_weights(tiny.workload, 3)
    got = arrays(files(16)["weights"])
    assert wanted.keys() == got.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(value, got[name])


def test_the_parts_are_written_for_trainings_only(files, linear):
    assert "parts" not in files(16)
    parts = arrays(files(16, epochs=1)["parts"])
    np.testing.assert_array_equal(parts["test_samples"], linear.test.inputs)


def test_a_folder_for_data_that_reads_no_files_is_refused(request_for, tmp_path):
    told = "the data set noise reads no files; did you mean --data images?"
    with pytest.raises(UsageError, match=re.escape(told)):
        load(request_for(data="noise", data_dir=tmp_path))


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        ([parts.flatten(), parts.linear(3)], "give its last linear layer out_features = 10"),
        (
            [parts.flatten(), parts.linear(3), parts.relu()],
            "give its last linear layer out_features = 10",
        ),
        ([parts.conv2d(3, kernel=4), parts.global_avg_pool()], "make it end with 10 outputs"),
    ],
)
def test_too_few_outputs_for_the_classes_are_told_with_what_to_change(request_for, layers, told):
    suite = Suite.build(
        "own", input=(1, 28, 28), layers=layers, optimizer=parts.sgd(0.1), data="digits"
    )
    with pytest.raises(UsageError, match=f"has 10 classes, .* has 3 outputs; {told}"):
        load(request_for(suite=suite))


def test_images_are_padded_before_they_are_normalised():
    images = np.full((2, 1, 3, 3), 255, np.uint8)
    made = Recipe(padding=1, mean=(0.5,), std=(0.25,)).inputs(images)
    assert (2, 1, 5, 5) == made.shape
    assert {-2.0, 2.0} == set(np.unique(made))
    assert -2.0 == made[0, 0, 0, 0]


def test_images_without_statistics_are_scaled_to_one():
    images = np.arange(48, dtype=np.uint8).reshape(1, 3, 4, 4)
    np.testing.assert_array_equal(Recipe().inputs(images), normalise(images, [0] * 3, [1] * 3))


def test_augmented_samples_differ_between_epochs_and_not_between_batches():
    images = np.random.default_rng(0).integers(0, 256, (6, 3, 8, 8), np.uint8)
    recipe = Recipe(augment=True)
    indices = np.array([4, 1])
    first = recipe.training_inputs(images, indices, 0, 0)
    assert not np.array_equal(first, recipe.training_inputs(images, indices, 0, 1))
    np.testing.assert_array_equal(first[1:], recipe.training_inputs(images, indices[1:], 0, 0))


def test_a_recipe_survives_the_way_to_the_worker():
    recipe = Recipe(2, (0.1, 0.2), (0.3, 0.4), True)
    assert recipe == Recipe.from_table(dataclasses.asdict(recipe))
