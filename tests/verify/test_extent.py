"""What is verified at a smaller input is verified: faults are found there, and what shows at the timed shape alone is
found at that."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("torch")

import small
from faulty import FaultyAdapter
from test_faults import AFTER_TIMING, BEFORE_TIMING

from dlbench.spec.verification import Verification
from dlbench.spec.workload import initial_weights
from dlbench.verify.check import verify
from dlbench.verify.expected.reference import load_reference
from dlbench.verify.extent import FULL, extent_of
from dlbench.verify.timed.after_timing import prepare_after

REDUCED = extent_of(Verification(input=(2, 4, 5), batch=2))


def held(adapter, name, cache_dir, extent=REDUCED):
    return verify(adapter, small.plan(), small.workload(name), cache_dir, extent=extent)


@pytest.mark.parametrize(
    "name", ["convolution", "norm", "max pool", "dropout", "dropout behind norm"]
)
def test_a_right_backend_agrees_and_is_told_where(name, cache_dir):
    found = held(FaultyAdapter(None), name, cache_dir)
    assert "" == found.reason
    assert (
        "3 steps of 2 × 2 × 4 × 5, 1 step and inference of 6 × 2 × 6 × 8"
        == (found.facts["verified_at"])
    )
    of = small.workload(name)
    checks = small.check_after_timing(FaultyAdapter(None), of, cache_dir, extent=REDUCED)
    assert [] == small.failing(checks)


def test_what_is_verified_in_full_is_not_told_apart(cache_dir):
    assert "verified_at" not in held(FaultyAdapter(None), "convolution", cache_dir, FULL).facts


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (name, fault)
        for name in ("convolution", "norm", "max pool", "dropout")
        for fault in BEFORE_TIMING[name]
    ],
)
def test_a_planted_fault_is_found(name, fault, cache_dir):
    assert held(FaultyAdapter(fault), name, cache_dir).reason


@pytest.mark.parametrize("fault", AFTER_TIMING)
def test_what_goes_wrong_while_timed_is_found_afterwards(fault, cache_dir):
    name, _ = AFTER_TIMING[fault]
    of, adapter = small.workload(name), FaultyAdapter(fault)
    assert not held(adapter, name, cache_dir).reason
    assert small.failing(small.check_after_timing(adapter, of, cache_dir, steps=48, extent=REDUCED))


class WrongWhereTimed(FaultyAdapter):
    """Right on any input but those of the height that is timed, where a gradient is off by a hundredth."""

    def open(self, plan, workload, weights):
        at_timed = workload.input_shape[1:2] == (6,)
        return FaultyAdapter("one gradient element off by 1 %" if at_timed else None).open(
            plan, workload, weights
        )


def test_what_is_wrong_at_the_timed_shape_alone_is_found_there(cache_dir):
    found = held(WrongWhereTimed(), "convolution", cache_dir)
    first = small.failing(found.checks)[0]
    assert first == "conv1.weight after the step, timed batch"


def test_the_timed_batch_is_of_few_samples_that_differ_and_stand_where_they_were_drawn(cache_dir):
    reference = load_reference(small.workload("norm"), 6, cache_dir, extent=REDUCED)
    point = reference.timed.point
    assert 4 == len(point.inputs)
    assert (6, 2, 6, 8) == point.batch()[0].shape
    assert {0, 1, 2, 3} == set(point.order.tolist())
    assert [(2, 2, 4, 5)] * 3 == [stop.point.batch()[0].shape for stop in reference.small]
    # each extent has a place of its own in the cache
    assert 6 == len(load_reference(small.workload("norm"), 6, cache_dir).timed.point.inputs)


def test_what_the_oracle_prepares_is_what_is_asked_for_later(tmp_path):
    of = small.workload("norm")
    load_reference(of, 6, tmp_path, extent=REDUCED)
    prepare_after(of, 6, initial_weights(of, 0), tmp_path, extent=REDUCED)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    again = dataclasses.replace(REDUCED)
    load_reference(of, 6, tmp_path, extent=again)
    prepare_after(of, 6, initial_weights(of, 0), tmp_path, extent=again)
    assert before.keys() == set(tmp_path.rglob("*.npz"))


def test_weights_that_are_drawn_again_are_the_same(tmp_path):
    of = small.workload("norm")
    first = load_reference(of, 6, tmp_path, extent=REDUCED)
    again = load_reference(of, 6, tmp_path, extent=REDUCED)
    for one, other in zip((*first.small, first.timed), (*again.small, again.timed), strict=True):
        assert one.point.weights.keys() == other.point.weights.keys()
        for name, value in one.point.weights.items():
            np.testing.assert_array_equal(value, other.point.weights[name])
