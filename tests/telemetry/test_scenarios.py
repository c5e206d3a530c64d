"""Each thing that a driver can do, through the real pynvml, the sampler, the record and the table."""

import pytest

GPM = {"*.gpm": 1, "*.gpm.1": 91.5, "*.gpm.2": 40, "*.gpm.3": 25, "*.gpm.5": 0, "*.gpm.10": 12.5}
OF_THE_DEVICE = (
    "utilization",
    "device_memory_bytes",
    "power_instant_w",
    "power_average_w",
    "joules_per_1000",
    "joules_per_1000_by_power",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "temperature_c",
    "throttled",
    "other_gpu_processes",
)
OF_THE_HOST = ("worker_cores", "other_cores", "peak_resident_bytes")


def known(row, columns):
    return {column: row[column] for column in columns if row[column] is not None}


def test_a_driver_that_tells_everything_fills_every_column(sample):
    found = sample(seconds=1.3)
    row = found.row
    assert "ok" == row["status"]
    assert ("Stub H200", "GPU-11111111-aaaa") == (row["device_name"], row["device_uuid"])
    assert pytest.approx(0.87) == row["utilization"]
    assert "driver" == row["utilization_source"]
    # one each 50 ms, of which the first and the last may reach out of the window
    (process,) = found.processes
    window_s = (process.ended_ns - process.started_ns) * 1e-9
    assert abs(row["utilization_samples"] - window_s / 0.05) <= 2
    assert 3_000_000_000 == row["device_memory_bytes"]
    assert pytest.approx((310, 300)) == (row["power_instant_w"], row["power_average_w"])
    # a batch of 50 in 10 ms: 1000 samples take 0.2 s
    assert pytest.approx(300 * 0.2, rel=0.1) == row["joules_per_1000"]
    assert pytest.approx(310 * 0.2, rel=0.02) == row["joules_per_1000_by_power"]
    assert pytest.approx(0.04, rel=0.3) == row["energy_resolution_s"]
    assert pytest.approx((1980, 3201)) == (row["sm_clock_mhz"], row["memory_clock_mhz"])
    assert (54, 0) == (row["temperature_c"], row["other_gpu_processes"])
    assert (0.0, None) == (row["throttled"], row["throttle_reasons"])
    assert set(OF_THE_HOST) == set(known(row, OF_THE_HOST))


def test_no_driver_leaves_the_hosts_columns_and_says_why(sample):
    row = sample(driver=None).row
    assert {} == known(row, (*OF_THE_DEVICE, "device_uuid", "utilization_samples"))
    assert "no NVIDIA driver: libnvidia-ml.so.1 is not there" in row["telemetry_unknown"]
    assert set(OF_THE_HOST) == set(known(row, OF_THE_HOST))


def test_a_library_without_its_driver_says_so(sample):
    found = sample({"init": 9})
    assert {} == known(found.row, OF_THE_DEVICE)
    assert "the NVIDIA driver is not loaded" in found.row["telemetry_unknown"]
    assert {} == found.line().traces


def test_a_driver_without_a_device_says_so(sample):
    row = sample({"devices": ""}).row
    assert {} == known(row, OF_THE_DEVICE)
    assert "the driver knows no device 11111111-aaaa" in row["telemetry_unknown"]


def test_a_device_that_is_not_ours_to_see_is_named_with_the_reason(sample):
    row = sample({"GPU-11111111-aaaa.handle": 4}).row
    assert "the driver knows no device 11111111-aaaa" in row["telemetry_unknown"]
    assert "Insufficient Permissions (nvmlDeviceGetHandleByIndex)" in row["telemetry_unknown"]


def test_a_backend_that_does_not_name_its_device_gets_no_device_columns(sample):
    row = sample(facts={"device": "cuda:0"}).row
    assert {} == known(row, OF_THE_DEVICE)
    assert "does not say which device it ran on" in row["telemetry_unknown"]


def test_two_devices_in_another_order_are_told_apart_by_uuid(sample):
    changes = {"GPU-11111111-aaaa.temperature": 70, "GPU-22222222-bbbb.temperature": 41}
    first = sample(changes, {"device_uuid": "11111111-aaaa"}).row
    second = sample(changes, {"device_uuid": "GPU-22222222-BBBB"}).row
    assert ("GPU-11111111-aaaa", 70) == (first["device_uuid"], first["temperature_c"])
    assert ("GPU-22222222-bbbb", 41) == (second["device_uuid"], second["temperature_c"])


