"""What the adapters of frameworks share: CUDA devices, what they want of the environment, and whether a framework
rounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dlbench.contract import Device, Plan

from .cuda_driver import device_uuids, driver_is_here

VALUE = 1 + 2.0**-12
"""Becomes 1 in TF32 and bfloat16; summed `TERMS` times, which float32 does exactly, it shows."""
TERMS = 256


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


def rounds(*sums: float) -> bool:
    """Whether sums of `TERMS` times `VALUE` show that factors were rounded to fewer bits than float32 has."""
    return any(found != TERMS * VALUE for found in sums)
