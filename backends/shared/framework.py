"""What the adapters of frameworks share: importing one, its CUDA devices, what it wants of the environment, and whether
it rounds."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dlbench.contract import Device, Plan
from dlbench.errors import BackendUnavailable, PlanRefused

from .cuda_driver import device_uuids, driver_is_here

VALUE = 1 + 2.0**-12
"""Becomes 1 in TF32 and bfloat16; summed `TERMS` times, which float32 does exactly, it shows."""
TERMS = 256


def require(module: str, title: str, remedy: str) -> Any:
    """A framework's module.

    Raises
    ------
    BackendUnavailable : it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        reason = f"{title} is not installed"
        if error.name != module:
            reason = f"{title} cannot be imported ({error})"
        raise BackendUnavailable(reason, remedy) from error
    except (ImportError, OSError) as error:
        raise BackendUnavailable(f"{title} cannot be imported ({error})", remedy) from error


def check_arithmetic(
    plan: Plan, backend: str, modes: Sequence[str], precisions: Sequence[str] = ("fp32",)
) -> str:
    """The plan's mode, the first one where it names none.

    Raises
    ------
    PlanRefused : a precision or mode that the backend has not got, with what it has instead.
    """
    if plan.precision not in precisions:
        known = " or ".join(precisions)
        raise PlanRefused(f"{backend} computes in {known}, not in {plan.precision!r}")
    mode = plan.mode or modes[0]
    if mode not in modes:
        have = "one mode, " if len(modes) == 1 else "the modes "
        raise PlanRefused(f"{backend} has {have}{' and '.join(modes)}; it has no {mode!r}")
    return mode


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
