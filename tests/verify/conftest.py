"""Lets the tests here import their own workbench (`faulty`, `small`), and gives them one oracle cache."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """Where the oracle's results are kept for all tests of this run."""
    return tmp_path_factory.mktemp("oracle")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Networks this small are slower on several threads, far slower on a busy machine."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
