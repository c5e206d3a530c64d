"""Training with the NumPy backend: optimizers by their formulas, dropout, state, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.spec.workload import initial_weights, read_workload

SGD = {"type": "sgd", "learning_rate": 0.1}


def workload_of(layers, optimizer=SGD, shape=(10,), loss="mean_squared_error"):
    return read_workload(
        {"input_shape": shape, "layers": layers, "loss": loss, "optimizer": optimizer}
    )


def open_session(workload, weights=None, batch=4, threads=1, seed=0):
    weights = initial_weights(workload, 3) if weights is None else weights
    return Adapter().open(Plan("numpy", "cpu", batch, threads, seed=seed), workload, weights)


def linear_case(optimizer):
    workload = workload_of([{"type": "linear", "out_features": 3}], optimizer)
    random = np.random.default_rng(0)
    batches = [
        (
            random.normal(size=(4, 10)).astype(np.float32),
            random.normal(size=(4, 3)).astype(np.float32),
        )
        for _ in range(6)
    ]
    return workload, initial_weights(workload, 3), batches


def gradients_of(weights, inputs, targets):
    """Gradients of the mean squared error of one linear layer, by hand."""
    error = (
        2
        * (inputs @ weights["linear1.weight"].T + weights["linear1.bias"] - targets)
        / targets.size
    )
    return {"linear1.weight": error.T @ inputs, "linear1.bias": error.sum(axis=0)}


def by_formula(optimizer, weights, batches, rates):
    """The weights after a step on each batch, in float64, one formula a kind as the spec writes it."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    state = {name: [np.zeros_like(value), np.zeros_like(value)] for name, value in w.items()}
    kind, decay = (
        optimizer["type"],
        optimizer.get("weight_decay", 0.01 if optimizer["type"] == "adamw" else 0),
    )
    mu = optimizer.get("momentum", 0)
    decays = {
        "linear1.weight": decay,
        "linear1.bias": decay if optimizer.get("decay_biases_and_norms", True) else 0,
    }
    for t, ((x, y), lr) in enumerate(zip(batches, rates, strict=True), 1):
        gradients = gradients_of(w, x.astype(np.float64), y.astype(np.float64))
        for name, g in gradients.items():
            a, b = state[name]
            if kind != "adamw":
                g = g + decays[name] * w[name]
            if kind == "sgd":
                a[...] = mu * a + g
                w[name] = w[name] - lr * (g + mu * a if optimizer.get("nesterov") else a)
            elif kind == "adagrad":
                a[...] = a + g**2
                w[name] = w[name] - lr * g / (np.sqrt(a) + 1e-10)
            elif kind == "rmsprop":
                a[...] = 0.99 * a + 0.01 * g**2
                b[...] = mu * b + g / (np.sqrt(a) + optimizer.get("eps", 1e-8))
                w[name] = w[name] - lr * b
            elif kind == "adadelta":
                eps = optimizer.get("eps", 1e-6)
                a[...] = 0.9 * a + 0.1 * g**2
                change = np.sqrt((b + eps) / (a + eps)) * g
                b[...] = 0.9 * b + 0.1 * change**2
                w[name] = w[name] - lr * change
            else:
                a[...] = 0.9 * a + 0.1 * g
                b[...] = 0.999 * b + 0.001 * g**2
                update = (a / (1 - 0.9**t)) / (
                    np.sqrt(b / (1 - 0.999**t)) + optimizer.get("eps", 1e-8)
                )
                w[name] = (
                    w[name] - lr * update - (lr * decays[name] * w[name] if kind == "adamw" else 0)
                )
    return w


