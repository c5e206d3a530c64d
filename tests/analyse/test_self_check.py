"""What a record says of the harness itself, and how reports tell it."""

from typing import Any

import pytest

from dlbench.analyse.self_check import self_measurement
from dlbench.analyse.table import build
from dlbench.record import schema as r
from dlbench.record.facts import Surroundings

SEEN = Surroundings(1.0, 0.02, *[None] * 9)
UNSEEN = Surroundings(1.0, *[None] * 10)


def host(case: r.Case, number: int, passes: int) -> r.Telemetry:
    """A host's line of 2 s with so many passes, which took 4 ms of processor time."""
    times = tuple(range(passes))
    return r.Telemetry(
        case=case,
        round=number,
        source="host",
        period_ns=10**9,
        started_ns=10**9,
        ended_ns=3 * 10**9,
        traces={"busy_cpu_s": r.Trace(times, (0.0,) * passes)},
        processor_s=0.004,
    )


def accounting(record: r.Record) -> str:
    """The last line of a report."""
    from dlbench.reports.run import about_record

    (run,) = build([("a.jsonl", record)]).runs
    return about_record.accounting(run)


def test_a_pass_of_the_sampler_counts_as_often_as_there_was_one(make: Any) -> None:
    case = make.case()
    # a pass makes a block of 25 ms 10 % longer: 2.5 ms; three passes in 2 s: 0.375 %
    sampling = r.Sampling(2, 25_000_000, (1.1, 1.1, 1.1, 1.1), (1.0, 1.0, 1.0, 1.0), passes=4)
    lines = [sampling, make.process(case, 1), host(case, 1, 3)]
    seen = self_measurement(make.measured([case], lines))
    assert seen.sampling is not None
    assert seen.sampling.interval is not None
    assert pytest.approx(1.00375) == seen.sampling.value
    assert pytest.approx(1.00375) == seen.sampling.interval.low == seen.sampling.interval.high
    assert pytest.approx(0.002) == seen.sampler_share


def test_passes_that_came_too_late_for_their_block_make_the_cost_of_the_others_no_smaller(
    make: Any,
) -> None:
    case = make.case()

    def cost(passes: int | None) -> float | None:
        sampling = r.Sampling(2, 25_000_000, (1.1,) * 4, (1.0,) * 4, passes)
        lines = [sampling, make.process(case, 1), host(case, 1, 3)]
        seen = self_measurement(make.measured([case], lines)).sampling
        return seen and seen.value

    assert pytest.approx(1.0075) == cost(2)
    # none met the work, or, in an old record, nobody knows
    assert (None, None) == (cost(0), cost(None))


def test_of_a_run_on_a_gpu_it_says_that_the_effect_is_that_of_the_hosts_sampler(make: Any) -> None:
    case = make.case("cupy", "cuda")
    sampling = r.Sampling(2, 25_000_000, (1.1,) * 3, (1.0,) * 3, passes=3)
    trace = {"temperature_c": r.Trace((10**9,), (40.0,))}
    device = r.Telemetry(case=case, round=1, source="nvml", period_ns=10**7, traces=trace)
    lines = [sampling, make.process(case, 1, during=SEEN), host(case, 1, 3), device]
    assert "telemetry of the host +0.4 %" in accounting(make.measured([case], lines))


def test_clocks_are_held_against_each_other_where_there_are_device_events(make: Any) -> None:
    host_only, device = make.case(), make.case("cupy", "cuda")
    assert (
        self_measurement(make.measured([host_only], [make.process(host_only, 1)])).clock_ratios
        is None
    )
    lines = [
        make.process(device, 1, 0.01),
        make.process(device, 2, 0.01, device_ns=(9_000_000,) * 3),
    ]
    ratios = self_measurement(make.measured([device], lines)).clock_ratios
    assert ratios is not None
    assert pytest.approx((0.8, 0.9)) == ratios


def test_one_line_tells_all_of_it(make: Any) -> None:
    case = make.case("cupy", "cuda")
    sampling = r.Sampling(2, 25_000_000, (1.1, 1.1, 1.1), (1.0, 1.0, 1.0), passes=3)
    lines = [sampling, make.process(case, 1, during=SEEN), host(case, 1, 3)]
    told = accounting(make.measured([case], lines))
    assert "\n" not in told
    for part in (
        "timer overhead 500 ns per step",
        "telemetry +0.4 % [+0.4, +0.4]",
        "sampler 0.2 % of a core",
        "device time / wall time 0.80",
    ):
        assert part in told
    assert "unknown" not in told


def test_what_is_unknown_is_said_to_be_unknown(make: Any) -> None:
    case = make.case()
    process = make.process(case, 1, during=UNSEEN)
    told = accounting(r.Record(make.header([case]), (process, r.End("complete", 1.0, {}, None))))
    assert "timer overhead unknown" in told
    assert "system load unknown (counters not readable)" in told


def test_a_run_that_timed_nothing_tells_nothing_of_timings(make: Any) -> None:
    case = make.case()
    told = accounting(make.measured([case], [make.verification(case)]))
    assert "timer overhead" not in told
