"""What a session costs over the same step written by hand, on the same batches, in alternation.

Each has a process of its own, as a worker and a user's script have, and the one that is not on turn is stopped: of
two in one process the second finds what the first has had the C library keep, and asks the system for no pages.

The median of the ratios of neighbours is shown as each ends, with its 95 % interval, and stands in `extra_info`
(`--benchmark-json`); it should stay under 1.03. It is not asserted: on a machine that does something else besides, it
means nothing. Keras keeps one engine for the life of a process: that of $KERAS_BACKEND, else PyTorch.

In bf16 the step by hand rounds as `docs/precision.md` says, with the casts that this takes.
"""

import copy
import dataclasses
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import time
from importlib import import_module

import numpy as np
import pytest
from later_by_hand import jax_by_hand, keras_by_hand
from runtimes_by_hand import onnxruntime_by_hand, openvino_by_hand

from dlbench.contract import Plan
from dlbench.data.order import normalise
from dlbench.data.synthetic import MNIST
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights

BATCH = 64
RESIDENT = 8
ROUNDS = 240
MODES = {
    "torch": ("eager", "channels-last", "compile"),
    "tensorflow": ("graph", "xla", "eager"),
}
WAYS = [(n, mode, p) for n, modes in MODES.items() for mode in modes for p in ("fp32", "bf16")]
ENGINE = os.environ.get("KERAS_BACKEND", "torch")
WAYS += [("jax", "", "fp32"), ("keras", ENGINE, "fp32")]
WAYS += [("keras", "tensorflow-xla", "fp32")] * (ENGINE == "tensorflow")
TRAINING_WAYS = tuple(WAYS)
WAYS += [("onnxruntime", "", "fp32"), ("openvino", "latency", "fp32")]


def torch_by_hand(arrays, weights, optimizer, mode, precision):
    """The train step and the inference of cnn-mnist, as in PyTorch's own tutorials."""
    import torch
    from torch import nn

    short = precision == "bf16"

    class Dropout(nn.Dropout):
        """In float32, since bf16 would round its scale."""

        def forward(self, x):
            return super().forward(x.float()).to(x.dtype)

    model = nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        (Dropout if short else nn.Dropout)(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
    )
    with torch.no_grad():
        for parameter, weight in zip(model.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.tensor(weight))
    layout = torch.channels_last if mode == "channels-last" else torch.contiguous_format
    model = model.to(memory_format=layout)
    kept = copy.deepcopy(model).eval()
    kept = kept.bfloat16() if short else kept
    train_model, infer_model = model, kept
    if mode == "compile":
        train_model, infer_model = torch.compile(model), torch.compile(kept)
    sgd = torch.optim.SGD(
        model.parameters(), lr=optimizer.learning_rate, momentum=optimizer.momentum
    )
    criterion = nn.CrossEntropyLoss()
    batches = [
        (torch.tensor(images).contiguous(memory_format=layout), torch.tensor(labels))
        for images, labels in arrays
    ]

    def train(index):
        images, labels = batches[index]
        sgd.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=short):
            logits = train_model(images)
        loss = criterion(logits.float(), labels)
        loss.backward()
        sgd.step()
        return loss

    def infer(index):
        with torch.inference_mode():
            images = batches[index][0]
            return infer_model(images.bfloat16()).float() if short else infer_model(images)

    return {"train": train, "infer": infer}


def tensorflow_by_hand(arrays, weights, optimizer, mode, precision):
    """The train step and the inference of cnn-mnist in the fastest plain ops that TensorFlow has."""
    import tensorflow as tf

    dtype = tf.bfloat16 if precision == "bf16" else tf.float32

    def inside(array):
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T

    variables = [tf.Variable(inside(array)) for array in weights.values()]
    kept = [tf.Variable(tf.cast(variable, dtype)) for variable in variables]
    velocities = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
    batches = [
        (tf.constant(np.ascontiguousarray(images.transpose(0, 2, 3, 1))), tf.constant(labels))
        for images, labels in arrays
    ]

    def dropout(x, rate, drop):
        return tf.cast(tf.nn.dropout(tf.cast(x, tf.float32), rate), dtype) if drop else x

    @tf.custom_gradient
    def short_biased(y, bias):
        """The bias' gradient is summed in float32, since bf16 would be 90 roundings off."""

        def gradient(dy):
            return dy, tf.reduce_sum(tf.cast(dy, tf.float32), list(range(len(dy.shape) - 1)))

        return tf.nn.bias_add(y, tf.cast(bias, y.dtype)), gradient

    add = short_biased if precision == "bf16" else tf.nn.bias_add

    def forward(x, own, drop):
        w1, w2, w3, w4 = (tf.cast(variable, dtype) for variable in own[::2])
        b1, b2, b3, b4 = own[1::2]
        x = tf.cast(x, dtype)
        x = tf.nn.relu(add(tf.nn.conv2d(x, w1, 1, "VALID"), b1))
        x = tf.nn.relu(add(tf.nn.conv2d(x, w2, 1, "VALID"), b2))
        x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = tf.reshape(dropout(x, 0.25, drop), (BATCH, 9216))
        x = tf.nn.relu(add(x @ w3, b3))
        return tf.cast(add(dropout(x, 0.5, drop) @ w4, b4), tf.float32)

    def train(images, labels):
        with tf.GradientTape() as tape:
            logits = forward(images, variables, drop=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, variables)
        for variable, velocity, gradient in zip(variables, velocities, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.handle,
                accum=velocity.handle,
                lr=optimizer.learning_rate,
                grad=gradient,
                momentum=optimizer.momentum,
            )
        return loss

    def infer(images):
        return forward(images, kept, drop=False)

    if mode != "eager":
        train, infer = (
            tf.function(call, autograph=False, jit_compile=mode == "xla") for call in (train, infer)
        )
    return {
        "train": lambda index: train(*batches[index]),
        "infer": lambda index: infer(batches[index][0]),
    }


