"""Decodes what a worker answered, on the runner's side: an answer that does not fit the type of its job is a protocol
error and nothing of it is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from dlbench.worker.protocol import ProtocolError, check_size

R = TypeVar("R")


def decode(result: Mapping[str, Any], kind: type[R]) -> R:
    """The result of a job as its type.

    Raises
    ------
    ProtocolError : it lacks something, something is of another type, a number outside the checks is not finite, or a
        text or number is larger than any that means something.
    """
    if result.get("checks"):
        result = {**result, "checks": _finite_checks(result["checks"])}
    if isinstance(result.get("settling"), dict):
        result = {**result, "settling": _finite(result["settling"])}
    check_size(result)
    try:
        return msgspec.convert(result, kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from None


def _finite_checks(checks: Any) -> Any:
    """Comparisons with None for each number that is not finite; one without a tolerance has not succeeded, whatever it
    says."""
    if not isinstance(checks, Iterable) or not all(isinstance(check, dict) for check in checks):
        return checks
    return [_finite(check) for check in checks]


def _finite(check: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in check.items()
    }
    for name in ("tolerance", "scale"):
        if name in known and known[name] is None:
            known[name] = 0.0
            if name == "tolerance":
                known["passed"] = False
    return known
