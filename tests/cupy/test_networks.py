"""Sessions of the CuPy backend on the CPU: every layer, loss and optimizer against the oracle, in any order."""

from __future__ import annotations

import pytest
from dlbench.backends.cupy_device import source_text
from host_adapter import HostAdapter
from host_device import HostDevice, Schedule

from dlbench.contract import Plan
from dlbench.verify.check import verify
from dlbench.verify.conformance import trials

PLAN = Plan("cupy", "cuda:0", batch=1, threads=1)
TRIALS = {f"{trial.group}: {trial.name}": trial for trial in trials(networks=4, seed=0)}


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    """Where the oracle's results are kept."""
    return tmp_path_factory.mktemp("oracle")


@pytest.mark.parametrize("name", TRIALS)
def test_a_network_is_verified_in_shuffled_order(name, cache_dir):
    trial = TRIALS[name]
    device = HostDevice(source_text, Schedule("shuffled", 1))
    plan = Plan("cupy", "cuda:0", batch=trial.batch, threads=1)
    assert "" == verify(HostAdapter(device), plan, trial.workload, cache_dir).reason
