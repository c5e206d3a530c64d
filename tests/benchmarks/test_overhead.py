"""What a session costs over the same step written by hand, on the same batches, in alternation.

The ratio of medians is shown as each ends, and stands in `extra_info` (`--benchmark-json`); it should
stay under 1.03. It is not asserted: on a machine that does something else besides, it means nothing.
"""

import os
import statistics
import sys
import time
from importlib import import_module

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.data.order import normalise
from dlbench.data.synthetic import MNIST
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

BATCH = 64
RESIDENT = 8
ROUNDS = 240


def torch_by_hand(arrays, weights, rate, momentum):
    """The train step and the inference of cnn-mnist, as in PyTorch's own tutorial."""
    import torch
    from torch import nn

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.tensor(weight))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    criterion = nn.CrossEntropyLoss()
    batches = [(torch.tensor(images), torch.tensor(labels)) for images, labels in arrays]

    def train(index):
        images, labels = batches[index]
        optimizer.zero_grad(set_to_none=True)
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    def infer(index):
        with torch.inference_mode():
            return model(batches[index][0])

    return {"train": train, "infer": infer}, model.train, model.eval


def tensorflow_by_hand(arrays, weights, rate, momentum):
    """The train step and the inference of cnn-mnist in the fastest plain ops that TensorFlow has."""
    import tensorflow as tf

    def inside(array):
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    variables = [tf.Variable(inside(array)) for array in weights.values()]
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    batches = [
        (tf.constant(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), tf.constant(labels))
        for images, labels in arrays
    ]

    def forward(x, drop):
        w1, b1, w2, b2, w3, b3, w4, b4 = variables
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w1, 1, "VALID"), b1))
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w2, 1, "VALID"), b2))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(tf.nn.dropout(x, 0.25) if drop else x, (BATCH, 9216))
        x = tf.nn.relu(tf.nn.bias_add(x @ w3, b3))
        return tf.nn.bias_add((tf.nn.dropout(x, 0.5) if drop else x) @ w4, b4)

    @tf.function(autograph=False, jit_compile=False)
    def train(images, labels):
        with tf.GradientTape() as tape:
            logits = forward(images, drop=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        for variable, velocity, gradient in zip(variables, velocities, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=rate,
                grad=gradient,
                momentum=momentum,
            )
        return loss

    @tf.function(autograph=False, jit_compile=False)
    def infer(images):
        return forward(images, drop=False)

    def nothing():
        pass

    steps = {
        "train": lambda index: train(*batches[index]),
        "infer": lambda index: infer(batches[index][0]),
    }
    return steps, nothing, nothing


BY_HAND = {"torch": torch_by_hand, "tensorflow": tensorflow_by_hand}
MODULES = {
    "torch": "dlbench.backends.torch.adapter",
    "tensorflow": "dlbench.backends.tensorflow.adapter",
}


@pytest.mark.parametrize("scenario", ["train", "infer"])
@pytest.mark.parametrize("backend", list(BY_HAND))
def test_a_session_costs_what_its_framework_costs(benchmark, capsys, backend, scenario):
    pytest.importorskip(backend)
    suite = load_suite("cnn-mnist")
    workload = suite.workload
    weights = initial_weights(workload, 0)
    rows = np.arange(RESIDENT * BATCH)
    images, labels = MNIST.images(rows, "train"), MNIST.labels(rows, "train")
    inputs = normalise(images, suite.data.mean, suite.data.std).reshape(RESIDENT, BATCH, 1, 28, 28)
    arrays = list(zip(inputs, labels.reshape(RESIDENT, BATCH), strict=True))

    plan = Plan(backend, "cpu", BATCH, threads=len(os.sched_getaffinity(0)))
    session = import_module(MODULES[backend]).Adapter().open(plan, workload, weights)
    batches = [session.upload(*batch) for batch in arrays]
    step = session.train_step if scenario == "train" else session.infer
    steps, to_train, to_eval = BY_HAND[backend](
        arrays, weights, workload.optimizer.learning_rate, workload.optimizer.momentum
    )
    (to_train if scenario == "train" else to_eval)()
    by_hand = steps[scenario]
    by_hand_s, turn = [], iter(range(10**9))

    def alternate():
        """The step by hand on the batch that the session gets next."""
        index = next(turn) % RESIDENT
        start = time.perf_counter()
        by_hand(index)
        by_hand_s.append(time.perf_counter() - start)
        return (batches[index],), {}

    benchmark.group = f"cnn-mnist {scenario}"
    benchmark.pedantic(step, setup=alternate, rounds=ROUNDS, warmup_rounds=20)
    if benchmark.stats is None:  # --benchmark-disable
        return
    median_s = statistics.median(by_hand_s[-ROUNDS:])
    ratio = benchmark.stats.stats.median / median_s
    benchmark.extra_info.update(by_hand_median_s=median_s, ratio_of_medians=ratio)
    benchmark.extra_info["load"] = os.getloadavg()[0]
    with capsys.disabled():
        sys.stdout.write(f"\n{backend} {scenario}: {ratio:.3f} of {1e3 * median_s:.2f} ms by hand ")
