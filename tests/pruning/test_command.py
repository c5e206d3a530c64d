"""`dlbench prune` writes a suite and its weights that fit each other, and shows what pruning costs on a backend."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dlbench.cli.main import cli
from dlbench.pruning.structured import prune
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
from dlbench.weights.tensors import read_weights, write_weights


def invoke(*words):
    return CliRunner().invoke(cli, ["prune", *map(str, words)])


def test_what_it_writes_is_a_suite_with_its_weights(tmp_path):
    suite, weights = tmp_path / "small.toml", tmp_path / "small.safetensors"
    found = invoke(
        *("--suite", "smoke", "--share", "0.5", "--seed", 3),
        *("--output", suite, "--output-weights", weights),
    )
    assert 0 == found.exit_code, found.output
    assert "linear1: they are the network's output" in found.output
    whole, small = load_suite("smoke"), load_suite(str(suite))
    expected = prune(whole.workload, initial_weights(whole.workload, 3), 0.5)
    assert expected.workload.digest == small.workload.digest
    assert (whole.data, whole.matrix) == (small.data, small.matrix)
    for name, values in read_weights(weights, small.workload).items():
        np.testing.assert_array_equal(expected.weights[name], values)


def test_weights_come_from_a_file(tmp_path):
    whole = load_suite("smoke").workload
    given = {name: 2 * each for name, each in initial_weights(whole, 5).items()}
    write_weights(tmp_path / "given.safetensors", given, {})
    out = tmp_path / "small.safetensors"
    words = ("--suite", "smoke", "--weights", tmp_path / "given.safetensors")
    assert 0 == invoke(*words, "--output-weights", out).exit_code
    expected = prune(whole, given, 0.5)
    for name, values in read_weights(out, expected.workload).items():
        np.testing.assert_array_equal(expected.weights[name], values)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "say what to write"),
        (("--unstructured", "--output", "new.toml"), "leaves the suite as it is"),
        (("--output", "there.toml"), "is there already"),
        (
            ("--suite", "linear-mse", "--output", "new.toml"),
            "linear1: they are the network's output",
        ),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.toml").touch()
    found = invoke("--suite", "smoke", *words)
    assert found.exit_code != 0
    assert said in found.output
    assert not (tmp_path / "new.toml").exists()


def test_zeros_leave_the_network_as_it_is(tmp_path):
    out = tmp_path / "zeroed.safetensors"
    assert (
        0
        == invoke(
            *("--suite", "smoke", "--share", "0.75", "--unstructured", "--output-weights", out)
        ).exit_code
    )
    weights = read_weights(out, load_suite("smoke").workload)
    assert np.mean(weights["linear1.weight"] == 0) == pytest.approx(0.75, abs=0.01)


def test_it_shows_accuracy_before_after_and_after_more_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = invoke(
        *("--suite", "smoke", "--data", "digits", "--backend", "numpy", "--threads", 1),
        *("--share", "0.5", "--epochs", 4, "--fine-tune", 2, "--batch", 32, "--quiet"),
        *("--rounds", 1, "--budget", "0.2", "--max-wait", 0, "--format", "json"),
        *("--output", "small.toml", "--output-weights", "small.safetensors"),
    )
    assert 0 == found.exit_code, found.output
    told = json.loads(found.output)
    shares = {name: each["value"] for name, each in told["test_accuracy"].items()}
    assert ["whole", "pruned", "fine-tuned"] == list(shares)
    # half of four channels are gone at once, and training again brings some of it back
    assert shares["whole"] > 0.8
    assert shares["pruned"] < shares["fine-tuned"]
    assert {"ok"} == {row["status"] for row in told["rows"]}
    assert {("whole", "train"), ("whole", "infer"), ("pruned", "train"), ("pruned", "infer")} == {
        (row["network"], row["scenario"]) for row in told["rows"]
    }
    small = load_suite("small.toml")
    assert told["pruned"]["parameters"] == small.workload.parameter_count
    read_weights(tmp_path / "small.safetensors", small.workload)
