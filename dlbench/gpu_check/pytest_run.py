"""Runs the tests that need a GPU in a process of their own, and says in one line of the record what came of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

import msgspec

from dlbench.gpu_tests import GpuTests

MARK = "mark.gpu"
NEEDS = ("pytest", "hypothesis")
_LEAVE_S = 10.0


def gpu_tests(root: Path, limit_s: float) -> GpuTests:
    """What `pytest -m gpu` says.

    Only files that hold the marker are collected: the others may need what a machine with a GPU has not got.

    Parameters
    ----------
    root : a checkout, with ``pyproject.toml`` and ``tests``.
    limit_s : after so long the tests are stopped; those that are through count.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        return GpuTests(False, f"{' and '.join(missing)} not installed")
    files = marked(root)
    if not files:
        return GpuTests(False, "there are no tests marked gpu in the folder tests")
    return run_pytest([*map(str, files)], root, limit_s)[0]


def run_pytest(
    words: Sequence[str],
    root: Path,
    limit_s: float,
    before: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[GpuTests, int | None]:
    """What `pytest -m gpu` says with these words, and its exit status, None where it was stopped.

    Parameters
    ----------
    root : the folder it runs in.
    limit_s : after so long it is stopped; the tests that are through count.
    before : a program that starts Python, with its arguments.
    variables : of the environment, besides what is there.
    """
    with tempfile.TemporaryDirectory(prefix="dlbench-") as folder:
        told = Path(folder) / "tests.xml"
        command = [*before, sys.executable, "-P", "-m", "pytest", "-m", "gpu", "-q", "--tb=short"]
        command += ["-p", "no:cacheprovider", f"--junitxml={told}", *words]
        # plug-ins of the machine's own would bring their warnings, which are errors here
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
        began_s = time.monotonic()
        status = _run(command, root, environment, limit_s)
        seconds = round(time.monotonic() - began_s, 1)
        stopped = f"stopped after {limit_s:.0f} s" if status is None else ""
        try:
            found = read_junit(told.read_text("utf-8"), stopped=bool(stopped))
        except (OSError, ElementTree.ParseError):
            reason = stopped or "pytest ended without a result"
            return GpuTests(False, reason, seconds=seconds), status
    seen = msgspec.structs.replace(found, finished=not stopped, reason=stopped, seconds=seconds)
    return seen, status


def marked(root: Path) -> list[Path]:
    """The test files of a checkout that have tests on a GPU."""
    return [
        path
        for path in sorted((root / "tests").rglob("test_*.py"))
        if MARK in path.read_text("utf-8")
    ]


def read_junit(text: str, *, stopped: bool = False) -> GpuTests:
    """Counts and problems of a JUnit file; errors count as failures.

    Parameters
    ----------
    stopped : the tests were; then the last one, if nothing is said of it, may be the one that was going on, which
        pytest lists like one that passed, and does not count.

    Raises
    ------
    ElementTree.ParseError : it is none.
    """
    cases = list(ElementTree.fromstring(text).iter("testcase"))
    if stopped and cases and not len(cases[-1]):
        cases.pop()
    skipped = [case for case in cases if case.find("skipped") is not None]
    wrong = []
    for case in cases:
        trouble = case.find("failure")
        trouble = case.find("error") if trouble is None else trouble
        if trouble is not None:
            first = (trouble.get("message") or "").strip().partition("\n")[0]
            wrong.append(f"{case.get('classname')}::{case.get('name')}: {first}")
    return GpuTests(
        finished=True,
        passed=len(cases) - len(skipped) - len(wrong),
        failed=len(wrong),
        skipped=len(skipped),
        problems=tuple(wrong),
    )


def _run(command: list[str], root: Path, environment: dict[str, str], limit_s: float) -> int | None:
    """The exit status; None where it was stopped. What it says goes to stderr."""
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=sys.stderr, start_new_session=True
    ) as child:
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            # as Ctrl-C: pytest still writes what it knows
            os.kill(child.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LEAVE_S)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
