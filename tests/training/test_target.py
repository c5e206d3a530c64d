"""Training to a target: what counts as time, on what the target is checked, and what each seed changes."""

import dataclasses
from contextlib import closing

import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.data.preprocessing import Recipe
from dlbench.errors import UsageError
from dlbench.execute.resume import request_for as request_of_record
from dlbench.execute.runner import resume
from dlbench.execute.tasks import is_complete, missing
from dlbench.measure.empty_session import EmptySession
from dlbench.plan.cases import check
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import Process, Resumed, Training
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import read_workload
from dlbench.worker import training
from dlbench.worker.training import Part, train

CLASSIFIER = read_workload(
    {
        "input_shape": [4],
        "layers": [{"type": "linear", "out_features": 4}],
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
)
PLAN = Plan("numpy", "cpu", batch=8, threads=1, seed=5)
STEP_S, INFER_S, DATA_S = 1.0, 100.0, 0.25


class Clock:
    """Stands still but when a session works."""

    now_s = 0.0

    def monotonic(self):
        return self.now_s

    def perf_counter_ns(self):
        return round(self.now_s * 1e9)


class Session(EmptySession):
    """Answers with the class that each sample's values say; its work takes a known time."""

    def __init__(self, clock):
        self.clock = clock

    def upload(self, inputs, targets):
        self.clock.now_s += DATA_S
        return inputs, targets

    def train_step(self, batch):
        self.clock.now_s += STEP_S
        return 1.0

    def infer(self, batch):
        self.clock.now_s += INFER_S
        return batch[0]

    def download(self, result):
        return np.asarray(result, np.float32)


def part(count, right):
    """Samples that say their class, or another one."""
    labels = np.arange(count) % 4
    said = labels if right else (labels + 1) % 4
    return Part(np.eye(4, dtype=np.float32)[said], labels)


def trained(monkeypatch, target, *, right):
    """Four epochs at most of four steps each; the parts that are answered rightly."""
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    sizes = {"train": 32, "validation": 16, "test": 8}
    parts = {name: part(size, name in right) for name, size in sizes.items()}
    return train(Session(clock), PLAN, CLASSIFIER, Recipe(), parts, 4, target_accuracy=target)


def test_evaluation_is_no_part_of_the_seconds_of_an_epoch(monkeypatch):
    found = trained(monkeypatch, None, right=())
    assert (4 * (STEP_S + DATA_S),) * 4 == found.epoch_s
    # two batches of the validation part
    assert (2 * (INFER_S + DATA_S),) * 4 == found.evaluation_s
    assert found.seconds > sum(found.epoch_s) + sum(found.evaluation_s)


def test_the_target_is_checked_on_the_validation_part_alone(monkeypatch):
    assert 4 == len(trained(monkeypatch, 0.5, right=("train", "test")).epoch_s)
    assert 1 == len(trained(monkeypatch, 0.5, right=("validation",)).epoch_s)


def test_what_was_wrong_has_the_class_that_would_have_been_right(monkeypatch):
    found = trained(monkeypatch, None, right=())
    assert tuple(range(8)) == found.wrong
    assert (1, 2, 3, 0) * 2 == found.answers
    assert (0, 1, 2, 3) * 2 == found.true_classes


@pytest.fixture(scope="module")
def request_to_target(request_for):
    """Trainings of at most two epochs on real digits."""
    request = request_for(
        scenarios=("converge", "infer"),
        batches=(32,),
        seed=3,
        seeds=2,
        epochs=2,
        target_accuracy=0.99,
        data="digits",
        rounds=1,
        backends=("numpy",),
    )
    return dataclasses.replace(request, suite=load_suite("smoke"))


@pytest.fixture(scope="module")
def ran(carry_out, request_to_target):
    return carry_out(request_to_target)


def test_each_seed_has_weights_and_batches_of_its_own(ran, carry_out, request_to_target):
    first, second = ran.of(Training)
    assert (3, 4) == (first.seed, second.seed)
    assert {"converge"} == {line.case.scenario for line in (first, second)}
    assert first.losses[0] != second.losses[0]
    assert (3, 2) == (ran.record.header.seed, ran.record.header.seeds)
    # a seed is what --seed is elsewhere: weights, order of the batches, dropout
    alone = dataclasses.replace(
        request_to_target, scenarios=("train",), seed=4, target_accuracy=None, rounds=0
    )
    (again,) = carry_out(alone).of(Training)
    assert again.losses == second.losses
    assert again.validation_accuracy == second.validation_accuracy


def test_a_training_to_a_target_is_verified_and_its_steps_are_not_timed(ran):
    assert {"infer"} == {line.case.scenario for line in ran.of(Process)}
    (verification,) = [line for line in ran.record.lines if type(line).__name__ == "Verification"]
    assert ("ok", True) == (verification.status, verification.case.trains)


def test_a_run_that_was_cut_off_trains_from_the_seeds_that_are_missing(
    ran, request_to_target, tmp_path
):
    path = tmp_path / "cut.jsonl"
    *kept, _, _ = [line for line in ran.record.lines if not isinstance(line, Resumed)]
    with closing(Writer(path)) as writer:
        for line in (ran.record.header, *kept):
            writer.write(line)
    record, asked = read_record(path), request_to_target
    assert [3] == [line.seed for line in record.lines if isinstance(line, Training)]
    assert ["converge"] == [case.scenario for case in missing(record)]
    request = request_of_record(record, asked.suite, asked.machine, asked.cache_dir)
    assert (2, 0.99) == (request.seeds, request.target_accuracy)
    with closing(Writer(path, append=True)) as writer:
        resume(request, record, writer)
    after = read_record(path)
    trainings = [line for line in after.lines if isinstance(line, Training)]
    assert [3, 4] == [line.seed for line in trainings]
    assert ran.of(Training)[1].losses == trainings[1].losses
    assert is_complete(after)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target_accuracy": None}, "takes --target"),
        ({"epochs": 0}, "say how long at the most with --epochs"),
        ({"best": True}, "--best goes by steps"),
        ({"target_interval": 0.05}, "--target-interval goes by steps"),
        ({"seeds": 0}, "seeds 0 must be 1 to 1,000"),
        ({"target_accuracy": 1.5}, "target 1.5 must be a share"),
        ({"suite": load_suite("linear-mse"), "data": None}, "gives values, not classes"),
    ],
)
def test_a_target_that_cannot_be_is_refused(request_to_target, changes, said):
    with pytest.raises(UsageError, match=said):
        check(dataclasses.replace(request_to_target, **changes))


def test_a_share_may_be_said_as_one():
    from dlbench.cli.options import accuracy

    found = [accuracy(None, None, word) for word in ("95%", "95", "0.95", "1", "100", None)]
    assert [0.95, 0.95, 0.95, 1.0, 1.0, None] == found


def test_the_former_name_of_the_option_is_taken(tmp_path, monkeypatch):
    from click.testing import CliRunner

    from dlbench.cli.main import cli

    monkeypatch.chdir(tmp_path)
    words = ["run", "--suite", "linear-mse", "--epochs", "2"]
    for name in ("--target", "--until-accuracy"):
        found = CliRunner().invoke(cli, [*words, name, "95%"])
        assert "gives values, not classes" in found.output
