"""`python -m gpu_check.command` from outside: one sentence without a GPU, one record with all of it with one."""

import json
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dlbench.record.collection import read_records
from dlbench.record.schema import Process, Telemetry
from gpu_check.files import choose, slug
from gpu_check.gpu_tests import gpu_tests, marked

from .conftest import MACHINE, ROOT, STAND_IN

CHECK = ("-P", "-m", "gpu_check.command", "--backend", STAND_IN, "--part")
QUICK = ("--rounds", "1", "--seconds", "0.3")
PASSING = """
import pytest
pytestmark = pytest.mark.gpu
def test_that_passes(): pass
def test_that_is_skipped(): pytest.skip("no such thing")
"""


@pytest.fixture
def root(place):
    """A checkout of a project whose tests on a GPU are few."""
    (place.folder / "tests").mkdir()
    (place.folder / "tests" / "test_some.py").write_text(PASSING)
    (place.folder / "tests" / "test_broken.py").write_text("import nowhere_to_be_found")
    (place.folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n")
    return place.folder


def test_without_a_gpu_it_says_so_in_one_sentence_and_does_nothing(place):
    place.environment["STAND_IN_CUDA"] = ""
    place.environment["CUDA_VISIBLE_DEVICES"] = ""
    told = place.run(*CHECK, "tiny.toml:4", expect=4)
    assert 1 == len(told.strip().splitlines())
    assert told.startswith("no GPU to check: the driver has Stub H200, ")
    assert "cuda_stand_in:Adapter: the stand-in was given none" in told
    assert not (place.folder / "docs").exists()


def test_one_command_leaves_one_record_with_tests_cases_and_telemetry(place, root, tiny_file):
    part = (f"{tiny_file}:4", "--part", f"{tiny_file}:8,16")
    told = place.run(*CHECK, *part, *QUICK)
    assert "Tests on the GPU: 1 passed, 0 failed, 1 skipped." in told
    today = datetime.now(UTC).date().isoformat()
    (record,) = root.glob("docs/results/*.jsonl")
    (page,) = root.glob("docs/results/*.md")
    (tests,) = root.glob("docs/results/*.tests.json")
    assert f"{today}-gpu-11111111-aaaa" == record.stem == page.stem
    assert (
        f"to commit: docs/results/{record.name} docs/results/{page.name} docs/results/{tests.name}"
        in told
    )
    first, second = read_records(record)
    assert {
        "tests/test_some.py::test_that_passes": "passed",
        "tests/test_some.py::test_that_is_skipped": "skipped",
    } == json.loads(tests.read_text())["results"]
    for each, batches in ((first, {4}), (second, {8, 16})):
        lines = [line for line in each.lines if isinstance(line, Process)]
        rows = {(line.case.backend, line.case.device) for line in lines}
        assert {("numpy", "cpu"), (STAND_IN, "cuda")} == rows
        assert batches == {line.case.batch for line in lines}
        assert any(isinstance(line, Telemetry) and line.traces for line in each.lines)
    text = page.read_text("utf-8")
    assert "Tests on the GPU: 1 passed" in text
    assert 2 == text.count("### tiny ·")
    assert "remaining" not in text

    # the same words find nothing to do
    before = record.read_bytes()
    again = place.run(*CHECK, *part, *QUICK)
    assert "complete: 12 cases" in again
    assert "Tests on" not in again
    assert before == record.read_bytes()

    # and dlbench report shows all of it
    shown = subprocess.run(
        [Path(sys.executable).with_name("dlbench"), "report", record, "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = json.loads(shown.stdout)
    rows = told["rows"]
    assert {f"{record.name}#1", f"{record.name}#2"} == {row["record"] for row in rows}
    assert 12 == sum(row["median_s"] is not None for row in rows)
    # several batch sizes in one run show from which on the GPU is faster
    assert {("cuda", (8, 16))} == {
        (each["device"], tuple(point["batch"] for point in each["points"]))
        for each in told["crossovers"]
    }


def test_a_limit_that_comes_first_leaves_a_page_that_says_what_is_missing(place, root, tiny_file):
    words = (f"{tiny_file}:4", *QUICK, "--no-tests")
    with place.start(*CHECK, *words, "--quiet", start_new_session=True) as running:
        record = place.folder / "docs" / "results"
        while not any(b'"process"' in path.read_bytes() for path in record.glob("*.jsonl")):
            assert running.poll() is None
        # as a job that is cancelled
        running.send_signal(signal.SIGTERM)
        _, told = running.communicate(timeout=300)
    assert 130 == running.returncode, told
    (count,) = re.findall(
        r"^(\d) cases? remaining; run the same command to resume", told, re.MULTILINE
    )
    (page,) = root.glob("docs/results/*.md")
    assert f"**Incomplete: {count} case" in page.read_text("utf-8")
    assert "complete: 4 cases" in place.run(*CHECK, *words)
    assert "remaining" not in page.read_text("utf-8")


def test_the_plan_alone_measures_nothing(place, tiny_file):
    told = place.run(*CHECK, f"{tiny_file}:4", "--plan")
    assert "tiny at batch 4: 4 cases, 4 remaining" in told
    assert not (place.folder / "docs").exists()


@pytest.mark.parametrize("word", ["tiny", ":4", "tiny:x", "tiny:0", "tiny:4,", "tiny:4:fp32:x"])
def test_a_part_that_is_none_is_told(place, word):
    assert f"--part '{word}' is not SUITE:BATCH,…" in place.run(*CHECK, word, expect=2)


def test_only_files_with_the_marker_are_collected(root):
    assert ["test_some.py"] == [path.name for path in marked(root)]
    # the project's own are found too
    assert "test_cuda_sessions.py" in [path.name for path in marked(ROOT)]


def test_tests_that_are_stopped_are_continued_by_the_next_slice_and_none_runs_twice(root):
    slow = PASSING + "def test_that_waits():\n    import time; time.sleep({})\n"
    (root / "tests" / "test_some.py").write_text(slow.format(600))
    first = gpu_tests(root, 8.0)
    assert (False, "stopped after 8 s") == (first.finished, first.reason)
    assert ["passed", "skipped"] == [*first.results.values()]
    assert "1 passed, 0 failed, 1 skipped (incomplete: stopped after 8 s)" in first.sentence
    hanging = gpu_tests(root, 8.0, first)
    assert (True, "no test ended within 8 s") == (hanging.finished, hanging.reason)

    (root / "tests" / "test_some.py").write_text(
        slow.format(0).replace("def test_that_passes(): pass", "def test_that_passes(): 1 / 0")
    )
    last = gpu_tests(root, 60.0, first)
    assert last.finished
    assert ["passed", "skipped", "passed"] == [*last.results.values()]
    assert "2 passed, 0 failed, 1 skipped." in last.sentence
    assert last == gpu_tests(root, 60.0, last)


def test_a_project_without_such_tests_says_so(tmp_path):
    (tmp_path / "tests").mkdir()
    found = gpu_tests(tmp_path, 4.0)
    assert (
        "No test was run on the GPU: no tests are marked gpu in the folder tests." == found.sentence
    )
    assert not found.finished


def test_failures_and_errors_are_named_with_their_first_line(root):
    broken = (
        "import pytest\npytestmark = pytest.mark.gpu\ndef test_it(): raise ValueError('a\\nb')\n"
    )
    broken += "@pytest.fixture\ndef lost(): raise OSError('gone')\ndef test_other(lost): pass\n"
    (root / "tests" / "test_some.py").write_text(broken)
    (root / "tests" / "test_broken.py").write_text("import nowhere_to_be_found  # mark.gpu\n")
    found = gpu_tests(root, 60.0)
    assert "Tests on the GPU: 0 passed, 1 failed, 0 skipped." == found.sentence
    assert [
        "tests/test_broken.py: failed: E   ModuleNotFoundError: No module named 'nowhere_to_be_found'"
    ] == found.problems
    (root / "tests" / "test_broken.py").unlink()
    found = gpu_tests(root, 60.0)
    assert [
        "tests/test_some.py::test_it: failed: ValueError: a",
        "tests/test_some.py::test_other: failed: OSError: gone",
    ] == found.problems


def test_a_device_gives_the_record_its_name():
    assert "nvidia-h200" == slug("NVIDIA H200, GPU-8f2c11d0")
    assert "nvidia-a100-mig-1g-10gb" == slug("NVIDIA A100 MIG 1g.10gb, MIG-1")
    assert "gpu" == slug("")


def test_a_record_of_another_machine_is_left_alone(tmp_path):
    def chosen():
        return choose(tmp_path, "h200", "2026-11-20", [], MACHINE).name

    assert "2026-11-20-h200.jsonl" == chosen()
    header = {"kind": "header", "schema": 1, "dlbench": "another"}
    header["created"] = "2026-11-20T12:00:00Z"
    names = ("suite", "description", "workload_digest")
    header |= dict.fromkeys(names, "") | {"workload": {}, "cases": []}
    numbers = ("parameter_count", "forward_flops", "training_flops", "seed", "rounds", "budget_s")
    header |= dict.fromkeys(numbers, 1)
    header["data"] = {"name": "", "source": "", "fingerprint": "", "stand_in": False}
    fields = {name: getattr(MACHINE, name) for name in MACHINE.__struct_fields__}
    header["machine"] = fields
    (tmp_path / "2026-11-20-h200.jsonl").write_text(json.dumps(header) + "\n")
    assert "2026-11-20-h200-2.jsonl" == chosen()


def test_the_tests_on_a_gpu_hold_where_a_gpu_is_what_it_says(place):
    trial = {
        "backends": [STAND_IN],
        "suites": ["smoke"],
        "timed": "smoke",
        "batch": 16,
        "seconds": 0.8,
    }
    place.environment["DLBENCH_GPU_TRIAL"] = json.dumps(trial)
    place.environment["STAND_IN_STEP_S"] = "0.001"
    place.environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    file = Path(ROOT, "tests", "gpu", "test_cuda_sessions.py")
    # that two runs take as long to two percent is not to be asked of a machine that others use
    words = ("-m", "pytest", "-m", "gpu", "-q", "-rs", "-p", "no:cacheprovider", file)
    with place.start(*words, "-k", "not second_run") as process:
        told, _ = process.communicate(timeout=600)
    assert 0 == process.returncode, told
    # where others keep the sampler from its turn, so short windows hold no energy
    assert "5 passed, 1 skipped" in told or "no energy counter that moves" in told, told
    assert "no device clock" in told
