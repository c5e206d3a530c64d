"""A workload as an ONNX model, for the backends that read one and for whoever wants the network elsewhere.

Operators are those of operator set 17, which every runtime of the last years reads; arrays lie as the specification has
them, N×C×H×W and O×I×kH×kW. It is the network as it infers: running statistics, no dropout. Operators and their
attributes are those of https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench.helpers.refusals import require
from dlbench.spec import layers as spec
from dlbench.spec.network import Node
from dlbench.spec.workload import Weights, Workload

INPUT, OUTPUT = "input", "output"
"""What the model calls its only input and its only output."""
OPERATOR_SET, IR_VERSION = 17, 8
BATCH = "batch"
"""What the number of samples is called where it is left open."""
_RELU6 = (("least", 0.0), ("most", 6.0))


def onnx_model(workload: Workload, weights: Weights, batch: int | None, name: str) -> Any:
    """A workload's network as an ``onnx.ModelProto``.

    Parameters
    ----------
    weights : by parameter name, in the canonical layout; they become initializers of these names.
    batch : samples; None leaves the number open.
    name : of the graph.

    Raises
    ------
    BackendUnavailable : the package ``onnx`` is not installed.
    """
    onnx = require_onnx()
    graph = _Graph(onnx.helper, onnx.numpy_helper, weights)
    last = graph.sequence(workload.nodes, INPUT)
    if last == INPUT:
        graph.add("Identity", [INPUT], "identity")
    # what was added last is what gives the output
    graph.nodes[-1].output[0] = OUTPUT
    samples = BATCH if batch is None else batch
    ends = [
        onnx.helper.make_tensor_value_info(end, onnx.TensorProto.FLOAT, [samples, *shape])
        for end, shape in ((INPUT, workload.input_shape), (OUTPUT, workload.output_shape))
    ]
    return onnx.helper.make_model(
        onnx.helper.make_graph(graph.nodes, name, ends[:1], ends[1:], graph.initializers),
        producer_name="dlbench",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPERATOR_SET)],
    )


def require_onnx() -> Any:
    """The package ``onnx``.

    Raises
    ------
    BackendUnavailable : it is not installed.
    """
    return require("onnx", "the package onnx", "pip install 'dlbench[onnx]'")


class _Graph:
    """A graph in the making: a value is called after the layer that gives it."""

    def __init__(self, make: Any, arrays: Any, weights: Weights) -> None:
        self._make, self._arrays, self._weights = make, arrays, weights
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def add(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds an operator; what its result is called."""
        result = f"{name}/{operator}"
        node = self._make.make_node(operator, inputs, [result], name=result, **attributes)
        self.nodes.append(node)
        return result

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Adds an array; what it is called."""
        self.initializers.append(self._arrays.from_array(np.ascontiguousarray(values), name))
        return name

    def sequence(self, nodes: Sequence[Node], x: str) -> str:
        """Adds layers one behind the other; the last one's result, or `x` itself."""
        for node in nodes:
            x = self.layer(node, x)
        return x

    def layer(self, node: Node, x: str) -> str:
        """Adds a layer; its result."""
        name = node.name
        own = [self.constant(p.name, self._weights[p.name]) for p in node.parameters]
        match node.layer:
            case spec.Conv2d() as conv:
                windows = _windows(conv, conv.edges) | {"dilations": conv.dilation}
                return self.add("Conv", [x, *own], name, **windows, group=conv.groups)
            case spec.ConvTranspose2d() as conv:
                sides = conv.padding * 2
                added = conv.output_padding
                windows = {"strides": conv.stride, "pads": sides, "output_padding": added}
                return self.add("ConvTranspose", [x, *own], name, **windows)
            case spec.GroupNorm() as norm:
                return self.group_norm(node, norm, x, own)
            case spec.LayerNorm() as norm:
                return self.layer_norm(node, norm, x, own)
            case spec.LocalResponseNorm() as norm:
                of = {"size": norm.size, "alpha": norm.alpha, "beta": norm.beta, "bias": norm.k}
                return self.add("LRN", [x], name, **of)
            case spec.Linear():
                return self.add("Gemm", [x, *own], name, transB=1)
            case spec.BatchNorm() as norm:
                return self.add("BatchNormalization", [x, *own], name, epsilon=norm.eps)
            case spec.Relu():
                return self.add("Relu", [x], name)
            case spec.LeakyRelu() as leaky:
                return self.add("LeakyRelu", [x], name, alpha=leaky.slope)
            case spec.Sigmoid():
                return self.add("Sigmoid", [x], name)
            case spec.Tanh():
                return self.add("Tanh", [x], name)
            case spec.Relu6():
                ends = [self.scalar(f"{name}/{end}", value) for end, value in _RELU6]
                return self.add("Clip", [x, *ends], name)
            case spec.Silu():
                return self.add("Mul", [x, self.add("Sigmoid", [x], name)], name)
            case spec.HardSigmoid():
                return self.add("HardSigmoid", [x], name, alpha=1 / 6, beta=0.5)
            case spec.HardSwish():
                return self.add("HardSwish", [x], name)
            case spec.Gelu() as gelu:
                return self.gelu(gelu, x, name)
            case spec.MaxPool() as pool:
                return self.add("MaxPool", [x], name, **_windows(pool, _pool_edges(node, pool)))
            case spec.AvgPool() as pool:
                return self.avg_pool(node, pool, x)
            case spec.GlobalAvgPool():
                return self.add("Flatten", [self.add("GlobalAveragePool", [x], name)], name)
            case spec.AdaptiveAvgPool():
                return self.adaptive_avg_pool(node, x)
            case spec.Dropout():
                return x
            case spec.Flatten():
                return self.add("Flatten", [x], name)
            case spec.OptionA() as thinned:
                return self.option_a(node, thinned, x)
            case spec.Residual():
                parts = [self.sequence(body, x) for body in (node.body, node.shortcut)]
                return self.add("Add", parts, name)
            case spec.Scale():
                return self.scale(node, x)
            case spec.Concat():
                parts = [self.sequence(body, x) for body in node.bodies]
                return self.add("Concat", parts, name, axis=1)

    def scalar(self, name: str, value: float) -> str:
        """Adds a number."""
        return self.constant(name, np.array(value, np.float32))

    def gelu(self, layer: spec.Gelu, x: str, name: str) -> str:
        """Operator set 17 has none yet: it is written out, in the form that runtimes know to fuse."""
        if layer.approximate == "none":
            scaled = self.add("Div", [x, self.scalar(f"{name}/root", math.sqrt(2))], name)
            bent = self.add("Erf", [scaled], name)
        else:
            cube = self.add("Pow", [x, self.scalar(f"{name}/three", 3)], name)
            small = self.add("Mul", [cube, self.scalar(f"{name}/cubic", 0.044715)], f"{name}/cube")
            whole = self.add("Add", [x, small], name)
            factor = self.scalar(f"{name}/factor", math.sqrt(2 / math.pi))
            bent = self.add("Tanh", [self.add("Mul", [whole, factor], f"{name}/whole")], name)
        moved = self.add("Add", [bent, self.scalar(f"{name}/one", 1)], f"{name}/moved")
        product = self.add("Mul", [x, moved], f"{name}/product")
        return self.add("Mul", [product, self.scalar(f"{name}/half", 0.5)], name)

    def avg_pool(self, node: Node, pool: spec.AvgPool, x: str) -> str:
        """A mean that counts padding has the whole window for its divisor in ONNX; windows that reach beyond the
        padding have a smaller one."""
        windows = _windows(pool, _pool_edges(node, pool))
        counted = int(pool.count_include_pad)
        mean = self.add("AveragePool", [x], node.name, count_include_pad=counted, **windows)
        whole, divisors = math.prod(pool.kernel), np.multiply.outer(*node.divisors)
        if not counted or np.all(divisors == whole):
            return mean
        shares = self.constant(f"{node.name}/shares", (whole / divisors).astype(np.float32))
        return self.add("Mul", [mean, shares], node.name)

    def group_norm(self, node: Node, norm: spec.GroupNorm, x: str, own: Sequence[str]) -> str:
        """Operator set 17 has none yet: groups are instances of one dimension."""
        name, groups = node.name, norm.groups
        shapes = [
            self.constant(f"{name}/{what}", np.array(shape, np.int64))
            for what, shape in (("parts", (0, groups, -1)), ("shape", (0, *node.input_shape)))
        ]
        parts = self.add("Reshape", [x, shapes[0]], f"{name}/parts")
        ones, zeros = (
            self.constant(f"{name}/{what}", np.full(groups, value, np.float32))
            for what, value in (("ones", 1), ("zeros", 0))
        )
        normal = self.add("InstanceNormalization", [parts, ones, zeros], name, epsilon=norm.eps)
        whole = self.add("Reshape", [normal, shapes[1]], name)
        if len(node.input_shape) == 3:
            axes = self.constant(f"{name}/axes", np.array([1, 2], np.int64))
            own = [self.add("Unsqueeze", [each, axes], each) for each in own]
        return self.add("Add", [self.add("Mul", [whole, own[0]], name), own[1]], name)

    def layer_norm(self, node: Node, norm: spec.LayerNorm, x: str, own: Sequence[str]) -> str:
        """Of the last axis, which the channels of images are brought to."""
        name, of_images = node.name, len(node.input_shape) == 3
        if of_images:
            x = self.add("Transpose", [x], f"{name}/last", perm=(0, 2, 3, 1))
        y = self.add("LayerNormalization", [x, *own], name, axis=-1, epsilon=norm.eps)
        return self.add("Transpose", [y], name, perm=(0, 3, 1, 2)) if of_images else y

    def adaptive_avg_pool(self, node: Node, x: str) -> str:
        """ONNX has none: a pool where all windows are alike and none overlap, else products with shares."""
        (height, width), (rows, columns) = node.input_shape[1:], node.output_shape[1:]
        if height % rows == 0 and width % columns == 0:
            kernel = (height // rows, width // columns)
            return self.add("AveragePool", [x], node.name, kernel_shape=kernel, strides=kernel)
        shares = []
        for bins, size in zip(node.bins, (height, width), strict=True):
            each = np.zeros((len(bins), size), np.float32)
            for share, (start, stop) in zip(each, bins, strict=True):
                share[start:stop] = 1 / (stop - start)
            shares.append(each)
        along = [
            self.constant(f"{node.name}/{what}", share)
            for what, share in (("rows", shares[0]), ("columns", shares[1].T))
        ]
        wide = self.add("MatMul", [along[0], x], f"{node.name}/wide")
        return self.add("MatMul", [wide, along[1]], node.name)

    def scale(self, node: Node, x: str) -> str:
        """Features are made images of one pixel."""
        gate = self.sequence(node.body, x)
        if len(node.body[-1].output_shape) < len(node.input_shape):
            axes = self.constant(f"{node.name}/axes", np.array([2, 3], np.int64))
            gate = self.add("Unsqueeze", [gate, axes], node.name)
        return self.add("Mul", [x, gate], node.name)

    def option_a(self, node: Node, layer: spec.OptionA, x: str) -> str:
        """Every so many rows and columns, then channels of zeros."""

        def integers(what: str, *values: int) -> str:
            return self.constant(f"{node.name}/{what}", np.array(values, np.int64))

        sizes = node.input_shape[1:]
        bounds = [integers("starts", 0, 0), integers("ends", *sizes), integers("axes", 2, 3)]
        steps = integers("steps", *layer.stride)
        thinned = self.add("Slice", [x, *bounds, steps], node.name)
        behind = integers("pads", 0, 0, 0, 0, 0, layer.extra_channels, 0, 0)
        return self.add("Pad", [thinned, behind], node.name)


def _windows(layer: spec.Conv2d | spec.MaxPool | spec.AvgPool, edges: spec.Edges) -> dict[str, Any]:
    (top, bottom), (left, right) = edges
    pads = top, left, bottom, right
    return {"kernel_shape": layer.kernel, "strides": layer.step, "pads": pads}


def _pool_edges(node: Node, pool: spec.MaxPool | spec.AvgPool) -> spec.Edges:
    """ONNX' own ceil mode has one more window where it would begin in the padding, before operator set 19."""
    return node.window_edges if pool.ceil_mode else pool.edges
