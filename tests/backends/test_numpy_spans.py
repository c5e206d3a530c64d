"""What NumPy's own stamps say of a step."""

import collections
import time

import numpy as np
import pytest
from dlbench.backends.numpy.adapter import Adapter

from dlbench import members
from dlbench.contract import Plan
from dlbench.rng import uniform
from dlbench.spec.workload import initial_weights, read_workload

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
WORKLOAD = read_workload(
    {
        "input_shape": [2, 8, 8],
        "layers": [
            {**CONV, "name": "first"},
            {"type": "batch_norm", "name": "norm"},
            {"type": "relu", "name": "bend"},
            {"type": "residual", "name": "sum", "body": [{**CONV, "name": "within"}]},
            {"type": "max_pool", "name": "pool", "kernel": 2},
            {"type": "flatten", "name": "flat"},
            {"type": "linear", "name": "last", "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.001},
    }
)
BATCH = 6


@pytest.fixture(params=[1, 2])
def opened(request):
    """A session with one or two workers, and a batch."""
    plan = Plan("numpy", "cpu", BATCH, request.param)
    session = Adapter().open(plan, WORKLOAD, initial_weights(WORKLOAD, 0))
    inputs = uniform((BATCH, *WORKLOAD.input_shape), 1.0, 0, "inputs")
    return session, session.upload(inputs, np.arange(BATCH) % 3)


def served(spans):
    """The layers by pass, and what served none."""
    found = collections.defaultdict(set)
    for span in spans:
        found[span.track] |= set(span.layers) or {span.name}
    return found


def test_every_layer_has_spans_forward_and_backward(opened):
    session, batch = opened
    with session.spans() as spans:
        session.train_step(batch)
    members.check_spans(spans, WORKLOAD)
    found = served(spans)
    layers = {"first", "norm", "bend", "sum", "within", "pool", "flat", "last"}
    assert found["forward"] >= layers | {"loss"}
    assert found["backward"] >= layers
    assert "optimizer" in found["update"]
    assert {0} == {span.step for span in spans}


def test_inference_has_a_forward_pass_alone(opened):
    session, batch = opened
    with session.spans() as spans:
        session.infer(batch)
        session.infer(batch)
    members.check_spans(spans, WORKLOAD)
    assert {"forward"} == served(spans).keys()
    assert {0, 1} == {span.step for span in spans}


def test_spans_lie_within_the_step(opened):
    session, batch = opened
    session.train_step(batch)
    with session.spans() as spans:
        begin = time.perf_counter_ns()
        session.train_step(batch)
        took = time.perf_counter_ns() - begin
    assert sum(span.took_ns for span in spans) <= took
    assert max(span.began_ns + span.took_ns for span in spans) <= took


def test_steps_are_the_same_observed_and_not(opened):
    session, batch = opened
    start = initial_weights(WORKLOAD, 0)
    results = []
    for observed in (False, True):
        session.load(start)
        for _ in range(2):
            if observed:
                with session.spans():
                    loss = session.train_step(batch)
            else:
                loss = session.train_step(batch)
        results.append((float(loss), session.weights()))
    (loss, weights), (seen_loss, seen_weights) = results
    assert loss == seen_loss
    for name, values in weights.items():
        np.testing.assert_array_equal(values, seen_weights[name])


def test_nothing_is_left_behind_a_block(opened):
    session, batch = opened
    with session.spans() as first:
        session.infer(batch)
    count = len(first)
    session.infer(batch)
    with session.spans() as second:
        pass
    assert count == len(first)
    assert [] == second
