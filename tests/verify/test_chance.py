"""A verdict where chance has a part: what right sessions do to it, and what wrong ones."""

import numpy as np
import pytest
import small
from test_after_timing import Spoilt
from test_continued_training import from_step, skipping

from dlbench.contract import Plan
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward_backward
from dlbench.oracle.optimizers import Update
from dlbench.record.facts import Check
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.checks.dropout_masks import fraction
from dlbench.verify.expected.evaluation_points import sample_inputs, sample_targets
from dlbench.verify.timed.chance import FAILURES, ask_again
from dlbench.verify.timed.continued_training import check_going_on
from dlbench.verify.timed.replay import draw_masks


def check(passed, name="a"):
    return Check(name, "", 0.0, 0.0, 0.0, 1.0, 0.0, passed)


def asked(answers):
    """What becomes of a check that is answered so, and how often it was asked."""
    times = []

    def take(attempt):
        times.append(attempt)
        answer = answers(attempt)
        return [check(True, "b")] if answer is None else [check(answer), check(True, "b")]

    found = {each.name: each.passed for each in ask_again(take)}
    assert found.pop("b")
    return found.get("a"), len(times)


def test_what_passes_is_asked_once():
    assert asked(lambda _: True) == (True, 1)


@pytest.mark.parametrize("late", [1, 5, FAILURES - 1])
def test_what_fails_and_passes_once_has_passed(late):
    assert asked(lambda attempt: attempt == late) == (True, late + 1)


def test_what_fails_each_time_has_failed():
    assert asked(lambda _: False) == (False, FAILURES)


def test_a_time_that_tells_nothing_does_not_count():
    assert asked(lambda attempt: None if attempt == 3 else False) == (False, FAILURES + 1)


def test_what_cannot_be_judged_often_enough_is_left_out():
    assert asked(lambda attempt: None if attempt else False)[0] is None


class RightSession:
    """The oracle as a session, every row of a batch with masks of its own, its weights rounded to float32."""

    def __init__(self, workload, weights, seed):
        self.workload = workload
        self.learning_rate = workload.optimizer.learning_rate
        self._random = np.random.Generator(np.random.SFC64(seed))
        self.load(weights)

    def load(self, weights, *, keep_optimizer=False):
        self._weights = weights
        if not keep_optimizer:
            self._update = Update(self.workload.optimizer)

    def weights(self):
        return dict(self._weights)

    def upload(self, inputs, targets):
        return inputs.astype(np.float64), targets

    def train_step(self, batch):
        inputs, targets = batch
        weights = {name: value.astype(np.float64) for name, value in self._weights.items()}
        masks = draw_masks(self.workload, len(inputs), self._random)
        run = Pass(True, np.ones(len(inputs)), masks=masks)
        forward_backward(self.workload.nodes, self.workload.loss, weights, inputs, targets, run)
        after = self._update.step(weights, run.gradients, self.learning_rate) | run.state
        self._weights = {name: value.astype(np.float32) for name, value in after.items()}


TRAINED = {"smoke": load_suite("smoke").workload} | {
    name: small.workload(name) for name in ("dropout", "dropout behind norm", "Adam")
}


def dropped(optimizer, out_features=3, loss="cross_entropy"):
    """A network of which half is dropped."""
    layers = [
        {"type": "conv2d", "out_channels": 4, "kernel": 3},
        {"type": "relu"},
        {"type": "dropout", "rate": 0.5},
        {"type": "flatten"},
        {"type": "linear", "out_features": out_features},
    ]
    return read_workload(
        {"input_shape": [1, 8, 8], "layers": layers, "loss": loss, "optimizer": optimizer}
    )


NESTEROV = {"type": "sgd", "learning_rate": 0.02, "momentum": 0.9, "nesterov": True}
ADAM = {"type": "adam", "learning_rate": 0.01}
TRAINED |= {
    "Nesterov": dropped(NESTEROV),
    "one output": dropped(ADAM, 1, "mean_squared_error"),
}


def long_trained(workload, batch, seed, steps, change=None):
    """A session that has been trained on noise for so long that it is sure of some samples."""
    weights = initial_weights(workload, seed)
    session = RightSession(workload, weights, seed)
    if change is not None:
        session = Spoilt(session, **from_step(9, change))
    batches = [
        session.upload(
            sample_inputs(workload, batch, seed, number),
            sample_targets(workload, batch, seed, number),
        )
        for number in range(8)
    ]
    for step in range(steps):
        session.train_step(batches[step % 8])
    return session


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", TRAINED)
def test_no_right_session_is_called_wrong_whatever_its_masks(name, batch):
    workload = TRAINED[name]
    for seed in range(6):
        session = long_trained(workload, batch, seed, 50)
        plan = Plan("numpy", "cpu", batch, 1)
        assert small.failing(check_going_on(session, plan, workload)) == []


@pytest.mark.soak
@pytest.mark.parametrize("batch", [1, 2, 4, 8, 64])
@pytest.mark.parametrize("name", TRAINED)
def test_no_right_session_is_called_wrong_however_often_it_is_asked(name, batch):
    workload = TRAINED[name]
    for seed in range(400):
        session = long_trained(workload, batch, seed, (8, 50, 200)[seed % 3])
        plan = Plan("numpy", "cpu", batch, 1)
        assert small.failing(check_going_on(session, plan, workload)) == []


def tenfold(right, batch, count):
    session = right.__self__
    rate = session.learning_rate
    session.learning_rate = 10 * rate
    loss = right(batch)
    session.learning_rate = rate
    return loss


@pytest.mark.parametrize("change", [skipping, tenfold])
def test_a_step_that_goes_wrong_is_found_under_dropout_too(change):
    workload = TRAINED["smoke"]
    session = long_trained(workload, 16, 0, 40, change)
    assert small.failing(check_going_on(session, Plan("numpy", "cpu", 16, 1), workload))


@pytest.mark.parametrize("expected", [1e-6, 1e-3, 0.25, 0.5])
def test_a_frequency_is_never_refused_for_a_rare_hit(expected):
    random = np.random.default_rng(0)
    hits = random.binomial(20_000, expected, 1_000_000)
    assert fraction("f", hits.max(), 20_000, expected).passed
    assert fraction("f", hits.min(), 20_000, expected).passed


def test_a_frequency_that_is_off_is_refused():
    assert not fraction("f", 20, 20_000, 1e-6).passed
    assert not fraction("f", 5_600, 20_000, 0.25).passed