OPTIMIZERS = [
    SGD,
    {**SGD, "momentum": 0.9},
    {**SGD, "weight_decay": 0.1},
    {**SGD, "momentum": 0.9, "weight_decay": 0.1},
    {**SGD, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    {"type": "adam", "learning_rate": 0.01},
    {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.1, "eps": 0.1},
    {"type": "adamw", "learning_rate": 0.01},
    {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.3},
    {"type": "adagrad", "learning_rate": 0.01},
    {"type": "adagrad", "learning_rate": 0.01, "weight_decay": 0.1},
    {"type": "rmsprop", "learning_rate": 0.01, "eps": 0.1},
    {"type": "rmsprop", "learning_rate": 0.01, "weight_decay": 0.1},
    {"type": "rmsprop", "learning_rate": 0.01, "weight_decay": 0.1, "momentum": 0.9},
    {"type": "adadelta", "learning_rate": 1.0, "weight_decay": 0.1},
    {"type": "adadelta", "learning_rate": 1.0, "eps": 0.1},
    {**SGD, "momentum": 0.9, "weight_decay": 0.1, "decay_biases_and_norms": False},
    {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.3, "decay_biases_and_norms": False},
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_each_optimizer_follows_its_formula(optimizer):
    workload, weights, batches = linear_case(optimizer)
    session = open_session(workload, weights)
    rates = [optimizer["learning_rate"] / (1 + step) for step in range(len(batches))]
    for (inputs, targets), rate in zip(batches, rates, strict=True):
        session.learning_rate = rate
        session.train_step(session.upload(inputs, targets))
    expected = by_formula(optimizer, weights, batches, rates)
    for name, value in session.weights().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=2e-6)


def test_the_learning_rate_starts_as_the_optimizers():
    assert open_session(linear_case(SGD)[0]).learning_rate == 0.1


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1::2], ids=str)
def test_loading_starts_the_optimizer_afresh_unless_told_to_keep_it(optimizer):
    workload, weights, batches = linear_case(optimizer)
    session = open_session(workload, weights)
    batch = session.upload(*batches[0])

    def step_from_start(keep):
        session.load(weights, keep_optimizer=keep)
        session.train_step(batch)
        return session.weights()["linear1.weight"]

    first = step_from_start(keep=False)
    kept = step_from_start(keep=True)
    fresh = step_from_start(keep=False)
    np.testing.assert_array_equal(first, fresh)
    if optimizer.get("momentum") or optimizer["type"] in ("adagrad", "rmsprop", "adadelta"):
        assert not np.array_equal(first, kept)


def test_weights_come_back_as_they_were_loaded_and_as_copies():
    layers = [
        {"type": "conv2d", "out_channels": 4, "kernel": [3, 2]},
        {"type": "batch_norm"},
        {"type": "flatten"},
        {"type": "linear", "out_features": 5},
    ]
    workload = workload_of(layers, shape=(3, 6, 5))
    random = np.random.default_rng(5)
    weights = {p.name: random.normal(size=p.shape).astype(np.float32) for p in workload.parameters}
    session = open_session(workload, weights)
    for name, value in session.weights().items():
        np.testing.assert_array_equal(weights[name], value)
        value.fill(9)
    np.testing.assert_array_equal(weights["conv1.weight"], session.weights()["conv1.weight"])


def test_results_stay_what_they_were_when_the_session_goes_on():
    workload = workload_of([{"type": "linear", "out_features": 3}, {"type": "relu"}])
    session = open_session(workload)
    random = np.random.default_rng(0)
    first, second = (
        session.upload(random.normal(size=(4, 10)), np.zeros((4, 3))) for _ in range(2)
    )
    result, loss = session.infer(first), session.train_step(first)
    kept, kept_loss = session.download(result), session.download(loss)
    session.infer(second)
    session.train_step(second)
    np.testing.assert_array_equal(kept, session.download(result))
    np.testing.assert_array_equal(kept_loss, session.download(loss))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_training_run_repeats_to_the_bit_for_the_same_thread_count(threads):
    layers = [
        {"type": "conv2d", "out_channels": 8, "kernel": 3, "padding": 1},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "max_pool", "kernel": 2},
        {"type": "dropout", "rate": 0.3},
        {"type": "flatten"},
        {"type": "linear", "out_features": 5},
    ]
    workload = workload_of(layers, {**SGD, "momentum": 0.9}, (3, 12, 10), "cross_entropy")
    random = np.random.default_rng(0)
    inputs, labels = (
        random.normal(size=(13, 3, 12, 10)).astype(np.float32),
        random.integers(0, 5, 13),
    )

    def run():
        session = open_session(workload, batch=13, threads=threads, seed=7)
        batch = session.upload(inputs, labels)
        losses = [float(session.download(session.train_step(batch))) for _ in range(4)]
        return losses, session.weights()

    (losses, weights), (again, weights_again) = run(), run()
    assert losses == again
    assert losses[0] != losses[-1]
    for name, value in weights.items():
        np.testing.assert_array_equal(value, weights_again[name])


