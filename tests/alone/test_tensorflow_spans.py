"""What TensorFlow's profiler says of a step."""

from types import SimpleNamespace

import observed_network
import pytest

pytest.importorskip("tensorflow")

from dlbench.backends.shared.stamps import OPTIMIZER, Owner
from dlbench.backends.tensorflow.adapter import Adapter
from dlbench.backends.tensorflow.owners import graph_owners, program_owners
from dlbench.backends.tensorflow.spans import AT_ONCE, Piece, apart

from dlbench import members
from dlbench.contract import Plan
from dlbench.errors import PlanRefused

WORKLOAD = observed_network.network()
LAYERS = {"first", "bend", "norm", "sum", "within", "pool", "drop", "last"}
"""That compute something: to flatten is to look at the same values otherwise."""
BATCH = 4


def opened(mode, precision="fp32"):
    """A session, and a batch."""
    plan = Plan("tensorflow", "cpu", BATCH, 1, mode=mode, precision=precision)
    return observed_network.opened(Adapter(), plan, WORKLOAD)


def has(found, wanted):
    """Whether it was found; it may not have been where the runtime has more threads than one already."""
    return found >= wanted or AT_ONCE in found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_layer_of_a_graph_has_spans_forward_and_backward(precision):
    session, batch = opened("graph", precision)
    with session.spans() as spans:
        for _ in range(2):
            session.train_step(batch)
        session.infer(batch)
    members.check_spans(spans, WORKLOAD)
    assert {0, 1, 2} == {span.step for span in spans}
    for number in (0, 1):
        found = observed_network.served(span for span in spans if span.step == number)
        assert has(found["forward"], LAYERS | {"loss"})
        # what flows back through a sum and around it is added up by no layer
        assert has(found["backward"], LAYERS - {"sum"} | {"loss", "AddN"})
        assert has(found["update"], {"optimizer"})
    found = observed_network.served(span for span in spans if span.step == 2)
    assert {"forward"} == found.keys()
    assert has(found["forward"], LAYERS - {"drop"})


def test_spans_of_a_compiled_step_name_every_layer_alone_or_in_a_group():
    session, batch = opened("xla")
    with session.spans() as spans:
        session.train_step(batch)
        session.infer(batch)
    members.check_spans(spans, WORKLOAD)
    found = observed_network.served(span for span in spans if span.step == 0)
    names = set().union(*found.values())
    assert has(names, LAYERS | {"optimizer"})
    assert max(len(span.layers) for span in spans) > 1
    assert {"forward"} == observed_network.served(span for span in spans if span.step == 1).keys()


def test_operations_that_are_called_by_themselves_have_no_spans():
    session, _ = opened("eager")
    with pytest.raises(PlanRefused, match="called by itself"), session.spans():
        pass


def test_nothing_is_left_behind_a_block():
    session, batch = opened("graph")
    before = session._step, session._logits
    with session.spans() as first:
        session.infer(batch)
    count = len(first)
    session.infer(batch)
    assert before == (session._step, session._logits)
    with session.spans() as second:
        pass
    assert count == len(first) > 0
    assert [] == second


def node(name, kind, *inputs):
    """One of a graph."""
    return SimpleNamespace(name=name, op=kind, input=inputs)


def test_a_fused_operation_serves_the_layers_of_all_that_it_was_made_of():
    read = node("dlbench.layer0/Conv2D/ReadVariableOp", "ReadVariableOp")
    conv = node("dlbench.layer0/Conv2D", "Conv2D", "x", read.name)
    bias = node("dlbench.layer0/BiasAdd", "BiasAdd", "dlbench.layer0/Conv2D:0")
    relu = node("dlbench.layer1/Relu", "Relu", bias.name)
    other = node("dlbench.layer2/MatMul", "MatMul", relu.name, "^" + read.name)
    back = node("gradient_tape/dlbench.layer2/MatMul", "MatMul", relu.name)
    rule = node("dlbench.optimizer/Apply", "Apply", back.name)
    sums = node("dlbench.gradients/AddN", "AddN", back.name)
    loss = node("gradient_tape/dlbench.loss/Mul", "Mul", other.name)
    traced = [read, conv, bias, relu, other, back, rule, sums, loss]
    renamed = node(other.name, "_MklMatMul", relu.name)
    fused = node(relu.name, "_MklNativeFusedConv2D", "x", read.name)
    assert {
        read.name: Owner(("first",), "forward", "ReadVariableOp"),
        relu.name: Owner(("first", "bend"), "forward", "_MklNativeFusedConv2D"),
        other.name: Owner(("last",), "forward", "_MklMatMul"),
        back.name: Owner(("last",), "backward", "MatMul"),
        rule.name: OPTIMIZER,
        sums.name: Owner((), "backward", "AddN"),
        loss.name: Owner((), "backward", "loss"),
    } == graph_owners(
        traced, [read, fused, renamed, back, rule, sums, loss], ["first", "bend", "last"]
    )


def instruction(name, kind, operation, calls=()):
    """One of an XLA program."""
    metadata = SimpleNamespace(op_name=operation)
    return SimpleNamespace(name=name, opcode=kind, metadata=metadata, called_computation_ids=calls)


def test_a_fusion_of_xla_serves_the_layers_of_the_instructions_in_it():
    within = SimpleNamespace(
        id=2,
        instructions=[
            # one constant for all that are alike
            instruction("c", "constant", "dlbench.layer2/Const"),
            instruction("m", "multiply", "gradient_tape/dlbench.layer1/Mul"),
            instruction("s", "select", "gradient_tape/dlbench.layer0/Select;dlbench.layer0/X"),
            instruction("b", "bitcast", ""),
        ],
    )
    updated = SimpleNamespace(
        id=3,
        instructions=[
            instruction("r", "reduce", "gradient_tape/dlbench.layer0/BiasAddGrad"),
            instruction("a", "add", "dlbench.optimizer/Apply"),
        ],
    )
    main = SimpleNamespace(
        id=1,
        instructions=[
            instruction("fusion", "fusion", "dlbench.layer2/Whole", [2]),
            instruction("step", "fusion", "", [3]),
            instruction("mask", "iota", "dlbench.layer2/Random"),
            instruction("copy", "copy", ""),
            instruction("loop", "while", "dlbench.layer1/While", [2]),
        ],
    )
    module = SimpleNamespace(computations=[within, updated, main])
    owners = program_owners(module, ["first", "bend", "last"])
    assert Owner(("first", "bend"), "backward", "fusion") == owners["fusion"]
    # neither the layer's pass nor the optimizer's alone
    assert Owner(("first",), "update", "step") == owners["step"]
    assert Owner(("last",), "forward", "mask") == owners["mask"]
    assert Owner((), "forward", "copy") == owners["copy"]
    assert owners["loop"] is None


def test_time_in_which_several_run_at_once_is_that_of_none_of_them():
    one, other = Owner(("first",), "backward", "a"), Owner(("last",), "forward", "b")
    same = Owner(("first",), "backward", "c")
    pieces = [Piece(0, 10, one), Piece(4, 6, other), Piece(8, 12, same), Piece(20, 21, OPTIMIZER)]
    nobody = Owner((), "backward", AT_ONCE)
    assert [
        Piece(0, 4, one),
        Piece(4, 6, nobody),
        Piece(6, 8, one),
        Piece(8, 10, one),
        Piece(10, 12, same),
        Piece(20, 21, OPTIMIZER),
    ] == list(apart(pieces))
