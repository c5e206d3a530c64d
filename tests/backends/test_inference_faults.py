"""Faults of those who infer with a graph made elsewhere, planted in the model and in sessions: each is found."""

import contextlib
import importlib

import numpy as np
import pytest

from dlbench.cli.conformance import Request, hold
from dlbench.contract import Plan
from dlbench.spec.workload import read_workload
from dlbench.verify.check import verify
from dlbench.verify.conformance import Backend, judge, trials

onnx = pytest.importorskip("onnx")
END = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]
CONVOLUTION = {"type": "conv2d", "out_channels": 4, "kernel": 3, "padding": 1}
NETWORKS = {
    # as many channels as rows and columns
    "convolution": [{**CONVOLUTION, "stride": 2}, {"type": "tanh"}, *END],
    "uneven": [{**CONVOLUTION, "padding": [[0, 1], [1, 0]]}, *END],
    "norm": [CONVOLUTION, {"type": "batch_norm", "eps": 0.01}, *END],
    "max_pool": [{"type": "max_pool", "kernel": 3, "stride": 2, "padding": 1}, *END],
    "ceil": [{"type": "max_pool", "kernel": 2, "stride": 2, "ceil_mode": True}, *END],
    "avg_pool": [{"type": "avg_pool", "kernel": 3, "stride": 2, "padding": 1}, *END],
    "leaky_relu": [{"type": "leaky_relu", "slope": 0.2}, *END],
    "sigmoid": [{"type": "sigmoid"}, *END],
    "square": [{"type": "flatten"}, {"type": "linear", "out_features": 216}, *END[1:]],
    "option_a": [
        {
            "type": "residual",
            "body": [{**CONVOLUTION, "out_channels": 8, "stride": 2}],
            "shortcut": "option_a",
        },
        *END,
    ],
    "concat": [{"type": "concat", "body": [{**CONVOLUTION, "out_channels": 6}]}, *END],
}


def workload_of(network):
    return read_workload(
        {
            "input_shape": [6, 6, 6] if network != "ceil" else [6, 7, 7],
            "layers": NETWORKS[network],
            "loss": "cross_entropy",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def node_of(model, operator):
    return next(each for each in model.graph.node if each.op_type == operator)


def set_attribute(model, operator, name, change):
    node = node_of(model, operator)
    (old,) = [each for each in node.attribute if each.name == name]
    value = onnx.helper.get_attribute_value(old)
    node.attribute.remove(old)
    node.attribute.append(onnx.helper.make_attribute(name, change(value)))


def change_array(model, name, change):
    (array,) = [each for each in model.graph.initializer if each.name == name]
    changed = change(onnx.numpy_helper.to_array(array).copy())
    array.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(changed), name))


def before(model, operator, added, **attributes):
    """Puts another operator in front of one."""
    node = node_of(model, operator)
    place = list(model.graph.node).index(node)
    extra = onnx.helper.make_node(added, [node.input[0]], ["extra"], **attributes)
    node.input[0] = "extra"
    model.graph.node.insert(place, extra)


def round_to_bfloat16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def lays_inputs_otherwise(model):
    """Reads what lies as C×H×W as if it lay as H×W×C."""
    before(model, "Conv", "Transpose", perm=[0, 3, 1, 2])


def pads_with_zeros(model):
    around = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    model.graph.initializer.append(onnx.numpy_helper.from_array(around, "around"))
    before(model, "MaxPool", "Pad")
    node_of(model, "Pad").input.append("around")
    set_attribute(model, "MaxPool", "pads", lambda pads: [0, 0, 0, 0])


# network, fault: what is done to the model
FAULTS = {
    ("convolution", "padding on one side alone"): lambda m: set_attribute(
        m, "Conv", "pads", lambda pads: [0, 0, 2, 2]
    ),
    ("uneven", "pads in PyTorch's order"): lambda m: set_attribute(
        m, "Conv", "pads", lambda pads: [pads[1], pads[3], pads[0], pads[2]]
    ),
    ("convolution", "channels last read as channels first"): lays_inputs_otherwise,
    ("convolution", "a flipped kernel"): lambda m: change_array(
        m, "conv1.weight", lambda w: w[:, :, ::-1, ::-1]
    ),
    ("convolution", "features of flatten with the channels last"): lambda m: before(
        m, "Flatten", "Transpose", perm=[0, 2, 3, 1]
    ),
    ("convolution", "weights rounded to bfloat16"): lambda m: change_array(
        m, "conv1.weight", round_to_bfloat16
    ),
    ("norm", "the usual epsilon in place of the network's"): lambda m: set_attribute(
        m, "BatchNormalization", "epsilon", lambda eps: 1e-5
    ),
    ("norm", "the variance folded without epsilon"): lambda m: set_attribute(
        m, "BatchNormalization", "epsilon", lambda eps: 0.0
    ),
    ("norm", "a variance taken for a deviation"): lambda m: change_array(
        m, "norm1.running_variance", np.square
    ),
    ("max_pool", "padding of zeros that wins"): pads_with_zeros,
    ("ceil", "what ceil mode adds, in front"): lambda m: set_attribute(
        m, "MaxPool", "pads", lambda pads: [*pads[2:], *pads[:2]]
    ),
    ("avg_pool", "padding counted in a mean"): lambda m: set_attribute(
        m, "AveragePool", "count_include_pad", lambda counted: 1
    ),
    ("leaky_relu", "the usual slope"): lambda m: set_attribute(
        m, "LeakyRelu", "alpha", lambda slope: 0.01
    ),
    ("sigmoid", "a hard sigmoid"): lambda m: setattr(
        node_of(m, "Sigmoid"), "op_type", "HardSigmoid"
    ),
    ("square", "a weight that is not transposed"): lambda m: set_attribute(
        m, "Gemm", "transB", lambda transposed: 0
    ),
    ("option_a", "every second row from the second on"): lambda m: change_array(
        m, "option_a1/starts", lambda starts: starts + 1
    ),
    ("option_a", "new channels in front of the old ones"): lambda m: change_array(
        m, "option_a1/pads", lambda pads: pads[[0, 5, 2, 3, 4, 1, 6, 7]]
    ),
    ("concat", "bodies in the other order"): lambda m: node_of(m, "Concat").input.reverse(),
}


