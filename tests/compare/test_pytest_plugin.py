"""The pytest plug-in from outside: sessions of their own, on real cases."""

import json
import subprocess
import sys

import pytest

TESTS = """
import pytest

@pytest.mark.dlbench("smoke", backends=["numpy", "absent:Adapter"], scenarios={scenarios},
                     rounds=2, budget_s=0.2, threads=1)
def test_step(dlbench_case):
    assert dlbench_case.verified

def test_other():
    pass
"""
ABSENT = """
from dlbench.contract import AdapterBase
from dlbench.errors import BackendUnavailable

class Adapter(AdapterBase):
    def info(self):
        raise BackendUnavailable("no such device here", "buy one")
    def open(self, plan, workload, weights):
        raise AssertionError("it said that there is none")
"""
PROGRAM = "from dlbench.cli.main import main; main()"
TRAIN = "test_speed.py::test_step[numpy:cpu/train/16]"
INFER = "test_speed.py::test_step[numpy:cpu/infer/16]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("session")
    (folder / "test_speed.py").write_text(TESTS.format(scenarios=["train", "infer"]))
    (folder / "absent.py").write_text(ABSENT)
    return folder


def session(folder, *words, **files):
    """A pytest session in a folder, in which any warning is an error."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-rs"]
    return subprocess.run(
        [*command, *words], cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.fixture(scope="module")
def measured(folder):
    """A session that measures and writes a file."""
    done = session(folder, "test_speed.py", "--benchmark-json=a.json", "--benchmark-save=a")
    assert 0 == done.returncode, done.stdout + done.stderr
    return done, json.loads((folder / "a.json").read_text())


def test_cases_are_benchmarks_with_what_the_workers_measured(measured):
    done, found = measured
    assert "3 passed, 2 skipped" in done.stdout
    benchmarks = {each["fullname"]: each for each in found["benchmarks"]}
    assert {TRAIN, INFER} == benchmarks.keys()
    assert {"smoke train, batch 16", "smoke infer, batch 16"} == {
        each["group"] for each in found["benchmarks"]
    }
    for each in found["benchmarks"]:
        extra = each["extra_info"]
        assert (True, "fp32", "cpu") == (extra["verified"], extra["precision"], extra["device"])
        assert 2 == each["stats"]["rounds"]
        assert list(extra["dlbench"]["processes_s"]) == each["stats"]["data"]
        low, high = extra["interval_s"]
        assert low <= each["stats"]["median"] <= high
        assert 1e-6 < each["stats"]["min"]


def test_a_backend_that_cannot_run_is_skipped_with_what_would_help(measured):
    done, _ = measured
    assert "no such device here" in done.stdout
    assert "buy one" in done.stdout


def test_dlbench_compare_reads_the_plugins_file_as_processes(measured, folder):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "compare", "a.json", "a.json", "--format=json"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    found = json.loads(done.stdout)
    assert {"2 and 2 processes"} == {case["over"] for case in found["cases"]}


def test_a_case_that_vanished_fails_a_comparison_that_is_to_fail(measured, folder):
    fewer = TESTS.format(scenarios=["train"])
    words = ("--benchmark-compare=0001", "--benchmark-compare-fail=median:100000%")
    try:
        done = session(folder, "test_speed.py", *words, test_speed=fewer)
    finally:
        (folder / "test_speed.py").write_text(TESTS.format(scenarios=["train", "infer"]))
    assert 1 == done.returncode, done.stdout
    assert f"{INFER} is in the earlier file and was not measured now" in done.stdout
    assert "0001_a" in done.stdout


def test_only_benchmarks_can_be_chosen_and_left_out(folder):
    left_out = session(folder, "test_speed.py", "--benchmark-skip")
    assert "1 passed, 4 skipped" in left_out.stdout
    chosen = session(folder, "test_speed.py", "--benchmark-only", "--collect-only", "-q")
    assert 0 == chosen.returncode
    assert TRAIN in chosen.stdout


def test_with_benchmarks_disabled_cases_are_verified_and_not_timed(folder):
    done = session(folder, "test_speed.py", "--benchmark-disable")
    assert 0 == done.returncode, done.stdout
    assert "3 passed, 2 skipped" in done.stdout
    assert "Rounds" not in done.stdout


def test_a_case_that_is_wrong_or_has_no_timing_fails(folder):
    wrong = """
import pytest

@pytest.mark.dlbench("smoke", backends=["broken_adapters:Half"], scenarios=["train"], rounds=1)
def test_wrong(dlbench_case):
    pass

@pytest.mark.dlbench("smoke", backends=["numpy"], scenarios=["infer"], rounds=0, threads=1)
def test_untimed(dlbench_case):
    pass
"""
    broken = """
from dlbench.backends.numpy.adapter import Adapter

class Half(Adapter):
    def open(self, *arguments, **more):
        raise RuntimeError("half of it is missing")
