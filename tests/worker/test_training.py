import numpy as np
import pytest

from dlbench.contract import Plan
from dlbench.data.order import batch_indices
from dlbench.data.preprocessing import Recipe
from dlbench.measure.empty_session import EmptySession
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.worker.training import Part, evaluate, judge, train


@pytest.fixture
def workload(tiny):
    return tiny.workload


@pytest.fixture
def classifier():
    return read_workload(
        {
            "input_shape": [3],
            "layers": [{"type": "linear", "out_features": 4}],
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


PLAN = Plan("numpy", "cpu", batch=8, threads=1, seed=5)


class Recorder(EmptySession):
    """Gives each batch's first inputs as output, and a loss that counts."""

    def __init__(self, loss=lambda step: 1.0):
        self.loss = loss
        self.rates = []
        self.trained_on = []
        self.inferred = []

    def upload(self, inputs, targets):
        return np.array(inputs), np.array(targets)

    def train_step(self, batch):
        self.trained_on.append(batch)
        self.rates.append(self.learning_rate)
        return self.loss(len(self.rates))

    def infer(self, batch):
        self.inferred.append(batch)
        return batch[0][:, :1]

    def download(self, result):
        return np.asarray(result, np.float32)


def part(count, seed=0):
    random = np.random.default_rng(seed)
    samples = random.normal(size=(count, 10)).astype(np.float32)
    return Part(samples, samples[:, :1].copy())


def parts():
    return {"train": part(35), "validation": part(5, 1), "test": part(19, 2)}


def test_every_epoch_visits_the_samples_in_the_drawn_order_and_drops_the_rest(workload):
    session, data = Recorder(), parts()
    trained = train(session, PLAN, workload, Recipe(), data, 2)
    order = np.concatenate([batch_indices(35, 8, 5, epoch) for epoch in range(2)])
    assert 8 == len(trained.losses) == len(order)
    for (inputs, targets), indices in zip(session.trained_on, order, strict=True):
        np.testing.assert_array_equal(inputs, data["train"].samples[indices])
        np.testing.assert_array_equal(targets, data["train"].targets[indices])


def test_the_learning_rate_follows_the_schedule_by_epoch(workload):
    session = Recorder()
    train(session, PLAN, workload, Recipe(), parts(), 3)
    assert [0.05] * 4 + [0.025] * 4 + [0.0125] * 4 == session.rates


def test_a_loss_that_is_not_finite_ends_the_training_at_its_step(workload):
    session = Recorder(lambda step: np.inf if step == 6 else step)
    trained = train(session, PLAN, workload, Recipe(), parts(), 5)
    assert 5 == trained.diverged_at
    assert (1, 2, 3, 4, 5) == trained.losses
    assert len(session.rates) == 8


def test_every_batch_has_the_plans_size_and_what_fills_it_up_does_not_count(workload):
    session, data = Recorder(), part(19)
    accuracy, loss, *_ = evaluate(session, PLAN, workload, Recipe(), data)
    assert [8, 8, 8] == [len(batch[0]) for batch in session.inferred]
    assert accuracy is None
    assert loss == pytest.approx(0, abs=1e-12)


def test_a_part_smaller_than_half_a_batch_is_evaluated_too(workload):
    session = Recorder()
    evaluate(session, PLAN, workload, Recipe(), part(3))
    assert [8] == [len(batch[0]) for batch in session.inferred]


def test_accuracy_and_cross_entropy_are_those_of_the_definition(classifier):
    random = np.random.default_rng(0)
    logits = (50 * random.normal(size=(40, 4))).astype(np.float32)
    labels = random.integers(0, 4, 40)
    accuracy, loss, *_ = judge(classifier, logits, labels)
    right = total = 0
    for row, label in zip(logits.astype(float), labels, strict=True):
        right += max(range(4), key=lambda k: row[k]) == label
        total -= row[label] - np.logaddexp.reduce(row)
    assert accuracy == right / 40
    assert loss == pytest.approx(total / 40)


def test_numpy_learns_the_linear_map(workload, request_for):
    from dlbench.backends.numpy.adapter import Adapter

    from dlbench.data.datasets import load_dataset

    dataset = load_dataset("linear", data_dir=None, cache_dir=request_for().cache_dir)
    data = {
        name: Part(split.inputs, split.targets)
        for name, split in (
            ("train", dataset.train),
            ("validation", dataset.validation),
            ("test", dataset.test),
        )
    }
    session = Adapter().open(PLAN, workload, initial_weights(workload, 0))
    trained = train(session, PLAN, workload, Recipe(), data, 4)
    assert trained.test_loss < 0.5 * np.var(dataset.test.targets)
    assert () == trained.validation_accuracy


def test_a_long_training_tells_now_and_then_that_it_lives(workload, monkeypatch):
    monkeypatch.setattr("dlbench.worker.training._BEAT_S", 0.0)
    beats = []
    train(Recorder(), PLAN, workload, Recipe(), parts(), 1, lambda: beats.append(1))
    assert len(beats) >= 4