@pytest.mark.parametrize("address", ["0000:61:00.0", "00000000:61:00.0", "61:00.0"])
def test_a_device_is_found_by_its_pci_address_where_there_is_no_uuid(sample, address):
    row = sample({"GPU-22222222-bbbb.temperature": 41}, {"device_pci_bus_id": address}).row
    assert ("GPU-22222222-bbbb", 41) == (row["device_uuid"], row["temperature_c"])


MIG = {
    "GPU-11111111-aaaa.mig": "MIG-33333333-cccc,MIG-44444444-dddd",
    "MIG.name": "Stub H200 MIG 1g",
    "MIG.memory": 700_000_000,
    "MIG-44444444-dddd.memory": 800_000_000,
}


def test_a_mig_slice_has_its_own_memory_and_nothing_of_its_gpus(sample):
    row = sample(MIG, {"device_uuid": "MIG-44444444-dddd"}).row
    assert ("MIG-44444444-dddd", 800_000_000) == (row["device_uuid"], row["device_memory_bytes"])
    assert ["device_memory_bytes"] == [*known(row, OF_THE_DEVICE)]
    assert "Not Supported (nvmlDeviceGetClockInfo)" in row["telemetry_unknown"]


def test_a_mig_slice_has_its_own_counters_on_hopper(sample):
    changes = MIG | GPM | {"MIG.gpm.1": 33, "MIG-44444444-dddd.gpm.1": 66, "MIG.gpm.2": 20}
    row = sample(changes, {"device_uuid": "44444444-dddd"}, seconds=1.4).row
    assert "gpm" == row["utilization_source"]
    assert pytest.approx((0.66, 0.2)) == (row["utilization"], row["sm_activity"])


def test_a_gpu_in_slices_is_not_taken_for_one_of_them(sample):
    row = sample(MIG, {"device_uuid": "11111111-aaaa"}).row
    assert {} == known(row, (*OF_THE_DEVICE, "device_uuid"))
    assert "divided into 2 MIG slices" in row["telemetry_unknown"]


def test_the_only_slice_of_a_gpu_is_the_device(sample):
    changes = MIG | {"GPU-11111111-aaaa.mig": "MIG-33333333-cccc"}
    row = sample(changes, {"device_uuid": "11111111-aaaa"}).row
    assert ("MIG-33333333-cccc", 700_000_000) == (row["device_uuid"], row["device_memory_bytes"])


def test_a_gpu_that_is_lost_midway_has_part_of_a_trace_and_no_figure(sample):
    found = sample(midway="lost", seconds=1.2)
    assert {} == known(found.row, OF_THE_DEVICE)
    assert "GPU is lost" in found.row["telemetry_unknown"]
    (process,) = found.processes
    clocks = found.line().traces["sm_clock_mhz"].t_ns
    assert process.started_ns < clocks[-1] < process.ended_ns
    assert set(OF_THE_HOST) == set(known(found.row, OF_THE_HOST))


def test_a_stuck_energy_counter_is_no_energy_and_power_over_time_stands_for_it(sample):
    row = sample({"*.energy": 123_456}, seconds=1.3).row
    assert row["joules_per_1000"] is None
    assert "energy counter: the counter did not move for" in row["telemetry_unknown"]
    assert pytest.approx(310 * 0.2, rel=0.02) == row["joules_per_1000_by_power"]


def test_a_counter_with_rare_steps_is_too_short_to_say(sample):
    row = sample({"*.energy": "ramp 300 400"}, seconds=0.25).row
    assert row["joules_per_1000"] is None
    assert "energy counter" in row["too_short"]


def test_an_old_driver_gives_what_it_has_under_names_of_its_own(sample):
    row = sample({"*.power_usage": 250_000}, driver="old", seconds=1.3).row
    # the older structure counts the driver's reserve as used
    assert 3_500_000_000 == row["device_memory_bytes"]
    assert "device memory without the driver's reserve" in row["telemetry_unknown"]
    assert {"power_usage_w"} == set(
        known(row, ("power_instant_w", "power_average_w", "power_usage_w"))
    )
    assert pytest.approx(250) == row["power_usage_w"]
    assert "Function Not Found (nvmlDeviceGetFieldValues)" in row["telemetry_unknown"]
    assert "Function Not Found (nvmlGpmQueryDeviceSupport)" in row["telemetry_unknown"]
    assert (54, 0.0, 0) == (row["temperature_c"], row["throttled"], row["other_gpu_processes"])
    assert pytest.approx(0.87) == row["utilization"]


