"""The shared table: who is ranked, against what, and what is left unsaid."""

import math
from typing import Any

import msgspec
import pandas as pd
import pytest

from dlbench.analyse.case_columns import COLUMNS, data_name
from dlbench.analyse.table import build
from dlbench.errors import UsageError
from dlbench.record.facts import RankSteps
from dlbench.record.schema import Case, Data, Line, Peak, Record


def measured(make: Any, *cases: tuple[Case, list[float]], **header: Any) -> Record:
    """Verified cases with these process medians (s), a round each."""
    lines: list[Line] = []
    for case, medians in cases:
        lines.append(make.verification(case))
        lines += [make.process(case, number, middle) for number, middle in enumerate(medians)]
    return make.measured([case for case, _ in cases], lines, **header)


def rows(record: Record, baseline: str | None = None) -> pd.DataFrame:
    """The table of one record."""
    return build([("a.jsonl", record)], baseline).frame


def by_backend(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows as dictionaries by backend."""
    return {row["backend"]: row for row in frame.to_dict("records")}


def test_the_table_has_every_column_in_its_type_even_when_it_is_empty(make: Any) -> None:
    for record in (make.record(), make.measured([], [])):
        frame = rows(record)
        assert {str(name): str(kind) for name, kind in frame.dtypes.items()} == {
            column.name: column.dtype for column in COLUMNS
        }


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


def test_ranks_are_held_against_one_by_what_they_have_to_compute_with(make: Any) -> None:
    def scaling(threads: int, device: str = "cpu") -> Any:
        one = make.case("torch", device, threads=threads)
        two = msgspec.structs.replace(one, world=2)
        frame = rows(measured(make, (one, [0.020, 0.021, 0.019]), (two, [0.012, 0.0125, 0.0115])))
        return {row["world"]: row for row in frame.to_dict("records")}

    # each rank has the one thread that the process had, or a GPU of its own
    for found in (scaling(1), scaling(4, "cuda:0")):
        assert found[2]["scaling"] == pytest.approx(0.020 / 0.012 / 2, rel=0.02)
        assert found[2]["scaling_low"] < found[2]["scaling"] < found[2]["scaling_high"]
        assert math.isnan(found[1]["scaling"])
    # together they have the four threads that it had
    assert scaling(4)[2]["scaling"] == pytest.approx(0.020 / 0.012, rel=0.02)


def test_what_ranks_cost_each_other_is_of_steps_beside_the_timed_ones(make: Any) -> None:
    case = msgspec.structs.replace(make.case("torch"), world=2)
    alone = RankSteps((10_000,) * 3, ((6_000,) * 3, (8_000,) * 3))
    lines = [make.verification(case)]
    lines += [make.process(case, number, 0.01, rank_steps=alone) for number in range(3)]
    (row,) = rows(make.measured([case], lines)).to_dict("records")
    assert row["rank_spread"] == pytest.approx(1 / 3)
    assert row["communication_share"] == pytest.approx(0.2)
    (row,) = rows(measured(make, (case, [0.01]))).to_dict("records")
    assert math.isnan(row["rank_spread"])
    assert math.isnan(row["communication_share"])
    assert math.isnan(row["scaling"])


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
    for word in ("torch:cpu", "torch:cpu/eager"):
        row = by_backend(rows(record, baseline=word))["numpy"]
        assert (row["speedup"], row["baseline"]) == (pytest.approx(0.5), "torch:cpu/eager")


def test_a_row_without_a_baseline_of_its_precision_is_held_against_the_one_in_fp32(
    make: Any,
) -> None:
    other = make.case("torch", mode="", precision="bf16")
    record = measured(make, (make.case("numpy"), [0.04, 0.04]), (other, [0.01, 0.01]))
    row = by_backend(rows(record))["torch"]
    assert (row["speedup"], row["baseline"]) == (pytest.approx(4), "numpy:cpu")


def test_a_row_is_held_against_the_baseline_of_its_own_precision_where_there_is_one(
    make: Any,
) -> None:
    tf32 = {"precision": "tf32"}
    ours, base = make.case("torch", **tf32), make.case("numpy", **tf32)
    timed = [(make.case("numpy"), [0.04, 0.04]), (base, [0.02, 0.02]), (ours, [0.01, 0.01])]
    row = by_backend(rows(measured(make, *timed)))["torch"]
    assert (row["speedup"], row["baseline"]) == (pytest.approx(2), "numpy:cpu/tf32")
    # one that went wrong is no reason to take another
    lines = [make.verification(base, "failed", "why"), make.verification(timed[0][0])]
    lines += [make.verification(ours), make.process(ours, 1), make.process(timed[0][0], 1)]
    row = by_backend(rows(make.measured([timed[0][0], base, ours], lines)))["torch"]
    assert math.isnan(row["speedup"])


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


def on_a_gpu(make: Any, scenario: str = "train", **changes: Any) -> Record:
    """NumPy on the CPU at 40 ms, PyTorch on a GPU at 2 ms with 6 ms of copies in and 2 ms out."""
    cpu, gpu = make.case("numpy", scenario=scenario), make.case("torch", "cuda", scenario)
    copies = {"upload_ns": (6_000_000,) * 8, "download_ns": (2_000_000,) * 5} | changes
    lines: list[Line] = [make.verification(cpu), make.verification(gpu)]
    for number, wobble in enumerate((1.0, 1.01, 0.99), 1):
        lines.append(make.process(cpu, number, 0.040 * wobble))
        lines.append(make.process(gpu, number, 0.002 * wobble, **copies))
    return make.measured([cpu, gpu], lines)


@pytest.mark.parametrize("scenario", ["train", "infer"])
def test_copies_have_columns_of_their_own_and_one_with_the_step(make: Any, scenario: str) -> None:
    row = by_backend(rows(on_a_gpu(make, scenario)))["torch"]
    assert (row["upload_s"], row["download_s"]) == (
        pytest.approx(0.006, abs=1e-9),
        pytest.approx(0.002, abs=1e-9),
    )
    assert row["median_s"] == pytest.approx(0.002)
    assert row["with_copies_s"] == pytest.approx(0.010)
    assert row["with_copies_low_s"] < 0.010 < row["with_copies_high_s"]
    assert row["speedup"] == pytest.approx(20)
    assert row["speedup_with_copies"] == pytest.approx(4)
    assert row["speedup_with_copies_low"] < 4 < row["speedup_with_copies_high"]


def test_on_the_cpu_a_step_with_copies_is_the_step(make: Any) -> None:
    row = by_backend(rows(on_a_gpu(make), baseline="torch:cuda"))["numpy"]
    assert row["with_copies_s"] == row["median_s"]
    assert row["speedup_with_copies"] == pytest.approx(0.010 / 0.040)


def test_a_copy_that_was_not_timed_leaves_no_figure_with_copies(make: Any) -> None:
    row = by_backend(rows(on_a_gpu(make, download_ns=())))["torch"]
    assert row["speedup"] == pytest.approx(20)
    assert math.isnan(row["with_copies_s"])
    assert math.isnan(row["speedup_with_copies"])


def test_a_row_says_what_was_observed_of_its_device(make: Any) -> None:
    found = by_backend(rows(on_a_gpu(make)))
    row = found["torch"]
    assert row["device_name"] == "NVIDIA H200"
    assert row["device_uuid"] == "GPU-8f2c11d0-aaaa-bbbb-cccc-000000000001"
    assert (row["tf32"], row["cudnn"], row["cudnn_benchmark"]) == ("off", "9.10.2", "off")
    assert row["device_s"] == pytest.approx(0.0016, rel=0.02)
    assert row["peak_device_memory_bytes"] == 3 * 2**28
    assert found["numpy"]["device_uuid"] is None
    assert math.isnan(found["numpy"]["peak_device_memory_bytes"])


def test_processes_on_two_devices_are_told_as_such(make: Any) -> None:
    case = make.case("torch", "cuda")
    lines = [make.verification(case)]
    lines += [make.process(case, n, facts={"device_uuid": f"GPU-{n}"}) for n in (1, 2)]
    (row,) = rows(make.measured([case], lines)).to_dict("records")
    assert row["device_uuid"] == "GPU-1 and GPU-2"


def test_rows_stand_by_device_and_by_speed_there(make: Any) -> None:
    cases = [
        (make.case("slow", "cuda:0"), [0.9] * 2),
        (make.case("numpy"), [0.03] * 2),
        (make.case("fast", "cuda:0"), [0.001] * 2),
        (make.case("torch"), [0.02] * 2),
    ]
    frame = rows(measured(make, *cases))
    assert list(frame["backend"]) == ["torch", "numpy", "fast", "slow"]


def test_a_baseline_that_was_asked_for_must_be_there(make: Any) -> None:
    record = make.record()
    assert build([("a", record)], "torch:cpu").baseline == "torch:cpu/eager"
    there = "the rows are: numpy:cpu, torch:cpu/eager, tensorflow:cpu/graph, "
    with pytest.raises(UsageError, match=there):
        build([("a", record)], "torch:cuda")
    with pytest.raises(UsageError, match="is not a backend:device"):
        build([("a", record)], "torch")
    # the one that nobody asked for may be missing
    assert build([("a", measured(make, (make.case("torch"), [0.1, 0.1])))]).notes == ()


def test_records_that_were_not_sampled_alike_are_noted_with_their_names(make: Any) -> None:
    few, more = (measured(make, (make.case(), [0.01] * count)) for count in (3, 6))
    assert build([("a", few), ("b", few)]).notes == ()
    (note,) = build([("x/a", few), ("b", more)]).notes
    assert "numpy:cpu/train/64 630 ms in 3 processes in a, 1.26 s in 6 processes in b" in note


def test_a_baseline_without_figures_is_noted(make: Any) -> None:
    base, ours = make.case("numpy"), make.case("torch")
    lines = [make.verification(base, "failed", "why"), make.verification(ours)]
    lines.append(make.process(ours, 1))
    (note,) = build([("a/x.jsonl", make.measured([base, ours], lines))]).notes
    assert note == "x.jsonl: no speed-ups, since the baseline numpy:cpu has no figures (failed)"


def test_the_memory_that_a_kernel_keeps_for_itself_makes_no_other_machine(make):
    record = make.record()
    machine = record.header.machine

    def notes(memory_bytes):
        other = msgspec.structs.replace(machine, memory_bytes=memory_bytes)
        header = msgspec.structs.replace(record.header, machine=other)
        again = msgspec.structs.replace(record, header=header)
        return build([("a.jsonl", record), ("b.jsonl", again)]).notes

    assert () == notes(machine.memory_bytes - 2**20)
    (note,) = notes(machine.memory_bytes // 2)
    assert "different machines" in note
