"""Whether a GPU is at rest, asked while nothing of the run is on it."""

import json

import pytest

DOCTOR = (
    "-c",
    "from dlbench.telemetry.idle_check import disturbed_devices as d; print('\\n'.join(d(0.1)))",
)
# looks at the device of a process that has ended, as a run does while it waits
WAITING = """
import json, sys
from dlbench.record.schema import Case, Process
from dlbench.telemetry.watch import Watcher

case = Case("tiny", "train", "stand-in", sys.argv[1], 50, 1, "fp32", "")
watcher = Watcher(float(sys.argv[2]), lambda case: "nvml" if case.device == "cuda" else "")
with watcher.beside(case, 1):
    pass
facts = {"device_uuid": "11111111-aaaa"}
print(json.dumps(list(map(str, watcher.look_at_device(Process(case, 1, "ok", "", facts=facts), 0.1)))))
watcher.close()
"""
HELD_DOWN = "software thermal limit held the clocks down 100 % of the time"


@pytest.fixture
def disturbing(stubbed, tmp_path):
    """An environment with these processes on each device."""

    def disturbing(pids, changes=(), **options):
        (tmp_path / "pids").write_text(pids)
        return stubbed(changes, **options)

    return disturbing


def waiting(where, device="cuda", period_s=0.05):
    return json.loads(where.run("-c", WAITING, device, period_s).stdout)


@pytest.mark.parametrize(
    ("pids", "changes", "causes"),
    [
        ("", {}, []),
        ("4711", {}, ["1 other process on the device"]),
        ("4711 4712", {}, ["2 other processes on the device"]),
        # idling is none that holds clocks down
        ("", {"*.reasons": 1}, []),
        ("", {"GPU-11111111-aaaa.reasons": 0x20}, [HELD_DOWN]),
        # what the driver does not tell is no cause
        ("4711", {"*.processes": "error 3", "*.reasons": "error 4"}, []),
        ("4711", {"devices": "GPU-22222222-bbbb"}, []),
    ],
    ids=str,
)
def test_who_is_on_the_device_of_a_process_that_has_ended_and_what_holds_its_clocks_down(
    disturbing, pids, changes, causes
):
    assert causes == waiting(disturbing(pids, changes))


def test_an_old_driver_is_asked_in_its_own_way(disturbing):
    assert ["1 other process on the device"] == waiting(disturbing("4711", driver="old"))


def test_a_case_on_the_cpu_and_a_run_without_telemetry_look_at_no_device(disturbing):
    where = disturbing("4711")
    assert [] == waiting(where, device="cpu")
    assert [] == waiting(where, period_s=0)


def test_without_a_driver_nothing_is_said(disturbing):
    where = disturbing("4711", driver=None)
    assert [] == waiting(where)
    assert "" == where.run(*DOCTOR).stdout.strip()


def test_doctor_names_each_device_that_is_not_at_rest(disturbing):
    changes = {"GPU-22222222-bbbb.processes": "4711 4712"}
    shown = disturbing("", changes).run(*DOCTOR).stdout.strip()
    assert "GPU-22222222-bbbb: 2 other processes on the device" == shown


@pytest.mark.parametrize("changes", [{"init": "hang"}, {"*.handle": "hang"}], ids=str)
def test_doctor_goes_on_without_a_driver_that_does_not_answer(disturbing, changes):
    impatient = f"from dlbench.telemetry import nvml; nvml.PATIENCE_S = 0.3\n{DOCTOR[1]}"
    shown = disturbing("", changes).run("-c", impatient).stdout
    assert "the NVIDIA driver did not answer" in shown
