"""A suite of a network that somebody has written for a framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dlbench import plugins
from dlbench.spec.suite import Suite
from dlbench.spec.verification import suggested, to_table
from dlbench.spec.workload import read_workload

_SGD = {"type": "sgd", "learning_rate": 0.01, "momentum": 0.9}
_BATCH = 8


def suite_from(
    importer: str, network: Any, input: Sequence[int], name: str = "imported", description: str = ""
) -> tuple[Suite, tuple[str, ...]]:
    """The suite of a network: its layers, plain SGD with momentum, and random data of its shape.

    Parameters
    ----------
    importer : ``module:function`` of a backend, which gives the layers of what its framework calls a network.
    network : that, which takes one batch and gives one tensor.
    input : shape of a sample: channels, height, width; or features.
    name, description : of the suite.

    Returns
    -------
    The suite, and what was left out, in words.

    Raises
    ------
    UsageError : it is no network, or one with an operation that dlbench has no layer for: which, where, and what to do.
    SuiteError : the suite cannot be carried out.
    """
    found = plugins.load(importer)(network, tuple(input))
    table = {"input_shape": list(input), "layers": found.layers, "optimizer": _SGD}
    workload = read_workload(table | {"loss": "mean_squared_error"})
    classifies = len(workload.output_shape) == 1 and workload.output_shape[0] > 1
    suite = Suite.build(
        name,
        input=list(input),
        layers=found.layers,
        optimizer=_SGD,
        loss="cross_entropy" if classifies else "mean_squared_error",
        batches=[_BATCH],
        verification=to_table(suggested(workload)),
        description=description,
    )
    return suite, found.notes
