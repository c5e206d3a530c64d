"""Weights that Keras saves are those of the suites of its networks, in each format; other networks are refused."""

import re
import shutil

import numpy as np
import pytest

pytest.importorskip("keras")
pytest.importorskip("torch")
pytest.importorskip("safetensors")

import h5py
import keras
from dlbench.backends.torch.adapter import Adapter
from keras.src.legacy.saving.legacy_h5_format import save_weights_to_hdf5_group
from safetensors.numpy import save_file

from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import digest_of, read_workload
from dlbench.weights.keras_names import PUBLISHED, mismatch
from dlbench.weights.tensors import read_weights

# TensorFlow's variables know no `copy` yet
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIZE = 64
SUITES = {"VGG16": "vgg16", "ResNet50": "resnet50-keras", "MobileNetV2": "mobilenet-v2-keras"}


def model(name):
    """A network of Keras at small images, with biases and statistics that are not those it begins with."""
    keras.utils.set_random_seed(4)
    found = getattr(keras.applications, name)(
        weights=None, classifier_activation=None, input_shape=(SIZE, SIZE, 3)
    )
    draws = np.random.default_rng(5)
    for variable in found.weights:
        if len(variable.shape) == 1:
            low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.1, 0.1)
            variable.assign(draws.uniform(low, high, variable.shape))
    return found


def small(suite):
    return load_suite(suite).workload.at((3, SIZE, SIZE))


def values(found):
    return {each.path: np.asarray(each) for each in found.weights}


@pytest.fixture(scope="module")
def mobile():
    return model("MobileNetV2")


@pytest.fixture(scope="module")
def whole(mobile, tmp_path_factory):
    path = tmp_path_factory.mktemp("keras") / "mobile.weights.h5"
    mobile.save_weights(path)
    return path


@pytest.fixture
def saved(whole, tmp_path):
    return shutil.copy(whole, tmp_path / whole.name)


@pytest.mark.parametrize("name", SUITES)
def test_logits_are_those_of_keras_own_model(name, tmp_path):
    other, workload = model(name), small(SUITES[name])
    other.save_weights(tmp_path / "w.weights.h5")
    weights = read_weights(tmp_path / "w.weights.h5", workload)
    inputs = np.random.default_rng(6).standard_normal((2, 3, SIZE, SIZE), np.float32)
    session = Adapter().open(Plan("torch", "cpu", 2, 1, scenario="infer"), workload, weights)
    got = session.download(session.infer(session.upload(inputs, np.zeros(2, np.int64))))
    wanted = np.asarray(other(inputs.transpose(0, 2, 3, 1), training=False))
    assert wanted.std() > 0
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_every_format_of_keras_has_the_same_weights(mobile, saved, tmp_path):
    workload = small("mobilenet-v2-keras")
    with h5py.File(tmp_path / "older.h5", "w") as file:
        save_weights_to_hdf5_group(file, mobile)
    with h5py.File(tmp_path / "model.h5", "w") as file:
        save_weights_to_hdf5_group(file.create_group("model_weights"), mobile)
    with h5py.File(tmp_path / "former.h5", "w") as file:
        # what was published first calls the classifier Logits
        save_weights_to_hdf5_group(file, mobile)
        file.move("predictions", "Logits")
    arrays = {name: np.ascontiguousarray(each) for name, each in values(mobile).items()}
    save_file(arrays, tmp_path / "w.safetensors")
    wanted = digest_of(read_weights(saved, workload))
    for name in ("older.h5", "model.h5", "former.h5", "w.safetensors"):
        assert wanted == digest_of(read_weights(tmp_path / name, workload)), name


def test_a_compiled_models_optimizer_is_left_out(mobile, saved, tmp_path):
    workload = small("mobilenet-v2-keras")
    wanted = digest_of(read_weights(saved, workload))
    mobile.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    mobile.optimizer.build(mobile.trainable_variables)
    mobile.save_weights(tmp_path / "compiled.weights.h5")
    assert wanted == digest_of(read_weights(tmp_path / "compiled.weights.h5", workload))


