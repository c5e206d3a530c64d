import numpy as np
import pytest
import small
from faulty import FaultyAdapter

from dlbench.oracle.cache import load_arrays, save_arrays
from dlbench.spec.workload import initial_weights
from dlbench.verify.timed import after_timing
from dlbench.verify.timed.after_timing import Witness, check_after


class Spoilt:
    """A session of the right backend whose methods are replaced as told, by name."""

    def __init__(self, session, **changes):
        self._session, self._changes = session, changes

    def __getattr__(self, name):
        right = getattr(self._session, name)
        change = self._changes.get(name)
        return right if change is None else lambda *a, **k: change(right, *a, **k)


class SpoiltAdapter:
    def __init__(self, **changes):
        self.changes = changes

    def open(self, plan, workload, weights):
        session = FaultyAdapter(None).open(plan, workload, weights)
        return Spoilt(session, **self.changes)


def found(cache_dir, name="convolution", **how):
    changes = how.pop("changes", {})
    adapter = SpoiltAdapter(**changes)
    return small.failing(small.check_after_timing(adapter, small.workload(name), cache_dir, **how))


def frozen(after):
    """`train_step` that does nothing to the weights from step `after` on."""
    steps = 0

    def train_step(right, batch):
        nonlocal steps
        session = right.__self__
        kept = session.weights()
        loss = right(batch)
        steps += 1
        if steps > after:
            session.load(kept, keep_optimizer=True)
        return loss

    return {"train_step": train_step}


@pytest.mark.parametrize("name", small.TABLES)
def test_a_session_that_only_inferred_passes_at_its_first_weights(name, cache_dir):
    assert found(cache_dir, name, trained=False) == []


@pytest.mark.parametrize("after", [0, 1, 5, 8, 15, 16, 20, 23])
def test_weights_that_freeze_after_some_steps_are_found(after, cache_dir):
    failed = found(cache_dir, changes=frozen(after))
    assert any("steps after timing" in name for name in failed)


def test_weights_that_froze_at_the_start_are_missed_in_the_timed_loop_already(cache_dir):
    assert "movement of conv1.weight in the timed loop" in found(cache_dir, changes=frozen(0))


def test_one_parameter_that_freezes_is_named(cache_dir):
    def train_step(right, batch):
        session = right.__self__
        kept = session.weights()["conv1.bias"]
        loss = right(batch)
        session.load(session.weights() | {"conv1.bias": kept}, keep_optimizer=True)
        return loss

    failed = found(cache_dir, changes={"train_step": train_step})
    assert "movement of conv1.bias in the timed loop" in failed
    assert not any("in the timed loop" in name and "conv1.bias" not in name for name in failed)


@pytest.mark.parametrize("trained", [True, False])
def test_an_output_that_comes_from_a_cache_is_found(trained, cache_dir):
    kept = []

    def infer(right, batch):
        kept.append(right(batch))
        return kept[0]

    steps = {"changes": {"infer": infer}, "trained": trained}
    if trained:
        # in training nothing was inferred before, so the first output is a right one
        workload = small.workload("convolution")
        weights = initial_weights(workload, 0)
        session = SpoiltAdapter(infer=infer).open(small.plan(), workload, weights)
        session.infer(session.upload(*small.batch(workload, 0)))
        batches = [session.upload(*small.batch(workload, number)) for number in range(8)]
        for step in range(16):
            session.train_step(batches[step % 8])
        seen = small.witnesses(session, workload, batches)
        arguments = (session, small.plan(), workload, weights, True, seen, cache_dir)
        failed = small.failing(check_after(*arguments))
    else:
        failed = found(cache_dir, **steps)
    assert failed == ["logits after timing, a sample of each resident batch"]


@pytest.fixture
def no_oracle(monkeypatch):
    """Calling it forbids to compute any expected output from then on."""

    def compute(*_):
        raise AssertionError("the oracle was asked again")

    return lambda: monkeypatch.setattr(after_timing, "expect_output", compute)


def inferred(cache_dir, seed=0, first=0):
    """What is found of a right session at the weights of `seed`, on two batches from the `first` on."""
    workload = small.workload("convolution")
    weights = initial_weights(workload, seed)
    session = FaultyAdapter(None).open(small.plan(), workload, weights)
    batches = [small.batch(workload, number) for number in (first, first + 1)]
    seen = [Witness(session.upload(*batch), 2, batch[0][2]) for batch in batches]
    arguments = (session, small.plan(), workload, weights, False, seen, cache_dir)
    return small.failing(check_after(*arguments))


def test_the_output_at_the_first_weights_is_computed_once_for_all_processes(tmp_path, no_oracle):
    assert inferred(tmp_path) == []
    no_oracle()
    assert inferred(tmp_path) == []


@pytest.mark.parametrize("other", [{"seed": 1}, {"first": 1}])
def test_other_weights_and_other_samples_have_an_output_of_their_own(other, tmp_path, no_oracle):
    assert inferred(tmp_path) == []
    no_oracle()
    with pytest.raises(AssertionError, match="asked again"):
        inferred(tmp_path, **other)


def test_the_output_at_weights_that_were_trained_is_never_a_kept_one(tmp_path, no_oracle):
    assert found(tmp_path) == []
    no_oracle()
    with pytest.raises(AssertionError, match="asked again"):
        found(tmp_path)


def test_a_kept_output_that_lacks_something_is_computed_again(tmp_path):
    assert inferred(tmp_path) == []
    (path,) = tmp_path.rglob("*.npz")
    whole = load_arrays(path)
    save_arrays(path, {"value": whole["value"]})
    assert inferred(tmp_path) == []
    assert whole.keys() == load_arrays(path).keys()


def test_weights_that_are_not_numbers_are_found(cache_dir):
    def weights(right):
        return {name: value * np.nan for name, value in right().items()}

    assert found(cache_dir, changes={"weights": weights})


def test_an_output_of_a_wrong_shape_is_named_with_both_shapes(cache_dir):
    def infer(right, batch):
        return right(batch)[:, :2]

    failed = found(cache_dir, changes={"infer": infer}, trained=False)
    assert len(failed) == 1
    assert "shape" in failed[0]


def test_half_of_the_learning_rate_while_timed_is_found(cache_dir):
    def train_step(right, batch):
        right.__self__.learning_rate = 0.025
        return right(batch)

    assert any(
        "relative deviation" in n for n in found(cache_dir, changes={"train_step": train_step})
    )
