"""What the core does for adapters, so that none has to do it itself."""

import re

import numpy as np
import pytest

from dlbench import members
from dlbench.contract import AdapterBase, Plan, SessionBase, Span, check_batch
from dlbench.errors import ContractError, PlanRefused
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


NETWORK = read_workload(TABLE | {"layers": [{"type": "linear", "name": "last", "out_features": 3}]})


@pytest.mark.parametrize(
    ("spans", "problem"),
    [
        ([("last", 5)], "spans() has a tuple, should have dlbench.contract.Span"),
        (
            [Span(("lost",), "forward", "", 0, 0, 1)],
            "names a layer 'lost': did you mean 'last'?",
        ),
        ([Span(("last",), "sideways", "", 0, 0, 1)], "should be forward, backward, update"),
        ([Span(("last",), "forward", "", 0, 0, -1)], "begins or lasts less than 0"),
        (
            [Span(("last",), "forward", "", 0, 0, 5), Span((), "forward", "loss", 0, 4, 5)],
            "a span of step 0 (loss) overlaps the one before it",
        ),
    ],
)
def test_spans_that_cannot_be_are_refused(spans, problem):
    with pytest.raises(ContractError, match=re.escape(problem)):
        members.check_spans(spans, NETWORK)


def test_spans_side_by_side_are_let_through():
    spans = [Span(("last",), "backward", "", 1, 7, 5), Span(("last",), "forward", "", 1, 0, 7)]
    members.check_spans([*spans, Span((), "update", "optimizer", 0, 3, 50)], NETWORK)


class Observed(SessionBase):
    """A session that may say more."""

    def spans(self):
        raise AssertionError("nobody asked")


@pytest.mark.parametrize(
    ("session", "offered"), [(Observed(), True), (SessionBase(), False), (object(), False)]
)
def test_a_session_offers_spans_or_does_not(session, offered):
    assert offered == members.offers_spans(session)


def test_a_session_without_spans_says_so():
    with pytest.raises(PlanRefused, match="does not say what a step spends on each layer"):
        SessionBase().spans()
