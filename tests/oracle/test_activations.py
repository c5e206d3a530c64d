"""The error function, and activations at their kinks."""

import math

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter
from kinks import KINKS, at, network_of

from dlbench.contract import Plan
from dlbench.oracle.error_function import erf
from dlbench.oracle.layers import Branch, Pass
from dlbench.oracle.network import forward, forward_backward
from dlbench.spec.workload import read_workload


@pytest.mark.parametrize("word", KINKS)
def test_an_activation_has_the_pinned_derivative_at_its_kinks(word):
    inputs, outputs, slopes = KINKS[word]
    workload, weights, sample, found, targets = at({"type": word}, inputs)
    run = Pass(True, np.ones(1))
    forward_backward(workload.nodes, workload.loss, weights, sample, targets, run)
    np.testing.assert_allclose(found[0], outputs, atol=1e-15)
    np.testing.assert_allclose(run.gradients["linear1.bias"], slopes, atol=1e-15)


@pytest.mark.parametrize("word", KINKS)
def test_the_numpy_backend_has_the_same_at_the_kinks(word):
    inputs, outputs, slopes = KINKS[word]
    workload, weights, sample, _, targets = at({"type": word}, inputs)
    first = {name: value.astype(np.float32) for name, value in weights.items()}
    session = Adapter().open(Plan("numpy", "cpu", 1, 1), workload, first)
    batch = session.upload(sample.astype(np.float32), targets.astype(np.float32))
    np.testing.assert_allclose(session.download(session.infer(batch))[0], outputs, atol=1e-6)
    session.train_step(batch)
    moved = first["linear1.bias"] - session.weights()["linear1.bias"]
    np.testing.assert_allclose(moved, slopes, atol=2e-6)


def test_a_branch_that_is_turned_is_the_piece_behind_the_nearer_kink():
    x = np.array([[-0.1, 0.1, 5.9, 6.1]])
    workload = network_of({"type": "relu6"}, 4)
    (node,) = workload.nodes[1:]
    run = Pass(True, np.ones(1))
    forward((node,), {}, x, run)
    branch = run.branches["relu61"] if "relu61" in run.branches else run.branches[node.name]
    assert [0, 1, 1, 2] == branch.taken[0].tolist()
    assert [1, 0, 2, 1] == branch.other[0].tolist()
    np.testing.assert_allclose(np.abs(branch.margin), 0.1)
    turned = Branch(branch.other, branch.margin, branch.taken)
    again = Pass(True, np.ones(1), forced={node.name: turned})
    np.testing.assert_allclose(forward((node,), {}, x, again), [[-0.1, 0, 6, 6.1]])
    # the same kink is told of, wherever rounding has taken the value
    np.testing.assert_allclose(again.branches[node.name].margin, branch.margin)


def test_the_error_function_is_the_c_librarys_to_two_units_in_the_last_place_of_one():
    x = np.concatenate([np.linspace(-7, 7, 70_001), [0.46875, 4.0, -4.0, 1e-300, np.inf, -np.inf]])
    exact = np.array([math.erf(value) for value in x])
    assert np.abs(erf(x) - exact).max() <= 2 * 2.0**-52
    small = np.abs(x) < 0.4
    assert np.abs(erf(x) - exact)[small].max() <= 2.0**-52
    assert np.signbit(erf(np.array([-0.0]))[0])


def test_the_numpy_backends_gelu_is_as_near_to_the_exact_one_as_it_says():
    x = np.linspace(-8, 8, 100_001, dtype=np.float32)
    exact = np.array([value * (1 + math.erf(value / math.sqrt(2))) / 2 for value in x.tolist()])
    for approximate, most in (("none", 1.6e-7), ("tanh", 5e-4)):
        layer = {"type": "gelu", "approximate": approximate}
        workload = read_workload(
            {
                "input_shape": [len(x)],
                "layers": [layer],
                "loss": "mean_squared_error",
                "optimizer": {"type": "sgd", "learning_rate": 1.0},
            }
        )
        session = Adapter().open(Plan("numpy", "cpu", 1, 1), workload, {})
        got = session.download(session.infer(session.upload(x[None], x[None])))[0]
        error = np.abs(got - exact) / np.maximum(np.abs(x), 1)
        assert error.max() <= most
        # and one form is not the other
        assert (error.max() > 1e-4) == (approximate == "tanh")
