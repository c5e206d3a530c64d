"""The kernels written here under NVIDIA's compute-sanitizer, where it is installed: accesses outside of memory, and
races for shared memory as only a GPU has them.

It makes kernels many times slower, so it sees each kernel once, on small arrays.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from dlbench.text import plural
from gpu_check.gpu_tests import GpuTests, run_pytest

PROGRAM = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck")
TESTS = "tests/cupy/test_gpu.py"
_CHOSEN = "recorded_launch"
_FOUND = 86
"""The exit status asked of it after an error; pytest has none like it."""


def sanitized(found: GpuTests, root: Path, limit_s: float) -> GpuTests:
    """`found` with the report of each tool; an error that one finds counts as a failed test.

    Parameters
    ----------
    found : the tests' results. Nothing is added where there are none.
    root : the checkout.
    limit_s : how long this may take.
    """
    if not found.results or not (root / TESTS).exists():
        return found
    program = shutil.which(PROGRAM)
    if program is None:
        return msgspec.structs.replace(found, sanitizer=f"{PROGRAM} is not on the PATH.")
    reports, failures = [], {}
    for tool in TOOLS:
        run, status = run_pytest(
            ("-k", _CHOSEN, TESTS),
            root,
            max(limit_s, 0.0) / len(TOOLS),
            before=(program, "--tool", tool, "--error-exitcode", str(_FOUND)),
            variables={"DLBENCH_UNPOOLED": "1"},
        )
        report = _verdict(run, status)
        reports.append(f"{tool} {report}")
        if status == _FOUND or run.problems:
            failures[f"{PROGRAM} {tool}"] = f"failed: {report}"
    return msgspec.structs.replace(
        found,
        results=found.results | failures,
        sanitizer=f"{PROGRAM}: {'; '.join(reports)}.",
    )


def _verdict(run: GpuTests, status: int | None) -> str:
    if status == _FOUND:
        return "found errors, which it printed"
    if run.problems:
        return f"ran with {plural(len(run.problems), 'failed test')}: {run.problems[0]}"
    passed = [*run.results.values()].count("passed")
    if passed and run.finished and status == 0:
        return f"found nothing in {plural(passed, 'test')}"
    return f"has no result: {run.reason or 'no test ran'}"