"""
    done = session(folder, "test_wrong.py", test_wrong=wrong, broken_adapters=broken)
    assert 1 == done.returncode
    assert "2 errors" in done.stdout
    assert "has no timing: rounds is 0" in done.stdout
    assert "broken_adapters:Half:cpu/train/16 is failed" in done.stdout


MODES = """
from dlbench.backends.numpy.adapter import Adapter

class Both(Adapter):
    def info(self):
        import dataclasses
        return dataclasses.replace(super().info(), modes=("lazy", "keen"))
    def open(self, plan, workload, weights):
        import dataclasses
        assert plan.mode in ("lazy", "keen")
        return super().open(dataclasses.replace(plan, mode=""), workload, weights)
"""
OF_MODES = """
import pytest

@pytest.mark.dlbench("smoke", backends=["of_modes:Both"], scenarios=["infer"], rounds=2, budget_s=0.1,
                     threads=1{more})
def test_step(dlbench_case):
    assert dlbench_case.verified
"""


def test_modes_that_are_chosen_are_cases_of_their_own(tmp_path):
    source = OF_MODES.format(more=', modes=["lazy", "keen"]')
    done = session(
        tmp_path, "test_modes.py", "--benchmark-json=a.json", test_modes=source, of_modes=MODES
    )
    assert 0 == done.returncode, done.stdout
    found = json.loads((tmp_path / "a.json").read_text())["benchmarks"]
    assert [f"of_modes:Both:cpu/{mode}/infer/16" for mode in ("lazy", "keen")] == [
        each["params"]["dlbench_case"] for each in found
    ]
    one, other = (each["extra_info"]["dlbench"] for each in found)
    assert one["processes_s"] != other["processes_s"]


def test_a_backend_with_several_modes_of_which_none_is_chosen_runs_in_its_first(tmp_path):
    source = OF_MODES.format(more="")
    done = session(
        tmp_path, "test_modes.py", "--benchmark-json=a.json", test_modes=source, of_modes=MODES
    )
    assert 0 == done.returncode, done.stdout
    [found] = json.loads((tmp_path / "a.json").read_text())["benchmarks"]
    assert "of_modes:Both:cpu/infer/16" == found["params"]["dlbench_case"]
    assert found["extra_info"]["dlbench"]["processes_s"]


def test_processes_of_pytest_xdist_time_nothing_beside_each_other(tmp_path):
    source = TESTS.format(scenarios=["train", "infer"])
    words = ("-n", "2", "--benchmark-enable", "-W", "ignore")
    files = {"test_speed": source, "absent": ABSENT}
    done = session(tmp_path, "test_speed.py", *words, "--benchmark-json=a.json", **files)
    assert 0 == done.returncode, done.stdout
    assert "3 passed, 2 skipped" in done.stdout
    assert "Rounds" not in done.stdout


# what is wrong with a test, and what is said about it
WRONG = {
    'dlbench("smoke")\ndef test_a(): pass': "does not take the fixture",
    "filterwarnings()\ndef test_b(dlbench_case): pass": "is not marked with a suite",
    'dlbench("smokke")\ndef test_c(dlbench_case): pass': "smokke",
    "dlbench()\ndef test_d(dlbench_case): pass": "needs a suite",
    'dlbench("smoke", size=3)\ndef test_e(dlbench_case): pass': "does not know size",
    'dlbench("smoke", backends="numpy")\ndef test_f(dlbench_case): pass': "must be a list",
    'dlbench("smoke", backends=["numpi"])\ndef test_g(dlbench_case): pass': "'numpi' is unknown",
    'dlbench("smoke", backends=[])\ndef test_i(dlbench_case): pass': "backends is empty",
    'dlbench("smoke", rounds=-1)\ndef test_h(dlbench_case): pass': "rounds must be",
}


def test_a_mark_that_cannot_be_carried_out_is_an_error_that_says_why(tmp_path):
    files = {
        f"test_{number}": f"import pytest\n\n@pytest.mark.{source}\n"
        for number, source in enumerate(WRONG)
    }
    done = session(tmp_path, "--continue-on-collection-errors", **files)
    assert 1 == done.returncode
    assert [] == [said for said in WRONG.values() if said not in done.stdout]
    assert "passed" not in done.stdout
    assert "Traceback" not in done.stdout


def test_without_pytest_benchmark_the_mark_says_what_to_install(tmp_path):
    source = 'import pytest\n\n@pytest.mark.dlbench("smoke")\ndef test_a(dlbench_case): pass\n'
    done = session(tmp_path, "test_a.py", "-p", "no:benchmark", test_a=source)
    assert 0 != done.returncode
    assert "pip install 'dlbench[pytest]'" in done.stdout + done.stderr


def test_plain_tests_load_nothing_of_dlbench_and_need_no_pytest_benchmark(tmp_path):
    source = """
import sys

def test_a():
    loaded = {name for name in sys.modules if name.startswith("dlbench")}
    assert {"dlbench", "dlbench.pytest_plugin"} == loaded
    assert "numpy" not in sys.modules
"""
    done = session(tmp_path, "test_a.py", "-p", "no:benchmark", test_a=source)
    assert 0 == done.returncode, done.stdout
