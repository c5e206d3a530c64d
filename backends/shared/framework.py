"""What the adapters of frameworks share: CUDA devices, what they want of the environment, and whether a framework
rounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from dlbench.contract import Device, Plan
from dlbench.spec.layers import AvgPool, Conv2d, MaxPool
from dlbench.spec.network import Node

from .cuda_driver import device_uuids, driver_is_here

VALUE = 1 + 2.0**-12
"""Becomes 1 in TF32 and bfloat16; summed `TERMS` times, which float32 does exactly, it shows."""
TERMS = 256
STRICT_ONEDNN = {"ONEDNN_DEFAULT_FPMATH_MODE": "STRICT", "TF_SET_ONEDNN_FPMATH_MODE": ""}
"""Else oneDNN rounds factors to bfloat16 where the environment asks for it, whatever a framework was told."""
_LOST = {"fp32": (), "bf16": (2.0**-9, 2.0**-12), "tf32 or fp16": (2.0**-12,)}
"""By format, what is lost when it is added to 1 in it."""


def cuda_devices(names: Iterable[str], uuids: Iterable[str | None]) -> tuple[Device, ...]:
    """CUDA devices in a framework's order."""
    return tuple(
        Device(f"cuda:{index}", name, uuid or "", has_copies=True, telemetry="nvml")
        for index, (name, uuid) in enumerate(zip(names, uuids, strict=True))
    )


def cuda_uuids(count: int) -> list[str | None]:
    """The UUIDs of a framework's CUDA devices, in the driver's order, which is theirs; None where the driver has
    another number of them."""
    uuids = device_uuids()
    return list(uuids) if len(uuids) == count else [None] * count


def without_cuda(plan: Plan) -> Mapping[str, str]:
    """Hides every CUDA device from a process that computes on the CPU, where a framework would start them. Without a
    driver there is nothing to hide."""
    return {"CUDA_VISIBLE_DEVICES": "-1"} if plan.device == "cpu" and driver_is_here() else {}


def overlaps(layer: MaxPool | AvgPool) -> bool:
    """Whether an element may lie in several windows, so that its gradient is a sum."""
    return any(step < size for step, size in zip(layer.step, layer.kernel, strict=True))


def is_misread(node: Node, layer: Conv2d) -> bool:
    """Whether oneDNN may be wrong about a convolution of short factors whose windows move by several columns: where a
    row has one output, the next row's is not where it goes on; where they move by more columns than there are, it may
    leave gradients of weights unwritten."""
    (_, rows, columns), width = node.output_shape, node.input_shape[2]
    has_several = layer.kernel[1] > 1 and layer.stride[1] > 1
    return has_several and ((rows > 1 and columns == 1) or layer.stride[1] > width)


def rounds(*sums: float) -> bool:
    """Whether sums of `TERMS` times `VALUE` show that factors were rounded to fewer bits than float32 has."""
    return any(found != TERMS * VALUE for found in sums)


def onednn_fpmath() -> str:
    """oneDNN's mode of arithmetic in this process, ``strict`` unless the environment says otherwise."""
    return os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "").lower() or "strict"


def factors_seen(difference: Callable[[float], float]) -> str:
    """The format of a product's factors, as seen: ``fp32``, ``bf16`` or ``tf32 or fp16``.

    Parameters
    ----------
    difference : a product's result for a row of as many `value`s as -1, with ones. It is small, so that it is left of
        the sum whatever format the result has.
    """
    lost = tuple(part for part in (2.0**-9, 2.0**-12) if difference(1 + part) == 0)
    return next((name for name, parts in _LOST.items() if parts == lost), "unknown")
