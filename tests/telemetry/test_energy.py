"""The energy of a training: by counters, by power, and why there is none."""

import json
import sys
from pathlib import Path

import pytest

from dlbench.contract import Device
from dlbench.record.file import read_record
from dlbench.record.schema import Energy, Trace, Training
from dlbench.telemetry.energy import rapl
from dlbench.telemetry.energy.meter import check, energy_in, metering
from dlbench.telemetry.log import Log, Refused
from dlbench.telemetry.windows import Window

RATE = "training.optimizer.learning_rate"
SECOND_NS = 1_000_000_000


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """A tree as the kernel shows it: two packages, a part of one, and the platform that holds them."""
    root = tmp_path / "powercap"
    names = {
        "intel-rapl:0": "package-0",
        "intel-rapl:0:0": "core",
        "intel-rapl:1": "package-1",
        "intel-rapl:2": "psys",
        "intel-rapl": None,
    }
    for zone, name in names.items():
        (root / zone).mkdir(parents=True)
        if name is not None:
            (root / zone / "name").write_text(f"{name}\n")
            (root / zone / "energy_uj").write_text("5000000\n")
            (root / zone / "max_energy_range_uj").write_text("7999999\n")
    monkeypatch.setattr(rapl, "POWERCAP", root)
    return root


def test_packages_are_added_up_also_where_their_counters_begin_again(powercap):
    log, probe = Log(), rapl.probe(powercap)
    for first, second in ((5_500_000, 5_000_000), (500_000, 6_000_000)):
        (powercap / "intel-rapl:0" / "energy_uj").write_text(f"{first}\n")
        (powercap / "intel-rapl:1" / "energy_uj").write_text(f"{second}\n")
        probe.read(log)
    assert (0.5, 4.5) == log.traces()["energy_j"].values


def test_a_processor_without_rapl_is_refused_with_what_it_takes(powercap):
    check(Device("cpu", ""))
    for zone in ("intel-rapl:0", "intel-rapl:1"):
        (powercap / zone / "name").write_text("dram\n")
    with pytest.raises(Refused, match=r"no package of RAPL in .*a machine that is not virtual"):
        check(Device("cpu", ""))
    with metering(Device("cpu", "")) as meter:
        pass
    assert meter.energy([Window(0, SECOND_NS)]).reason.startswith("there is no package of RAPL")
    with pytest.raises(Refused, match="the energy of a device of the kind 'opencl'"):
        check(Device("opencl:0", ""))


def test_energy_is_by_the_counter_where_it_has_steps_enough_and_else_by_power():
    windows = [Window(SECOND_NS, 2 * SECOND_NS), Window(3 * SECOND_NS, 5 * SECOND_NS)]
    times = tuple(range(0, 6 * SECOND_NS, SECOND_NS // 50))
    fine = Trace(times, tuple(100 * t / SECOND_NS for t in times))
    coarse = Trace(times, tuple(100.0 * (t // SECOND_NS) for t in times))
    power = Trace(times, (90.0,) * len(times))
    by_counter = energy_in({"energy_j": fine, "power_instant_w": power}, windows)
    assert ("counter", pytest.approx((100.0, 200.0))) == (by_counter.source, by_counter.joules)
    by_power = energy_in({"energy_j": coarse, "power_instant_w": power}, windows)
    assert ("power", pytest.approx((90.0, 180.0))) == (by_power.source, by_power.joules)
    short = energy_in({"energy_j": coarse}, windows)
    assert (
        Energy(reason="2 epochs in 3 s are too short for what the device tells of its energy")
        == short
    )
    # what was read does not reach over the windows
    assert energy_in({"energy_j": Trace(times[:100], fine.values[:100])}, windows).reason


@pytest.fixture
def tune(stubbed):
    """A search for the least energy, on a stand-in for a GPU."""

    def tune(changes=(), driver="new"):
        where = stubbed(changes, driver)
        where.environment["STAND_IN_CUDA"] = "GPU-11111111-aaaa"
        where.environment["STAND_IN_STEP_S"] = "0.01"
        words = [
            "tune",
            "--suite",
            "smoke",
            "--backend",
            "cuda_stand_in:Adapter",
            "--data",
            "digits",
        ]
        words += ["--over", f"{RATE}=0.01,0.05", "--objective", "joules", "--target", "1%"]
        words += ["--trials", 2, "--threads", 1, "--format", "json", "--output", "t"]
        return where.run(Path(sys.executable).with_name("dlbench"), *words), where.state / "t"

    return tune


def test_a_search_finds_the_point_that_takes_the_least_energy(tune):
    done, folder = tune()
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert "joules" == found["objective"]
    spent = []
    for path in sorted(folder.glob("*.jsonl")):
        [training] = [line for line in read_record(path).lines if isinstance(line, Training)]
        spent.append(sum(training.energy.joules))
        # 310 W by power, 300 W by the counter
        assert 240 < spent[-1] / sum(training.epoch_s) < 360
    # both may be at the same point
    assert set(spent) == {trial["value"] for trial in found["trials"]}
    assert min(spent) == found["trials"][found["best"]]["value"]


@pytest.mark.parametrize(
    ("changes", "driver", "why"),
    [
        (dict.fromkeys(("*.energy", "*.power_instant", "*.power_average")), "new", "Not Supported"),
        ({}, None, "no NVIDIA driver"),
    ],
)
def test_without_energy_a_search_is_refused_before_anything_is_trained(tune, changes, driver, why):
    done, folder = tune(changes, driver)
    assert 4 == done.returncode
    assert "error: the energy of cuda_stand_in:Adapter:cuda/train/" in done.stderr
    assert f"cannot be read: {why}" in done.stderr
    assert "--objective time-to-accuracy" in done.stderr
    assert [] == list(folder.glob("*.jsonl"))
