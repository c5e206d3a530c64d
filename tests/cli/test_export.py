"""`dlbench export`: a model that ONNX' checker takes, and that ONNX Runtime computes as the oracle does."""

import numpy as np
import pytest
from click.testing import CliRunner

from dlbench.cli.main import cli
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

onnx = pytest.importorskip("onnx")
SUITES = ("cnn-mnist", "resnet-cifar10", "densenet-cifar10", "linear-mse")


@pytest.fixture
def export(tmp_path, monkeypatch):
    """Runs the command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(cli, ["export", *words])


@pytest.mark.parametrize("name", SUITES)
def test_what_is_exported_is_computed_by_onnx_runtime_as_the_oracle_does(export, tmp_path, name):
    runtime = pytest.importorskip("onnxruntime")
    done = export(name, "--seed", "7")
    assert (0, f"{name}.onnx\n") == (done.exit_code, done.stdout), done.output
    path = tmp_path / f"{name}.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    workload = load_suite(name).workload
    inputs = np.random.default_rng(1).standard_normal((2, *workload.input_shape), np.float32)
    (got,) = runtime.InferenceSession(path).run(None, {"input": inputs})
    exact = {n: v.astype(np.float64) for n, v in initial_weights(workload, 7).items()}
    expected = forward(workload.nodes, exact, inputs.astype(np.float64), Pass(False, np.ones(2)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_the_batch_is_open_unless_it_is_said(export):
    for words, dimension in (((), ("batch", 0)), (("--batch", "3"), ("", 3))):
        file = f"{len(words)}.onnx"
        assert 0 == export("smoke", "--output", file, *words).exit_code
        first = onnx.load(file).graph.input[0].type.tensor_type.shape.dim[0]
        assert dimension == (first.dim_param, first.dim_value)


def test_the_file_says_what_it_is_of(export):
    export("smoke", "--seed", "5")
    model = onnx.load("smoke.onnx")
    said = {each.key: each.value for each in model.metadata_props}
    assert ("smoke", "5") == (said["suite"], said["seed"])
    assert load_suite("smoke").workload.digest == said["workload"]
    assert ("dlbench", 17) == (model.producer_name, model.opset_import[0].version)


def test_a_file_that_is_there_is_left_alone(export, tmp_path):
    (tmp_path / "smoke.onnx").write_text("mine")
    done = export("smoke")
    assert 2 == done.exit_code
    assert "smoke.onnx is there already" in done.stderr
    assert "mine" == (tmp_path / "smoke.onnx").read_text()


def test_a_folder_that_is_not_there_is_said(export, tmp_path):
    done = export("smoke", "--output", "no/where.onnx")
    assert 2 == done.exit_code
    assert "No such file or directory" in done.stderr
    assert [] == list(tmp_path.iterdir())


def test_without_the_package_it_is_said_what_would_help(export, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    done = export("smoke")
    assert done.exit_code
    assert "pip install 'dlbench[onnx]'" in done.stderr
    assert [] == list(tmp_path.iterdir())


def test_more_weights_than_a_file_holds_are_refused(export, monkeypatch, tmp_path):
    monkeypatch.setattr("dlbench.cli.frameworks.export._MOST_BYTES", 1000)
    done = export("smoke")
    assert 2 == done.exit_code
    assert "an ONNX file holds 2 GB" in done.stderr
    assert [] == list(tmp_path.iterdir())
