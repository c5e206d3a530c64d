"""Random small networks in short precisions, on the backend that rounds as each policy says: none may fail, and none
may come near its tolerance. The seeds are fresh in every run; a failure names its seed."""

import dataclasses
import random

import pytest

pytest.importorskip("torch")

import small
from emulated import EmulatedAdapter

from dlbench.verify.conformance import Backend, Trial, judge
from dlbench.verify.random_networks import draw_workload

FEW, MANY = 3, 500
LARGEST_SHARE = 0.7


def problems(precision, networks, cache_dir, first):
    backend = Backend(EmulatedAdapter())
    plan = dataclasses.replace(small.plan(), precision=precision)
    found = []
    for seed in range(first, first + networks):
        workload, batch = draw_workload(seed)
        verdict = judge(backend, plan, Trial("random", f"{seed}", workload, batch), cache_dir)
        if verdict.reason or (verdict.worst or 0.0) > LARGEST_SHARE:
            found.append(f"seed {seed}: {verdict.worst} of its tolerance; {verdict.reason}")
    return found


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_few_random_networks_are_verified_in_a_short_precision(precision, cache_dir):
    assert problems(precision, FEW, cache_dir, 0) == []


@pytest.mark.soak
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_five_hundred_networks_drawn_afresh_are_verified(precision, cache_dir):
    assert problems(precision, MANY, cache_dir, random.SystemRandom().randrange(2**31)) == []
