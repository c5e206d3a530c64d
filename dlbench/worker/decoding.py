"""Decodes what a worker answered, on the runner's side: an answer that does not fit the type of its job is a protocol
error and nothing of it is used."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from dlbench.record.facts import PEAK_MEMORY
from dlbench.worker.protocol import ProtocolError, check_size

R = TypeVar("R")

_LONGEST_S = 1e9
"""Longer than any machine has been up, since clocks count from there."""
_SCALES = {"_per_s": 0.0, "_bytes": 0.0, "_ns": 1e-9, "_s": 1.0, "seconds": 1.0}
"""The ends of names of what cannot be below 0, and what one of it is in seconds; 0 where it is no time."""
_COUNTS = {"threads": 1, PEAK_MEMORY: 0, "idle_synchronize_ns": 0}
"""Facts that are figures, and the least that they can be."""
_MOST_FACTS = 256


def decode(result: Mapping[str, Any], kind: type[R]) -> R:
    """The result of a job as its type.

    Raises
    ------
    ProtocolError : it lacks something, something is of another type, a number outside the checks is not finite, or a
        text, a number or a fact is larger or smaller than any that means something.
    """
    if result.get("checks"):
        result = {**result, "checks": _finite_checks(result["checks"])}
    if isinstance(result.get("settling"), dict):
        result = {**result, "settling": _finite(result["settling"])}
    try:
        check_size(result)
        _check_durations(result)
        _check_facts(result.get("facts"))
        return msgspec.convert(result, kind)
    except msgspec.ValidationError as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from None
    except RecursionError:
        raise ProtocolError(f"not a {kind.__name__}: nested too deeply") from None


def _check_durations(result: Mapping[str, Any]) -> None:
    """Refuses times and sizes below 0, and times that nobody lives to see the end of."""
    for name, value in result.items():
        scale = next((scale for end, scale in _SCALES.items() if name.endswith(end)), None)
        if scale is None:
            continue
        values = value.values() if isinstance(value, dict) else value
        for each in values if isinstance(values, Iterable) else (values,):
            if isinstance(each, int | float) and not 0 <= each * scale <= _LONGEST_S:
                raise ProtocolError(f"{name} is {each:.6g}")


def _check_facts(facts: Any) -> None:
    """Refuses facts that are no observation."""
    if not isinstance(facts, dict):
        return
    if len(facts) > _MOST_FACTS:
        raise ProtocolError(f"{len(facts):,} facts, where {_MOST_FACTS} are the most")
    for name, least in _COUNTS.items():
        count = facts.get(name, least)
        if not isinstance(count, int) or count < least:
            raise ProtocolError(f"the fact {name} is {count!r:.40}, should be {least} or more")


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
