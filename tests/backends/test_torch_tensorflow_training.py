"""Losses, optimizers and dropout of PyTorch's and TensorFlow's sessions, held against formulas."""

import numpy as np
import pytest

CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}


def test_cross_entropy_of_a_linear_network_has_the_textbook_gradient(lab):
    workload = lab.workload([{"type": "linear", "out_features": 4}], (6,))
    weights, (inputs, labels) = lab.weights(workload), lab.batch(workload)
    loss, got = lab.gradients(workload, weights, inputs, labels)
    logits = inputs.astype(np.float64) @ weights["linear1.weight"].T + weights["linear1.bias"]
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(loss, -np.log(shares[range(5), labels]).mean(), rtol=1e-6)
    error = (shares - np.eye(4)[labels]) / 5
    np.testing.assert_allclose(got["linear1.weight"], error.T @ inputs, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(got["linear1.bias"], error.sum(0), rtol=1e-4, atol=1e-6)


def test_squared_error_is_the_mean_over_all_elements_of_an_image_too(lab):
    workload = lab.workload([{"type": "tanh"}, CONVOLUTION], loss="mean_squared_error")
    weights, (inputs, targets) = lab.weights(workload), lab.batch(workload)
    loss, got = lab.gradients(workload, weights, inputs, targets)
    output, _ = lab.infer([{"type": "tanh"}, CONVOLUTION], inputs, weights)
    error = output.astype(np.float64) - targets
    np.testing.assert_allclose(loss, (error**2).mean(), rtol=1e-5)
    bias = 2 * error.sum((0, 2, 3)) / error.size
    np.testing.assert_allclose(got["conv1.bias"], bias, rtol=1e-3, atol=1e-6)


def test_squared_error_takes_flat_targets_for_one_output(lab):
    workload = lab.workload(
        [{"type": "linear", "out_features": 1}], (6,), loss="mean_squared_error"
    )
    inputs, targets = lab.batch(workload)
    session = lab.open(workload)
    flat = session.download(session.train_step(session.upload(inputs, targets[:, 0])))
    session.load(lab.weights(workload))
    assert flat == session.download(session.train_step(session.upload(inputs, targets)))


OPTIMIZERS = [
    {"type": "sgd", "learning_rate": 0.1},
    {"type": "sgd", "learning_rate": 0.1, "weight_decay": 0.05},
    {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.05},
    {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    {"type": "adam", "learning_rate": 0.01},
    {"type": "adam", "learning_rate": 0.01, "beta1": 0.8, "eps": 0.1, "weight_decay": 0.05},
    {"type": "adamw", "learning_rate": 0.01, "eps": 1e-3, "weight_decay": 0.5},
    {"type": "adagrad", "learning_rate": 0.1, "weight_decay": 0.05},
    {"type": "adagrad", "learning_rate": 0.1, "eps": 0.2},
    {"type": "rmsprop", "learning_rate": 0.01, "eps": 0.1, "weight_decay": 0.05},
    {"type": "rmsprop", "learning_rate": 0.01, "rho": 0.9, "momentum": 0.9},
    {"type": "adadelta", "learning_rate": 1.0, "weight_decay": 0.05},
    {"type": "adadelta", "learning_rate": 1.0, "rho": 0.8, "eps": 0.1},
    {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.5, "decay_biases_and_norms": False},
    {"type": "adamw", "learning_rate": 0.01, "weight_decay": 0.5, "decay_biases_and_norms": False},
]


def updated(rule, weight, gradient, state, step, rate):
    """One step of a pinned update rule; `state` is a dict that it keeps."""
    decay = rule.get("weight_decay", 0.0)
    kind = rule["type"]
    if kind != "adamw":
        gradient = gradient + decay * weight
    if kind == "sgd":
        momentum = rule.get("momentum", 0.0)
        state["v"] = momentum * state.get("v", 0) + gradient
        direction = gradient + momentum * state["v"] if rule.get("nesterov") else state["v"]
        return weight - rate * direction
    if kind == "adagrad":
        state["a"] = state.get("a", 0) + gradient**2
        return weight - rate * gradient / (np.sqrt(state["a"]) + rule.get("eps", 1e-10))
    if kind == "rmsprop":
        rho = rule.get("rho", 0.99)
        state["s"] = rho * state.get("s", 0) + (1 - rho) * gradient**2
        change = gradient / (np.sqrt(state["s"]) + rule.get("eps", 1e-8))
        state["v"] = rule.get("momentum", 0.0) * state.get("v", 0) + change
        return weight - rate * state["v"]
    if kind == "adadelta":
        rho, eps, u = rule.get("rho", 0.9), rule.get("eps", 1e-6), state.get("u", 0)
        state["s"] = rho * state.get("s", 0) + (1 - rho) * gradient**2
        change = np.sqrt((u + eps) / (state["s"] + eps)) * gradient
        state["u"] = rho * u + (1 - rho) * change**2
        return weight - rate * change
    beta1, beta2 = rule.get("beta1", 0.9), rule.get("beta2", 0.999)
    state["m"] = beta1 * state.get("m", 0) + (1 - beta1) * gradient
    state["s"] = beta2 * state.get("s", 0) + (1 - beta2) * gradient**2
    m, s = state["m"] / (1 - beta1**step), state["s"] / (1 - beta2**step)
    result = weight - rate * m / (np.sqrt(s) + rule.get("eps", 1e-8))
    return result - rate * decay * weight if kind == "adamw" else result


@pytest.mark.parametrize("rule", OPTIMIZERS, ids=lambda r: "-".join(map(str, r.values())))
def test_three_steps_follow_the_pinned_update_rule_with_a_rate_that_changes(lab, rule):
    workload = lab.workload(
        [{"type": "linear", "out_features": 3}], (4,), "mean_squared_error", rule
    )
    weights = lab.weights(workload)
    session = lab.open(workload, weights)
    assert session.learning_rate == rule["learning_rate"]
    matrix = weights["linear1.weight"].astype(np.float64)
    bias = weights["linear1.bias"].astype(np.float64)
    states = ({}, {})
    for step in range(1, 4):
        rate = rule["learning_rate"] * (1, 1, 0.25)[step - 1]
        if step == 3:
            session.learning_rate = rate
        inputs, targets = lab.batch(workload, seed=step)
        session.train_step(session.upload(inputs, targets))
        error = 2 * (inputs.astype(np.float64) @ matrix.T + bias - targets) / targets.size
        matrix, bias = (
            updated(rule, matrix, error.T @ inputs, states[0], step, rate),
            updated(
                rule if rule.get("decay_biases_and_norms", True) else rule | {"weight_decay": 0.0},
                bias,
                error.sum(0),
                states[1],
                step,
                rate,
            ),
        )
        after = session.weights()
        np.testing.assert_allclose(after["linear1.weight"], matrix, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(after["linear1.bias"], bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", OPTIMIZERS[2::2], ids=lambda r: r["type"])
def test_loading_forgets_the_optimizers_state_unless_it_is_kept(lab, rule):
    workload = lab.workload([{"type": "linear", "out_features": 3}], (4,), optimizer=rule)
    weights = lab.weights(workload)
    session = lab.open(workload, weights)
    first, second = (session.upload(*lab.batch(workload, seed=seed)) for seed in (1, 2))

    def after(batch):
        session.train_step(batch)
        return session.weights()["linear1.weight"]

    fresh = after(second)
    session.learning_rate *= 0.5
    session.load(weights)
    assert session.learning_rate == rule["learning_rate"] * 0.5
    session.learning_rate *= 2
    after(first)
    session.load(weights)
    np.testing.assert_array_equal(after(second), fresh)
    session.load(weights, keep_optimizer=True)
    after(first)
    session.load(weights, keep_optimizer=True)
    assert np.abs(after(second) - fresh).max() > 1e-4


def test_dropout_zeroes_or_rescales_with_a_fresh_mask_each_step_and_is_off_in_inference(lab):
    """The weight gradient of a linear layer behind the dropout shows what came through."""
    size, rate = 400, 0.3
    layers = [{"type": "dropout", "rate": rate}, {"type": "linear", "out_features": 2}]
    workload = lab.workload(layers, (size,), loss="mean_squared_error")
    weights = lab.weights(workload)
    weights["linear1.weight"][:] = 0
    weights["linear1.bias"][:] = 0
    session = lab.open(workload, weights, batch=1)
    session.learning_rate = 1.0
    batch = session.upload(np.ones((1, size), np.float32), np.ones((1, 2), np.float32))
    masks = []
    for _ in range(20):
        session.load(weights)
        session.train_step(batch)
        # loss = mean (y − 1)², so the gradient is −(what came through) for each of the 2 outputs
        came_through = session.weights()["linear1.weight"]
        np.testing.assert_array_equal(came_through[0], came_through[1])
        kept = came_through[0] != 0
        np.testing.assert_allclose(came_through[0][kept], 1 / (1 - rate), rtol=1e-6)
        masks.append(kept)
    assert len({mask.tobytes() for mask in masks}) == 20
    assert abs(np.mean(masks) - (1 - rate)) < 0.03
    session.load(weights | {"linear1.weight": np.ones((2, size), np.float32)})
    np.testing.assert_array_equal(session.download(session.infer(batch)), np.full((1, 2), size))


def test_the_plans_seed_decides_the_masks(lab):
    layers = [{"type": "dropout", "rate": 0.5}, {"type": "linear", "out_features": 2}]
    workload = lab.workload(layers, (50,))

    def losses(seed):
        session = lab.open(workload, seed=seed)
        batch = session.upload(*lab.batch(workload))
        return [float(session.download(session.train_step(batch))) for _ in range(3)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)


def test_two_dropouts_of_one_network_draw_different_masks(lab):
    """Two dropouts in a row keep a quarter; one mask used twice would keep a half."""
    dropout = {"type": "dropout", "rate": 0.5}
    layers = [dropout, dropout, {"type": "linear", "out_features": 1}]
    workload = lab.workload(layers, (1000,), loss="mean_squared_error")
    weights = {n: np.zeros_like(w) for n, w in lab.weights(workload).items()}
    session = lab.open(workload, weights, batch=1)
    session.train_step(session.upload(np.ones((1, 1000), np.float32), np.ones((1, 1), np.float32)))
    assert 0.2 < (session.weights()["linear1.weight"] != 0).mean() < 0.3
