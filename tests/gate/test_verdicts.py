"""From the record of a gate to what is said of it."""

import numpy as np
import pytest

from dlbench.gate.design import Design
from dlbench.gate.pairs import order
from dlbench.gate.schema import Half, Header, Record
from dlbench.gate.verdicts import pairs_of, verdicts
from dlbench.record import schema as r

CASES = tuple(r.Case("ci", "train", "numpy", "cpu", batch, 1, "fp32", "") for batch in (16, 32))
MACHINE = r.Machine(None, None, None, 2, None, (), "Linux", "3.11", {})


def recorded(*more):
    """A gate of two cases after eight quiet pairs each, and what came then."""
    header = Header(
        schema=1,
        created="2026-11-20T12:00:00Z",
        dlbench="0.1.0",
        base="main (abc)",
        new="working tree",
        suite="ci",
        workload_digest="",
        data=r.Data("mnist", "", "", True),
        seed=0,
        threads=1,
        budget_s=60.0,
        share_s=0.15,
        design=Design(),
        machine=MACHINE,
        cases=CASES,
    )
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
    assert ((), ()) == (pairs.base_s, pairs.new_s)
    assert told in pairs.trouble
    found = {case.case: case for case in verdicts(record).cases}
    assert ("failed", pairs.trouble) == (found[CASES[0].label].status, found[CASES[0].label].reason)
    assert "same" == found[CASES[1].label].status
    assert 4 == verdicts(record, inconclusive_passes=True).exit_code


def test_half_a_pair_does_not_count():
    whole, more = recorded(), recorded(Half("base", r.Process(CASES[0], 8, "ok", "", (10**9,))))
    assert pairs_of(whole, CASES[0]) == pairs_of(more, CASES[0])
    assert 8 == len(pairs_of(more, CASES[0]).differences)
