"""What a loader delivers is held against what it was given, and what its steps wait is told apart."""

import dataclasses
import pickle
import threading

import numpy as np
import pytest

from dlbench.data.feed import Batches, read, write
from dlbench.data.order import batch_indices
from dlbench.data.preprocessing import Recipe
from dlbench.data.types import Split
from dlbench.measure.plain_loader import PlainLoader
from dlbench.measure.streamed_steps import CHECKED, Feed, StreamedSteps, check_loader
from dlbench.measure.timed_steps import STEPS_FROM_INITIAL, TimedSteps

RECIPE = Recipe(mean=(0.5,), std=(0.25,), augment=True)
IMAGES = (np.arange(11 * 36) * 37 % 251).astype(np.uint8).reshape(11, 1, 6, 6)
LABELS = np.arange(11, dtype=np.int64)


def batches(**changed):
    given = {"samples": IMAGES, "targets": LABELS, "recipe": RECIPE, "batch": 4, "seed": 3}
    return Batches(**(given | changed))


class Faulty(PlainLoader):
    """The plain loader over other batches than were asked for, or one that does something to them."""


class Delivers:
    """A loader of what a function makes of a number."""

    name, ahead = "faulty", 1

    def __init__(self, make):
        self._make, self._number = make, -1

    def __next__(self):
        self._number += 1
        return self._make(self._number)

    def close(self):
        pass


def taken(loader, right):
    return [check for check in check_loader(loader, right) if not check.passed]


def test_batches_go_through_each_epoch_in_the_drawn_order_and_leave_out_the_rest():
    found = [batches().indices(number) for number in range(5)]
    assert [0, 0, 1, 1, 2] == [epoch for epoch, _ in found]
    for epoch in (0, 1):
        wanted = batch_indices(11, 4, 3, epoch)
        np.testing.assert_array_equal(wanted, [found[2 * epoch][1], found[2 * epoch + 1][1]])


def test_a_batch_is_its_samples_to_the_bit_with_their_own_labels():
    right = batches()
    for number in range(CHECKED):
        epoch, rows = right.indices(number)
        inputs, targets = right.batch(number)
        each = [right.sample(int(row), epoch) for row in rows]
        np.testing.assert_array_equal(inputs, [one for one, _ in each])
        assert rows.tolist() == targets.tolist() == [int(label) for _, label in each]


def test_samples_are_augmented_otherwise_in_each_epoch_and_never_for_a_test():
    right, plain = batches(), RECIPE.inputs(IMAGES)
    ways = {right.sample(5, epoch)[0].tobytes() for epoch in range(6)}
    assert 1 < len(ways)
    # what tests read knows nothing of augmentation, though the recipe does
    still = batches(recipe=dataclasses.replace(RECIPE, augment=False))
    np.testing.assert_array_equal(plain[5], still.sample(5, 4)[0])


def test_what_is_written_for_workers_gives_the_same_batches(tmp_path):
    write(tmp_path / "stream.npz", Split(IMAGES, LABELS))
    again = read(tmp_path / "stream.npz", RECIPE, 4, 3)
    for other in (again, pickle.loads(pickle.dumps(batches()))):
        for number in (0, 3):
            for one, two in zip(batches().batch(number), other.batch(number), strict=True):
                np.testing.assert_array_equal(one, two)


def test_the_plain_loader_delivers_what_it_was_given():
    loader = PlainLoader(batches())
    try:
        assert [] == taken(loader, batches())
    finally:
        loader.close()
    assert not any(thread.name == "loader" for thread in threading.enumerate())


def test_what_goes_wrong_in_the_loader_is_raised_where_the_batch_is_asked_for():
    class Breaks(Batches):
        def batch(self, number):
            if number == 2:
                raise OSError("no such file")
            return super().batch(number)

    loader = PlainLoader(Breaks(IMAGES, LABELS, RECIPE, 4, 3))
    next(loader), next(loader)
    with pytest.raises(OSError, match="no such file"):
        next(loader)
    loader.close()


def no_drop(number):
    """An epoch of three batches, the last one filled up with the samples of the next."""
    order = np.concatenate([np.random.default_rng(e).permutation(11) for e in range(5)])
    rows = order[4 * number : 4 * number + 4]
    return RECIPE.training_inputs(IMAGES, rows, 3, 0), LABELS[rows]


def flipped(number):
    inputs, targets = batches().batch(number)
    return np.ascontiguousarray(inputs[..., ::-1]), targets


def shifted(number):
    inputs, targets = batches().batch(number)
    return inputs, np.roll(targets, 1)


def almost(number):
    inputs, targets = batches().batch(number)
    inputs[1, 0, 2, 3] = np.nextafter(inputs[1, 0, 2, 3], np.float32(9))
    return inputs, targets


def negative_zero(number):
    inputs, targets = batches(recipe=Recipe()).batch(number)
    return np.where(inputs == 0, np.float32(-0.0), inputs), targets


