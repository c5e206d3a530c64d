"""Runs tests again under the address and undefined-behaviour sanitizers, in a process of their own.

The sanitizers' libraries must be loaded before everything else, which only the parent of a process can
arrange. They watch kernels and the memory that these are given; Python itself is not compiled for it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from host_build import compiler

ACTIVE = os.environ.get("DLBENCH_KERNELS_SANITIZED") == "1"
"""Whether this process is one of those that `run` starts."""
FOUND = 99
"""The exit status of a process in which a sanitizer found something."""


def libraries() -> list[Path]:
    """The sanitizers' libraries of the compiler; empty where it has none."""
    program = compiler()
    if program is None:
        return []
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    asked = [[program, f"-print-file-name={name}"] for name in names]
    told = [subprocess.run(a, capture_output=True, text=True, check=True).stdout for a in asked]
    paths = [Path(line.strip()) for line in told]
    return paths if all(path.is_absolute() and path.exists() for path in paths) else []


def run(arguments: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, kernels compiled and run under the sanitizers."""
    environment = os.environ | {
        "DLBENCH_KERNELS_SANITIZED": "1",
        "LD_PRELOAD": ":".join(map(str, libraries())),
        # Python never gives back all its memory, which is no fault of a kernel's.
        "ASAN_OPTIONS": f"detect_leaks=0:exitcode={FOUND}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:exitcode={FOUND}",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def shortened(report: str) -> str:
    """A report without the frames below the kernel, which are Python's, and without folders."""
    frames = [line for line in report.splitlines() if not re.match(r"\s+#\d\d", line)]
    return re.sub(r"\S*/[0-9a-f]{24}\.cu", "kernel.cu", "\n".join(frames[:60]))
