"""Evaluations beside each other give the bits that one after the other gives."""

import threading
import time

import numpy as np
import pytest

from dlbench.oracle import one_thread as blas
from dlbench.oracle import parallel_runs
from dlbench.oracle.network import beating
from dlbench.spec.suite import load_suite
from dlbench.verify.expected.evaluation_points import draw_point
from dlbench.verify.expected.tolerance import expect


def expected(workload, count):
    with parallel_runs.threads(count):
        points = [draw_point(workload, 4, f"step {number}") for number in range(2)]
        return list(expect(workload, points, (1.0, 2.0)))


def test_the_oracles_results_are_the_same_bits_however_many_threads_there_are():
    workload = load_suite("smoke").workload.without_dropout()
    for one, two in zip(expected(workload, 1), expected(workload, 2), strict=True):
        assert one.keys() == two.keys()
        for name, wanted in one.items():
            np.testing.assert_array_equal(wanted.value, two[name].value)
            np.testing.assert_array_equal(wanted.tolerance, two[name].tolerance)


def test_results_come_in_the_order_of_the_items_and_two_are_at_work_at_once():
    meeting = threading.Barrier(2, timeout=30)

    def wait(item):
        meeting.wait()
        return -item

    with parallel_runs.threads(8):
        assert [-3, -1] == parallel_runs.each(wait, [3, 1])
        assert 2 == parallel_runs.at_once()
    assert 1 == parallel_runs.at_once()


def test_what_goes_wrong_in_one_of_them_is_raised():
    def divide(item):
        return 1 / item

    with parallel_runs.threads(2), pytest.raises(ZeroDivisionError):
        parallel_runs.each(divide, [1, 0, 2])


def test_no_two_beats_come_at_the_same_time():
    inside, most, count = 0, 0, 0

    def beat():
        nonlocal inside, most, count
        inside += 1
        most, count = max(most, inside), count + 1
        time.sleep(0.001)
        inside -= 1

    with beating(beat):
        expected(load_suite("smoke").workload.without_dropout(), 2)
    assert count > 20
    assert 1 == most


def test_blas_has_its_threads_again_afterwards(monkeypatch):
    asked = [3]
    monkeypatch.setattr(blas, "_threads", lambda: (lambda: asked[-1], asked.append))
    seen = []

    def look(item):
        with blas.one_thread():
            seen.append(asked[-1])

    with parallel_runs.threads(2):
        parallel_runs.each(look, range(6))
    assert [1] * 6 == seen
    assert 3 == asked[-1]
