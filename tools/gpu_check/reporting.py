"""A pytest plug-in: writes each test's result into a file as soon as it is known, and leaves out what is known already.

`gpu_check.gpu_tests` names the file in the environment variable `RESULTS`, and the known tests in `KNOWN`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

RESULTS = "DLBENCH_GPU_TEST_RESULTS"
KNOWN = "DLBENCH_GPU_TESTS_KNOWN"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out the tests whose results are known."""
    known = json.loads(os.environ.get(KNOWN, "[]"))
    items[:] = [item for item in items if item.nodeid not in known]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Writes how a test ended."""
    if report.when == "call" or not report.passed:
        _write(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Writes which file cannot be imported."""
    if report.failed:
        _write(report)


def _write(report: pytest.TestReport | pytest.CollectReport) -> None:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = getattr(crash, "message", None) or report.longreprtext
    lines = message.strip().splitlines() or ["no message"]
    # of an import that failed the last line says why
    line = lines[-1] if isinstance(report, pytest.CollectReport) else lines[0]
    result = {"failed": f"failed: {line}"}.get(report.outcome, report.outcome)
    with Path(os.environ[RESULTS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([report.nodeid, result]) + "\n")
