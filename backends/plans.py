"""What every framework's adapter asks of a plan before it imports anything heavy.

One place, so that the same mistake gets the same words whichever backend it was made with.
"""

from __future__ import annotations

from dlbench.contract import Plan
from dlbench.errors import BackendUnavailable, PlanRefused

NEEDS_GPU = "this row needs an NVIDIA GPU"


def cuda_index(device: str) -> int | None:
    """The number behind ``cuda`` or ``cuda:N``; None for ``cpu``.

    Raises
    ------
    PlanRefused : any other word.
    """
    if device == "cpu":
        return None
    kind, colon, number = device.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise PlanRefused(f"device {device!r} is unknown; cpu, cuda or cuda:N")
    return int(number) if number else 0


def check_arithmetic(plan: Plan, backend: str, mode: str) -> None:
    """Refuses every precision but ``fp32`` and every mode but `mode`.

    Raises
    ------
    PlanRefused : with what the backend has instead.
    """
    if plan.precision != "fp32":
        raise PlanRefused(f"{backend} computes in fp32 here, not in {plan.precision!r}")
    if plan.mode not in ("", mode):
        raise PlanRefused(f"{backend} has one mode here, {mode}; it has no {plan.mode!r}")


def check_cuda(index: int, count: int) -> None:
    """Holds a CUDA device's number against how many there are.

    Raises
    ------
    BackendUnavailable : there is no such device.
    """
    if count == 0:
        raise BackendUnavailable("no CUDA device", NEEDS_GPU)
    if index >= count:
        there = "cuda:0 is the only one" if count == 1 else f"cuda:0 to cuda:{count - 1} are there"
        raise BackendUnavailable(f"no CUDA device {index}; {there}", NEEDS_GPU)
