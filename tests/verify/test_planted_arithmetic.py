"""Planted faults of arithmetic, one at a time: each must be found, and by the check that is meant for it."""

import dataclasses

import pytest

pytest.importorskip("torch")

import small
from planted_arithmetic import IN_STEPS, PLANTED, known_faults
from spoilt_arithmetic import SpoiltAdapter
from test_arithmetic import EVERYTHING

from dlbench.verify.check import verify
from dlbench.verify.checks.arithmetic import check_arithmetic

ROWS = [(name, fault, part) for name, table in PLANTED.items() for fault, part in table.items()]


def failing(precision, fault, cache_dir):
    plan, adapter = dataclasses.replace(small.plan(), precision=precision), SpoiltAdapter(fault)
    if fault in IN_STEPS:
        return small.failing(verify(adapter, plan, small.workload("convolution"), cache_dir).checks)
    return small.failing(check_arithmetic(adapter, plan, EVERYTHING))


@pytest.mark.parametrize(("precision", "fault", "part"), ROWS, ids=lambda value: value[:60])
def test_a_fault_of_arithmetic_is_found_by_the_check_meant_for_it(
    precision, fault, part, cache_dir
):
    found = failing(precision, fault, cache_dir)
    assert found
    assert part in found[0]


def test_every_fault_of_the_spoilt_backend_is_put_to_the_test_once():
    assert sorted(fault for _, fault, _ in ROWS) == known_faults()


@pytest.mark.parametrize("precision", PLANTED)
def test_the_spoilt_backend_without_a_fault_is_verified_before_and_after_timing(
    precision, cache_dir
):
    plan = dataclasses.replace(small.plan(), precision=precision)
    outcome = verify(SpoiltAdapter(), plan, small.workload("norm"), cache_dir)
    assert outcome.reason == ""
    assert outcome.facts["arithmetic"].startswith(f"factors {precision}, sums fp32")


def test_a_wrong_arithmetic_is_told_beside_what_failed_first(cache_dir):
    reason = verify(
        SpoiltAdapter("autocast left on in float32"),
        small.plan(),
        small.workload("convolution"),
        cache_dir,
    ).reason
    assert reason.endswith(
        "is computed with factors bf16, stored bf16, not with factors fp32, stored fp32"
    )


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("fault", [None, "float32 under a short label"])
def test_a_timed_session_that_computes_in_float32_is_too_good_for_a_short_label(
    fault, precision, cache_dir
):
    checks = small.check_after_timing(
        SpoiltAdapter(fault), small.workload("convolution"), cache_dir, precision=precision
    )
    short = [check for check in checks if "as far from float32's" in check.name]
    assert {check.name.partition(":")[0] for check in short} == {
        "logits after timing",
        "movement in 8 steps after timing",
    }
    assert all(check.passed for check in short) == (fault is None)
    assert fault or small.failing(checks) == []