@pytest.fixture
def verified(cache_dir):
    """Verifies a network with a backend in inference; the reason why it is wrong, empty where it is right."""

    def verified(name, network):
        pytest.importorskip(name)
        adapter = importlib.import_module(f"dlbench.backends.{name}.adapter")
        plan = Plan(name, "cpu", 6, 1, scenario="infer")
        return verify(adapter.Adapter(), plan, workload_of(network), cache_dir).reason

    return verified


@pytest.fixture
def plant(monkeypatch):
    """Changes every model that a backend is given."""

    def plant(name, network, fault):
        adapter = importlib.import_module(f"dlbench.backends.{name}.adapter")
        right = adapter.onnx_model

        def wrong(workload, weights, batch, called):
            model = right(workload, weights, batch, called)
            # of probes nothing is changed, and the beginning of a network may have nothing of the kind
            if workload.input_shape == workload_of(network).input_shape:
                with contextlib.suppress(StopIteration, ValueError):
                    fault(model)
            return model

        monkeypatch.setattr(adapter, "onnx_model", wrong)

    return plant


@pytest.mark.parametrize("network", NETWORKS)
def test_networks_are_right_without_a_fault(verified, network):
    assert "" == verified("onnxruntime", network)


@pytest.mark.parametrize(("network", "fault"), FAULTS, ids=[fault for _, fault in FAULTS])
def test_a_fault_of_the_graph_is_found(verified, plant, network, fault):
    pytest.importorskip("onnxruntime")
    plant("onnxruntime", network, FAULTS[network, fault])
    assert "" != verified("onnxruntime", network)


def session_trials():
    return [trial for trial in trials(0, 0) if trial.group == "session"]


def verdicts(name, cache_dir, session):
    """What the rules that sessions are held to say of one."""
    real = importlib.import_module(f"dlbench.backends.{name}.adapter")

    class Faulty(real.Adapter):
        def open(self, plan, workload, weights):
            return session(real, plan, workload, weights)

    plan = Plan(name, "cpu", 4, 1, scenario="infer")
    return [judge(Backend(Faulty()), plan, each, cache_dir).reason for each in session_trials()]


def test_constants_of_a_session_before_are_found(cache_dir):
    """A compiled graph is kept by its network, though its weights were folded into it."""
    pytest.importorskip("onnxruntime")
    kept = {}

    def session(real, plan, workload, weights):
        key = workload.digest, plan.batch
        if key not in kept:
            kept[key] = real.Session(plan, workload, weights, None)
        return kept[key]

    copies, beside, _ = verdicts("onnxruntime", cache_dir, session)
    assert "" == copies
    assert "second session" in beside


def test_an_output_that_the_next_request_writes_over_is_found(cache_dir):
    pytest.importorskip("openvino")

    def session(real, plan, workload, weights):
        opened = real.Session(plan, "latency", workload, weights)
        request = opened._requests[0]
        opened.infer = lambda batch: request.infer(batch[0], share_outputs=True)[0]
        opened.download = np.array
        return opened

    *_, lasting = verdicts("openvino", cache_dir, session)
    assert "downloaded after a later one" in lasting


def test_a_batch_whose_memory_was_given_back_is_found(cache_dir):
    """Of a tensor that shares an array's memory, only the object in Python keeps the array."""
    openvino = pytest.importorskip("openvino")

    def session(real, plan, workload, weights):
        opened = real.Session(plan, "latency", workload, weights)
        request = opened._requests[0]
        opened.upload = lambda inputs, targets: request.set_input_tensor(
            openvino.Tensor(inputs.copy(), shared_memory=True)
        )
        opened.infer = lambda batch: request.infer()
        opened.download = lambda result: result[0]
        return opened

    assert any("logits" in reason for reason in verdicts("openvino", cache_dir, session))


def test_bfloat16_without_being_asked_for_is_found(cache_dir, monkeypatch):
    """What OpenVINO does of its own accord where the processor can, if it is not told otherwise."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor has no instructions for bfloat16")
    real = openvino.Core.compile_model

    def careless(self, model, device, options):
        return real(self, model, device, options | {"INFERENCE_PRECISION_HINT": "bf16"})

    monkeypatch.setattr(openvino.Core, "compile_model", careless)
    adapter = importlib.import_module("dlbench.backends.openvino.adapter").Adapter()
    plan = Plan("openvino", "cpu", 6, 1, scenario="infer")
    reason = verify(adapter, plan, workload_of("convolution"), cache_dir).reason
    assert "bf16" in reason, reason


def test_the_sessions_are_right_without_a_fault(cache_dir):
    pytest.importorskip("onnxruntime")
    held = hold(Request("onnxruntime", "cpu", 1, 0, 0, cache_dir, only=["session"]))
    assert [] == held.failed
    assert [t.name for t in session_trials()] == [v.name for v in held.verdicts]
