"""What goes wrong only after some steps, and what is not done when a step is synchronised."""

import dataclasses

import numpy as np
import pytest
import small
from dlbench.backends.numpy import adapter
from test_after_timing import found

from dlbench.contract import Plan
from dlbench.measure.settling import ReadSteps
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
from dlbench.verify.timed.after_timing import check_settled
from dlbench.verify.timed.continued_training import check_going_on


def from_step(number, change):
    """`train_step` that `change`s from a step on, counted since the weights were last loaded afresh."""
    count = 0

    def train_step(right, batch):
        nonlocal count
        count += 1
        return change(right, batch, count) if count >= number else right(batch)

    def load(right, weights, *, keep_optimizer=False):
        nonlocal count
        count = 0 if not keep_optimizer else count
        return right(weights, keep_optimizer=keep_optimizer)

    return {"train_step": train_step, "load": load}


def skipping(right, batch, count):
    session = right.__self__
    kept = session.weights()
    loss = right(batch)
    if count % 2:
        session.load(kept, keep_optimizer=True)
    return loss


def tripled(right, batch, count):
    session = right.__self__
    rate = session.learning_rate
    session.learning_rate = 3 * rate
    loss = right(batch)
    session.learning_rate = rate
    return loss


@pytest.mark.parametrize("change", [skipping, tripled])
def test_a_step_that_goes_wrong_after_the_eighth_no_longer_follows_the_gradient(change, cache_dir):
    failed = found(cache_dir, changes=from_step(9, change))
    assert any("two steps after the timed loop" in name for name in failed)


def shorter(bits):
    """Gradients that keep so many bits, as products in a shorter format leave them."""

    def change(right, batch, count):
        session = right.__self__
        before = session.weights()
        kept = session.learning_rate
        loss = right(batch)
        after = session.weights()
        rounded = {
            name: before[name] - _kept(before[name] - value, bits) for name, value in after.items()
        }
        session.load(rounded, keep_optimizer=True)
        session.learning_rate = kept
        return loss

    return change


def _kept(values, bits):
    mantissas, exponents = np.frexp(values)
    return np.ldexp(np.round(mantissas * 2.0**bits) / 2.0**bits, exponents).astype(np.float32)


@pytest.mark.parametrize("bits", [8, 11])
def test_training_that_becomes_bf16_or_tf32_after_the_eighth_step_is_found(bits, cache_dir):
    failed = found(cache_dir, changes=from_step(9, shorter(bits)))
    assert any("on every batch" in name for name in failed), failed


@pytest.mark.parametrize("name", small.TABLES)
def test_a_right_session_follows_the_gradient_from_wherever_the_loop_ended(name, cache_dir):
    assert [n for n in found(cache_dir, name) if "two steps" in n] == []


class Clocked:
    """A session with a clock of its own, whose work is done at once, when it is read, or once a batch."""

    learning_rate = 0.1

    def __init__(self, manner, work_ns=4_000_000):
        self.manner, self.work_ns = manner, work_ns
        self.now_ns = self.pending = 0
        self.seen = set()

    def upload(self, inputs=None, targets=None):
        return object()

    def _do(self, batch):
        if self.manner == "lazy":
            self.pending += 1
        elif self.manner == "right" or id(batch) not in self.seen:
            self.now_ns += self.work_ns
        self.seen.add(id(batch))
        self.kept = batch
        return batch

    train_step = infer = _do

    def synchronize(self):
        pass

    def _read(self, result=None):
        self.now_ns += self.pending * self.work_ns
        self.pending = 0
        return np.zeros(1)

    def download(self, result):
        return self._read()

    def weights(self):
        return {"w": self._read()}


@pytest.mark.parametrize("scenario", ["train", "infer"])
@pytest.mark.parametrize(("manner", "passes"), [("right", True), ("lazy", False), ("kept", False)])
def test_a_synchronised_step_must_be_a_finished_one_on_a_new_batch_too(scenario, manner, passes):
    session = Clocked(manner)
    batches = [session.upload() for _ in range(40)]
    resident = batches.pop()
    session._do(resident)
    began_ns = session.now_ns
    session._do(resident)
    reads = ReadSteps(session, scenario, session.now_ns - began_ns, clock=lambda: session.now_ns)
    while not reads.are_enough:
        reads.take(batches.pop())
    assert check_settled(**dataclasses.asdict(reads.settling())).passed is passes


def test_the_settling_of_a_slow_step_is_judged_from_three_of_them():
    session = Clocked("right", 50_000_000)
    reads = ReadSteps(session, "infer", 50_000_000, clock=lambda: session.now_ns)
    taken = 0
    while not reads.are_enough:
        reads.take(object())
        taken += 1
    assert taken == 3


def test_steps_beyond_those_that_are_read_are_taken_all_the_same():
    session = Clocked("right")
    reads = ReadSteps(session, "train", 4_000_000, clock=lambda: session.now_ns)
    for _ in range(8):
        reads.take(object())
    assert session.now_ns == 8 * 4_000_000
    assert reads.settling().read_ns == 4_000_000


def test_a_right_session_passes_with_dropout_and_one_sample_a_batch():
    workload = load_suite("smoke").workload
    weights = initial_weights(workload, 0)
    random = np.random.default_rng(3)
    for seed in range(8):
        plan = Plan("numpy", "cpu", 1, 1, seed=seed)
        session = adapter.Adapter().open(plan, workload, weights)
        for _ in range(16):
            session.train_step(
                session.upload(
                    random.standard_normal((1, 1, 28, 28)).astype(np.float32),
                    random.integers(0, 10, 1),
                )
            )
        checks = check_going_on(session, plan, workload)
        assert [check.name for check in checks if not check.passed] == []
