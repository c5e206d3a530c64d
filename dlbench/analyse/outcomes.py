"""What became of each case of a record: every line about a case drawn together into one judgement.

A record holds facts in the order in which they happened. Here they are gathered by case, and the
rule is that the worst thing that happened to a case is its status, so that nothing that went wrong
once can be outvoted by what went well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dlbench.analyse.disturbance import (
    Key,
    Watched,
    by_round,
    judge,
    key,
    proven_late,
    watched,
)
from dlbench.analyse.modes.trials import not_taken
from dlbench.analyse.statistics import Timed, median, process_summary
from dlbench.analyse.training.ending import ended, said
from dlbench.analyse.turns import computes_idle, takes_turns
from dlbench.record.comparability import Sampled
from dlbench.record.facts import Check
from dlbench.record.schema import (
    Case,
    Configuration,
    End,
    Part,
    Process,
    Record,
    Resumed,
    Skip,
    Status,
    Telemetry,
    Training,
    Trial,
    Verification,
)
from dlbench.record.sharing import first_fact, verified_alone, verifying
from dlbench.text import why

WORST_FIRST: tuple[Status, ...] = (
    "unverified",
    "failed",
    "out_of_memory",
    "timeout",
    "skipped",
    "ok",
)
"""Statuses by how little a row with them can be trusted: a wrong answer is worse than none."""


_WRONG = frozenset[Status]({"unverified", "failed", "out_of_memory", "timeout"})


class Round(NamedTuple):
    """What processes share that ran close together: a round of one sitting, which a resumed run has several of, on one
    machine (`node`, told in merged records). In records of earlier versions a process beyond the planned rounds,
    measured to narrow the interval of its `case`, shares its round with none.
    """

    number: int
    sitting: int = 0
    case: Case | None = None
    node: str = ""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One case: how it ended, and the figures of its processes.

    Attributes
    ----------
    case : what was to be measured.
    status, reason : the worst of all its lines; `reason` of an ``ok`` case holds what a reader
        should know.
    remedy : for a skipped case, how to get it.
    verified : whether it was held against the oracle and agreed; None when it was not held against
        it.
    version : the backend's version, empty when unknown.
    verified_at : what was compared where that was less than all (`dlbench.verify.extent`); empty where it was all.
    arithmetic : what was seen of its arithmetic when it was verified; empty where nothing was looked at.
    timed : a step in each process by `Round`; empty unless the status is ``ok``.
    with_copies : the same with the copies of a batch in and of the step's result out, one after the
        other; on the CPU there is nothing to copy to, so it is the step alone.
    first_step_s, upload_s, download_s : medians over processes (s).
    max_relative_error : the largest error / scale of all checks.
    ambiguous_branches : branches within reach of rounding in the verification.
    final_loss : mean loss of the last epoch's steps. test_accuracy : share of right answers on the
        test part.
    epochs, training_s : of the training that these two come from: its length, and the time of its steps with their data
        (s), without evaluation; None where a record does not say.
    validation_accuracy : share of right answers on the validation part at its end.
    processes : those that the figures are of. beside : what was sampled beside them.
    disturbed, disturbance : whether the machine was disturbed while these figures were taken, None when it was
        not watched; and by what. See `dlbench.analyse.disturbance`.
    """

    case: Case
    status: Status
    reason: str = ""
    remedy: str = ""
    verified: bool | None = None
    version: str = ""
    verified_at: str = ""
    arithmetic: str = ""
    timed: dict[Round, Timed] = dataclasses.field(default_factory=dict)
    with_copies: dict[Round, Timed] = dataclasses.field(default_factory=dict)
    first_step_s: float | None = None
    upload_s: float | None = None
    download_s: float | None = None
    max_relative_error: float | None = None
    ambiguous_branches: int | None = None
    final_loss: float | None = None
    test_accuracy: float | None = None
    epochs: int | None = None
    training_s: float | None = None
    validation_accuracy: float | None = None
    processes: tuple[Process, ...] = dataclasses.field(default=(), repr=False)
    beside: tuple[Telemetry, ...] = dataclasses.field(default=(), repr=False)
    disturbed: bool | None = None
    disturbance: str = ""

    @property
    def medians_s(self) -> dict[Round, float]:
        """The median step time of each process (s)."""
        return {round_: process.median_s for round_, process in self.timed.items()}

    @property
    def problem(self) -> str:
        """Why it has no figures, and what would help; empty when it has some."""
        if self.timed:
            return ""
        if self.status == "ok" and self.processes:
            return "no rate was within the bound, or queries were not answered in time"
        return "verified only, not timed" if self.status == "ok" else why(self.reason, self.remedy)

    @property
    def never_first(self) -> bool:
        """Whether each of its processes had timed another scenario before."""
        return bool(self.processes) and all(each.scenarios_before for each in self.processes)

    @property
    def sampled(self) -> Sampled | None:
        """How much of it was timed; None where there are no figures."""
        steps_ns = sum(sum(process.timings_ns) for process in self.processes)
        return Sampled(len(self.processes), steps_ns * 1e-9) if self.processes else None


