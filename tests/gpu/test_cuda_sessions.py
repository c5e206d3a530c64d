"""On a GPU: what each framework computes there, on which device, and whether telemetry and clocks tell the truth.

`pytest -m gpu` chooses these. What is not installed is skipped. $DLBENCH_GPU_TRIAL replaces what is measured (JSON,
keys of `TRIAL`), so that these tests are themselves tested without a GPU.
"""

import dataclasses
import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from dlbench.analyse.table import build
from dlbench.execute import runner
from dlbench.execute.probe import look
from dlbench.host.machine import look as look_at_machine
from dlbench.paths import cache_dir
from dlbench.plan.request import Request
from dlbench.record.file import Writer, read_record
from dlbench.record.schema import Process, Telemetry, Verification
from dlbench.spec.suite import load_suite
from dlbench.telemetry.device import gpu_names
from dlbench.telemetry.windows import windows_of

pytestmark = pytest.mark.gpu

TRIAL = {
    "backends": ["torch", "tensorflow", "cupy"],
    "suites": ["smoke", "cnn-mnist", "resnet-cifar10"],
    # large enough that the device and not the host decides how long a step takes
    "timed": "cnn-mnist",
    "batch": 512,
    "seconds": 6.0,
} | json.loads(os.environ.get("DLBENCH_GPU_TRIAL", "{}"))
NUMBERS = itertools.count()


@pytest.fixture(scope="module", params=TRIAL["backends"])
def backend(request):
    """The name of a backend that has a CUDA device here."""
    found = look(request.param, 1, False, 180.0)
    if found.status != "ok":
        pytest.skip(found.reason)
    if found.device("cuda") is None:
        pytest.skip(f"{request.param} has no CUDA device")
    return request.param


@pytest.fixture(scope="module")
def nvml():
    """The driver's own library."""
    pynvml = pytest.importorskip("pynvml")
    pynvml.nvmlInit()
    yield pynvml
    pynvml.nvmlShutdown()


@pytest.fixture(scope="module")
def carry_out(tmp_path_factory):
    """Runs a suite with one backend on its first CUDA device, each case for so many seconds."""

    def carry_out(backend, suite, *, seconds=0.0, device="cuda", **options):
        request = Request(
            suite=load_suite(suite),
            machine=look_at_machine(gpu_names()),
            cache_dir=cache_dir(),
            backends=(backend,),
            devices=(device,),
            rounds=1 if seconds else 0,
            **options,
        )
        cases = len(runner.plan_run(request).cases)
        request = dataclasses.replace(request, budget_s=max(seconds, 1.0) * cases)
        path = Path(tmp_path_factory.mktemp("gpu")) / f"{next(NUMBERS)}.jsonl"
        writer = Writer(path)
        try:
            runner.run(request, writer)
        finally:
            writer.close()
        return read_record(path)

    return carry_out


@pytest.fixture(scope="module")
def timed(backend, carry_out):
    """A record of training, each case timed for some seconds in one process."""
    options = {"scenarios": ("train",), "batches": (TRIAL["batch"],)}
    # so short that the energy counter tells something in a turn
    options["telemetry_period_s"] = 0.005
    record = carry_out(backend, TRIAL["timed"], seconds=TRIAL["seconds"], **options)
    assert of(record, Process)
    return record


def of(record, kind):
    """The lines of a kind."""
    return [line for line in record.lines if isinstance(line, kind)]


def bare(uuid):
    """A UUID without the word for what it is of."""
    return uuid.removeprefix("GPU-").removeprefix("MIG-")


def divided(nvml, handle):
    """Whether a GPU is divided into instances."""
    try:
        return any(nvml.nvmlDeviceGetMigMode(handle))
    except nvml.NVMLError:
        return False


@pytest.mark.parametrize("suite", TRIAL["suites"])
def test_what_a_backend_computes_on_the_gpu_is_what_the_oracle_says(backend, carry_out, suite):
    found = of(carry_out(backend, suite, batches=(8,)), Verification)
    assert found
    assert [("ok", "")] * len(found) == [(line.status, line.reason) for line in found]


def test_timed_cases_went_well_and_products_were_not_rounded_to_tf32(timed):
    found = of(timed, Process)
    assert [("ok", "")] * len(found) == [(line.status, line.reason) for line in found]
    assert {"off"} == {line.facts["tf32"] for line in found}


def test_a_session_runs_on_the_device_that_is_visible_whichever_that_is(
    backend, carry_out, nvml, monkeypatch
):
    for index in range(nvml.nvmlDeviceGetCount()):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        if divided(nvml, handle):
            pytest.skip("a divided GPU has other names for its instances")
        uuid = nvml.nvmlDeviceGetUUID(handle)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", uuid)
        record = carry_out(backend, "linear-mse", seconds=0.2, scenarios=("infer",))
        processes, sampled = of(record, Process), of(record, Telemetry)
        assert {bare(uuid)} == {bare(line.facts["device_uuid"]) for line in processes}
        on_device = [line for line in sampled if line.source == "nvml"]
        assert {bare(uuid)} == {bare(line.device_uuid) for line in on_device}
        assert len(processes) == len(on_device)


def test_telemetry_covers_the_measured_window(timed):
    lines = [line for line in of(timed, Telemetry) if line.source == "nvml"]
    assert len(of(timed, Process)) == len(lines)
    for process, line in zip(of(timed, Process), lines, strict=True):
        windows = windows_of(process)
        power = {"power_instant_w", "power_average_w", "power_usage_w"} & line.traces.keys()
        assert power, line.unavailable
        for metric in ("memory_used_bytes", *power):
            times = line.traces[metric].t_ns
            assert times[0] <= windows[0].start_ns
            assert windows[-1].end_ns <= times[-1]
            assert min(line.traces[metric].values) > 0


def test_the_devices_own_clock_agrees_with_the_wall(timed):
    for process in of(timed, Process):
        if not process.device_ns:
            pytest.skip("this backend has no device clock")
        device_ns, wall_ns = np.median(process.device_ns), np.median(process.timings_ns)
        # a step that the device decides lasts about as long by either; the wall's holds the launch and the wait
        assert 0.5 * wall_ns <= device_ns <= 1.05 * wall_ns


def test_energy_by_the_counter_is_energy_by_power_to_a_tenth(timed):
    frame = build([("record", timed)]).frame
    assert len(frame)
    for _, row in frame.iterrows():
        if np.isnan(row["joules_per_1000"]):
            pytest.skip("this device has no energy counter that moves")
        assert row["joules_per_1000"] == pytest.approx(row["joules_per_1000_by_power"], rel=0.1)


def test_a_second_run_of_a_case_takes_as_long_to_two_percent(timed, backend, carry_out):
    options = {"scenarios": ("train",), "batches": (TRIAL["batch"],)}
    again = carry_out(backend, TRIAL["timed"], seconds=TRIAL["seconds"], **options)
    pairs = zip(of(timed, Process), of(again, Process), strict=True)
    for one, other in pairs:
        assert np.median(other.timings_ns) == pytest.approx(np.median(one.timings_ns), rel=0.02)
