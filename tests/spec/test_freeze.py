"""Frozen layers in a suite: what is left out of training, what it costs then, and what is refused."""

import json

import msgspec
import pytest

from dlbench.contract import BackendInfo, Device
from dlbench.errors import ContractError, WorkloadError
from dlbench.members import info_of
from dlbench.plan.backend_status import Found
from dlbench.profile.roofline import _moved_bytes
from dlbench.record.case import Case
from dlbench.spec.network import walk
from dlbench.spec.suite import load_suite, suite_of
from dlbench.spec.workload import read_workload

CONV = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
NORM = {"type": "batch_norm"}
FREEZE = {"freeze": True}


def workload_of(*layers):
    tail = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
    return read_workload(
        {
            "input_shape": [4, 6, 6],
            "layers": [*layers, *tail],
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def frozen(workload):
    return [node.name for node in walk(workload.nodes) if node.frozen]


def test_a_word_about_freezing_stands_in_a_table_only_where_it_is_used():
    assert "freeze" not in workload_of(CONV).to_table()["layers"][0]
    assert workload_of(CONV | {"freeze": False}).digest == workload_of(CONV).digest
    of = workload_of(CONV | FREEZE, NORM)
    assert of.to_table()["layers"][0]["freeze"] is True
    assert of == read_workload(json.loads(json.dumps(of.to_table())))
    assert of.digest != workload_of(CONV, NORM).digest


def test_only_what_is_not_frozen_is_trained():
    of = workload_of(CONV | FREEZE, NORM | FREEZE, CONV)
    assert ["conv2.weight", "conv2.bias", "linear1.weight", "linear1.bias"] == [
        p.name for p in of.parameters if p.trainable
    ]
    assert of.parameter_count == 148 + 3 * 144 + 3
    assert of.first_frozen.name == "conv1"
    assert of.at((4, 8, 8)).first_frozen.name == "conv1"


@pytest.mark.parametrize(
    ("layers", "passes"),
    [
        ([CONV, CONV], (2, 3, 3)),
        ([CONV | FREEZE, CONV], (1, 2, 3)),
        ([CONV | FREEZE, CONV | FREEZE], (1, 1, 2)),
        ([CONV, CONV | FREEZE], (2, 2, 3)),
    ],
)
def test_operations_of_a_step_are_those_of_the_passes_that_there_are(layers, passes):
    nodes = [node for node in walk(workload_of(*layers).nodes) if node.forward_flops]
    assert passes == tuple(node.training_flops // node.forward_flops for node in nodes)


def test_bytes_of_a_step_follow_the_passes_that_there_are():
    first, act, second, *_ = workload_of(CONV | FREEZE, {"type": "relu"}, CONV | FREEZE).nodes
    for node in (first, act, second):
        assert _moved_bytes(node, 2, trains=True) == _moved_bytes(node, 2, trains=False)
    # between layers that are trained: weights again, and the gradient of the output and of the input
    between = workload_of(CONV, CONV | FREEZE).nodes[1]
    sizes = 2 * 2 * 4 * 36 + 148
    assert _moved_bytes(between, 2, trains=True) == 4 * 2 * sizes


def test_what_is_frozen_normalises_no_batch():
    assert workload_of(CONV, NORM).replicas(2) == 2
    assert workload_of(CONV, NORM | FREEZE).replicas(2) == 1
    one = workload_of({"type": "adaptive_avg_pool", "output": 1}, NORM | FREEZE)
    assert one.untrainable(1) is None


def test_a_block_and_a_group_freeze_what_is_in_them_unless_that_says_otherwise():
    body = {"type": "residual", "body": [CONV, NORM, {"type": "relu"}, CONV | {"freeze": False}]}
    assert frozen(workload_of(body | FREEZE)) == ["conv1", "norm1"]
    projected = {"type": "residual", "shortcut": "projection", "body": [CONV]} | FREEZE
    assert frozen(workload_of(projected)) == ["conv1", "conv2", "norm1"]
    side = {"type": "concat", "bodies": [[CONV], [{"type": "max_pool", "kernel": 1}]]} | FREEZE
    assert frozen(workload_of(side)) == ["conv1"]
    group = {"repeat": 2, "layers": [CONV, {"type": "tanh"}, {"repeat": 2, "layers": [NORM]}]}
    assert len(frozen(workload_of(group | FREEZE))) == 6


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([{"type": "relu"} | FREEZE], "layers[0].freeze: relu has no parameters to freeze"),
        ([CONV | {"freeze": "yes"}], "layers[0].freeze = 'yes' must be true or false"),
        ([{"layers": [CONV], "freeze": 1}], "layers[0].freeze = 1 must be true or false"),
        (
            [{"type": "residual", "body": [CONV], "freeze": 0}],
            "layers[0].freeze = 0 must be true or false",
        ),
        ([NORM | {"frozen": True}], "did you mean 'freeze'?"),
    ],
)
def test_a_wrong_word_about_freezing_is_refused_where_it_stands(layers, message):
    with pytest.raises(WorkloadError) as error:
        workload_of(*layers)
    assert message in str(error.value)


def test_a_suite_in_which_nothing_is_left_to_train_is_refused():
    suite = load_suite("linear-mse")
    tables = json.loads(json.dumps(suite.tables))
    tables["network"]["layers"][-1]["freeze"] = True
    with pytest.raises(WorkloadError) as error:
        suite_of(tables, suite.path)
    assert "network.layers: every layer with parameters is frozen, linear1 the first" in str(
        error.value
    )


def test_a_backend_that_does_not_freeze_says_so_of_trainings_alone():
    of = workload_of(CONV | FREEZE)
    training = Case("ci", "train", "numpy", "cpu", 4, 1)
    inference = msgspec.structs.replace(training, scenario="infer")
    without, having = Found("ok"), Found("ok", freezes=True)
    assert without.refusal(training, of) == (
        "this backend has no freeze: it trains every layer, and conv1 is frozen"
    )
    assert without.refusal(inference, of) == having.refusal(training, of) == ""
    assert without.refusal(training, workload_of(CONV)) == ""


def test_a_backend_says_in_a_truth_value_whether_it_freezes():
    class Adapter:
        def info(self):
            return BackendInfo("1", (Device("cpu", ""),), freezes="yes")

    with pytest.raises(ContractError, match=r"info\(\).freezes is a str .*, should be True or"):
        info_of(Adapter())
