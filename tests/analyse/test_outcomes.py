"""One judgement from all lines about a case: the worst of them counts."""

from typing import Any

import pytest

from dlbench.analyse.outcomes import Round, outcomes
from dlbench.analyse.statistics import ratio
from dlbench.record.schema import Case, Line, Record, Resumed, Skip, Training


def one(make: Any, case: Case, *lines: Line, **header: Any) -> Any:
    """The only outcome of a record of one case."""
    (found,) = outcomes(make.measured([case], lines, **header))
    return found


def test_a_verified_case_with_good_processes_is_ok(make: Any) -> None:
    case = make.case()
    found = one(
        make,
        case,
        make.verification(case),
        make.process(case, 0, 0.03),
        make.process(case, 1, 0.04),
    )
    assert (found.status, found.verified, found.reason) == ("ok", True, "")
    assert found.medians_s == pytest.approx({Round(0): 0.03, Round(1): 0.04})
    assert found.max_relative_error == 3.1e-7


@pytest.mark.parametrize("status", ["unverified", "failed", "timeout", "out_of_memory"])
def test_one_bad_process_outweighs_the_good_ones(make: Any, status: str) -> None:
    case = make.case()
    bad = make.process(case, 1, status=status, reason="it went wrong")
    found = one(
        make, case, make.verification(case), make.process(case, 0), bad, make.process(case, 2)
    )
    assert (found.status, found.reason, found.medians_s) == (status, "it went wrong", {})


def test_a_wrong_answer_outweighs_a_crash(make: Any) -> None:
    case = make.case()
    crashed = make.process(case, 0, status="failed", reason="it crashed")
    wrong = make.process(case, 1, status="unverified", reason="weights did not move")
    found = one(make, case, make.verification(case), crashed, wrong)
    assert (found.status, found.reason) == ("unverified", "weights did not move")


def test_one_verification_stands_for_both_scenarios(make: Any) -> None:
    train, infer = make.case(scenario="train"), make.case(scenario="infer")
    record = make.measured(
        [train, infer],
        [make.verification(train, "unverified", "wrong"), make.process(infer, 0)],
    )
    assert [(o.case.scenario, o.status) for o in outcomes(record)] == [
        ("train", "unverified"),
        ("infer", "unverified"),
    ]


def test_a_verification_of_another_batch_or_device_counts_for_nothing(make: Any) -> None:
    case = make.case()
    for other in (
        make.case(batch=1),
        make.case(device="cuda"),
        make.case(threads=1),
        make.case("torch"),
    ):
        record = make.measured([case], [make.verification(other), make.process(case, 0)])
        assert outcomes(record)[0].status == "unverified"


def test_timings_that_were_never_held_against_the_oracle_are_unverified(make: Any) -> None:
    case = make.case()
    found = one(make, case, make.process(case, 0))
    assert (found.status, found.verified, found.medians_s) == ("unverified", False, {})
    assert "oracle" in found.reason


def test_a_failed_check_after_timing_makes_a_case_unverified_whatever_its_line_says(
    make: Any,
) -> None:
    case = make.case()
    bad = make.process(case, 0, checks=(make.check(), make.check(passed=False, error=0.5)))
    found = one(make, case, make.verification(case), bad)
    assert (found.status, found.verified) == ("unverified", False)
    assert "conv2.bias" in found.reason
    assert found.max_relative_error == 0.5


def test_a_check_that_is_not_finite_is_told_in_words(make: Any) -> None:
    case = make.case()
    check = make.check(passed=False, error=None)
    lost = type(check)(check.name, check.where, None, 1.5, None, 1e-5, 1.0, False)
    found = one(make, case, make.verification(case, "unverified", checks=(lost,)))
    assert "conv2.bias is not a finite number, should be 1.5" in found.reason


@pytest.mark.parametrize("timings", [(), (0, 0, 0)])
def test_a_process_without_real_timings_is_a_failure(make: Any, timings: tuple[int, ...]) -> None:
    case = make.case()
    found = one(make, case, make.verification(case), make.process(case, 0, timings_ns=timings))
    assert found.status == "failed"


def test_a_skipped_case_says_why_and_how_to_get_it(make: Any) -> None:
    case = make.case("cupy", "cuda")
    found = one(make, case, Skip(case, "no CUDA device", "pip install x"))
    assert (found.status, found.reason, found.remedy) == (
        "skipped",
        "no CUDA device",
        "pip install x",
    )
    assert found.verified is None


def test_cases_that_an_interrupted_run_did_not_come_to_say_so(make: Any) -> None:
    reached, verified, waiting = make.case(), make.case("torch"), make.case("tensorflow")
    lines = (make.verification(reached), make.process(reached, 0), make.verification(verified))
    found = outcomes(Record(make.header([reached, verified, waiting]), lines))
    assert [o.status for o in found] == ["ok", "skipped", "skipped"]
    assert [("interrupted" in o.reason, "timed" in o.reason) for o in found[1:]] == [
        (True, True),
        (True, False),
    ]


def test_a_record_of_verification_alone_is_ok_without_times(make: Any) -> None:
    case = make.case()
    found = one(make, case, make.verification(case), rounds=0)
    assert (found.status, found.verified, found.medians_s) == ("ok", True, {})


