"""Runs the tests that need a GPU in a process of their own, in slices; the results stand beside the record as JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import msgspec

from gpu_check import reporting

MARK = "mark.gpu"
NEEDS = ("pytest", "hypothesis")
_LEAVE_S = 10.0


class GpuTests(msgspec.Struct, frozen=True):
    """What `pytest -m gpu` found so far.

    `results` has ``passed``, ``skipped`` or ``failed: …`` by the test's name. `finished` is false where another
    slice would run more of them; `reason` says why not all were run. `sanitizer` is what compute-sanitizer said of
    the kernels written here, in a sentence; empty where it was not run.
    """

    results: dict[str, str] = {}
    finished: bool = False
    reason: str = ""
    sanitizer: str = ""

    @property
    def problems(self) -> list[str]:
        """Each test that failed, with the first line of the reason."""
        return [f"{name}: {each}" for name, each in self.results.items() if _failed(each)]

    @property
    def sentence(self) -> str:
        """The counts, in one line."""
        if not self.results:
            return f"No test was run on the GPU: {self.reason or 'no time left'}."
        outcomes = [result.partition(":")[0] for result in self.results.values()]
        counts = ", ".join(
            f"{outcomes.count(one)} {one}" for one in ("passed", "failed", "skipped")
        )
        more = "" if self.finished and not self.reason else f" (incomplete: {self.reason})"
        return f"Tests on the GPU: {counts}{more}. {self.sanitizer}".rstrip()


def gpu_tests(root: Path, limit_s: float, before: GpuTests = GpuTests()) -> GpuTests:
    """The results of `before`, and those of the tests that are not among them.

    Only files that hold the marker are collected: the others may need what a machine with a GPU does not have.

    Parameters
    ----------
    root : a checkout, with ``pyproject.toml`` and ``tests``.
    limit_s : after so long the tests are stopped; the results so far count.
    """
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        return msgspec.structs.replace(before, reason=f"{' and '.join(missing)} not installed")
    files = marked(root)
    if not files:
        return msgspec.structs.replace(before, reason="no tests are marked gpu in the folder tests")
    run, status = run_pytest([*map(str, files)], root, limit_s, known=[*before.results])
    if status is None and not run.results:
        # the same would happen again
        reason = f"no test ended within {limit_s:.0f} s"
        return msgspec.structs.replace(before, finished=True, reason=reason)
    return msgspec.structs.replace(run, results=before.results | run.results)


def run_pytest(
    arguments: Sequence[str],
    root: Path,
    limit_s: float,
    *,
    known: Sequence[str] = (),
    before: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[GpuTests, int | None]:
    """The results of `pytest -m gpu` with these arguments, and its exit status, None where it was stopped.

    Parameters
    ----------
    root : the folder it runs in.
    limit_s : after so long it is stopped; the results so far count.
    known : tests to leave out.
    before : a program that starts Python, with its arguments.
    variables : of the environment, besides what is there.
    """
    with tempfile.TemporaryDirectory(prefix="dlbench-") as folder:
        file = Path(folder) / "results"
        file.touch()
        command = [*before, sys.executable, "-P", "-m", "pytest", "-m", "gpu", "-q", "--tb=short"]
        command += ["-p", "no:cacheprovider", "-p", reporting.__name__, *arguments]
        paths = (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH"))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            # plug-ins of the machine's own would bring their warnings, which are errors here
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            reporting.RESULTS: str(file),
            reporting.KNOWN: json.dumps(known),
            **variables,
        }
        status = _run(command, root, environment, limit_s)
        results = dict(map(json.loads, file.read_text("utf-8").splitlines()))
    reason = f"stopped after {limit_s:.0f} s" if status is None else ""
    if status is not None and not results and not known:
        reason = "pytest ended without a result"
    return GpuTests(results, not reason, reason), status


def marked(root: Path) -> list[Path]:
    """The test files of a checkout that have tests on a GPU."""
    return [
        path
        for path in sorted((root / "tests").rglob("test_*.py"))
        if MARK in path.read_text("utf-8")
    ]


def _failed(result: str) -> bool:
    return result not in ("passed", "skipped")


def _run(command: list[str], root: Path, environment: dict[str, str], limit_s: float) -> int | None:
    """The exit status; None where it was stopped. Its output goes to stderr."""
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=sys.stderr, start_new_session=True
    ) as child:
        try:
            return child.wait(limit_s)
        except subprocess.TimeoutExpired:
            # as Ctrl-C: pytest still prints what failed
            os.kill(child.pid, signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_LEAVE_S)
            return None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