def dropout_workload(rate):
    # One linear layer behind: the columns of its weight gradient are dy · mask · x, so a gradient of
    # ones (target = output − 1 would need the mask) is not needed: zero columns show the mask.
    layers = [
        {"type": "dropout", "rate": rate},
        {"type": "linear", "out_features": 1, "bias": False},
    ]
    return workload_of(layers, {"type": "sgd", "learning_rate": 2.0**20}, (5000,))


def masks(session, weights, count, rate):
    """The factors that dropout put on inputs of 1, from the gradient 2·(y − t)·factor, with t = 0 and y = √loss."""
    batch = session.upload(np.ones((1, 5000), np.float32), np.zeros((1, 1), np.float32))
    found = []
    for _ in range(count):
        session.load(weights)
        loss = float(session.download(session.train_step(batch)))
        gradient = (
            weights["linear1.weight"].astype(np.float64) - session.weights()["linear1.weight"]
        ) / 2.0**20
        found.append(gradient[0] / (2 * np.sqrt(loss)))
    return np.array(found)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9])
def test_dropout_zeroes_the_stated_share_and_rescales_the_rest(rate):
    workload = dropout_workload(rate)
    weights = {"linear1.weight": np.full((1, 5000), 1e-3, np.float32)}
    session = open_session(workload, weights, batch=1)
    factors = masks(session, weights, 8, rate)
    kept = factors > 0
    np.testing.assert_allclose(factors[kept], 1 / (1 - rate), rtol=1e-4)
    # Five standard deviations of a binomial count.
    assert abs(kept.mean() - (1 - rate)) < 5 * np.sqrt(rate * (1 - rate) / kept.size)
    # Each step draws afresh: two masks agree in (1 − r)² + r² of the elements, not in all.
    agreement = (kept[0] == kept[1]).mean()
    assert abs(agreement - ((1 - rate) ** 2 + rate**2)) < 0.05


def test_dropout_is_off_in_inference():
    workload = dropout_workload(0.5)
    weights = {"linear1.weight": np.full((1, 5000), 1e-3, np.float32)}
    session = open_session(workload, weights, batch=1)
    batch = session.upload(np.ones((1, 5000), np.float32), np.zeros((1, 1), np.float32))
    assert float(session.download(session.infer(batch))[0, 0]) == pytest.approx(5, rel=1e-5)


def test_dropout_masks_follow_the_plans_seed():
    workload = dropout_workload(0.5)
    weights = {"linear1.weight": np.full((1, 5000), 1e-3, np.float32)}
    one, same, other = (
        masks(open_session(workload, weights, 1, seed=s), weights, 1, 0.5) for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "change", [{"device": "cuda"}, {"precision": "tf32"}, {"mode": "graph"}], ids=str
)
def test_a_plan_that_numpy_cannot_carry_out_is_refused(change):
    workload = linear_case(SGD)[0]
    with pytest.raises(PlanRefused, match=next(iter(change.values()))):
        Adapter().open(
            Plan(**{"backend": "numpy", "device": "cpu", "batch": 4, "threads": 1, **change}),
            workload,
            initial_weights(workload, 0),
        )


def test_the_observed_threads_and_the_blas_are_reported():
    session = open_session(linear_case(SGD)[0], threads=2)
    assert session.facts["device"] == "cpu"
    assert session.facts["threads"] == 2
    info = Adapter().info()
    assert [device.name for device in info.devices] == ["cpu"]
    assert info.version == np.__version__
    assert info.libraries["blas"]


def test_importing_the_backend_imports_no_framework():
    frameworks = {"torch", "tensorflow", "cupy", "pandas", "sklearn", "scipy"}
    code = f"import sys, dlbench.backends.numpy.adapter; print(sorted({frameworks} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
