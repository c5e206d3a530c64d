"""Lets the tests here import the device that runs kernels on the CPU, and says when there is no compiler."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _compiler(request):
    """Most tests here compile kernels for the CPU; of those on a GPU only the recorded launches do."""
    from host_build import compiler

    on_gpu = request.node.get_closest_marker("gpu") is not None
    if compiler() is None and not (on_gpu and "recorded" not in request.node.name):
        pytest.skip("no C++ compiler: install g++, or name one in CXX")