def outcomes(record: Record) -> list[Outcome]:
    """What became of every case that the record's header or any line of it names, in that order; cases that were tried
    briefly and not gone on with are none (`dlbench.analyse.modes.trials`), unless they went wrong."""
    about: dict[Case, list[_Told]] = {case: [] for case in record.header.cases}
    verifications: dict[Configuration, list[Verification]] = {
        case.configuration: [] for case in about
    }
    for line in record.lines:
        if isinstance(line, Verification):
            # it may stand for both scenarios, so it adds no row where either has one
            if line.case.configuration not in verifications:
                about[line.case] = []
            verifications.setdefault(line.case.configuration, []).append(line)
        elif isinstance(line, Skip | Process | Training | Trial):
            verifications.setdefault(line.case.configuration, [])
            about.setdefault(line.case, []).append(line)
    whole = _Whole(record.header.rounds, record.end, watched(record), _ran_together(record))
    slower = not_taken(record)
    found = []
    for case, lines in about.items():
        shared = verifications[case.configuration]
        # who was tried alone is not wrong by what another scenario of its mode did
        own = verifying(case, shared) if case not in slower else verified_alone(case, shared)
        found.append(_outcome(case, lines, own, whole))
    return [each for each in found if each.case not in slower or each.status in _WRONG]


def worst(statuses: Iterable[Status]) -> Status:
    """The status of a whole whose parts have these; ``ok`` for none."""
    return min(statuses, key=WORST_FIRST.index, default="ok")


_Told = Skip | Process | Training | Trial


class _Whole(NamedTuple):
    """What is to be known of the whole record to judge a case."""

    rounds: int
    end: End | None
    watch: Watched
    together: Mapping[Key, Round]


def _ran_together(record: Record) -> dict[Key, Round]:
    """Of each process, what it shares with those that ran close to it."""
    found: dict[Key, Round] = {}
    sitting, node = 0, ""
    for line in record.lines:
        if isinstance(line, Resumed | Part):
            sitting += 1
            node = line.node if isinstance(line, Part) else node
        elif isinstance(line, Process):
            shared = line.block_steps or line.round <= record.header.rounds
            found[key(line)] = Round(line.round, sitting, None if shared else line.case, node)
    return found


def _outcome(
    case: Case,
    lines: Sequence[_Told],
    verifications: Sequence[Verification],
    whole: _Whole,
) -> Outcome:
    skips = [line for line in lines if isinstance(line, Skip)]
    processes = [line for line in lines if isinstance(line, Process)]
    trainings = [line for line in lines if isinstance(line, Training)]

    verdicts: list[tuple[Status, str]] = [("skipped", line.reason) for line in skips]
    verdicts += [(line.status, line.reason or failing(line.checks)) for line in verifications]
    verdicts += [_process_verdict(line) for line in processes]
    verdicts += [_process_verdict(line.process) for line in lines if isinstance(line, Trial)]
    verdicts += [(line.status, said(line)) for line in trainings if line.status != "skipped"]
    if any(line.late for line in processes):
        verdicts += [
            ("unverified", reason)
            for attempts in by_round(processes, whole.watch).values()
            if (reason := proven_late(attempts))
        ]
    if not skips:
        verdicts += _missing(whole, verifications, processes if case.has_steps else trainings)
    status = worst(status for status, _ in verdicts)
    reason = next((text for verdict, text in verdicts if verdict == status and text), "")

    agreed = [line.status == "ok" for line in verifications if not skips]
    verified = False if status == "unverified" else all(agreed) if agreed else None
    errors = [line.max_relative_error for line in verifications]
    errors += [check.relative_error for line in processes for check in line.checks]
    versions = [line.version for line in processes] + [line.version for line in verifications]
    described = Outcome(
        case=case,
        status=status,
        reason=reason,
        remedy=next((line.remedy for line in skips if line.remedy), ""),
        verified=verified,
        version=next((text for text in versions if text), ""),
        verified_at=first_fact("verified_at", verifications),
        arithmetic=first_fact("arithmetic", verifications),
        max_relative_error=max(
            (e for e in errors if e is not None and math.isfinite(e)), default=None
        ),
        ambiguous_branches=max((line.ambiguous_branches for line in verifications), default=None),
    )
    if status != "ok":
        return described
    seen = judge((line for line in processes if line.timings_ns), whole.watch)
    beside = whole.watch.beside
    described = dataclasses.replace(
        described,
        disturbed=seen.disturbed,
        disturbance=seen.text,
        processes=seen.kept,
        beside=tuple(line for process in seen.kept for line in beside.get(key(process), ())),
    )
    return _with_figures(described, trainings, whole.together)


