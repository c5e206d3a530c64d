"""The kernels written here under NVIDIA's compute-sanitizer, where it is installed: accesses outside of memory, and
races for shared memory as only a GPU has them.

It makes kernels many times slower, so it sees each kernel once, on small arrays.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from dlbench.gpu_check.pytest_run import run_pytest
from dlbench.gpu_tests import GpuTests
from dlbench.text import plural

PROGRAM = "compute-sanitizer"
TOOLS = ("memcheck", "racecheck")
TESTS = "tests/cupy/test_gpu.py"
_CHOSEN = "recorded_launch"
_FOUND = 86
"""The exit status that it is told to have after an error; none of pytest's."""


def sanitized(found: GpuTests, root: Path, limit_s: float) -> GpuTests:
    """`found` with what each tool says; where one finds something, one test more has failed.

    Parameters
    ----------
    found : what the tests came to. Nothing is added where they say nothing.
    root : the checkout.
    limit_s : how long the tests and this may take together.
    """
    if found.passed is None or not (root / TESTS).exists():
        return found
    program = shutil.which(PROGRAM)
    if program is None:
        return msgspec.structs.replace(found, sanitizer=f"{PROGRAM} is not on the PATH.")
    share_s = max(limit_s - (found.seconds or 0.0), 0.0) / len(TOOLS)
    said, problems = [], []
    for tool in TOOLS:
        before = (program, "--tool", tool, "--error-exitcode", str(_FOUND))
        words = ("-k", _CHOSEN, TESTS)
        run, status = run_pytest(words, root, share_s, before, {"DLBENCH_UNPOOLED": "1"})
        sentence = f"{tool} {_verdict(run, status)}"
        said.append(sentence)
        if status == _FOUND or run.failed:
            problems.append(f"{PROGRAM}: {sentence}")
    return msgspec.structs.replace(
        found,
        failed=(found.failed or 0) + len(problems),
        problems=(*found.problems, *problems),
        sanitizer=f"{PROGRAM}: {'; '.join(said)}.",
    )


def _verdict(run: GpuTests, status: int | None) -> str:
    if status == _FOUND:
        return "found errors, which it printed"
    if run.failed:
        return f"ran with {plural(run.failed, 'failed test')}: {run.problems[0]}"
    if run.passed and run.finished and status == 0:
        return f"found nothing in {plural(run.passed, 'test')}"
    return f"says nothing: {run.reason or 'no test ran'}"