BY_HAND = {
    "torch": torch_by_hand,
    "tensorflow": tensorflow_by_hand,
    "jax": jax_by_hand,
    "keras": keras_by_hand,
    "onnxruntime": onnxruntime_by_hand,
    "openvino": openvino_by_hand,
}


def planned(backend, mode, precision):
    """The plan, the workload, its weights, the batches as arrays, and the adapter, its runtime started as planned."""
    suite = load_suite("cnn-mnist")
    rows = np.arange(RESIDENT * BATCH)
    images, labels = MNIST.images(rows, "train"), MNIST.labels(rows, "train")
    inputs = normalise(images, suite.data.mean, suite.data.std).reshape(RESIDENT, BATCH, 1, 28, 28)
    arrays = list(zip(inputs, labels.reshape(RESIDENT, BATCH), strict=True))
    threads = len(os.sched_getaffinity(0))
    plan = Plan(backend, "cpu", BATCH, threads, precision=precision, mode=mode)
    if (backend, mode, precision) not in TRAINING_WAYS:
        plan = dataclasses.replace(plan, scenario="infer")
    adapter = import_module(f"dlbench.backends.{backend}.adapter").Adapter()
    os.environ.update(adapter.environment(plan))
    adapter.start(plan)
    return plan, suite.workload, initial_weights(suite.workload, 0), arrays, adapter


def in_a_session(backend, mode, precision, scenario):
    """The step of a session, by the number of its batch."""
    plan, workload, weights, arrays, adapter = planned(backend, mode, precision)
    session = adapter.open(plan, workload, weights)
    batches = [session.upload(*batch) for batch in arrays]
    call = session.train_step if scenario == "train" else session.infer

    def step(index):
        call(batches[index])
        session.synchronize()

    return step


def by_hand(backend, mode, precision, scenario):
    """The same by hand."""
    _, workload, weights, arrays, _ = planned(backend, mode, precision)
    return BY_HAND[backend](arrays, weights, workload.optimizer, mode, precision)[scenario]


def serve(pipe, make, way):
    """Takes the steps whose numbers come through a pipe, and tells the seconds and the page faults of each."""
    step = make(*way)
    pipe.send("ready")
    while True:
        index = pipe.recv()
        # not timed: who was stopped finds cold caches and threads that sleep
        step(index)
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        start = time.perf_counter()
        step(index)
        took_s = time.perf_counter() - start
        pipe.send((took_s, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))


class Alone:
    """A process that takes such steps, and is stopped between them."""

    def __init__(self, make, way):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, make, way), daemon=True)
        self._process.start()
        theirs.close()
        assert self._pipe.recv() == "ready"
        self.seconds, self.faults = [], []
        os.kill(self._process.pid, signal.SIGSTOP)

    def step(self, index):
        os.kill(self._process.pid, signal.SIGCONT)
        self._pipe.send(index)
        took_s, faults = self._pipe.recv()
        os.kill(self._process.pid, signal.SIGSTOP)
        self.seconds.append(took_s)
        self.faults.append(faults)

    def end(self):
        self._process.kill()
        self._process.join()


@pytest.fixture
def alone():
    living = []

    def start(make, way):
        living.append(Alone(make, way))
        return living[-1]

    yield start
    for each in living:
        each.end()


@pytest.mark.parametrize(
    ("backend", "mode", "precision", "scenario"),
    [(*way, "train") for way in TRAINING_WAYS] + [(*way, "infer") for way in WAYS],
)
def test_a_session_costs_what_its_framework_costs(
    benchmark, capsys, monkeypatch, alone, backend, mode, precision, scenario
):
    monkeypatch.setenv("KERAS_BACKEND", ENGINE)
    pytest.importorskip(backend)
    way = backend, mode, precision, scenario
    hand, session = alone(by_hand, way), alone(in_a_session, way)
    turn = iter(range(10**9))

    def alternate():
        """The step by hand on the batch that the session gets next."""
        index = next(turn) % RESIDENT
        hand.step(index)
        return (index,), {}

    benchmark.group = f"cnn-mnist {scenario}"
    benchmark.pedantic(session.step, setup=alternate, rounds=ROUNDS, warmup_rounds=20)
    if benchmark.stats is None:  # --benchmark-disable
        return
    by_hand_s = hand.seconds[-ROUNDS:]
    pairs = zip(session.seconds[-ROUNDS:], by_hand_s, strict=True)
    ratios = sorted(mine / other for mine, other in pairs)
    # by order statistics: ranks that a binomial of 1/2 leaves out at either end with 2.5 %
    reach = round(0.98 * ROUNDS**0.5)
    low, middle, high = (ratios[ROUNDS // 2 + shift] for shift in (-reach, 0, reach))
    median_s = statistics.median(by_hand_s)
    faults = [round(statistics.median(each.faults[-ROUNDS:])) for each in (session, hand)]
    benchmark.extra_info.update(by_hand_median_s=median_s, ratio=middle, low=low, high=high)
    benchmark.extra_info.update(zip(("page_faults", "by_hand_page_faults"), faults, strict=True))
    benchmark.extra_info["load"] = os.getloadavg()[0]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{backend} {mode} {precision} {scenario}: {middle:.3f} [{low:.3f}, {high:.3f}]"
            f" of {1e3 * median_s:.2f} ms by hand; page faults a step {faults[0]:,} and {faults[1]:,} "
        )
