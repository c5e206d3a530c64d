"""Resident batches of the CuPy backend: launches read them where they lie, and so does a captured graph."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from dlbench.backends.cupy.device import source_text
from host_adapter import HostAdapter
from host_device import HostDevice
from recorded import sample, workloads
from vectors import PLAN

from dlbench.spec.workload import read_workload


class Copying(HostDevice):
    """Counts copies within the device, and writes to it."""

    moved = 0

    def copy(self, target, source):
        self.moved += 1
        super().copy(target, source)

    def write(self, buffer, array):
        self.moved += 1
        super().write(buffer, array)


def opened(workload, mode, device=None):
    plan = dataclasses.replace(PLAN, batch=3, mode=mode)
    weights, inputs, targets = sample(workload, 3)
    session = HostAdapter(device or HostDevice(source_text)).open(plan, workload, weights)
    return session, (inputs, targets)


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_training_step_moves_nothing(mode):
    device = Copying(source_text)
    session, arrays = opened(workloads()[3], mode, device)
    batches = [session.upload(*arrays) for _ in range(2)]
    session.train_step(batches[0])
    before = device.moved
    for batch in batches:
        session.train_step(batch)
    assert before == device.moved


@pytest.mark.parametrize("mode", ["eager", "graph"])
@pytest.mark.parametrize("number", range(len(workloads())))
def test_no_step_changes_the_batch_that_it_reads(number, mode):
    session, (inputs, targets) = opened(workloads()[number], mode)
    batches = [session.upload(inputs * factor, targets) for factor in (1, 2)]
    before = [batch.thing.buffer.tobytes() for batch in batches]
    for batch in batches:
        session.train_step(batch)
        session.infer(batch)
    assert before == [batch.thing.buffer.tobytes() for batch in batches]
    assert before[0] != before[1]


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_batches_in_turn_give_what_each_gives_alone(mode):
    """Also where one takes the place of another that a graph was captured with."""
    workload = workloads()[3]

    def given(inputs, targets, number):
        return inputs * np.float32(number), (targets + number) % 2

    def alone(number):
        session, arrays = opened(workload, "eager")
        batch = session.upload(*given(*arrays, number))
        output = session.download(session.infer(batch)).tobytes()
        return output, session.download(session.train_step(batch)).tobytes()

    session, arrays = opened(workload, mode)
    start = session.weights()
    held = {number: session.upload(*given(*arrays, number)) for number in (1, 2, 3)}
    found = {}
    for number in (1, 2, 3, 1, 4, 3, 5, 4):
        if number not in held:
            del held[min(held)]
            held[number] = session.upload(*given(*arrays, number))
        output = session.download(session.infer(held[number]))
        session.load(start)
        loss = session.download(session.train_step(held[number]))
        session.load(start)
        seen = output.tobytes(), loss.tobytes()
        assert seen == found.setdefault(number, seen)
    assert found == {number: alone(number) for number in found}
    assert 5 == len(set(found.values()))


@pytest.mark.parametrize("mode", ["eager", "graph"])
def test_a_network_that_changes_nothing_gives_each_batch_back(mode):
    workload = read_workload(
        {
            "input_shape": [2, 3, 4],
            "layers": [{"type": "dropout", "rate": 0.5}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    session, (inputs, targets) = opened(workload, mode)
    batches = [session.upload(inputs + number, targets) for number in range(3)]
    for _ in range(2):
        for number, batch in enumerate(batches):
            session.train_step(batch)
            output = session.download(session.infer(batch))
            np.testing.assert_array_equal(inputs + number, output)
