"""Plain NumPy, held against the oracle as any backend is."""

import pytest
from dlbench.backends.numpy_plain.adapter import Adapter

from dlbench.contract import Plan
from dlbench.errors import PlanRefused
from dlbench.spec.suite import load_suite
from dlbench.spec.workload import initial_weights
from dlbench.verify.check import verify
from dlbench.verify.conformance import Backend, judge, trials

PLAN = Plan("numpy-plain", "cpu", 4, 1)


def test_it_conforms_in_every_layer_it_has_every_loss_every_optimizer_and_random_networks(
    cache_dir,
):
    backend = Backend(Adapter())
    found = [judge(backend, PLAN, trial, cache_dir) for trial in trials(networks=5, seed=0)]
    assert [] == [
        f"{each.name}: {each.reason}" for each in found if each.reason and not each.refused
    ]
    agreed = [each for each in found if not each.reason]
    assert len(agreed) > 40
    assert all(each.checks for each in agreed)


@pytest.mark.parametrize("suite", ["smoke", "resnet-cifar10"])
def test_it_is_verified(suite, cache_dir):
    assert "" == verify(Adapter(), PLAN, load_suite(suite).workload, cache_dir).reason


def test_what_it_has_not_got_is_refused_by_name():
    workload = load_suite("smoke").workload
    weights = initial_weights(workload, 0)
    with pytest.raises(PlanRefused, match="numpy-plain computes in fp32"):
        Adapter().open(Plan("numpy-plain", "cpu", 4, 1, precision="bf16"), workload, weights)