FAULTS = {
    "the last batch of an epoch left out": lambda n: batches().batch(n + n // 1 % 2),
    "one delivered twice": lambda n: batches().batch(max(0, n - 1)),
    "one left out": lambda n: batches().batch(n if n < 3 else n + 1),
    "the rest of an epoch not left out": no_drop,
    "the order of another seed": lambda n: batches(seed=4).batch(n),
    "the order of the first epoch in all": lambda n: batches().batch(n % 2),
    "augmented by another seed": lambda n: (
        RECIPE.training_inputs(IMAGES, batches().indices(n)[1], 9, batches().indices(n)[0]),
        batches().batch(n)[1],
    ),
    "augmented as in the first epoch": lambda n: (
        RECIPE.training_inputs(IMAGES, batches().indices(n)[1], 3, 0),
        batches().batch(n)[1],
    ),
    "not augmented": lambda n: batches(recipe=dataclasses.replace(RECIPE, augment=False)).batch(n),
    "flipped": flipped,
    "labels shifted by one": shifted,
    "samples sorted within a batch": lambda n: tuple(
        part[np.argsort(batches().batch(n)[1])] for part in batches().batch(n)
    ),
    "one value by its last bit": almost,
    "normalised otherwise": lambda n: batches(
        recipe=dataclasses.replace(RECIPE, std=(0.2501,))
    ).batch(n),
    "a batch too small": lambda n: tuple(part[:3] for part in batches().batch(n)),
    "labels of another type": lambda n: (
        batches().batch(n)[0],
        batches().batch(n)[1].astype(np.int32),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_loader_that_delivers_anything_else_is_caught(fault):
    found = taken(Delivers(FAULTS[fault]), batches())
    assert found
    assert all("loader's batch" in check.name and check.tolerance == 0 for check in found)


def test_even_the_sign_of_zero_is_looked_at():
    assert taken(Delivers(negative_zero), batches(recipe=Recipe()))


def test_a_loader_that_writes_to_what_it_has_delivered_is_caught():
    room = [np.empty((4, 1, 6, 6), np.float32) for _ in range(3)]

    def reuse(number):
        inputs, targets = batches().batch(number)
        room[number % 3][:] = inputs
        return room[number % 3], targets

    found = taken(Delivers(reuse), batches())
    assert {0, 1} == {int(check.name.split("batch ")[1].split()[0]) for check in found}


class Session:
    """Steps that take a time each, by a clock that stands still otherwise."""

    def __init__(self):
        self.now, self.calls, self.seen = 0, [], []

    def clock(self):
        return self.now

    def upload(self, inputs, targets):
        self.now += 3
        return targets

    def train_step(self, batch):
        self.now += 100
        self.calls.append("step")
        self.seen.append(tuple(batch))

    def synchronize(self):
        self.now += 1

    def load(self, weights):
        self.calls.append("load")


class Slow(PlainLoader):
    """A loader that takes 20 for each batch while it is waited for, and has two ahead after a pause."""

    def __init__(self, given, session):
        super().__init__(given)
        self._session = session

    def __next__(self):
        self._session.now += 20
        return super().__next__()


@pytest.fixture
def streamed():
    session = Session()
    feed = Feed(Slow(batches(), session), batches())

    def steps(*given):
        return StreamedSteps(feed, *given)

    timed = TimedSteps(session, [], "train", {}, clock=session.clock, steps=steps)
    yield session, feed, timed
    feed.loader.close()


def test_a_step_takes_in_its_batch_and_tells_what_it_waited(streamed):
    session, _, timed = streamed
    timed.warm_up(2e-6)
    block = timed.block(1e-9, least=7)
    assert (124,) * 7 == block.timings_ns
    assert (20,) * 7 == block.waited_ns
    number = len(session.seen) - 7
    assert session.seen[number:] == [
        tuple(batches().batch(n)[1]) for n in range(number, number + 7)
    ]


def test_what_was_prepared_in_a_pause_is_used_up_before_any_step_counts(streamed):
    session, feed, timed = streamed
    timed.warm_up(2e-6)
    before = len(session.seen)
    timed.block(1e-9, least=1)
    assert feed.loader.ahead + 1 <= len(session.seen) - before
    timed.block(1e-9, least=3 * STEPS_FROM_INITIAL)
    timed.finish()
    runs = "".join("L" if call == "load" else "s" for call in session.calls).split("L")
    assert all(
        STEPS_FROM_INITIAL <= len(run) <= STEPS_FROM_INITIAL + feed.loader.ahead
        for run in runs[:-1]
    )


def test_the_last_batch_is_looked_at_when_all_is_done(streamed):
    _, feed, timed = streamed
    timed.warm_up(2e-6)
    timed.block(1e-9, least=9)
    assert all(check.passed for check in feed.check())
    feed.next()[0][:] = 0
    assert not all(check.passed for check in feed.check())


def test_a_batch_that_was_left_out_long_after_the_beginning_is_found(streamed):
    _, feed, timed = streamed
    timed.warm_up(2e-6)
    next(feed.loader)
    timed.block(1e-9, least=2)
    assert not all(check.passed for check in feed.check())