@pytest.mark.parametrize(
    ("suite", "said"),
    [
        (
            "mobilenet-v2",
            (
                r"has the names of Keras' MobileNetV2, which computes something else: conv1 is conv2d with padding"
                r" \(1, 1\) here, conv2d with padding \(\(0, 1\), \(0, 1\)\) there; the suite mobilenet-v2-keras is"
            ),
        ),
        ("resnet50", "conv1 is conv2d with kernel .* there; the suite mobilenet-v2-keras is"),
        ("lenet5", "conv1 is conv2d with kernel .* there; the suite mobilenet-v2-keras is"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(saved, suite, said):
    with pytest.raises(UsageError, match=said) as error:
        read_weights(saved, load_suite(suite).workload)
    assert str(error.value).startswith(str(saved))


def altered(suite, change):
    """The workload of a suite with one of its layers' tables changed."""
    table = load_suite(suite).workload.to_table()
    change(table["layers"])
    return read_workload(table)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("VGG16", lambda layers: layers.pop(1), "conv2 is conv2d here, relu there"),
        ("VGG16", lambda layers: layers.append({"type": "relu", "name": "last"}), "it has 38 layers here, 37"),
        (
            "ResNet50",
            lambda layers: layers[1].update(eps=1e-5),
            r"norm1 is batch_norm with eps 1e-05 here, batch_norm with eps 1\.001e-05 there",
        ),
        (
            "ResNet50",
            lambda layers: layers[4]["shortcut"].pop(),
            "is residual here, batch_norm there",
        ),
        ("ResNet50", lambda layers: layers[0].update(freeze=True), "^$"),
        ("VGG16", lambda layers: layers.insert(1, {"type": "dropout", "rate": 0.5, "name": "dropped"}), "^$"),
    ],
)  # fmt: skip
def test_what_decides_in_inference_is_compared_and_nothing_else(name, change, said):
    (own,) = (each for each in PUBLISHED if each.name == name)
    assert re.search(said, mismatch(altered(SUITES[name], change), own))


def test_images_that_keras_would_pad_otherwise_are_refused(saved):
    workload = load_suite("mobilenet-v2-keras").workload.at((3, 72, 64))
    with pytest.raises(UsageError, match="of images of 3 × 72 × 64, 72 is no multiple of 32"):
        read_weights(saved, workload)


def in_file(saved, change):
    with h5py.File(saved, "r+") as file:
        change(file)


def kernel_of(file, layer):
    return next(group for group in file["layers"].values() if group["vars"].attrs["name"] == layer)[
        "vars"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda file: kernel_of(file, "predictions").pop("1"),
            r"does not fit: 1 of 262 tensors \(predictions/bias\) is missing$",
        ),
        (
            lambda file: (
                kernel_of(file, "block_1_expand").pop("0"),
                kernel_of(file, "block_1_expand").create_dataset("0", (1, 1, 16, 95), "f4"),
            ),
            r"block_1_expand/kernel \(conv4\.weight\) is 1 × 1 × 16 × 95 there, 1 × 1 × 16 × 96 is needed$",
        ),
        (
            lambda file: kernel_of(file, "Conv1")["0"].write_direct(
                np.full((3, 3, 3, 32), np.nan, np.float32)
            ),
            r"Conv1/kernel\[0, 0, 0, 0\] is nan; 864 of 864 values are no finite numbers",
        ),
        (
            lambda file: (
                kernel_of(file, "Conv1").pop("0"),
                kernel_of(file, "Conv1").create_dataset("0", (3, 3, 3, 32), "f2"),
            ),
            "Conv1/kernel is float16 there, F32 is needed",
        ),
        (
            lambda file: (
                kernel_of(file, "Conv1").pop("0"),
                kernel_of(file, "Conv1").__setitem__("0", h5py.ExternalLink("other.h5", "/x")),
            ),
            "or HDF5 without the weights of layers .*vars/0 is a link",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused_at_its_first_mismatch(saved, change, said):
    in_file(saved, change)
    with pytest.raises(UsageError, match=said):
        read_weights(saved, small("mobilenet-v2-keras"))


def test_what_is_no_file_of_keras_is_refused(saved, tmp_path):
    workload = small("mobilenet-v2-keras")
    whole = saved.read_bytes()
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = np.zeros(3)
    for name in ("half.h5", "other.h5"):
        with pytest.raises(UsageError, match="damaged, or HDF5 without the weights of layers"):
            read_weights(tmp_path / name, workload)
