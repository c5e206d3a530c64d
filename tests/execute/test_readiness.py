"""Whether doctor says what it saw: at rest, disturbed, unsteady, and where nothing can be read."""

import dataclasses

import pytest

from dlbench.execute.readiness import Examination, describe, examine, sharing, verdict, warn
from dlbench.record.facts import Surroundings

QUIET = Surroundings(2.0, 0.02, 0.0, 0.01, 0.0, 0.0, 3.0, 4, 4, None, 2.5e9)
STEADY = (300_000, 301_000, 302_000, 303_000, 304_000)


def seen(loads_ns: tuple[int, ...] = STEADY, **changes: float | None) -> Examination:
    """What might have been seen."""
    return Examination(dataclasses.replace(QUIET, **changes), loads_ns)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (seen(), "quiet: fit to measure 4 threads; the reference load scatters by ± 0.5 %"),
        (seen(other_cores=0.9), "! not fit to measure: other processes had 0.9 cores"),
        (seen(quota_cores=1.5), "! not fit to measure: a quota of 1.5 cores for 4 threads"),
        (seen(usable_cores=4, granted_cores=8), "! not fit to measure: confined to 4 of 8 cores"),
        (seen(other_cores=None), "unknown whether others use this machine"),
        (seen((300, 400, 500, 600, 700)), "! unsteady: nobody else was seen, but"),
    ],
)
def test_the_verdict_is_one_sentence_with_the_reason(found: Examination, said: str) -> None:
    told = verdict(found, 4)
    assert told.startswith(said)
    assert "\n" not in told


def test_a_gpu_that_others_use_is_not_fit_to_be_measured_on() -> None:
    found = dataclasses.replace(seen(), devices=("GPU-1: 1 other process on the device",))
    assert verdict(found, 4).startswith("! not fit to measure: GPU-1: 1 other process on the dev")
    looked = examine(0.1, lambda seconds: [f"looked for {seconds} s"])
    assert ("looked for 0.3 s",) == looked.devices


def test_what_cannot_be_read_is_called_unknown() -> None:
    nothing = Examination(Surroundings(2.0, *[None] * 10), STEADY)
    told = describe(nothing, 4)
    assert told.count("unknown") >= 6
    assert "0.00" not in told.partition("reference load")[0]


def test_what_can_be_read_is_told_with_its_unit() -> None:
    told = describe(seen(), 4)
    assert "others 0.02 of 4 cores" in told
    assert "granted 4 cores of 4 without a quota" in told
    assert "clock 2.50 GHz" in told
    assert "reference load 0.302 ms" in told


def test_this_machine_is_examined_in_about_the_time_that_was_asked_for() -> None:
    found = examine(0.2)
    assert found.seen.window_s >= 0.2
    assert len(found.loads_ns) >= 5
    assert describe(found, 1)


def test_a_warning_names_what_disturbs() -> None:
    # a hundred thousand threads are more than any machine has cores for
    assert "for 100,000 threads: timings are disturbed" in warn(100_000)


def test_threads_that_share_physical_cores_are_told_with_the_count_to_try() -> None:
    told = (
        "8 threads for 4 physical cores: two that share one are seldom faster; try --threads 4 too"
    )
    assert told == sharing(8, 4)
    for threads, cores in ((4, 4), (1, 4), (8, None)):
        assert "" == sharing(threads, cores)