def _with_figures(
    outcome: Outcome, trainings: Sequence[Training], together: Mapping[Key, Round]
) -> Outcome:
    lines = outcome.processes
    # a server has figures where each of its processes found a rate, or kept up with the one that was asked for
    found = all(bool(p.largest_rate_per_s) if p.rate_trials else not p.unserved for p in lines)
    timed = {
        (ran := together[key(line)]): timed_of(line)._replace(node=ran.node)
        for line in (lines if found else ())
    }
    return dataclasses.replace(
        outcome,
        reason=_remarks(outcome.case, lines),
        timed=timed,
        with_copies=_with_copies(outcome.case, lines, timed),
        first_step_s=_median(
            [line.first_step_ns * 1e-9 for line in lines if line.first_step_ns is not None]
        ),
        upload_s=_median([process_summary(line.upload_ns) for line in lines if line.upload_ns]),
        download_s=_median(
            [process_summary(line.download_ns) for line in lines if line.download_ns]
        ),
        **ended(outcome.case, trainings),
    )


def timed_of(line: Process) -> Timed:
    """What a step took in a process that was timed: of a server whose largest rate was looked for, the time between two
    queries at that rate."""
    if rate_per_s := line.largest_rate_per_s:
        return Timed(1 / rate_per_s, (), line.attempt)
    blocks = line.blocks_ns if takes_turns(line) else ()
    blocks_s = tuple(process_summary(block) if block else math.nan for block in blocks)
    return Timed(process_summary(line.timings_ns), blocks_s, line.attempt)


def _with_copies(
    case: Case, lines: Sequence[Process], timed: Mapping[Round, Timed]
) -> dict[Round, Timed]:
    if case.scenario == "server":
        # copies would be between a query and its answer, and make others wait
        return {}
    if case.on_host:
        return dict(timed)
    found = {}
    for line, (round_, own) in zip(lines, timed.items(), strict=True):
        if line.upload_ns and line.download_ns:
            copies_s = process_summary(line.upload_ns) + process_summary(line.download_ns)
            blocks_s = tuple(block_s + copies_s for block_s in own.blocks_s)
            found[round_] = Timed(own.median_s + copies_s, blocks_s, own.attempt, own.node)
    return found


def _missing(
    whole: _Whole,
    verifications: Sequence[Verification],
    processes: Sequence[Process] | Sequence[Training],
) -> list[tuple[Status, str]]:
    """What lines that are not there tell, of processes or of trainings to a target. A record of no rounds is of
    verification alone."""
    complete = whole.end is not None and whole.end.status == "complete"
    cut = "" if complete else ": the run was interrupted"
    if not verifications and any(line.status == "ok" for line in processes):
        return [("unverified", "not verified against the oracle")]
    if not verifications and not processes:
        return [("skipped", f"not run{cut}")]
    if not processes and whole.rounds > 0:
        return [("skipped", f"verified, not timed{cut}")]
    return []


def _process_verdict(line: Process) -> tuple[Status, str]:
    worst_check = failing(line.checks)
    if line.status == "ok" and worst_check:
        return "unverified", worst_check
    if line.status == "ok" and not _above_0(line.timings_ns):
        return "failed", f"round {line.round} kept no timing above 0"
    return line.status, line.reason or worst_check


def _above_0(timings_ns: Sequence[int]) -> bool:
    """Whether their median is; the least of them nearly always tells, and sooner."""
    return bool(timings_ns) and (min(timings_ns) > 0 or process_summary(timings_ns) > 0)


def failing(checks: Iterable[Check]) -> str:
    """The worst of the checks that failed, in words; empty when none did."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return ""
    worst = max(failed, key=lambda c: math.inf if c.error is None else c.error / (c.tolerance or 1))
    return worst.sentence()


def _remarks(case: Case, timed: Sequence[Process]) -> str:
    """What a reader of an ``ok`` row should know before quoting it; empty when there is nothing."""
    remarks = []
    unsteady = sum(line.steady is False for line in timed)
    if unsteady:
        remarks.append(f"no steady state in {unsteady} of {len(timed)} processes")
    facts = [line.facts.get("threads") for line in timed]
    others = {count for count in facts if isinstance(count, int)} - {case.threads}
    if case.on_host and others:
        used = " and ".join(map(str, sorted(others)))
        remarks.append(f"used {used} threads where {case.threads} were requested")
    if busy := [line.idle_cores or 0.0 for line in timed if computes_idle(line)]:
        remarks.append(f"computed on {max(busy):.2f} cores while others were on turn")
    if any(line.stopped for line in timed):
        remarks.append("was put to sleep between its turns, since it computes when it is idle")
    if alone := [line.alone for line in timed if line.alone]:
        some = f" in {len(alone)} of {len(timed)} processes" if len(alone) < len(timed) else ""
        told = "; ".join(dict.fromkeys(alone))
        remarks.append(f"took no turns with the others of its round{some}: {told}")
    return "; ".join(remarks)


def _median(values: Sequence[float]) -> float | None:
    return median(values) if values else None
