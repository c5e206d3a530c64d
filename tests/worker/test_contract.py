"""What the core does for adapters, so that none has to do it itself."""

import numpy as np
import pytest

from dlbench.contract import AdapterBase, Plan, check_batch
from dlbench.plugins import load_adapter
from dlbench.spec.workload import read_workload

LAYERS = [{"type": "linear", "out_features": 3}]
TABLE = {
    "input_shape": [5],
    "layers": LAYERS,
    "loss": "cross_entropy",
    "optimizer": {"type": "sgd", "learning_rate": 0.1},
}
PLAN = Plan("numpy", "cpu", 4, 1)
INPUTS, LABELS = np.zeros((4, 5), np.float32), np.zeros(4, np.int64)
VALUES = np.zeros((4, 3), np.float32)


@pytest.mark.parametrize(
    ("inputs", "targets", "problem"),
    [
        (INPUTS[:1], LABELS, r"inputs are float32 \(1, 5\), should be float32 \(4, 5\)"),
        (INPUTS.astype(np.float64), LABELS, "inputs are float64"),
        (INPUTS, LABELS[:3], r"labels are int64 \(3,\), should be int64 \(4,\)"),
        (INPUTS, VALUES, "labels are float32"),
    ],
)
def test_a_batch_of_another_shape_or_type_is_refused_before_it_is_uploaded(
    inputs, targets, problem
):
    with pytest.raises(ValueError, match=problem):
        check_batch(PLAN, read_workload(TABLE), inputs, targets)


def test_a_batch_of_the_plan_is_let_through():
    check_batch(PLAN, read_workload(TABLE), INPUTS, LABELS)
    check_batch(PLAN, read_workload(TABLE | {"loss": "mean_squared_error"}), INPUTS, VALUES)


class Plain:
    """An adapter that derives from nothing."""

    title = "Plain"

    def info(self):
        raise AssertionError("nobody asked")

    def open(self, plan, workload, weights):
        raise AssertionError("nobody asked")


def test_an_adapter_that_derives_from_nothing_gets_the_defaults():
    adapter = load_adapter(f"{__name__}:Plain")
    assert isinstance(adapter, AdapterBase)
    assert ("Plain", (), {}) == (adapter.title, adapter.packages, adapter.environment(PLAN))
