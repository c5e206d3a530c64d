"""Adapters and sessions that are not what the contract says: each is told with the member, what it is, and what it
should be."""

import sys
import types
from typing import ClassVar

import pytest

from dlbench import members
from dlbench.contract import AdapterBase, BackendInfo, Device, Plan, SessionBase
from dlbench.errors import ContractError
from dlbench.plugins import load_adapter
from dlbench.spec.workload import initial_weights, read_workload

WORKLOAD = read_workload(
    {
        "input_shape": [1],
        "layers": [{"type": "linear", "out_features": 1}],
        "loss": "mean_squared_error",
        "optimizer": {"type": "sgd", "learning_rate": 0.1},
    }
)
PLAN = Plan("mine", "cpu", 1, 1)
INFO = BackendInfo("1", (Device("cpu", "CPU"),))


class Session(SessionBase):
    facts: ClassVar = {"threads": 1}

    def upload(self, inputs, targets):
        return inputs

    def infer(self, batch):
        return batch


class Adapter(AdapterBase):
    def info(self):
        return INFO

    def open(self, plan, workload, weights):
        return Session()


class NoOpen:
    def info(self):
        return INFO

    def opens(self, plan, workload, weights):
        return Session()


class OpenIsNone(Adapter):
    open = None


class OpenTakesTwo(Adapter):
    def open(self, plan, workload):
        return Session()


class OpenTakesMoreByName(Adapter):
    def open(self, plan, workload, weights, *, device):
        return Session()


class InfoTakesAPlan(Adapter):
    def info(self, plan):
        return INFO


class WantsArguments(Adapter):
    def __init__(self, device):
        self.device = device


class EnvironmentIsATable(Adapter):
    environment: ClassVar = {"A": "1"}


def make():
    return Adapter()


@pytest.fixture
def module(monkeypatch):
    """A module ``mine`` with all that is here."""
    made = types.ModuleType("mine")
    vars(made).update({name: value for name, value in globals().items() if name[0] != "_"})
    made.adapter, made.word, made.nothing = Adapter(), "numpy", None
    made.make = make
    monkeypatch.setitem(sys.modules, "mine", made)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("adapter", "mine:adapter is an object of Adapter, should be a class with info and open; name its class"),
        ("word", "mine:word is a str ('numpy'), should be a class"),
        ("nothing", "mine:nothing is None, should be a class"),
        ("make", "mine:make is a function (make), should be a class"),
        ("NoOpen", "open(plan, workload, weights) of class mine:NoOpen is missing; did you mean 'opens'?"),
        ("OpenIsNone", "open(plan, workload, weights) of class mine:OpenIsNone is None"),
        ("OpenTakesTwo", "is open(plan, workload), should be open(plan, workload, weights): too many"),
        ("OpenTakesMoreByName", "should be open(plan, workload, weights): missing a required"),
        ("InfoTakesAPlan", "info of class mine:InfoTakesAPlan is info(plan), should be info()"),
        ("WantsArguments", "mine:WantsArguments cannot be made without arguments:"),
        ("EnvironmentIsATable", "environment of class mine:EnvironmentIsATable is a dict, should be environment(plan)"),
    ],
)  # fmt: skip
def test_what_is_no_adapter_is_told_with_what_is_missing(module, target, said):
    with pytest.raises(ContractError) as error:
        load_adapter(f"mine:{target}")
    assert said in str(error.value)


def test_a_class_that_is_not_there_is_told_with_the_nearest(module):
    with pytest.raises(
        AttributeError, match=r"has no attribute 'Adaptr'; did you mean 'Adapter'\?"
    ):
        load_adapter("mine:Adaptr")


