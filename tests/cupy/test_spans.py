"""What events between launches say of a step, on the device that runs kernels on the CPU."""

import dataclasses

import numpy as np
import observed_network
import pytest
from host_adapter import HostAdapter
from vectors import PLAN

from dlbench import members
from dlbench.errors import PlanRefused
from dlbench.spec.workload import initial_weights

WORKLOAD = observed_network.network(4, {"type": "sgd", "learning_rate": 0.1})


def opened(mode="eager", workload=WORKLOAD):
    """A session, and a batch."""
    plan = dataclasses.replace(PLAN, mode=mode)
    return observed_network.opened(HostAdapter(), plan, workload)


def test_launches_are_the_work_of_each_layer_that_they_serve():
    session, batch = opened()
    with session.spans() as spans:
        session.train_step(batch)
        session.train_step(batch)
        session.infer(batch)
    members.check_spans(spans, WORKLOAD)
    training = [
        (("first", "bend"), "forward", ""),
        (("norm",), "forward", ""),
        (("within",), "forward", ""),
        (("sum",), "forward", ""),
        (("pool",), "forward", ""),
        (("drop",), "forward", ""),
        (("last",), "forward", ""),
        ((), "forward", "loss"),
        (("last",), "backward", ""),
        # what was dropped is undone by the kernel that makes its gradient
        (("last", "drop"), "backward", ""),
        (("drop",), "backward", ""),
        (("pool",), "backward", ""),
        (("within",), "backward", ""),
        (("norm",), "backward", ""),
        (("norm", "bend"), "backward", ""),
        (("first",), "backward", ""),
        ((), "update", "optimizer"),
    ]
    inference = [each for each in training[:7] if each[0] != ("drop",)]
    for step, wanted in enumerate((training, training, inference)):
        found = [each for each in spans if each.step == step]
        assert wanted == [(each.layers, each.track, each.name) for each in found]
        assert found[0].began_ns == 0


def test_steps_are_the_same_observed_and_not():
    # masks go on from step to step
    session, batch = opened(workload=WORKLOAD.without_dropout())
    start, results = initial_weights(WORKLOAD, 0), []
    for observed in (False, True):
        session.load(start)
        if observed:
            with session.spans():
                session.train_step(batch)
        else:
            session.train_step(batch)
        results.append(session.weights())
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])
    with session.spans() as nothing:
        pass
    assert [] == nothing


def test_a_graph_is_launched_as_a_whole():
    session, _ = opened("graph")
    with pytest.raises(PlanRefused, match="no event between its kernels"), session.spans():
        pass
