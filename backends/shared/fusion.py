"""An order of layers that costs less and gives the same, for the backends whose layers are written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from dlbench.spec import layers as spec
from dlbench.spec.network import Node


def pool_first(nodes: Sequence[Node]) -> list[Node]:
    """Relu and a max pool behind it change places: the same values and gradients, with a quarter of the work.

    The larger of two numbers stays the larger after relu; where relu makes ties, it makes zeros, which send
    no gradient anywhere.
    """
    result = list(nodes)
    for i in range(len(result) - 1):
        relu, pool = result[i], result[i + 1]
        if isinstance(relu.layer, spec.Relu) and isinstance(pool.layer, spec.MaxPool):
            after = dataclasses.replace(
                relu, input_shape=pool.output_shape, output_shape=pool.output_shape
            )
            result[i : i + 2] = [pool, after]
    return result
