"""`dlbench doctor` says which telemetry there is, and why not the rest."""

import pytest

COMMAND = ("-c", "from dlbench.telemetry.doctor import describe_telemetry as d; print(d())")
GPM = {"*.gpm": 1, "*.gpm.2": 40}


def told(where):
    return where.run(*COMMAND).stdout


@pytest.mark.parametrize(
    ("changes", "driver", "words"),
    [
        ({}, None, "NVIDIA  no telemetry: no NVIDIA driver: libnvidia-ml.so.1 is not there"),
        ({"init": 9}, "new", "NVIDIA  no telemetry: the NVIDIA driver is not loaded"),
        ({"devices": ""}, "new", "NVIDIA  no telemetry: the driver reports no device"),
        ({"*.handle": 4}, "new", "device 1 of the driver: Insufficient Permissions"),
    ],
)
def test_without_a_device_it_says_what_is_missing(stubbed, changes, driver, words):
    shown = told(stubbed(changes, driver))
    assert words in shown


@pytest.mark.parametrize(
    "changes", [{"init": "hang"}, {"*.handle": "hang"}, {"*.temperature": "hang"}], ids=str
)
def test_a_driver_that_does_not_answer_is_named(stubbed, changes):
    impatient = f"from dlbench.telemetry import nvml; nvml.PATIENCE_S = 0.3\n{COMMAND[1]}"
    shown = stubbed(changes).run("-c", impatient).stdout
    assert "NVIDIA  no telemetry: the NVIDIA driver did not answer for" in shown


def test_each_device_and_each_slice_has_its_metrics_and_the_reasons_of_the_rest(stubbed):
    shown = told(
        stubbed(
            GPM
            | {
                "GPU-11111111-aaaa.power_instant": "error 4",
                "GPU-22222222-bbbb.mig": "MIG-33333333-cccc",
                "MIG.name": "Slice",
                "MIG.memory": 1,
            }
        )
    )
    first, rest = shown.split("GPU-22222222-bbbb", 1)
    has = first.split("GPU-11111111-aaaa:")[1].splitlines()[0]
    assert {"power_average_w", "energy_j", "gpm_sm", "sm_clock_mhz"} <= set(has.strip().split(", "))
    assert "unavailable: power_instant_w (" in first
    assert "other_processes, neighbour_processes (known only while a case is timed)" in first
    slice_has = rest.split("Slice MIG-33333333-cccc:")[1].splitlines()[0]
    assert "memory_used_bytes" == slice_has.strip()
