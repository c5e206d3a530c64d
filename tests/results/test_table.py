"""The shared table: who is ranked, against what, and what is left unsaid."""

import math
from typing import Any

import pandas as pd
import pytest

from dlbench.baseline import split_baseline
from dlbench.errors import UsageError
from dlbench.record import Case, Data, Line, Peak, Record
from dlbench.table import COLUMNS, build, data_name, rows


def measured(make: Any, *cases: tuple[Case, list[float]], **header: Any) -> Record:
    """Verified cases with these process medians (s), a round each."""
    lines: list[Line] = []
    for case, medians in cases:
        lines.append(make.verification(case))
        lines += [make.process(case, number, middle) for number, middle in enumerate(medians)]
    return make.measured([case for case, _ in cases], lines, **header)


def by_backend(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows as dictionaries by backend."""
    return {row["backend"]: row for row in frame.to_dict("records")}


def test_the_table_has_every_column_in_its_type_even_when_it_is_empty(make: Any) -> None:
    for record in (make.record(), make.measured([], [])):
        frame = rows(record)
        assert {str(name): str(kind) for name, kind in frame.dtypes.items()} == dict(COLUMNS)


def test_the_speedup_is_the_baselines_median_over_the_rows(make: Any) -> None:
    record = measured(
        make,
        (make.case("numpy"), [0.036, 0.037, 0.035]),
        (make.case("torch"), [0.018, 0.019, 0.017]),
    )
    row = by_backend(rows(record))["torch"]
    assert row["median_s"] == pytest.approx(0.018)
    assert row["speedup"] == pytest.approx(2.0)
    assert row["speedup_low"] < 2 < row["speedup_high"]
    assert row["baseline"] == "numpy:cpu"
    assert row["interval_over"] == "3 processes"
    assert row["samples_per_s"] == pytest.approx(64 / 0.018)


def test_the_baseline_is_one_times_itself_without_an_interval(make: Any) -> None:
    row = by_backend(rows(measured(make, (make.case("numpy"), [0.03, 0.04]))))["numpy"]
    assert row["speedup"] == 1
    assert math.isnan(row["speedup_low"])
    assert math.isnan(row["speedup_high"])


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 1},
        {"threads": 1},
        {"precision": "fp16"},
        {"suite": "other"},
        {"scenario": "infer"},
    ],
)
def test_a_baseline_of_other_circumstances_is_none(make: Any, change: dict[str, Any]) -> None:
    record = measured(
        make, (make.case("numpy", **change), [0.03, 0.03]), (make.case("torch"), [0.02, 0.02])
    )
    assert math.isnan(by_backend(rows(record))["torch"]["speedup"])


@pytest.mark.parametrize("status", ["unverified", "failed", "timeout", "out_of_memory", "skipped"])
def test_a_baseline_that_is_not_ok_gives_no_speedup(make: Any, status: Any) -> None:
    ours, base = make.case("torch"), make.case("numpy")
    lines = [make.verification(ours), *(make.process(ours, i) for i in range(3))]
    lines += [make.verification(base, status, "why"), *(make.process(base, i) for i in range(3))]
    frame = by_backend(rows(make.measured([ours, base], lines)))
    assert frame["torch"]["status"] == "ok"
    assert math.isnan(frame["torch"]["speedup"])
    assert frame["torch"]["baseline"] is None
    assert math.isnan(frame["numpy"]["median_s"])


def test_another_baseline_can_be_asked_for(make: Any) -> None:
    record = measured(make, (make.case("numpy"), [0.04, 0.04]), (make.case("torch"), [0.02, 0.02]))
    row = by_backend(rows(record, baseline="torch:cpu"))["numpy"]
    assert (row["speedup"], row["baseline"]) == (pytest.approx(0.5), "torch:cpu")


def test_baselines_are_a_backend_and_a_device() -> None:
    assert split_baseline("cupy:cuda:1") == ("cupy", "cuda:1")
    assert split_baseline("my.module:Adapter:cpu") == ("my.module:Adapter", "cpu")
    with pytest.raises(UsageError, match="numpy"):
        split_baseline("numpy")


def test_rows_are_ranked_by_speed_within_training_and_inference_with_the_rest_beneath(
    make: Any,
) -> None:
    frame = rows(make.record())
    order = list(zip(frame["scenario"], frame["backend"], strict=True))
    names = ["tensorflow", "numpy", "torch", "acme", "cupy"]
    assert order == [("train", name) for name in names] + [("infer", name) for name in names]


def test_the_share_of_the_matrix_product_rate_is_of_the_scenarios_own_work(make: Any) -> None:
    cases = [make.case(scenario="train"), make.case(scenario="infer")]
    record = measured(
        make, *((case, [0.064, 0.064]) for case in cases), training_flops=300, forward_flops=100
    )
    whole = Record(record.header, (*record.lines, Peak(0, 2, (9e5, 1e6)), Peak(1, 2, (1.1e6,))))
    frame = rows(whole)
    assert dict(zip(frame["scenario"], frame["share_of_peak"], strict=True)) == {
        "train": pytest.approx(0.3),
        "infer": pytest.approx(0.1),
    }


@pytest.mark.parametrize(
    ("device", "peak", "flops"),
    [
        ("cuda", Peak(0, 2, (1e9,)), 5),
        ("cpu", Peak(0, 1, (1e9,)), 5),
        ("cpu", Peak(0, 2, ()), 5),
        ("cpu", Peak(0, 2, (1e9,)), 0),
    ],
)
def test_a_share_that_means_nothing_is_unknown_and_not_zero(
    make: Any, device: str, peak: Peak, flops: int
) -> None:
    record = measured(make, (make.case(device=device), [0.03, 0.03]), training_flops=flops)
    assert rows(Record(record.header, (*record.lines, peak)))["share_of_peak"].isna().all()


def test_one_process_has_a_median_and_no_interval(make: Any) -> None:
    row = by_backend(rows(measured(make, (make.case(), [0.03]))))["numpy"]
    assert row["median_s"] == pytest.approx(0.03)
    assert math.isnan(row["ci_low_s"])
    assert math.isnan(row["ci_high_s"])
    assert row["interval_over"] == "1 process"


def test_rows_on_a_stand_in_do_not_carry_the_name_of_the_real_data() -> None:
    assert data_name(Data("mnist", "stand-in", "", True)) == "stand-in-mnist"
    assert data_name(Data("stand-in-mnist", "stand-in", "", True)) == "stand-in-mnist"
    assert data_name(Data("mnist", "MNIST", "", False)) == "mnist"
    assert data_name(Data("linear", "made up", "", True)) == "linear"


def test_records_are_put_beneath_each_other_and_never_pooled(make: Any) -> None:
    slow = measured(make, (make.case("numpy"), [0.04] * 2), (make.case("torch"), [0.04] * 2))
    fast = measured(make, (make.case("numpy"), [0.01] * 2), (make.case("torch"), [0.02] * 2))
    report = build([("a/slow.jsonl", slow), ("b/fast.jsonl", fast)])
    assert list(report.frame["record"]) == ["slow.jsonl"] * 2 + ["fast.jsonl"] * 2
    torch = report.frame[report.frame["backend"] == "torch"]
    assert list(torch["speedup"]) == pytest.approx([1.0, 0.5])
    assert list(torch["interval_over"]) == ["2 processes"] * 2


def test_what_keeps_records_from_being_compared_is_noted(make: Any) -> None:
    case = make.case()
    plain = measured(make, (case, [0.03]))
    other_data = measured(make, (case, [0.03]), data=Data("digits", "", "ef" * 32, False))
    other_work = measured(make, (case, [0.03]), workload_digest="99")
    assert build([("a", plain), ("b", plain)]).notes == ()
    assert "different data" in build([("a", plain), ("b", other_data)]).notes[0]
    assert "different workloads" in build([("a", plain), ("b", other_work)]).notes[0]
