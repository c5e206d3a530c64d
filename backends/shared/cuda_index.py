"""From the device that a plan names to a framework's own index: the same mistake gets the same words everywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlbench.errors import BackendUnavailable, PlanRefused

NEEDS_GPU = "this row needs an NVIDIA GPU"

Devices = Callable[[], Sequence[str | None]]
"""Finds the UUID of every CUDA device that the process can use, in the framework's order; None for one that has
none that can be read."""


def cuda_index(device: str, there: Devices) -> int | None:
    """The framework's index of the device that a plan names; None for ``cpu``.

    Parameters
    ----------
    device : ``cpu``, ``cuda`` (the first one), ``cuda:N``, or ``cuda:`` and a UUID or its beginning.
    there : looks for the devices that the framework can use, when the plan names one.

    Raises
    ------
    PlanRefused : any other word.
    BackendUnavailable : there is no such device, with those there are.
    """
    wanted = _wanted(device)
    if wanted is None:
        return None
    uuids = there()
    if not uuids:
        raise BackendUnavailable("no CUDA device", NEEDS_GPU)
    if isinstance(wanted, str):
        return _by_uuid(wanted, uuids)
    if wanted >= len(uuids):
        last = len(uuids) - 1
        rest = f"cuda:0 to cuda:{last} are there" if last else "cuda:0 is the only one"
        raise BackendUnavailable(f"no CUDA device {wanted}; {rest}", NEEDS_GPU)
    return wanted


def _wanted(device: str) -> int | str | None:
    if device == "cpu":
        return None
    kind, colon, which = device.partition(":")
    if kind == "cuda" and not colon:
        return 0
    if kind == "cuda" and which.isdecimal():
        return int(which)
    if kind == "cuda" and which.startswith(("GPU-", "MIG-")):
        return which
    raise PlanRefused(f"device {device!r} is unknown; cpu, cuda, cuda:N or cuda:GPU-UUID")


def _by_uuid(wanted: str, uuids: Sequence[str | None]) -> int:
    """As CUDA_VISIBLE_DEVICES takes them: the beginning of a UUID will do where it is one device's alone."""
    found = [
        index
        for index, uuid in enumerate(uuids)
        if uuid is not None and uuid.lower().startswith(wanted.lower())
    ]
    if len(found) == 1:
        return found[0]
    if None in uuids and not found:
        raise BackendUnavailable(
            f"no CUDA device {wanted}: the UUIDs of the devices here cannot be read",
            "--device cuda:N",
        )
    there = ", ".join(uuid or "unknown" for uuid in uuids)
    many = "several CUDA devices are called" if found else "no CUDA device"
    raise BackendUnavailable(f"{many} {wanted}; there are {there}", NEEDS_GPU)
