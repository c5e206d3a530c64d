"""What kernels are held against, on the CPU and on a GPU alike: a training step of each suite."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import dlbench.suites
from dlbench.backends.launches.network import HAS, LACKS

from dlbench.contract import Adapter, Plan
from dlbench.errors import PlanRefused
from dlbench.helpers.refusals import refuse_unless
from dlbench.record.facts import Check
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import Workload
from dlbench.verify.checks.steps import check_gradients, check_resident
from dlbench.verify.expected.evaluation_points import draw_point
from dlbench.verify.expected.reference import Stop
from dlbench.verify.expected.tolerance import expect

_DEAREST_FLOPS = 10**9
"""Of a sample: the CPU would take hours for a step of a larger network, in float64 and as a kernel, and there is no
kind of layer that the smaller ones have not got."""

PLAN = Plan("cupy", "cuda:0", batch=2, threads=1)


def has_kernels(workload: Workload) -> bool:
    """Whether the backend has all that a workload needs."""
    try:
        refuse_unless("cupy", PLAN, workload, has=HAS, lacks=LACKS)
    except PlanRefused:
        return False
    return True


SUITES = sorted(
    path.stem
    for path in Path(dlbench.suites.__path__[0]).glob("*.toml")
    if has_kernels(workload := load_suite(path.stem).workload)
    and workload.forward_flops < _DEAREST_FLOPS
)


@functools.cache
def step_of(name: str, precision: str = "fp32") -> tuple[Workload, Stop]:
    """A suite without its dropout, and what one training step of it must give."""
    workload = load_suite(name).workload.without_dropout()
    return workload, stop_of(workload, PLAN.batch, precision)


def stop_of(workload: Workload, batch: int, precision: str = "fp32") -> Stop:
    """What one training step of a workload must give."""
    point = draw_point(workload, batch, "step", precision)
    (expected,) = expect(workload, [point], (1.0,), precision)
    return Stop(point, 1.0, expected)


def check_step(adapter: Adapter, plan: Plan, workload: Workload, stop: Stop) -> list[str]:
    """What is wrong with logits, loss, every gradient, and the weights after a step of the suite's optimizer."""
    checks, of_the_rule = check_gradients(adapter, plan, workload, [stop])
    checks += of_the_rule
    session = adapter.open(plan, workload, stop.point.weights)
    return failures([*checks, *check_resident(session, stop)])


def failures(checks: Sequence[Check]) -> list[str]:
    """The checks that failed, in words; there must be checks at all."""
    assert checks
    return [check.sentence() for check in checks if not check.passed]
