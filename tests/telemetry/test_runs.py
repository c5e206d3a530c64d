"""Whole runs of `dlbench run` under the stub: the telemetry is of the device the worker ran on, at the time of its
timings."""

import re

import numpy as np

from dlbench.record.schema import Telemetry
from dlbench.telemetry.windows import windows_of

FIRST, SECOND = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
WARM = {f"{FIRST}.temperature": 70, f"{SECOND}.temperature": 41}
SLICES = {
    f"{SECOND}.mig": "MIG-33333333-cccc,MIG-44444444-dddd",
    "MIG-33333333-cccc.memory": 300_000_000,
    "MIG-44444444-dddd.memory": 400_000_000,
}
ONE = ("--scenario", "infer", "--rounds", "1", "--budget", "0.3")


def test_telemetry_is_of_the_device_that_cuda_chose_whatever_the_drivers_order(run_dlbench):
    found, shown = run_dlbench(
        WARM,
        *("--scenario", "infer", "--rounds", "2", "--budget", "1.2"),
        *("--device", "cuda:0", "--device", "cuda:1", "--device", "cpu"),
        cuda=(SECOND, FIRST),
        STAND_IN_PIDS="4194301",
    )
    temperatures = {
        row["device"]: (row["device_uuid"], row["temperature_c"], row["other_gpu_processes"])
        for row in found.rows
    }
    expected = {"cuda:0": (SECOND, 41, 1), "cuda:1": (FIRST, 70, 1), "cpu": (None, None, None)}
    assert expected == temperatures
    # beside every process on a GPU that one
    kinds = [
        (line.case.device, line.round, line.source)
        for line in found.record.lines
        if isinstance(line, Telemetry)
    ]
    assert kinds == [
        (process.case.device, process.round, "nvml")
        for process in found.processes
        if process.case.device != "cpu"
    ]
    assert 6 == len(found.processes)
    # each of the two on a GPU has the other for a neighbour, who has memory of the device too
    assert all(row["device_memory_bytes"] is None for row in found.rows)
    idle = {p.case.device: p.facts.get("idle_synchronize_ns") for p in found.processes}
    assert idle["cuda:0"] >= 0 <= idle["cuda:1"]
    assert idle["cpu"] is None
    # too short a process on a busy machine may end between two samples
    assert all(row["worker_cores"] is None or 0 < row["worker_cores"] < 2 for row in found.rows)
    assert any(row["worker_cores"] for row in found.rows)
    assert "telemetry over the measured windows" in shown
    assert "1,980 MHz" in shown


def test_telemetry_is_of_the_device_that_is_visible(run_dlbench):
    found, _ = run_dlbench(
        WARM, *ONE, "--device", "cuda:0", cuda=(SECOND, FIRST), CUDA_VISIBLE_DEVICES="1"
    )
    assert (FIRST, 70) == (found.row["device_uuid"], found.row["temperature_c"])


def test_telemetry_is_of_the_mig_slice_that_is_visible(run_dlbench):
    slices = SLICES[f"{SECOND}.mig"].split(",")
    found, _ = run_dlbench(
        SLICES, *ONE, "--device", "cuda:0", cuda=slices, CUDA_VISIBLE_DEVICES=slices[1]
    )
    assert (slices[1], 400_000_000) == (
        found.row["device_uuid"],
        found.row["device_memory_bytes"],
    )


def test_traces_line_up_with_the_timings_to_one_period(run_dlbench, tmp_path):
    # the device's power in mW is the number of steps that the worker has done
    found, _ = run_dlbench(
        {"*.power_instant": f"@{tmp_path / 'steps'}"},
        *("--scenario", "infer", "--rounds", "1", "--budget", "1.0", "--device", "cuda"),
        STAND_IN_STEP_S="0.01",
    )
    (process,), line = found.processes, found.line()
    windows, trace = windows_of(process), line.traces["power_instant_w"]
    ends_ns = np.fromfile(tmp_path / "ends", "<i8")

    # what was read while the session worked is what it had done by then
    steps = [(t, round(1000 * n)) for t, n in zip(trace.t_ns, trace.values, strict=True) if n]
    assert len(steps) >= 10
    for t_ns, count in steps:
        assert ends_ns[count - 1] - line.period_ns <= t_ns
        assert count == len(ends_ns) or t_ns <= ends_ns[count] + line.period_ns

    # and the windows are those of the sampled steps, all of them between the first reading and the last
    before = 1 + len(process.warmup_ns)
    assert ends_ns[before - 1] <= windows[0].start_ns <= ends_ns[before]
    assert len(windows) > 1
    last = before + len(process.timings_ns) + len(process.reentry_ns) - 1
    assert ends_ns[last] <= windows[-1].end_ns <= ends_ns[last] + line.period_ns
    assert line.started_ns <= windows[0].start_ns
    assert windows[-1].end_ns <= line.ended_ns
    read = ("power_instant_w", "energy_j", "memory_used_bytes", "temperature_c")
    traces = [line.traces[metric] for metric in read]
    assert all(each.t_ns[0] <= windows[0].start_ns for each in traces)
    assert all(each.t_ns[-1] >= windows[-1].end_ns for each in traces)


def test_a_gpu_that_is_lost_in_the_middle_leaves_the_timing_and_the_reason(run_dlbench):
    found, shown = run_dlbench(
        {},
        *("--scenario", "infer", "--rounds", "1", "--budget", "2.0", "--device", "cuda"),
        STAND_IN_STEP_S="0.01",
        STAND_IN_LOST_IN="70",
    )
    row = found.row
    assert ("ok", None, None) == (row["status"], row["temperature_c"], row["power_instant_w"])
    assert row["median_s"] > 0
    assert row["worker_cores"] is not None
    assert "GPU is lost" in shown


def test_a_machine_without_a_driver_runs_and_says_why_it_knows_nothing(run_dlbench):
    found, shown = run_dlbench({}, *ONE, "--device", "cuda", driver=None)
    assert "ok" == found.row["status"]
    assert "no NVIDIA driver" in shown
    assert [] == [*found.line().traces]


def test_a_row_beside_somebody_else_on_the_device_is_marked_with_that(run_dlbench):
    found, shown = run_dlbench(
        WARM, *ONE, "--device", "cuda:0", "--device", "cpu", STAND_IN_PIDS="4194301"
    )
    disturbance = {row["device"]: row["disturbance"] or "" for row in found.rows}
    cause = "1 other process on the device"
    assert cause in disturbance["cuda:0"]
    assert cause not in disturbance["cpu"]
    (remark,) = re.findall(r"! [^!]*cuda:0/infer/32: disturbed: ([^!]*)", " ".join(shown.split()))
    assert cause in remark


def test_a_row_whose_clocks_were_held_down_is_marked_with_what_did_it(run_dlbench):
    found, _ = run_dlbench({"*.reasons": 0x40}, *ONE, "--device", "cuda:0")
    assert found.row["disturbed"]
    assert (
        "hardware thermal limit held the clocks down 100 % of the time" in found.row["disturbance"]
    )


def test_a_driver_that_does_not_answer_is_named_in_the_record_and_stops_no_run(run_dlbench):
    found, _ = run_dlbench({"init": "hang"}, *ONE, "--device", "cpu")
    assert "ok" == found.row["status"]
    assert (
        "unknown: the NVIDIA driver did not answer for 5 s",
    ) == found.record.header.machine.gpus
