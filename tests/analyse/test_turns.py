"""Who is not on turn is to rest: who does not is named, in its own row and in its neighbours'."""

from typing import Any

import pytest

from dlbench.analyse.disturbance import passes, watched
from dlbench.analyse.outcomes import Outcome, outcomes
from dlbench.analyse.turns import computes_idle
from dlbench.record.schema import Process, Record


def record(make: Any, *lines: Process) -> Record:
    """Of these processes, all verified, whose turns were a second apart."""
    cases = list(dict.fromkeys(line.case for line in lines))
    whole: Record = make.measured(cases, [*map(make.verification, cases), *lines])
    return whole


def by_backend(make: Any, *lines: Process) -> dict[str, Outcome]:
    """What becomes of each backend's case."""
    return {found.case.backend: found for found in outcomes(record(make, *lines))}


@pytest.mark.parametrize(
    ("changes", "computes"),
    [
        ({"idle_cores": None}, False),
        ({"idle_cores": 0.0}, False),
        ({"idle_cores": 0.15}, False),
        ({"idle_cores": 0.17}, True),
        ({"idle_cores": 0.98}, True),
        ({"idle_cores": 0.98, "stopped": True}, False),
        ({"idle_cores": 0.98, "alone": "the others do not fit beside it"}, False),
        # a tick of 10 ms in the 20 ms between two turns
        ({"idle_cores": 0.5, "block_ended_ns": (1_980_000_000, 2_100_000_000)}, False),
        ({"idle_cores": 0.98, "block_steps": ()}, False),
    ],
)
def test_who_uses_more_between_its_turns_than_housekeeping_and_ticks_can_explain_computes(
    make: Any, changes: dict[str, Any], computes: bool
) -> None:
    assert computes_idle(make.turns(make.case(), 1, [0.01, 0.01], **changes)) == computes


def test_who_computes_between_its_turns_says_so_and_disturbs_those_it_took_turns_with(
    make: Any,
) -> None:
    busy, beside = make.case("torch"), make.case()
    found = by_backend(
        make,
        make.turns(busy, 1, [0.01] * 3, idle_cores=0.98),
        make.turns(beside, 1, [0.01] * 3, idle_cores=0.0),
        make.turns(busy, 2, [0.01] * 3, idle_cores=0.3),
        make.turns(beside, 2, [0.01] * 3, idle_cores=0.0),
        make.turns(beside, 3, [0.01] * 3, idle_cores=0.0),
    )
    assert found["torch"].reason == "computed on 0.98 cores while others were on turn"
    assert not found["torch"].disturbed
    assert found["numpy"].reason == ""
    assert found["numpy"].disturbed
    assert found["numpy"].disturbance == (
        "torch:cpu/eager computed on 0.98 cores between its turns in 2 of 3 processes"
    )


@pytest.mark.parametrize(
    "apart",
    [
        {"attempt": 1},
        {"block_started_ns": (10**12,) * 3, "block_ended_ns": (10**12 + 1,) * 3},
        {"alone": "the others do not fit beside it"},
        {"block_steps": ()},
    ],
)
def test_who_did_not_take_turns_with_it_is_not_disturbed_by_it(
    make: Any, apart: dict[str, Any]
) -> None:
    found = by_backend(
        make,
        make.turns(make.case("torch"), 1, [0.01] * 3, idle_cores=0.98),
        make.turns(make.case(), 1, [0.01] * 3, **apart),
    )
    assert not found["numpy"].disturbed


def test_a_process_is_no_neighbour_of_itself_in_its_other_scenario(make: Any) -> None:
    train, infer = (make.case("torch", scenario=each) for each in ("train", "infer"))
    lines = [make.turns(case, 1, [0.01] * 3, idle_cores=0.98) for case in (train, infer)]
    assert not any(found.disturbed for found in outcomes(record(make, *lines)))


def test_who_was_put_to_sleep_between_its_turns_says_so_and_disturbs_nobody(make: Any) -> None:
    found = by_backend(
        make,
        make.turns(make.case("torch"), 1, [0.01] * 3, idle_cores=0.01, stopped=True),
        make.turns(make.case(), 1, [0.01] * 3),
    )
    assert found["torch"].reason == (
        "was put to sleep between its turns, since it computes when it is idle"
    )
    assert not found["numpy"].disturbed


def test_that_a_neighbour_computes_does_not_pass_by_waiting(make: Any) -> None:
    beside = make.turns(make.case(), 1, [0.01] * 3)
    busy = make.turns(make.case("torch"), 1, [0.01] * 3, idle_cores=0.98)
    causes = watched(record(make, busy, beside)).causes(beside)
    assert len(causes) == 1
    assert not passes(causes)


def test_who_was_timed_alone_says_why_and_in_how_many_processes(make: Any) -> None:
    lines = [make.turns(make.case(), 1, [0.01], alone="1 GB of memory is left")]
    told = "took no turns with the others of its round: 1 GB of memory is left"
    assert by_backend(make, *lines)["numpy"].reason == told
    lines.append(make.turns(make.case(), 2, [0.01]))
    told = "took no turns with the others of its round in 1 of 2 processes: 1 GB of memory is left"
    assert by_backend(make, *lines)["numpy"].reason == told


def test_who_never_came_first_in_a_process_is_told_from_who_did(make: Any) -> None:
    case = make.case("torch", "cuda")
    second = make.turns(case, 1, [0.01], scenarios_before=1)
    (found,) = outcomes(record(make, second))
    assert found.never_first
    (found,) = outcomes(record(make, second, make.turns(case, 2, [0.01])))
    assert not found.never_first
