import math

import numpy as np
import pytest

from dlbench.errors import BackendUnavailable
from dlbench.helpers.onnx_graph import BATCH, INPUT, OUTPUT, onnx_model
from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.spec.network import walk
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.verify.random_networks import draw_workload
from dlbench.verify.single_parts import LAYERS

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnx.reference")
from onnx.reference.op_run import OpRun  # noqa: E402

END = [{"type": "flatten"}, {"type": "linear", "out_features": 3}]


def workload_of(layers, input_shape=(2, 9, 11)):
    return read_workload(
        {
            "input_shape": list(input_shape),
            "layers": layers,
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )


def weights_of(workload, seed=0):
    """Nothing is left at 0 or 1, so that no term can be forgotten unseen."""
    random = np.random.default_rng(seed)
    return {
        name: (value + random.uniform(0.05, 0.3, value.shape)).astype(np.float32)
        for name, value in initial_weights(workload, seed).items()
    }


class LRN(OpRun):
    """The operator as its page has it: the package's own goes through as many channels as there are samples."""

    op_domain = ""

    def _run(self, x, alpha=None, beta=None, bias=None, size=None):
        before, behind = (size - 1) // 2, size - 1 - (size - 1) // 2
        padded = np.pad(np.square(x), ((0, 0), (before, behind), (0, 0), (0, 0)))
        sums = sum(padded[:, i : i + x.shape[1]] for i in range(size))
        return ((x / (bias + alpha / size * sums) ** beta).astype(x.dtype),)


def held_against_the_oracle(workload, count=3):
    """ONNX's own checker and its own evaluation of every operator, which nobody optimised."""
    weights = weights_of(workload)
    model = onnx_model(workload, weights, None, "network")
    onnx.checker.check_model(model, full_check=True)
    random = np.random.default_rng(1)
    inputs = random.standard_normal((count, *workload.input_shape), np.float32)
    evaluator = onnx.reference.ReferenceEvaluator(model, new_ops=[LRN])
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # its sigmoid takes the exponential of large values too
        (got,) = evaluator.run(None, {INPUT: inputs})
    exact = {name: value.astype(np.float64) for name, value in weights.items()}
    expected = forward(
        workload.nodes, exact, inputs.astype(np.float64), Pass(False, np.ones(count))
    )
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("layers", LAYERS.values(), ids=LAYERS.keys())
def test_every_layer_means_in_onnx_what_it_means_here(layers):
    held_against_the_oracle(workload_of(layers or END))


@pytest.mark.parametrize("seed", range(10))
def test_random_networks_mean_the_same_in_onnx(seed):
    workload, _ = draw_workload(seed)
    held_against_the_oracle(workload)


def test_what_shapes_onnx_infers_are_those_of_the_specification():
    workload, _ = draw_workload(3)
    model = onnx.shape_inference.infer_shapes(
        onnx_model(workload, weights_of(workload), 4, "network"), strict_mode=True
    )
    (inputs,), (outputs,) = model.graph.input, model.graph.output
    for value, shape in ((inputs, workload.input_shape), (outputs, workload.output_shape)):
        assert [4, *shape] == [d.dim_value for d in value.type.tensor_type.shape.dim]
    sizes = {math.prod((4, *node.output_shape)) for node in walk(workload.nodes)}
    inferred = {
        math.prod(d.dim_value for d in value.type.tensor_type.shape.dim)
        for value in model.graph.value_info
    }
    # padded and thinned images of a layer have sizes of their own
    assert sizes & inferred


def test_ends_have_names_and_an_open_batch_has_one_too():
    workload = workload_of(END)
    graph = onnx_model(workload, weights_of(workload), None, "mine").graph
    (inputs,), (outputs,) = graph.input, graph.output
    assert (INPUT, OUTPUT, "mine") == (inputs.name, outputs.name, graph.name)
    assert BATCH == inputs.type.tensor_type.shape.dim[0].dim_param
    assert {"linear1.weight", "linear1.bias"} == {each.name for each in graph.initializer}


def test_a_network_that_leaves_its_input_as_it_is_has_an_output_all_the_same():
    held_against_the_oracle(workload_of([{"type": "dropout", "rate": 0.5}]))


def test_layers_may_be_called_what_they_like():
    names = [INPUT, OUTPUT, BATCH, "Gemm", "weight"]
    layers = [{"type": "linear", "out_features": 3, "name": name} for name in names]
    held_against_the_oracle(workload_of([{"type": "flatten"}, *layers]))


def test_without_the_package_it_is_said_what_would_help(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    workload = workload_of(END)
    with pytest.raises(
        BackendUnavailable, match=r"onnx is not installed: pip install 'dlbench\[onnx\]'"
    ):
        onnx_model(workload, weights_of(workload), None, "network")
