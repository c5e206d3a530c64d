"""Scenarios with queries, end to end: what their processes hold, and what is made of it."""

import pytest

from dlbench.analyse.table import build
from dlbench.record.schema import Process, Verification


@pytest.fixture(scope="module")
def ran(carry_out, request_for):
    """Inference at the suite's batch, single queries, and queries of several samples."""
    return carry_out(request_for(scenarios=("infer", "latency", "multi-stream"), rounds=2))


def test_each_scenario_is_measured_at_its_own_batch_and_verified_there(ran):
    assert ran.end.status == "complete"
    processes = ran.of(Process)
    assert {("infer", 32), ("latency", 1), ("multi-stream", 8)} == {
        (line.case.scenario, line.case.batch) for line in processes
    }
    assert 6 == len(processes)
    assert {"ok"} == {line.status for line in processes}
    assert {32, 1, 8} == {line.case.batch for line in ran.of(Verification)}


def test_every_query_is_in_the_record_and_counts_once(ran):
    rows = {row.case.scenario: row for row in build([("a.jsonl", ran.record)]).rows}
    for scenario in ("latency", "multi-stream"):
        queries = [
            len(line.timings_ns) for line in ran.of(Process) if line.case.scenario == scenario
        ]
        assert sum(queries) == rows[scenario]["queries"]
        assert rows[scenario]["p50_s"] > 0
    assert rows["infer"]["queries"] is None