def test_what_a_reader_should_know_of_a_good_case_is_told(make: Any) -> None:
    case = make.case()
    shaky = make.process(case, 0, steady=False, facts={"threads": 4})
    found = one(make, case, make.verification(case), shaky, make.process(case, 1))
    assert found.status == "ok"
    assert "no steady state in 1 of 2 processes" in found.reason
    assert "4 threads where 2 were requested" in found.reason


def test_the_final_loss_is_that_of_the_last_epoch(make: Any) -> None:
    case = make.case()
    training = Training(case, "ok", "", 2, (9.0, 9.0, 1.0, 2.0), (), 0.97, 0.1, 5.0)
    found = one(make, case, make.verification(case), make.process(case, 0), training)
    assert (found.final_loss, found.test_accuracy, found.epochs) == (1.5, 0.97, 2)


def test_a_training_that_fails_is_not_hidden_by_good_timings(make: Any) -> None:
    case = make.case()
    training = Training(case, "failed", "the loss is not finite", 2)
    found = one(make, case, make.verification(case), make.process(case, 0), training)
    assert (found.status, found.reason) == ("failed", "the loss is not finite")


@pytest.mark.parametrize("apart", ["beyond the planned rounds", "in another sitting"])
def test_rounds_of_one_number_are_paired_only_where_they_ran_together(
    make: Any, apart: str
) -> None:
    """The machine is slower from round to round, by as much on either side."""
    slow, fast = make.case(backend="numpy"), make.case(backend="torch")
    lines = [make.verification(case) for case in (slow, fast)]
    planned = 3 if apart == "in another sitting" else 2
    for case, factor in ((slow, 2.0), (fast, 1.0)):
        lines += [make.process(case, n, factor * 0.01 * (1 + 0.2 * n)) for n in (1, 2)]

    def compared(*more: Line) -> Any:
        one, other = outcomes(make.measured([slow, fast], [*lines, *more], rounds=planned))
        return ratio(one.timed, other.timed)

    last = make.process(slow, 3, 0.032), make.process(fast, 3, 0.016)
    between = [Resumed("2026-11-20T15:05:00Z", "0.1.0")] if planned == 3 else []
    assert compared().interval.high == pytest.approx(2)
    assert compared(last[0], *between, last[1]).interval.high > 2.5
    if planned == 3:
        assert compared(*last).interval.high == pytest.approx(2)
        assert compared(*between, *last).interval.high == pytest.approx(2)


def test_processes_that_took_turns_are_compared_block_by_block(make: Any) -> None:
    """The machine slows down within every round, and one side has a longer round than the other."""
    slow, fast = make.case(backend="numpy"), make.case(backend="torch")
    pace = [1.0, 1.4, 2.0, 3.0]
    lines = [make.verification(case) for case in (slow, fast)]
    for number in (1, 2):
        lines.append(make.turns(slow, number, [0.02 * each for each in pace]))
        lines.append(make.turns(fast, number, [0.01 * each for each in pace[: 4 - number]]))
    one, other = outcomes(make.measured([slow, fast], lines, rounds=2))
    assert one.timed[Round(1)].blocks_s == pytest.approx((0.02, 0.028, 0.04, 0.06))
    assert one.medians_s == pytest.approx({Round(1): 0.034, Round(2): 0.034})
    estimate = ratio(one.timed, other.timed)
    assert estimate.value == pytest.approx(2)
    assert estimate.interval is not None
    assert estimate.interval.high == pytest.approx(2)


def test_with_copies_each_block_has_those_of_its_process(make: Any) -> None:
    case = make.case("torch", "cuda")
    line = make.turns(case, 1, [0.01, 0.02, 0.04], upload_ns=(10**6,), download_ns=(2 * 10**6,))
    found = one(make, case, make.verification(case), line).with_copies[Round(1)]
    assert found.median_s == pytest.approx(0.023)
    assert found.blocks_s == pytest.approx((0.013, 0.023, 0.043))


def test_a_process_that_was_timed_alone_has_no_blocks_to_pair(make: Any) -> None:
    case = make.case()
    line = make.turns(case, 1, [0.01, 0.02], alone="too large to live beside others")
    assert one(make, case, make.verification(case), line).timed[Round(1)].blocks_s == ()


def test_rounds_beyond_the_planned_ones_are_shared_where_processes_took_turns(make: Any) -> None:
    case = make.case()
    turns = [make.turns(case, number, [0.01]) for number in (1, 2)]
    found = one(make, case, make.verification(case), *turns, make.process(case, 3), rounds=1)
    assert list(found.timed) == [Round(1), Round(2), Round(3, 0, case)]


def test_a_round_that_is_measured_in_two_sittings_is_paired_within_one(make: Any) -> None:
    """The first sitting was cut off when one of two had been written."""
    slow, fast = make.case(backend="numpy"), make.case(backend="torch")
    lines = [
        *(make.verification(case) for case in (slow, fast)),
        make.turns(slow, 1, [0.5]),
        Resumed("2026-11-20T15:05:00Z", "0.1.0"),
        make.turns(slow, 1, [0.02], attempt=1),
        make.turns(fast, 1, [0.01], attempt=1),
    ]
    one, other = outcomes(make.measured([slow, fast], lines, rounds=1))
    assert list(one.timed) == list(other.timed) == [Round(1, 1)]
    assert ratio(one.timed, other.timed).value == pytest.approx(2)
