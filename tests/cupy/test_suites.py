"""One whole training step of every suite, through the kernels on the CPU, against the oracle."""

from __future__ import annotations

from pathlib import Path

import dlbench.suites
import pytest
from host_adapter import HostAdapter

from dlbench.contract import Plan
from dlbench.spec.suite import load_suite
from dlbench.verify.dropout import check_dropout
from dlbench.verify.expectation import expect
from dlbench.verify.points import draw_point
from dlbench.verify.reference import Stop
from dlbench.verify.steps import check_gradients, check_resident

SUITES = sorted(path.stem for path in Path(dlbench.suites.__path__[0]).glob("*.toml"))
PLAN = Plan("cupy", "cuda:0", batch=2, threads=1)


def failures(checks):
    assert checks
    return [check.sentence() for check in checks if not check.passed]


@pytest.mark.parametrize("name", SUITES)
def test_a_training_step_of_a_suite_is_the_oracles(name):
    workload = load_suite(name).workload.without_dropout()
    point = draw_point(workload, PLAN.batch, "step")
    (expected,) = expect(workload, [point], (1.0,), PLAN.precision)
    stop = Stop(point, 1.0, expected)
    adapter = HostAdapter()
    assert [] == failures(check_gradients(adapter, PLAN, workload, [stop]))
    session = adapter.open(PLAN, workload, point.weights)
    assert [] == failures(check_resident(session, stop))


@pytest.mark.parametrize("name", ["cnn-mnist", "smoke"])
def test_the_dropout_of_a_suite_is_the_oracles(name):
    assert [] == failures(check_dropout(HostAdapter(), PLAN, load_suite(name).workload))
