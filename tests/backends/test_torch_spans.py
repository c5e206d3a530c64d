"""What PyTorch's profiler says of a step."""

import itertools
from types import SimpleNamespace

import observed_network
import pytest

torch = pytest.importorskip("torch")

from dlbench.backends.torch.adapter import Adapter  # noqa: E402
from dlbench.backends.torch.spans import spans_of  # noqa: E402
from torch.autograd import DeviceType  # noqa: E402

from dlbench import members  # noqa: E402
from dlbench.contract import Plan, Span  # noqa: E402
from dlbench.errors import PlanRefused  # noqa: E402

WORKLOAD = observed_network.network()
LAYERS = {"first", "norm", "bend", "sum", "within", "pool", "flat", "drop", "last"}
BATCH = 4


def opened(mode="", precision="fp32"):
    """A session, and a batch."""
    plan = Plan("torch", "cpu", BATCH, 1, mode=mode, precision=precision)
    return observed_network.opened(Adapter(), plan, WORKLOAD)


@pytest.mark.parametrize(
    ("mode", "precision"), [("eager", "fp32"), ("channels-last", "fp32"), ("eager", "bf16")]
)
def test_every_layer_has_spans_forward_and_backward(mode, precision):
    session, batch = opened(mode, precision)
    with session.spans() as spans:
        session.train_step(batch)
        session.train_step(batch)
    members.check_spans(spans, WORKLOAD)
    assert {0, 1} == {span.step for span in spans}
    for number in (0, 1):
        found = observed_network.served(span for span in spans if span.step == number)
        assert found["forward"] == LAYERS | {"loss"}
        # autograd adds up at once what flows back through a sum and around it
        assert found["backward"] >= LAYERS - {"sum"}
        assert "loss" in found["backward"]
        assert "optimizer" in found["update"]
    # what serves one layer serves no other
    assert {1} == {len(span.layers) for span in spans if span.layers}


def test_inference_has_a_forward_pass_alone():
    session, batch = opened()
    with session.spans() as spans:
        session.infer(batch)
    members.check_spans(spans, WORKLOAD)
    assert {"forward": LAYERS} == observed_network.served(spans)


def test_nothing_is_left_behind_a_block():
    session, batch = opened()
    before = session._step, session._logits
    with session.spans():
        session.infer(batch)
    assert before == (session._step, session._logits)
    modules = list(session._network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)


def test_a_mode_of_common_kernels_is_refused():
    session, _ = opened()
    session._forward = lambda x: x
    with pytest.raises(PlanRefused, match="which layers a kernel serves"), session.spans():
        pass


class Profiler:
    """Events as PyTorch's profiler has them, on the host and on a GPU."""

    def __init__(self):
        self.events = []
        self.numbers = itertools.count(1)

    def add(self, name, begin, end, parent=None, number=-1, scope=0, launched_by=None):
        """One, from and to (µs); a kernel where something launched it."""
        kind = DeviceType.CPU if launched_by is None else DeviceType.CUDA
        event = SimpleNamespace(
            name=name,
            id=next(self.numbers),
            time_range=SimpleNamespace(start=begin, end=end),
            cpu_parent=parent,
            sequence_nr=number,
            scope=scope,
            device_type=kind,
            linked_correlation_id=0 if launched_by is None else launched_by.id,
        )
        self.events.append(event)
        return event


def a_step():
    """A layer whose backward node runs on another thread, without a range around it, and an optimizer."""
    profiler = Profiler()
    step = profiler.add("dlbench step", 10, 100, scope=7)
    layer = profiler.add("dlbench layer conv", 20, 30, step, scope=7)
    # the number of the node that comes next, which the first of both does not make
    profiler.add("aten::empty_like", 21, 22, layer, number=5)
    conv = profiler.add("aten::conv2d", 22, 29, layer, number=5)
    loss = profiler.add("dlbench loss", 31, 40, step, scope=7)
    profiler.add("aten::mse_loss", 32, 39, loss, number=6)
    prefix = "autograd::engine::evaluate_function: "
    profiler.add(prefix + "MseLossBackward0", 41, 45, None, number=6, scope=1)
    node = profiler.add(prefix + "ConvolutionBackward0", 46, 60, None, number=5, scope=1)
    inner = profiler.add("aten::convolution_backward", 47, 59, node)
    gather = profiler.add(prefix + "torch::autograd::AccumulateGrad", 61, 62, None, scope=0)
    rule = profiler.add("Optimizer.step#Adam.step", 70, 90, step, scope=7)
    adam = profiler.add("aten::_fused_adam_", 71, 80, rule)
    return profiler, conv, inner, gather, adam


def test_a_backward_node_belongs_to_the_layer_whose_operation_made_it():
    profiler, *_ = a_step()
    spans = spans_of(profiler.events, on_gpu=False)
    assert spans == [
        Span(("conv",), "forward", "", 0, 10_000, 10_000),
        Span((), "forward", "loss", 0, 21_000, 9_000),
        Span((), "backward", "loss", 0, 31_000, 4_000),
        Span(("conv",), "backward", "ConvolutionBackward0", 0, 36_000, 14_000),
        Span((), "backward", "AccumulateGrad", 0, 51_000, 1_000),
        Span((), "update", "optimizer", 0, 60_000, 20_000),
    ]


def test_a_kernel_belongs_to_what_launched_it():
    profiler, conv, inner, _, adam = a_step()
    profiler.add("implicit_gemm", 35, 55, launched_by=conv)
    profiler.add("wgrad", 60, 80, launched_by=inner)
    profiler.add("dgrad", 80, 95, launched_by=inner)
    profiler.add("multi_tensor_adam", 96, 97, launched_by=adam)
    assert spans_of(profiler.events, on_gpu=True) == [
        Span(("conv",), "forward", "implicit_gemm", 0, 25_000, 20_000),
        Span(("conv",), "backward", "ConvolutionBackward0", 0, 50_000, 20_000),
        Span(("conv",), "backward", "ConvolutionBackward0", 0, 70_000, 15_000),
        Span((), "update", "optimizer", 0, 86_000, 1_000),
    ]
