"""Lets the tests here import the device that runs kernels on the CPU, and says when there is no compiler."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _compiler():
    """Most tests here compile kernels for the CPU."""
    from host_build import compiler

    if compiler() is None:
        pytest.skip("no C++ compiler: install g++, or name one in CXX")
