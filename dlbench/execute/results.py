"""Turns how a worker ended into the lines of the record."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from dlbench.execute.quiet_machine import Waited
from dlbench.host import interference
from dlbench.host.cause import Cause
from dlbench.record import door
from dlbench.record.facts import (
    Check,
    MeasureResult,
    Primitive,
    ProfileResult,
    RungTimes,
    StepSpans,
    VerifyResult,
)
from dlbench.record.schema import (
    Answers,
    Case,
    Process,
    Profile,
    Status,
    Training,
    Verification,
    Wait,
)
from dlbench.record.trained import AnswerResult, TrainResult
from dlbench.telemetry.energy.meter import Meter
from dlbench.telemetry.windows import Window
from dlbench.worker.supervisor import Ended


def verification(case: Case, ended: Ended[VerifyResult]) -> Verification:
    """What a process found that held a backend against the oracle; one without any check proves nothing."""
    result = ended.result
    if result is None:
        seconds = {"wall": round_s(ended.wall_s)}
        return Verification(
            case, ended.status, ended.reason, (), None, 0, "", {}, seconds, ended.output
        )
    reason = result.reason or ("" if result.checks else "nothing was checked")
    agrees = not reason and all(check.passed for check in result.checks)
    return Verification(
        case=case,
        status="ok" if agrees else "unverified",
        reason=reason,
        checks=result.checks,
        max_relative_error=_max_relative_error(result.checks),
        ambiguous_branches=result.ambiguous_branches,
        version=result.version,
        facts=result.facts,
        seconds=result.seconds,
        output="" if agrees else ended.output,
    )


def process(
    case: Case,
    round: int,
    ended: Ended[MeasureResult],
    attempt: int = 0,
    *,
    checked: bool = True,
    tells_start: bool = True,
) -> Process:
    """What a process measured; its timings do not count when a check after them failed, or was
    to be made (`checked`) and was not. What its start took is told if it `tells_start`."""
    result = ended.result
    if result is None:
        return Process(
            case,
            round,
            ended.status,
            ended.reason,
            attempt=attempt,
            seconds={"wall": round_s(ended.wall_s)},
            output=ended.output,
        )
    unchecked = checked and not result.checks
    agrees = not unchecked and all(check.passed for check in result.checks)
    fields = _fields(result)
    start_seconds = fields.pop("start_seconds")
    if tells_start:
        fields["seconds"] = start_seconds | result.seconds
    measured = Process(
        case=case,
        round=round,
        status="ok" if agrees else "unverified",
        reason="nothing was checked after the timing" if unchecked else "",
        attempt=attempt,
        output="" if agrees else ended.output,
        **fields,
    )
    try:
        door.check(measured)
    except ValueError as error:
        reason = f"protocol error: {error}"
        return Process(case, round, "failed", reason, attempt=attempt, output=ended.output)
    return measured


def wait(
    process: Process,
    disturbed_by: Sequence[Cause],
    waited: Waited,
    *,
    write: Callable[[Wait], None],
) -> None:
    """Writes of a wait after a disturbed process."""
    write(
        Wait(process.case, process.round, tuple(map(str, disturbed_by)), waited.seen, waited.quiet)
    )


def training(
    case: Case, epochs: int, seed: int, ended: Ended[TrainResult], meter: Meter | None = None
) -> Training:
    """What came of a training from a seed, beside which a meter may have read the energy; one whose loss stopped being
    finite has failed."""
    if ended.result is None:
        return Training(case, ended.status, ended.reason, epochs, seed=seed)
    trained = _fields(ended.result.trained)
    diverged_at = trained.pop("diverged_at")
    spans = trained.pop("epoch_started_ns"), trained.pop("epoch_ended_ns")
    reason = "" if diverged_at is None else f"the loss is not finite in step {diverged_at}"
    if not reason and trained["test_loss"] is None:
        reason = "the loss on the test part is not finite"
    epochs = len(trained["epoch_s"])
    status: Status = "failed" if reason else "ok"
    energy = None
    if meter is not None and not reason:
        energy = meter.energy([Window(*each) for each in zip(*spans, strict=True)])
    return Training(case, status, reason, epochs, seed=seed, energy=energy, **trained)


def answers(case: Case, weights_of: Case, ended: Ended[AnswerResult]) -> Answers:
    """What a case answered on the test part at the weights of a training."""
    found = ended.result
    if found is None:
        return Answers(case, ended.status, ended.reason, weights_of)
    return Answers(case, "ok", "", weights_of, found.answers, found.wrong, found.true_classes)


def profile(
    case: Case,
    processes: Sequence[Ended[Any]],
    primitives: Sequence[Primitive] = (),
    spans: StepSpans | None = None,
) -> Profile:
    """What a ladder's networks took in one process after another; a ladder that could not be opened, or not be timed to
    the end, went wrong. `primitives` are oneDNN's in a step, `spans` what steps said of themselves."""
    timed: list[ProfileResult] = []
    for ended in processes:
        if not isinstance(ended.result, ProfileResult):
            seconds = {"wall": round_s(ended.wall_s)}
            return Profile(case, ended.status, ended.reason, seconds=seconds, output=ended.output)
        timed.append(ended.result)
    last = timed[-1]
    spent = {name: sum(each.seconds.get(name, 0.0) for each in timed) for name in last.seconds}
    return Profile(
        case,
        "ok",
        "",
        rungs=tuple(map(_in_turn, zip(*(each.rungs for each in timed), strict=True))),
        round_ended_ns=tuple(end for each in timed for end in each.round_ended_ns),
        processes=len(timed),
        during=interference.over([each.during for each in timed]),
        version=last.version,
        facts=last.facts,
        seconds={name: round_s(seconds) for name, seconds in spent.items()},
        primitives=tuple(primitives),
        spans=spans,
    )


def _in_turn(processes: Sequence[RungTimes]) -> RungTimes:
    """One network, timed in one process after another."""
    blocks_ns = tuple(block for each in processes for block in each.blocks_ns)
    return dataclasses.replace(processes[0], blocks_ns=blocks_ns)


def round_s(seconds: float) -> float:
    """Seconds as they are written down."""
    return round(seconds, 6)


def _fields(result: Any) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}


def _max_relative_error(checks: Sequence[Check]) -> float | None:
    """The largest error / scale; None when one error is not finite."""
    errors = [check.relative_error for check in checks if check.scale > 0]
    finite = [error for error in errors if error is not None]
    return max(finite, default=None) if len(finite) == len(errors) else None
