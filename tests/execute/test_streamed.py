"""Rows whose batches come from a loader: what they say, and that a loader which delivers anything else is found out."""

from dlbench.analyse.outcomes import outcomes
from dlbench.analyse.table import build
from dlbench.record.schema import Process

BOTH = ("resident", "streamed")


def test_a_streamed_row_says_what_its_loader_costs_and_what_is_wrong_with_another(
    request_for, carry_out
):
    spoilt = {
        # all behind it are wrong, and the worst of those that were looked at is told
        "spoilt_loaders:LeavesOneOut": ("unverified", "loader's batch "),
        "spoilt_loaders:ShiftsLabels": ("unverified", "targets of the loader's batch 0"),
        "spoilt_loaders:LoaderBreaks": ("failed", "no room for workers"),
    }
    request = request_for(
        backends=("numpy", *spoilt), inputs=BOTH, scenarios=("train",), rounds=2, budget_s=0.3
    )
    ran = carry_out(request)
    found = {(each.case.backend, each.case.input): each for each in outcomes(ran.record)}
    assert 2 * (1 + len(spoilt)) == len(found)
    for backend, (status, reason) in spoilt.items():
        assert "ok" == found[backend, "resident"].status
        assert status == found[backend, "streamed"].status
        assert reason in found[backend, "streamed"].reason
    streamed = [line for line in ran.of(Process, "numpy") if line.case.input == "streamed"]
    for line in streamed:
        assert "dlbench, 1 thread" == line.facts["loader"]
        assert len(line.timings_ns) == len(line.waited_ns)
        assert all(0 <= w < step for w, step in zip(line.waited_ns, line.timings_ns, strict=True))
        assert 12 == sum("loader's batch" in check.name for check in line.checks)
    rows = {row.case: row for row in build([("here", ran.record)]).rows}
    row = next(r for case, r in rows.items() if case == streamed[0].case)
    assert 0 < row["input_cost"]
    assert 0 <= row["waiting_share"] < 1
    resident = next(r for case, r in rows.items() if case == found["numpy", "resident"].case)
    assert resident["input_cost"] is None
    assert resident["waiting_share"] is None
    assert resident["loader"] is None
