import ml_dtypes
import numpy as np
import pytest

from dlbench.errors import UsageError
from dlbench.spec.precision import FORMATS, POLICIES, policy_of

KINDS = {"fp32": np.float32, "bf16": ml_dtypes.bfloat16, "fp16": np.float16}


@pytest.mark.parametrize("name", KINDS)
def test_a_format_is_what_numpy_and_ml_dtypes_have(name):
    known, format_ = ml_dtypes.finfo(KINDS[name]), FORMATS[name]
    assert format_.largest == float(known.max)
    assert format_.smallest_normal == float(known.tiny)
    assert format_.unit_roundoff == float(known.eps) / 2


def test_a_policy_is_found_by_its_word_and_an_unknown_word_is_answered_with_those_there_are():
    assert all(policy_of(word).name == word for word in POLICIES)
    with pytest.raises(UsageError, match="'fp8' is unknown: there are fp32, tf32, bf16, fp16"):
        policy_of("fp8")


def test_a_loss_scale_is_a_power_of_two_and_master_weights_are_float32():
    for policy in POLICIES.values():
        assert np.frexp(policy.loss_scale)[0] == 0.5
        assert {policy.weights, policy.sums, policy.statistics} == {FORMATS["fp32"]}
