import pytest

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused
from dlbench.helpers.refusals import refuse_unless, require
from dlbench.spec import layers as spec
from dlbench.spec import training
from dlbench.spec.workload import read_workload

PLAN = Plan("mine", "cpu", 4, 1)
ALL = (*spec.KINDS.values(), *training.LOSSES.values(), *training.OPTIMIZERS.values())


def workload(*layers, **more):
    table = {
        "input_shape": [2, 5, 5],
        "layers": [*layers, {"type": "flatten"}, {"type": "linear", "out_features": 3}],
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
    return read_workload(table | more)


@pytest.mark.parametrize(
    ("plan", "has", "message"),
    [
        ({"device": "cuda"}, {"devices": ["cpu"]}, "mine computes on cpu, not on 'cuda'"),
        ({"precision": "tf32"}, {}, "mine computes in fp32, not in 'tf32'"),
        ({"mode": "graph"}, {}, "mine has one way of executing; it has no 'graph'"),
        ({"mode": "graph"}, {"modes": ["eager"]}, "mine has one mode, eager; it has no 'graph'"),
        ({"mode": "x"}, {"modes": ["a", "b"]}, "mine has the modes a and b; it has no 'x'"),
    ],
)
def test_a_plan_is_refused_with_what_there_is_instead(plan, has, message):
    with pytest.raises(PlanRefused) as refused:
        refuse_unless("mine", Plan(**{**vars(PLAN), **plan}), **has)
    assert message == str(refused.value)


def test_the_mode_in_force_is_the_plans_or_the_first():
    assert "a" == refuse_unless("mine", PLAN, modes=["a", "b"])
    assert "b" == refuse_unless("mine", Plan(**{**vars(PLAN), "mode": "b"}), modes=["a", "b"])


@pytest.mark.parametrize(
    ("network", "without", "word"),
    [
        (workload({"type": "relu"}), spec.Relu, "relu"),
        (workload(), training.CrossEntropy, "cross_entropy"),
        (workload(), training.Sgd, "sgd"),
        (
            workload(
                {"type": "residual", "body": [{"type": "residual", "body": [{"type": "tanh"}]}]}
            ),
            spec.Tanh,
            "tanh",
        ),
    ],
    ids=["layer", "loss", "optimizer", "layer inside others"],
)
def test_what_a_network_needs_and_a_backend_lacks_is_named_as_in_a_suite(network, without, word):
    refuse_unless("mine", PLAN, network, has=ALL)
    refuse_unless("mine", PLAN, network)
    with pytest.raises(PlanRefused, match=f"^mine has no {word}$"):
        refuse_unless("mine", PLAN, network, has=set(ALL) - {without})


def test_an_option_can_be_lacking_where_its_layer_is_there():
    lacks = [(spec.Conv2d, "dilation"), (training.Sgd, "nesterov")]
    conv = {"type": "conv2d", "out_channels": 2, "kernel": 2}
    refuse_unless("mine", PLAN, workload(conv), has=ALL, lacks=lacks)
    with pytest.raises(PlanRefused, match=r"^mine has no dilation for conv2d$"):
        refuse_unless("mine", PLAN, workload(conv | {"dilation": 2}), has=ALL, lacks=lacks)
    nesterov = {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9, "nesterov": True}
    with pytest.raises(PlanRefused, match=r"^mine has no nesterov for sgd$"):
        refuse_unless("mine", PLAN, workload(optimizer=nesterov), has=ALL, lacks=lacks)


def test_a_framework_that_is_not_there_is_named_with_what_would_help(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "needs_more.py").write_text("import absent_one\n")
    (tmp_path / "damaged_one.py").write_text("raise OSError('libx.so is missing')\n")
    for module, reason in (
        ("absent_one", "Mine is not installed"),
        ("needs_more", "Mine cannot be imported (No module named 'absent_one')"),
        ("damaged_one", "Mine cannot be imported (libx.so is missing)"),
    ):
        with pytest.raises(BackendUnavailable) as error:
            require(module, "Mine", "pip install mine")
        assert (reason, "pip install mine") == (error.value.reason, error.value.remedy)
