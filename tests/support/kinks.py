"""Networks whose activations read given numbers, so that derivatives at kinks can be seen."""

import numpy as np

from dlbench.oracle.layers import Pass
from dlbench.oracle.network import forward
from dlbench.spec.workload import read_workload

# layer: (inputs, outputs, derivatives): at the kinks the outer pieces have them
KINKS = {
    "relu": ([-1, 0, 2], [0, 0, 2], [0, 0, 1]),
    "relu6": ([-1, 0, 2, 6, 7], [0, 0, 2, 6, 6], [0, 0, 1, 0, 0]),
    "hard_sigmoid": ([-4, -3, 0, 3, 4], [0, 0, 0.5, 1, 1], [0, 0, 1 / 6, 0, 0]),
    "hard_swish": ([-4, -3, 0, 1.5, 3, 4], [0, 0, 0, 1.125, 3, 4], [0, 0, 0.5, 1, 1, 1]),
}


def network_of(layer, count):
    """A scale and shift for each feature, so that gradients of single elements can be read, and the layer."""
    return read_workload(
        {
            "input_shape": [count],
            "layers": [{"type": "linear", "out_features": count}, layer],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 1.0},
        }
    )


def at(layer, inputs):
    """Workload, weights and a sample with which the layer reads `inputs`, and targets that make the gradient of each
    output 1."""
    workload = network_of(layer, len(inputs))
    weights = {
        "linear1.weight": np.zeros((len(inputs), len(inputs))),
        "linear1.bias": np.array(inputs, np.float64),
    }
    sample = np.zeros((1, len(inputs)))
    outputs = forward(workload.nodes, weights, sample, Pass(False, np.ones(1)))
    return workload, weights, sample, outputs, outputs - len(inputs) / 2
