"""Tests of which each file runs in a process of its own.

Those of the OpenCL backend, since drivers bring a compiler, and so do the frameworks that other tests have in theirs,
of other versions, and together in one process they crash. Those of TensorFlow's spans, since a process has one
profiler, which sees what other tests do.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FILES = sorted(
    file for folder in ("alone", "opencl") for file in (TESTS / folder).glob("test_*.py")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_tests_of_this_file_pass(file, request):
    marks = request.config.getoption("markexpr")
    command = [sys.executable, "-m", "pytest", "-q", "-m", marks, "--benchmark-disable", str(file)]
    environment = os.environ | {"DLBENCH_TESTS_ALONE": "1"}
    done = subprocess.run(
        command, cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False
    )
    told = done.stdout + done.stderr
    if done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED:
        pytest.skip(told.strip().splitlines()[-1])
    assert 0 == done.returncode, told[-8000:]
    assert " passed" in told or " deselected" in told, told[-8000:]
