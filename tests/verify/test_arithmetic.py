"""The arithmetic of a backend, seen in networks on which every right one has the same bits."""

import dataclasses
import functools
import itertools

import numpy as np
import pytest
import small

pytest.importorskip("torch")

from dlbench.backends.torch.adapter import Adapter
from emulated import EmulatedAdapter
from spoilt_arithmetic import SpoiltAdapter

from dlbench.oracle.rounding import Emulated
from dlbench.spec.precision import BF16, FP16, FP32, POLICIES, TF32
from dlbench.spec.workload import read_workload
from dlbench.verify.checks.arithmetic import check_arithmetic
from dlbench.verify.checks.exact_networks import (
    WINDOWS,
    conv_network,
    linear_network,
    pool_network,
)

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3}
EVERYTHING = read_workload(
    {
        "input_shape": [2, 12, 12],
        "layers": [
            CONV,
            {"type": "batch_norm"},
            {"type": "avg_pool", "kernel": 2},
            {"type": "max_pool", "kernel": 2},
            {"type": "global_avg_pool"},
            {"type": "batch_norm"},
            {"type": "linear", "out_features": 3},
        ],
        "loss": "cross_entropy",
        "optimizer": {"type": "adam", "learning_rate": 0.01, "weight_decay": 0.01},
    }
)
EMULATED = ("fp32", "bf16", "fp16")


@pytest.mark.parametrize("asked", EMULATED)
def test_a_right_backend_has_the_bits_of_its_policy(asked):
    plan = dataclasses.replace(small.plan(), precision=asked)
    checks = check_arithmetic(EmulatedAdapter(), plan, EVERYTHING)
    assert [check.sentence() for check in checks if not check.passed] == []
    kinds = {check.name.partition(": ")[0].removeprefix("arithmetic of ") for check in checks}
    assert kinds >= {"linear", "conv2d", "avg_pool", "max_pool", "global_avg_pool", "batch_norm"}
    assert kinds >= {"cross_entropy", "the optimizer"}


@pytest.mark.parametrize("decay", [0.01, 0.1])
@pytest.mark.parametrize("rule", ["adam", "adagrad", "rmsprop"])
def test_a_gradient_that_the_decay_undoes_is_no_fault_of_whoever_rounds_once(rule, decay):
    # 0.0078125 + 0.01 * -0.78125 is 0, but not with one rounding; these rules divide what is left by its own size
    optimizer = {"type": rule, "learning_rate": 0.01, "weight_decay": decay}
    layers = [CONV, {"type": "global_avg_pool"}]
    table = {**EVERYTHING.to_table(), "layers": layers, "optimizer": optimizer}
    checks = check_arithmetic(Adapter(), small.plan(), read_workload(table))
    assert any(check.name.startswith("arithmetic of the optimizer") for check in checks)
    assert [check.sentence() for check in checks if not check.passed] == []


class Another:
    """An adapter that computes in another precision than it is asked for."""

    def __init__(self, precision):
        self.adapter, self.precision = EmulatedAdapter(), precision

    def info(self):
        return self.adapter.info()

    def open(self, plan, workload, weights):
        plan = dataclasses.replace(plan, precision=self.precision)
        return self.adapter.open(plan, workload, weights)


@pytest.mark.parametrize(("asked", "done"), list(itertools.permutations(EMULATED, 2)))
@pytest.mark.parametrize("trains", [True, False])
def test_another_precision_than_was_asked_for_is_told_by_its_formats(asked, done, trains):
    plan = dataclasses.replace(small.plan(), precision=asked)
    first = next(
        check
        for check in check_arithmetic(Another(done), plan, EVERYTHING, trains)
        if not check.passed
    )
    seen, wanted = POLICIES[done], POLICIES[asked]
    begin, known, end = first.sentence().partition(" is computed with ")
    assert begin.startswith("arithmetic of linear: ")
    assert known
    found, _, instead = end.partition(", not with ")
    assert f"factors {seen.factors.name}, stored {seen.stored.name}" in found.split(" or ")
    assert instead == f"factors {wanted.factors.name}, stored {wanted.stored.name}"


def of_window(window):
    side, stride = window
    make = functools.partial(conv_network, kernel=side, stride=stride)
    return pytest.param(make, id=f"conv2d {side} × {side}, stride {stride}")


@pytest.mark.parametrize(
    "make", [pytest.param(linear_network, id="linear"), *map(of_window, WINDOWS)]
)
@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16"])
def test_every_other_format_of_factors_or_of_what_is_stored_gives_other_bits(make, name):
    policy = POLICIES[name]
    network = make(policy)
    want = network.outcome(Emulated(policy))
    same = {(policy.factors, policy.stored)}
    # factors of fp16 and tf32 have the same bits
    same |= {(TF32, FP16)} if policy.stored == FP16 else set()
    same |= {(FP16, FP32)} if policy.factors == TF32 else set()
    for factors, stored in itertools.product((FP32, TF32, BF16, FP16), (FP32, BF16, FP16)):
        other = dataclasses.replace(policy, factors=factors, stored=stored)
        got = network.outcome(Emulated(other))
        differ = any(np.any(got[key] != want[key]) for key in want if key != "loss")
        assert differ or (factors, stored) in same, (factors.name, stored.name)


@pytest.mark.parametrize(("side", "stride"), WINDOWS)
def test_sums_of_each_kernel_and_stride_are_seen(side, stride):
    layers = [
        {**CONV, "kernel": side, "stride": stride},
        {"type": "global_avg_pool"},
        {"type": "linear", "out_features": 3},
    ]
    workload = read_workload({**EVERYTHING.to_table(), "layers": layers})
    plan = dataclasses.replace(small.plan(), precision="bf16")
    assert small.failing(check_arithmetic(EmulatedAdapter(), plan, workload)) == []

    class Short(SpoiltAdapter):
        """Sums of convolutions with these windows are short after each channel."""

        def open(self, *about):
            session = super().open(*about)
            right = session.product

            def product(layer, x, weight):
                is_conv = weight.ndim == 4
                if is_conv and (weight.shape[-1], layer.stride[0]) == (side, stride):
                    return session.conv_in_parts(layer, x, weight, session.kind)
                return right(layer, x, weight)

            session.product = product
            return session

    found = small.failing(check_arithmetic(Short(), plan, workload))
    kind = "conv2d" if (side, stride) == (3, 1) else f"conv2d {side} × {side}"
    kind += " with stride 2" if stride == 2 else ""
    assert any(name.startswith(f"arithmetic of {kind}: ") for name in found), found


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16", "fp16"])
def test_what_a_right_backend_gives_is_exact_in_float32(name):
    policy = POLICIES[name]
    pools = [pool_network(policy, kind) for kind in ("avg_pool", "max_pool", "global_avg_pool")]
    kernels = [conv_network(policy, *window) for window in WINDOWS]
    for network in [linear_network(policy), *kernels, *pools]:
        for key, value in network.outcome(Emulated(policy)).items():
            if key != "loss":
                np.testing.assert_array_equal(value.astype(np.float32), value)
