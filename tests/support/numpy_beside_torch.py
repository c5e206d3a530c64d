"""Layers of the NumPy backend beside PyTorch in float64: outputs, loss and all gradients.

The backend is driven through its session only. Gradients come from a step of plain SGD with learning
rate 2**20, as the difference of the weights.
"""

import numpy as np
import pytest
import torch
import torch_float64
from dlbench.backends.numpy.adapter import Adapter
from torch.nn import functional as F

from dlbench.contract import Plan
from dlbench.spec.workload import initial_weights, read_workload

RATE = 2.0**20
CONV = {"type": "conv2d", "out_channels": 5, "kernel": 3}
POINT = {"type": "conv2d", "out_channels": 6, "kernel": 1}


def workload_of(layers, shape=(3, 9, 11), loss="mean_squared_error"):
    return read_workload(
        {
            "input_shape": shape,
            "layers": layers,
            "loss": loss,
            "optimizer": {"type": "sgd", "learning_rate": RATE},
        }
    )


def random_weights(workload, seed=1):
    """Weights with no special values: biases, scales and running statistics away from 0 and 1."""
    random = np.random.default_rng(seed)
    weights = initial_weights(workload, seed)
    for parameter in workload.parameters:
        if parameter.role in ("scale", "running_variance"):
            weights[parameter.name] = random.uniform(0.5, 2, parameter.shape).astype(np.float32)
        elif parameter.role != "weight":
            weights[parameter.name] = random.normal(0, 0.3, parameter.shape).astype(np.float32)
    return weights


def random_batch(workload, batch, seed=2):
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(batch, *workload.input_shape)).astype(np.float32)
    if type(workload.loss).__name__ == "CrossEntropy":
        return inputs, random.integers(0, workload.output_shape[0], batch)
    return inputs, random.normal(size=(batch, *workload.output_shape)).astype(np.float32)


def torch_results(workload, weights, inputs, targets):
    """(inference output, loss, {name: gradient}, {name: running statistic}) in float64."""
    tensors = {
        p.name: torch.tensor(weights[p.name], dtype=torch.float64, requires_grad=p.trainable)
        for p in workload.parameters
    }
    x = torch.tensor(inputs, dtype=torch.float64)
    with torch.no_grad():
        output = torch_float64.sequence(workload.nodes, tensors, x, False).numpy()
    trained = torch_float64.sequence(workload.nodes, tensors, x, True)
    if type(workload.loss).__name__ == "CrossEntropy":
        loss = torch_float64.cross_entropy(workload, trained, torch.tensor(targets))
    else:
        loss = F.mse_loss(trained, torch.tensor(targets, dtype=torch.float64))
    gradients = {}
    if loss.requires_grad:
        loss.backward()
        gradients = {
            p.name: tensors[p.name].grad.numpy() for p in workload.parameters if p.trainable
        }
    running = {p.name: tensors[p.name].numpy() for p in workload.parameters if not p.trainable}
    return output, loss.item(), gradients, running


def assert_close(expected, actual, name, scale=0.0, tolerance=1e-5):
    """No element further than `tolerance` times the largest element (or `scale`, where that is larger)."""
    assert expected.shape == actual.shape
    scale = max(scale, float(np.abs(expected).max(initial=0)))
    error = float(np.abs(expected - actual.astype(np.float64)).max(initial=0))
    assert error <= tolerance * scale, f"{name}: {error:.3g} off, at a scale of {scale:.3g}"


def check(layers, shape=(3, 9, 11), loss="mean_squared_error", batch=5, threads=1):
    """Holds output, loss, gradients and running statistics of a network to PyTorch's."""
    workload = workload_of(layers, shape, loss)
    weights = random_weights(workload)
    inputs, targets = random_batch(workload, batch)
    output, expected_loss, gradients, running = torch_results(workload, weights, inputs, targets)
    session = Adapter().open(Plan("numpy", "cpu", batch, threads), workload, weights)
    resident = session.upload(inputs, targets)
    assert_close(output, session.download(session.infer(resident)), "inference")
    actual_loss = float(session.download(session.train_step(resident)))
    assert actual_loss == pytest.approx(expected_loss, rel=1e-5)
    after = session.weights()
    for name, expected in gradients.items():
        actual = (weights[name].astype(np.float64) - after[name]) / RATE
        # A bias before batch norm has no gradient: its error is that of the terms of its layer.
        layer = name.rpartition(".")[0]
        scale = max(np.abs(g).max() for n, g in gradients.items() if n.startswith(layer + "."))
        assert_close(expected, actual, name, float(scale), 2e-5)
    for name, expected in running.items():
        assert_close(expected, after[name], name)