def test_a_module_that_is_not_there_is_told_with_the_nearest(tmp_path, monkeypatch):
    (tmp_path / "my_backend.py").write_text("import no_such_framework\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="did you mean 'my_backend'") as error:
        load_adapter("my_backnd:Adapter")
    assert "my_backnd" == error.value.name
    with pytest.raises(
        ModuleNotFoundError, match="'no_such_zyx'; looked for in the current folder"
    ):
        load_adapter("no_such_zyx.abc:Adapter")
    # what a module itself looks for is another matter
    with pytest.raises(ModuleNotFoundError) as error:
        load_adapter("my_backend:Adapter")
    assert "No module named 'no_such_framework'" == str(error.value)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (None, "info() gives None, should give a dlbench.contract.BackendInfo"),
        ("numpy 1.26", "info() gives a str ('numpy 1.26')"),
        ({"version": "1"}, "info() gives a dict"),
        (BackendInfo, "info() gives the class BackendInfo"),
        (BackendInfo(None, (Device("cpu", "CPU"),)), "info().version is None, should be a text"),
        (BackendInfo("1", "cpu"), "info().devices is a str ('cpu'), should be a tuple of"),
        (BackendInfo("1", ("cpu",)), "info().devices has a str ('cpu'), should be a tuple of"),
        (BackendInfo("1", None), "info().devices is None"),
        (BackendInfo("1", (Device("", "?"),)), "a Device whose name is a str ('')"),
        (BackendInfo("1", (), modes="eager"), "info().modes is a str ('eager')"),
        (BackendInfo("1", (), precisions=(32,)), "info().precisions has a int (32)"),
        (BackendInfo("1", (), scenarios=("train",)), "info().scenarios is 'train', should be"),
        (BackendInfo("1", (), scenarios=("infer", "test")), "info().scenarios is 'infer', 'test'"),
        (BackendInfo("1", (), libraries=["blas"]), "info().libraries is a list"),
    ],
)  # fmt: skip
def test_what_info_gives_is_held_against_what_it_should(info, said):
    class Told(Adapter):
        def info(self):
            return info

    with pytest.raises(ContractError) as error:
        members.info_of(Told())
    assert said in str(error.value)


def test_lists_do_where_tuples_are_meant():
    class Told(Adapter):
        def info(self):
            return BackendInfo("1", [Device("cpu", "CPU")], modes=["eager"])

    assert members.info_of(Told()).devices


def _without(name):
    """The class of sessions without a member."""
    there = {**vars(SessionBase), **vars(Session)}
    return type("Session", (), {k: v for k, v in there.items() if k != name and k[:2] != "__"})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (None, "open() gives None, should give a session"),
        ("upload", "upload(inputs, targets) of session Session is missing"),
        ("infer", "infer(batch) of session Session is missing"),
        ("synchronize", "synchronize() of session Session is missing; did you mean 'synchronise'?"),
        ("weights", "weights() of session Session is missing"),
        ("learning_rate", "learning_rate of session Session is missing"),
        ("facts", "facts of session Session is missing"),
        ({"train_step": None}, "train_step(batch) of session Session is None"),
        ({"facts": None}, "facts of session Session is None, should be a dictionary"),
        ({"facts": lambda self: {}}, "facts of session Session is a function (facts)"),
        ({"learning_rate": "0.1"}, "learning_rate of session Session is a str ('0.1')"),
        ({"infer": lambda self: None}, "infer of session Session is infer(), should be infer(batch)"),
        ({"upload": lambda self, batch: None}, "should be upload(inputs, targets): too many"),
        ({"load": lambda self, weights: None}, "should be load(weights, *, keep_optimizer=False): got an unexpected"),
        ({"download": 3}, "download of session Session is a int (3), should be download(result)"),
    ],
)  # fmt: skip
def test_a_session_without_a_member_is_told_with_the_member(change, said):
    if isinstance(change, str):
        kind = _without(change)
        kind.synchronise = lambda self: None
    else:
        for name, value in (change or {}).items():
            if callable(value):
                value.__name__ = name
        kind = type("Session", (Session,), change or {})

    class Opens(Adapter):
        def open(self, plan, workload, weights):
            return kind() if change else None

    with pytest.raises(ContractError) as error:
        members.open_session(Opens(), PLAN, WORKLOAD, initial_weights(WORKLOAD, 0))
    assert said in str(error.value)


def test_a_session_that_only_infers_needs_no_more_than_that():
    class Bare:
        facts: ClassVar = {}

        def upload(self, inputs, targets):
            return inputs

        def infer(self, batch):
            return batch

        def download(self, result):
            return result

        def synchronize(self):
            pass

    class Opens(Adapter):
        def open(self, plan, workload, weights):
            return Bare()

    plan = Plan("mine", "cpu", 1, 1, scenario="infer")
    weights = initial_weights(WORKLOAD, 0)
    assert isinstance(members.open_session(Opens(), plan, WORKLOAD, weights), Bare)
    with pytest.raises(ContractError, match=r"train_step\(batch\) of session Bare is missing"):
        members.open_session(Opens(), PLAN, WORKLOAD, weights)
