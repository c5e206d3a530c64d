"""What a request takes of memory at the least, added up before any of it is made.

Everything that is counted is certain to be there at once in some process; what a backend needs beyond that, it tells
itself when it fails.
"""

from __future__ import annotations

import dataclasses
import math
import tempfile
from typing import TYPE_CHECKING

from dlbench.data import noise
from dlbench.errors import SuiteError, UsageError, WorkloadError
from dlbench.host import memory, scratch
from dlbench.spec.network import format_shape, walk
from dlbench.spec.training import CrossEntropy
from dlbench.spec.workload import Workload
from dlbench.text import plural, size

if TYPE_CHECKING:
    from dlbench.plan.request import Request

RESIDENT_BATCHES = 8
"""Batches that a session is given in turn: one alone would drive the loss to zero and the data to denormals."""
MOST_SWEPT = 512
"""The largest batch size of a sweep that names none."""
_SWEPT_SHARE = 1 / 8
"""Of the machine's memory, what a process of such a sweep is certain to need at the most: others live beside it."""
_VALUE_BYTES = 4


@dataclasses.dataclass(frozen=True)
class Need:
    """Something that takes memory: the field of the suite that says so, and what it is."""

    field: str
    what: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.what} {size(self.size_bytes)}"


def check_sizes(request: Request) -> None:
    """Refuses what cannot fit in this machine's memory: tensors one by one, and all that is held at once.

    Raises
    ------
    SuiteError : with the suite's file and field, what it takes and what there is.
    """
    limit_bytes = limit_of(request)
    if limit_bytes is None:
        return
    workload, file = request.suite.workload, request.suite.path.name
    try:
        for batch in request.chosen_batches:
            check_tensors(workload, batch, limit_bytes)
            check_sum(needs(workload, batch), limit_bytes)
    except WorkloadError as error:
        raise SuiteError(f"{file}: {error}") from None
    if (request.data or request.suite.data.name) == noise.NAME and request.epochs:
        shape = format_shape(workload.input_shape)
        parts = _VALUE_BYTES if len(workload.input_shape) == 1 else 1
        samples_bytes = sum(noise.SIZES.values()) * math.prod(workload.input_shape) * parts
        if samples_bytes > limit_bytes:
            raise UsageError(
                f"data {noise.NAME}: {sum(noise.SIZES.values()):,} samples of {shape} to train whole epochs on"
                f" take {size(samples_bytes)}, and this machine has {size(limit_bytes)}; leave out --epochs"
            )


def limit_of(request: Request) -> int | None:
    """The memory that a process of a request may have at the most; None where nothing tells."""
    known = (request.machine.memory_bytes, memory.address_limit_bytes())
    return min((each for each in known if each is not None), default=None)


def needs(workload: Workload, batch: int) -> list[Need]:
    """What a process that runs a workload has in memory at once, at the least."""
    nodes = list(walk(workload.nodes))
    weights = sum(parameter.size for node in nodes for parameter in node.parameters)
    largest = max(nodes, key=lambda node: math.prod(node.output_shape))
    output = math.prod(largest.output_shape)
    return [
        Need("network.layers", f"weights of {len(nodes):,} layers", _VALUE_BYTES * weights),
        Need(
            "network.input",
            f"{RESIDENT_BATCHES} batches of {batch:,}",
            RESIDENT_BATCHES * batch * _sample_bytes(workload),
        ),
        Need(largest.path, f"the output of {largest.name}", batch * _VALUE_BYTES * output),
    ]


def swept_batches(workload: Workload, memory_bytes: int | None) -> tuple[int, ...]:
    """The powers of two that a sweep goes through: up to `MOST_SWEPT`, and as far as memory goes (bytes; None where
    that is not known)."""
    room_bytes = math.inf if memory_bytes is None else _SWEPT_SHARE * memory_bytes
    found = [1]
    while found[-1] < MOST_SWEPT:
        batch = 2 * found[-1]
        if sum(each.size_bytes for each in needs(workload, batch)) > room_bytes:
            break
        found.append(batch)
    return tuple(found)


def check_files(request: Request) -> None:
    """Refuses batches that the temporary folder has no room for: each size has its resident ones and a held-out one in
    files, all there at once.

    Raises
    ------
    UsageError : with what they take and what there is.
    """
    sizes = set(request.chosen_batches)
    files_bytes = (RESIDENT_BATCHES + 1) * sum(sizes) * _sample_bytes(request.suite.workload)
    room_bytes = scratch.room_bytes()
    if files_bytes > room_bytes:
        raise UsageError(
            f"the batches of {plural(len(sizes), 'size')} take {size(files_bytes)} in files, and"
            f" {tempfile.gettempdir()} has room for {size(room_bytes)}; choose fewer with --batch, or name another"
            " folder as TMPDIR"
        )


def _sample_bytes(workload: Workload) -> int:
    targets = 2 if isinstance(workload.loss, CrossEntropy) else math.prod(workload.output_shape)
    return _VALUE_BYTES * (math.prod(workload.input_shape) + targets)


def check_sum(found: list[Need], limit_bytes: int) -> None:
    """Refuses what does not fit together.

    Raises
    ------
    WorkloadError : naming the field that takes most, and each part.
    """
    total = sum(each.size_bytes for each in found)
    if total > limit_bytes:
        most = max(found, key=lambda each: each.size_bytes)
        raise WorkloadError(
            most.field,
            f": {', '.join(map(str, found))}: together {size(total)}, and this machine has {size(limit_bytes)}",
        )


def check_tensors(workload: Workload, batch: int, limit_bytes: int) -> None:
    """Refuses a workload of which a single tensor would not fit.

    Raises
    ------
    WorkloadError : naming the layer, its tensor's size, and the memory there is.
    """
    for node in walk(workload.nodes):
        arrays = [(f"{p.name} ({format_shape(p.shape)})", p.size) for p in node.parameters]
        shape = format_shape((batch, *node.output_shape))
        arrays.append(
            (f"its output at batch {batch} ({shape})", batch * math.prod(node.output_shape))
        )
        for what, elements in arrays:
            if _VALUE_BYTES * elements > limit_bytes:
                raise WorkloadError(
                    node.path,
                    f": {what} takes {size(_VALUE_BYTES * elements)}, this machine has {size(limit_bytes)}",
                )
