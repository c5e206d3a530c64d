"""What the tests of the documents share: the documents, and the program run as a reader would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def dlbench(cache_dir):
    """Runs the program in a folder; one thread, so that what it shares the machine with does not matter."""
    script = Path(sys.executable).with_name("dlbench")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"DLBENCH_CACHE_DIR": str(cache_dir), "COLUMNS": "200"}

    def dlbench(*words, cwd, timeout_s=300, **more):
        return subprocess.run(
            [script, *words],
            cwd=cwd,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    return dlbench
