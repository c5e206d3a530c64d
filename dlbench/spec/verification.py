"""At which shape a network is verified that would take too long to verify at the one at which it is timed."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from dlbench.errors import WorkloadError
from dlbench.spec.decode import at_least, decode
from dlbench.spec.network import Shape, format_shape
from dlbench.spec.workload import Workload

SECTION = "verification"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What the section `[verification]` of a suite says; see `dlbench.verify.extent` for what follows from it.

    Attributes
    ----------
    input : shape of a sample in the steps at a small batch, which pass through the very same layers. A linear layer
        behind a flatten has fewer weights there; all others have those that are timed.
    batch : samples of these steps.
    """

    input: Shape = at_least(1)
    batch: int = at_least(1, 2)


_DEAR_FLOPS = 10**9
_SIZES = (64, 96, 128)


def suggested(workload: Workload) -> Verification | None:
    """Where a network could be verified that is dear at its own input; None where it is not, or nothing fits."""
    shape = workload.input_shape
    if workload.forward_flops < _DEAR_FLOPS or len(shape) != 3:
        return None
    for size in _SIZES:
        if size < min(shape[1:]):
            with contextlib.suppress(WorkloadError):
                return read_verification({"input": [shape[0], size, size]}, workload)
    return None


def to_table(declared: Verification | None) -> dict[str, Any] | None:
    """What `from_table` makes an equal one of."""
    return None if declared is None else dataclasses.asdict(declared)


def from_table(given: Mapping[str, Any] | None) -> Verification | None:
    """What `to_table` made a table of."""
    if given is None:
        return None
    return Verification(input=tuple(given["input"]), batch=given["batch"])


def read_verification(given: Any, workload: Workload) -> Verification:
    """The section of a suite.

    Raises
    ------
    WorkloadError : it is none, or the network cannot be run or trained so.
    """
    found = decode(Verification, given, SECTION)
    where, shown = f"{SECTION}.input", f" = {list(found.input)}"
    timed = workload.input_shape
    if len(found.input) != len(timed) or found.input[0] != timed[0] or len(timed) != 3:
        raise WorkloadError(
            where,
            f"{shown} must be channels, height and width of an image, with as many channels as the network's"
            f" {format_shape(timed)}",
        )
    try:
        small = workload.at(found.input)
    except WorkloadError as error:
        raise WorkloadError(where, f"{shown} does not fit the network: {error}") from None
    if small.output_shape != workload.output_shape:
        raise WorkloadError(
            where,
            f"{shown} gives outputs of {format_shape(small.output_shape)}, not {format_shape(workload.output_shape)}",
        )
    node = small.untrainable(found.batch)
    if node is not None:
        raise WorkloadError(
            where,
            f"{shown} gives {node.name} one value per channel at batch {found.batch}, on which it cannot be trained",
        )
    return found
