"""Lets the tests here import the stub and the device of tests/cupy, and says when there is no compiler."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "cupy")]


@pytest.fixture(autouse=True)
def _compilers(request):
    from host_build import compiler
    from stub import c_compiler

    on_gpu = request.node.get_closest_marker("gpu") is not None
    if not on_gpu and (compiler() is None or c_compiler() is None):
        pytest.skip("no C or no C++ compiler: install gcc and g++")