def test_permission_denied_for_one_metric_takes_that_one_only(sample):
    row = sample({"*.power_instant": "error 4", "*.samples": "error 4"}, seconds=1.3).row
    missing = set(OF_THE_DEVICE) - set(known(row, OF_THE_DEVICE))
    assert {"power_instant_w", "utilization"} == missing
    assert "power: Insufficient Permissions" in row["telemetry_unknown"]
    assert "utilization: Insufficient Permissions" in row["telemetry_unknown"]
    assert row["utilization_samples"] is None
    # the average is still there to multiply with
    assert pytest.approx(300 * 0.2, rel=0.02) == row["joules_per_1000_by_power"]


@pytest.mark.parametrize("metric", ["memory", "energy", "sm_clock", "temperature", "reasons"])
def test_each_metric_can_be_missing_alone(sample, metric):
    columns = {
        "memory": "device_memory_bytes",
        "energy": "joules_per_1000",
        "sm_clock": "sm_clock_mhz",
        "temperature": "temperature_c",
        "reasons": "throttled",
    }
    row = sample({f"*.{metric}": None}, seconds=1.3).row
    assert row[columns.pop(metric)] is None
    assert set(columns.values()) == set(known(row, columns.values()))
    assert "Not Supported" in row["telemetry_unknown"]


def test_few_samples_of_utilization_are_too_short_to_say_and_never_0(sample):
    row = sample({"*.samples": "87 400"}, seconds=0.3).row
    assert row["utilization"] is None
    assert row["utilization_samples"] < 3
    assert "utilization" in row["too_short"].split(", ")


def test_an_empty_buffer_of_samples_is_too_short_to_say(sample):
    row = sample({"*.samples": "none"}).row
    assert (None, 0) == (row["utilization"], row["utilization_samples"])


def test_hoppers_counters_tell_more_than_that_something_ran(sample):
    row = sample(GPM, seconds=1.4).row
    assert "gpm" == row["utilization_source"]
    assert row["utilization_samples"] >= 3
    columns = ("utilization", "sm_activity", "sm_occupancy", "tensor_activity", "dram_activity")
    told = [row[column] for column in columns]
    assert pytest.approx([0.915, 0.4, 0.25, 0.0, 0.125]) == told
    # one that this device has not got is unknown and takes no other with it
    assert row["fp32_activity"] is None


@pytest.mark.parametrize("refused", [{"gpm_get": "1 999"}, {"gpm_alloc": "2 999"}], ids=str)
def test_counters_that_are_refused_at_first_are_there_when_asked_again(sample, refused):
    # beside other work they are asked again later
    row = sample(GPM | refused, seconds=4.0).row
    assert "gpm" == row["utilization_source"]
    assert pytest.approx((0.915, 0.4)) == (row["utilization"], row["sm_activity"])


def test_throttling_is_told_with_its_reason_and_idling_is_none(sample):
    capped = sample({"*.reasons": 0x4 | 0x2}, seconds=1.0).row
    assert (1.0, "power cap") == (capped["throttled"], capped["throttle_reasons"])
    idle = sample({"*.reasons": 0x1}, seconds=1.0).row
    assert (0.0, None) == (idle["throttled"], idle["throttle_reasons"])


def test_counter_and_power_that_disagree_are_both_kept(sample):
    row = sample({"*.energy": "ramp 400 20"}, seconds=1.3).row
    assert pytest.approx(400 * 0.2, rel=0.1) == row["joules_per_1000"]
    assert pytest.approx(310 * 0.2, rel=0.02) == row["joules_per_1000_by_power"]


def test_other_processes_on_the_device_are_counted(sample):
    row = sample(others="4194301 4194302").row
    assert 2 == row["other_gpu_processes"]


def test_a_list_without_the_worker_is_of_another_namespace_and_counts_nothing(sample):
    row = sample({"*.processes": "4194301"}).row
    assert row["other_gpu_processes"] is None
    assert "does not list the worker" in row["telemetry_unknown"]
