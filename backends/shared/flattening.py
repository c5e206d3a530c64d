"""Where channels are last, the features of a flatten are in another order than the specification's. A linear layer
behind it may have the rows of its weight in that order instead, so that no step reorders anything."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dlbench.spec import layers as spec
from dlbench.spec.network import Node, Shape, walk

_ELEMENTWISE = (
    *(spec.Relu, spec.LeakyRelu, spec.Sigmoid, spec.Tanh, spec.Relu6, spec.Silu),
    *(spec.HardSigmoid, spec.HardSwish, spec.Gelu, spec.Dropout),
)


def flattened_inputs(nodes: tuple[Node, ...]) -> dict[str, Shape]:
    """C×H×W by name, of each flatten that need not transpose and of the linear that reads it."""
    found: dict[str, Shape] = {}
    for index, node in enumerate(nodes):
        for body in node.bodies:
            found |= flattened_inputs(body)
        if isinstance(node.layer, spec.Flatten) and len(node.input_shape) == 3:
            following = (n for n in nodes[index + 1 :] if not isinstance(n.layer, _ELEMENTWISE))
            reader = next(following, None)
            if reader is not None and isinstance(reader.layer, spec.Linear):
                found |= {node.name: node.input_shape, reader.name: node.input_shape}
    return found


def column_orders(nodes: tuple[Node, ...]) -> dict[str, npt.NDArray[np.intp]]:
    """The columns of the weights of those linear layers, by the weight's name, in the order H×W×C."""
    images = flattened_inputs(nodes)
    return {
        parameter.name: np.arange(math.prod(image)).reshape(image).transpose(1, 2, 0).ravel()
        for node in walk(nodes)
        for parameter in node.parameters
        if parameter.role == "weight" and (image := images.get(node.name))
    }


def to_inside(array: npt.NDArray[np.float32], image: Shape | None) -> npt.NDArray[np.float32]:
    """A parameter with its axes the other way round: kH×kW×I×O, in×out.

    Parameters
    ----------
    array : O×I×kH×kW, out×in, or one axis.
    image : C×H×W of what a linear layer's inputs were flattened from, where they are in the order H×W×C.
    """
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    if array.ndim == 2 and image is not None:
        outputs = array.shape[0]
        return array.reshape(outputs, *image).transpose(2, 3, 1, 0).reshape(-1, outputs)
    return array.T


def from_inside(array: npt.NDArray[np.float32], image: Shape | None) -> npt.NDArray[np.float32]:
    """A copy in the canonical layout."""
    if array.ndim == 2 and image is not None:
        channels, height, width = image
        outputs = array.shape[1]
        spread = array.reshape(height, width, channels, outputs).transpose(3, 2, 0, 1)
        array = spread.reshape(outputs, -1).T
    axes = (3, 2, 0, 1) if array.ndim == 4 else range(array.ndim)[::-1]
    return np.array(array.transpose(axes), np.float32, order="C")
