"""What compute-sanitizer finds in the kernels is added to the results of the tests on the GPU."""

import os

import pytest

from gpu_check.gpu_tests import GpuTests
from gpu_check.sanitizer import TESTS, sanitized

TOLD = GpuTests({"a": "passed"}, finished=True)
SMALL = """
import os, pytest
pytestmark = pytest.mark.gpu
def test_every_recorded_launch(): {body}
def test_of_whole_suites(): raise AssertionError("too slow for this")
"""


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Makes a checkout with such a test, and a compute-sanitizer that a shell script stands in for."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)

    def make(body="pass", script='shift 4; "$@"'):
        (tmp_path / TESTS).parent.mkdir(parents=True)
        (tmp_path / TESTS).write_text(SMALL.format(body=body))
        (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: x\n")
        (tmp_path / "bin").mkdir()
        program = tmp_path / "bin" / "compute-sanitizer"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return tmp_path

    return make


def test_both_tools_run_the_recorded_launches_without_a_pool_of_memory(checkout):
    body = 'assert os.environ["DLBENCH_UNPOOLED"] == "1"'
    root = checkout(body, 'echo "$1 $2 $3 $4" >> asked; shift 4; "$@"')
    found = sanitized(TOLD, root, 60)
    assert (
        "compute-sanitizer: memcheck found nothing in 1 test; racecheck found nothing in 1 test."
        == (found.sanitizer)
    )
    assert TOLD.results == found.results
    assert found.sentence.endswith(found.sanitizer)
    asked = (root / "asked").read_text().splitlines()
    tools = ("memcheck", "racecheck")
    assert [f"--tool {tool} --error-exitcode 86" for tool in tools] == asked


def test_what_a_tool_finds_is_a_failed_test(checkout):
    root = checkout(script='tool=$2; shift 4; "$@"; [ $tool = memcheck ] || exit 86')
    found = sanitized(TOLD, root, 60)
    assert ["compute-sanitizer racecheck: failed: found errors, which it printed"] == found.problems
    assert "memcheck found nothing in 1 test; racecheck found errors" in found.sanitizer


def test_a_test_that_fails_under_a_tool_is_told(checkout):
    found = sanitized(TOLD, checkout("assert False, 'other numbers'"), 60)
    assert 2 == len(found.problems)
    assert "memcheck: failed: ran with 1 failed test" in found.problems[0]
    assert "other numbers" in found.problems[0]


def test_tests_that_were_skipped_or_stopped_prove_nothing(checkout):
    found = sanitized(TOLD, checkout("pytest.skip('no compiler')"), 60)
    assert [] == found.problems
    assert "memcheck has no result: no test ran" in found.sanitizer


def test_a_tool_that_takes_too_long_is_stopped(checkout):
    found = sanitized(TOLD, checkout("import time; time.sleep(60)"), 5)
    assert "memcheck has no result: stopped after 2 s" in found.sanitizer
    assert [] == found.problems


def test_without_the_program_it_is_named(checkout, monkeypatch):
    root = checkout()
    (root / "bin" / "compute-sanitizer").unlink()
    monkeypatch.setenv("PATH", str(root / "bin"))
    assert "compute-sanitizer is not on the PATH." == sanitized(TOLD, root, 60).sanitizer


def test_a_checkout_without_such_kernels_and_tests_that_say_nothing_are_left_as_they_are(
    checkout, tmp_path
):
    assert TOLD == sanitized(TOLD, tmp_path, 60)
    nothing = GpuTests(reason="pytest not installed")
    assert nothing == sanitized(nothing, checkout(), 60)
