"""From the record of a gate to what is said of it."""

import dataclasses

import numpy as np
import pytest
from record_makers import make_gate_header
from windows import BURNING, QUIET

from dlbench.gate.pairs import order
from dlbench.gate.schema import Half, Record
from dlbench.gate.verdicts import pairs_of, verdicts
from dlbench.record import schema as r

CASES = tuple(r.Case("ci", "train", "numpy", "cpu", batch, 1, "fp32", "") for batch in (16, 32))


def recorded(*more):
    """A gate of two cases after eight quiet pairs each, and what came then."""
    header = make_gate_header(CASES)
    draw = np.random.default_rng(0)
    quiet = [
        Half(arm, r.Process(case, number, "ok", "", (round(1e6 * draw.normal(1, 0.001)),) * 3))
        for number in range(8)
        for case in CASES
        for arm in order(number)
    ]
    return Record(header, (*quiet, *more))


@pytest.mark.parametrize(
    ("arm", "status", "reason", "told"),
    [
        ("new", "failed", "crashed: SIGSEGV", "working tree, pair 9: failed: crashed: SIGSEGV"),
        ("base", "timeout", "said nothing", "main (abc), pair 9: timeout: said nothing"),
        ("new", "out_of_memory", "a\nb", "working tree, pair 9: out of memory: a b"),
        ("base", "unverified", "", "pair 9: unverified: a check after the timing failed"),
    ],
)
def test_a_case_fails_by_the_pair_that_went_wrong_and_the_other_keeps_its_verdict(
    arm, status, reason, told
):
    record = recorded(Half(arm, r.Process(CASES[0], 8, status, reason)))
    pairs = pairs_of(record, CASES[0])
    assert ((), ()) == (pairs.base_s, pairs.differences)
    assert told in pairs.trouble
    found = {case.case: case for case in verdicts(record).cases}
    assert ("failed", pairs.trouble) == (found[CASES[0].label].status, found[CASES[0].label].reason)
    assert "same" == found[CASES[1].label].status
    assert 4 == verdicts(record, inconclusive_passes=True).exit_code


def test_half_a_pair_does_not_count():
    whole, more = recorded(), recorded(Half("base", r.Process(CASES[0], 8, "ok", "", (10**9,))))
    assert pairs_of(whole, CASES[0]) == pairs_of(more, CASES[0])
    assert 8 == len(pairs_of(more, CASES[0]).differences)


def test_what_disturbed_the_machine_is_told_by_kind_at_its_worst():
    stolen = dataclasses.replace(QUIET, other_cores=1.6, stolen_cores=0.5)
    more = [
        Half("base", r.Process(CASES[0], number, "ok", "", (10**6,), during=during))
        for number, during in enumerate((BURNING, stolen, QUIET), 8)
    ]
    (note,) = [each for each in verdicts(recorded(*more)).notes if "disturbed" in each]
    assert note == (
        "the machine was disturbed in 2 of 35 processes, at worst: "
        "other processes had 1.6 cores, the hypervisor took 0.5 cores"
    )
