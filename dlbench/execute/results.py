"""Turns how a worker ended into the lines of the record."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dlbench.execute.quiet_machine import Waited
from dlbench.record.facts import Surroundings
from dlbench.record.schema import (
    Case,
    Check,
    Peak,
    Process,
    Sampling,
    Telemetry,
    Trace,
    Training,
    Verification,
    Wait,
)
from dlbench.worker.supervisor import Ended

_EACH_PASS = "busy_cpu_s"
"""What every pass of the host's sampler reads last."""


def verification(case: Case, ended: Ended) -> Verification:
    """What a process found that held a backend against the oracle; one without any check proves nothing."""
    result = ended.result
    if ended.status != "ok":
        seconds = {"wall": round_s(ended.wall_s)}
        return Verification(
            case, ended.status, ended.reason, (), None, 0, "", {}, seconds, ended.output
        )
    checks = _checks(result["checks"])
    reason = result["reason"] or ("" if checks else "nothing was checked")
    agrees = not reason and all(check.passed for check in checks)
    return Verification(
        case=case,
        status="ok" if agrees else "unverified",
        reason=reason,
        checks=checks,
        max_relative_error=_max_relative_error(checks),
        ambiguous_branches=result["ambiguous_branches"],
        version=result["version"],
        facts=result["facts"],
        seconds=result["seconds"],
        output="" if agrees else ended.output,
    )


def process(
    case: Case, round: int, ended: Ended, attempt: int = 0, *, checked: bool = True
) -> Process:
    """What a process measured; its timings do not count when a check after them failed, or was
    to be made (`checked`) and was not."""
    result = ended.result
    if ended.status != "ok":
        seconds = {"wall": round_s(ended.wall_s)}
        return Process(
            case,
            round,
            ended.status,
            ended.reason,
            attempt=attempt,
            seconds=seconds,
            output=ended.output,
        )
    checks = _checks(result["checks"])
    unchecked = checked and not checks
    agrees = not unchecked and all(check.passed for check in checks)
    return Process(
        case=case,
        round=round,
        status="ok" if agrees else "unverified",
        reason="nothing was checked after the timing" if unchecked else "",
        timings_ns=tuple(result["timings_ns"]),
        warmup_ns=tuple(result["warmup_ns"]),
        first_step_ns=result["first_step_ns"],
        started_ns=result["started_ns"],
        ended_ns=result["ended_ns"],
        upload_ns=tuple(result["upload_ns"]),
        download_ns=tuple(result["download_ns"]),
        device_ns=tuple(result["device_ns"]),
        steady=result["steady"],
        attempt=attempt,
        before=Surroundings(**result["before"]),
        during=Surroundings(**result["during"]),
        after=Surroundings(**result["after"]),
        canary_ns=tuple(result["canary_ns"]),
        checks=checks,
        version=result["version"],
        facts=result["facts"],
        libraries=result["libraries"],
        peak_memory_bytes=result["peak_memory_bytes"],
        seconds=result["seconds"],
        output="" if agrees else ended.output,
    )


def sampling(threads: int, ended: Ended, beside: Sequence[Telemetry]) -> Sampling:
    """What the sampler of the host did to a fixed piece of work, with how many passes in the blocks that were to have
    one each: it gives way to work on every core, so a pass may come too late for its block."""
    with_ns, without_ns = (
        tuple(round(time_ns, 1) for time_ns in ended.result[f"{side}_ns"])
        for side in ("with", "without")
    )
    times_ns = [t for line in beside for t in line.traces.get(_EACH_PASS, Trace((), ())).t_ns]
    windows_ns = ended.result["windows_ns"]
    passes = sum(low <= t <= high for t in times_ns for low, high in windows_ns)
    return Sampling(threads, ended.result["block_ns"], with_ns, without_ns, passes)


def wait(
    process: Process, disturbed_by: Sequence[str], waited: Waited, *, write: Callable[[Wait], None]
) -> None:
    """Writes of a wait after a disturbed process."""
    by = tuple(disturbed_by)
    write(Wait(process.case, process.round, by, waited.seen, waited.quiet))


def training(case: Case, epochs: int, ended: Ended) -> Training:
    """What came of a training; one whose loss stopped being finite has failed."""
    if ended.status != "ok":
        return Training(case, ended.status, ended.reason, epochs)
    result = ended.result["trained"]
    diverged_at = result["diverged_at"]
    reason = "" if diverged_at is None else f"the loss is not finite in step {diverged_at}"
    if not reason and result["test_loss"] is None:
        reason = "the loss on the test part is not finite"
    return Training(
        case=case,
        status="failed" if reason else "ok",
        reason=reason,
        epochs=epochs,
        losses=tuple(result["losses"]),
        validation_accuracy=tuple(result["validation_accuracy"]),
        test_accuracy=result["test_accuracy"],
        test_loss=result["test_loss"],
        seconds=result["seconds"],
    )


def peak(round: int, threads: int, ended: Ended) -> Peak:
    """This machine's matrix-product rate, as a process saw it."""
    return Peak(round, threads, tuple(ended.result["flops_per_s"]))


def round_s(seconds: float) -> float:
    """Seconds as they are written down."""
    return round(seconds, 6)


def _checks(tables: Sequence[Mapping[str, Any]]) -> tuple[Check, ...]:
    return tuple(
        Check(
            name=table["name"],
            where=table["where"],
            got=_finite(table["got"]),
            expected=_finite(table["expected"]),
            error=_finite(table["error"]),
            tolerance=_finite(table["tolerance"]) or 0.0,
            scale=_finite(table["scale"]) or 0.0,
            # a comparison that gave no number has not succeeded, whatever it says
            passed=bool(table["passed"]) and _finite(table["tolerance"]) is not None,
        )
        for table in tables
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _max_relative_error(checks: Sequence[Check]) -> float | None:
    """The largest error / scale; None when one error is not finite."""
    errors = [check.relative_error for check in checks if check.scale > 0]
    finite = [error for error in errors if error is not None]
    return max(finite, default=None) if len(finite) == len(errors) else None
