"""The live gate: builds no verdict, but makes the pairs that one is told from, until the cases are decided.

Both versions are held against the oracle once, so that what is timed is the same computation. Then pairs of
fresh processes run, in the order of `dlbench.gate.pairs`, up to the looks of the design. What a process is asked
to do, and by which files, is the same for both versions but for what the versions themselves bring.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

import dlbench
from dlbench.analyse.disturbance import of_process, proven_late
from dlbench.analyse.outcomes import failing
from dlbench.errors import UsageError
from dlbench.execute import ladder_turns, results
from dlbench.execute.materialise import Material, prepare
from dlbench.execute.oracle_jobs import References, key_of, started_references
from dlbench.execute.scheduler import ATTEMPTS
from dlbench.execute.side_by_side import Crowded
from dlbench.gate import living_pair, schema
from dlbench.gate.decision import Verdict, judge
from dlbench.gate.design import Design
from dlbench.gate.isolation import (
    Seen,
    absent,
    differing,
    loaded_by,
    refuse_same,
    remedy,
    unlike_suites,
)
from dlbench.gate.pairs import ARMS, Arm, difference, order
from dlbench.gate.versions import Sources, Version, targets
from dlbench.gate.waivers import waived_by
from dlbench.host.scratch import scratch
from dlbench.plan.cases import check
from dlbench.plan.request import Request as PlanRequest
from dlbench.record.case import product
from dlbench.record.file import Writer
from dlbench.record.schema import Case, Process
from dlbench.record.sharing import covering
from dlbench.spec.suite import Suite
from dlbench.text import why
from dlbench.worker.launch import Launch, launch_of, run_worker
from dlbench.worker.measurements import STEPS, VERIFY, Job

SHARE_S = 0.45
"""Sampling time of a process (s): about what the start of a pair takes. A longer one leaves time for fewer pairs, whose
differences from process to process more steps do not make smaller."""
CHECK_EVERY = 8
"""Of so many pairs one is checked once more after its timing; all of them come from files that are verified."""
_ONE_SIDED: tuple[tuple[Arm, schema.Aside, Arm], ...] = (
    ("base", "missing", "new"),
    ("new", "new", "base"),
)
"""The version that has a case, what is then said of the case, and the version that has it not."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a gate is to compare. An empty selection stands for the suite's own.

    Attributes
    ----------
    versions : the two.
    suites : each version's own file of the suite.
    plan : the selection, with the new version's suite.
    design : when to look and how to judge.
    budget_s : time for all of it, from `started_s` on.
    waived : what is let pass; see `dlbench.gate.waivers`.
    sources : the files of the repository; None where the versions have none.
    started_s : the monotonic clock when the gate began.
    calibration : both versions are the same code on purpose, and pairs are made until the budget ends.
    explains : whether cases that are slower are profiled in both versions, on top of the budget.
    """

    versions: Mapping[Arm, Version]
    suites: Mapping[Arm, Suite]
    plan: PlanRequest
    design: Design
    budget_s: float
    waived: Mapping[str, str] = dataclasses.field(default_factory=dict)
    sources: Sources | None = None
    started_s: float = dataclasses.field(default_factory=time.monotonic)
    calibration: bool = False
    explains: bool = False


class Observer:
    """Hears how a gate goes on and does nothing with it."""

    def doing(self, what: str) -> None:
        """Something other than pairs is under way."""

    def pair(self, number: int, standing: Mapping[str, Verdict]) -> None:
        """A pair of that number (from 0) has run; where all cases stand now."""


def run(request: Request, writer: Writer, observer: Observer | None = None) -> schema.End:
    """Runs a gate; its record's last line.

    Raises
    ------
    UsageError, DataError : the request cannot be carried out; nothing was written then.
    DlbenchError : the versions are not two, or the record cannot be written.
    """
    observer = observer or Observer()
    # which backends there are is each version's own matter
    check(dataclasses.replace(request.plan, backends=("numpy",)))
    for backend in request.plan.chosen_backends:
        targets(request.versions["base"], request.versions["new"], backend)
    cases = {arm: _cases(request, arm) for arm in ARMS}
    waived = waived_by(request.waived, [case for arm in ARMS for case in cases[arm]])
    request = dataclasses.replace(request, waived=waived)
    with scratch() as folder:
        observer.doing("preparing data and weights")
        material = prepare(request.plan, folder)
        with started_references(request.plan) as references:
            gate = _Gate(request, material, references, writer, observer)
            return gate.run(cases)


class _Gate:
    def __init__(
        self,
        request: Request,
        material: Material,
        references: References,
        writer: Writer,
        observer: Observer,
    ) -> None:
        self._request = request
        self._material = material
        self._references = references
        self._writer = writer
        self._observer = observer
        self._deadline_s = request.started_s + request.budget_s
        self._failed: set[Case] = set()
        self._found: dict[str, list[float]] = {}
        self._crowded: dict[Case, str] = {}
        self._ran_out = False

    def run(self, cases: Mapping[Arm, Sequence[Case]]) -> schema.End:
        """Verifies, then makes pairs."""
        shared = [case for case in cases["new"] if case in cases["base"]]
        self._writer.write(self._header(shared))
        status: schema.Ending = "interrupted"
        try:
            for arm, word, other in _ONE_SIDED:
                for case in cases[arm]:
                    if case not in shared:
                        label = self._request.versions[other].label
                        self._beside([case], word, f"the suite of {label} has no such case")
            well = self._verified(shared)
            self._references.failures()  # nothing of it may go on where something is timed
            status = self._pairs(well)
            if self._ran_out:
                status = "budget"
            if self._request.explains:
                self._explain(well)
        except KeyboardInterrupt:
            pass  # the last line says so, and whoever called tells it
        end = schema.End(status, results.round_s(time.monotonic() - self._request.started_s))
        self._writer.write(end)
        return end

    def _verified(self, shared: Sequence[Case]) -> list[Case]:
        """The cases that both versions have and compute rightly."""
        well: list[Case] = []
        if problem := unlike_suites(self._request.suites):
            self._beside(shared, "inconclusive", problem)
            return well
        for case in shared:
            alike = [other for other in shared if other.configuration == case.configuration]
            if alike[0] == case and self._agree(covering(alike), alike):
                well += alike
        return [case for case in shared if case in well]

    def _agree(self, case: Case, alike: Sequence[Case]) -> bool:
        """Whether both versions have a backend of their own and compute what is right with it."""
        seen: dict[Arm, Seen] = {}
        adapters = self._adapters(case)
        for arm in ARMS:
            if time.monotonic() >= self._deadline_s:
                self._ran_out = True
                self._beside(alike, "inconclusive", "not verified yet")
                return False
            adapter = adapters[arm]
            if adapter is None:
                seen[arm] = Seen(adapter="", absent=True)
                continue
            self._observer.doing(f"verifying {case.backend} of {self._label(arm)}")
            ended = self._references.failure(key_of(case, self._material.workload)) or run_worker(
                VERIFY, self._job(case, arm), self._launch(case, arm)
            )
            verification = results.verification(case, ended)
            self._writer.write(schema.Verified(arm, verification))
            seen[arm] = Seen(adapter, absent(ended, adapter))
            if ended.result is not None:
                loaded = loaded_by(arm, case.backend, ended.result)
                self._writer.write(loaded)
                seen[arm] = Seen(
                    adapter,
                    loaded=ended.result.loaded,
                    libraries={case.backend: loaded.version, **loaded.libraries},
                )
            if verification.status != "ok" and not seen[arm].absent:
                seen[arm] = dataclasses.replace(
                    seen[arm],
                    trouble=why(
                        verification.reason or failing(verification.checks),
                        remedy(ended, self._request.versions[arm]),
                    ),
                    output=ended.output,
                )
        return self._judged(seen, case, alike)

    def _judged(self, seen: Mapping[Arm, Seen], case: Case, alike: Sequence[Case]) -> bool:
        request = self._request
        if not request.calibration:
            refuse_same(request.versions, seen, case.backend)
            for other, word, arm in _ONE_SIDED:
                if not seen[arm].is_own(request.versions[arm]) and not seen[other].trouble:
                    self._beside(alike, word, f"{self._label(arm)} has no {case.backend}")
                    return False
        for arm in ARMS:
            if seen[arm].trouble:
                other = ARMS[1 - ARMS.index(arm)]
                fine = "" if seen[other].trouble else f"; {self._label(other)} is right"
                reason = f"{self._label(arm)}: {seen[arm].trouble}{fine}"
                self._beside(alike, "failed", reason, seen[arm].output)
                return False
        if not request.calibration:
            for note in differing(request.versions, seen, request.sources):
                self._writer.write(schema.Note(note))
        return True

    def _pairs(self, cases: Sequence[Case]) -> schema.Ending:
        """Makes pairs until all cases are decided, or the budget ends."""
        found = self._found = {case.label: [] for case in cases}
        slowest_s = dict.fromkeys(found, 0.0)
        number = 0
        while True:
            standing = judge(found, self._request.design)
            left = [case for case in cases if self._goes_on(case, standing)]
            if not left:
                return "decided"
            began_round_s = time.monotonic()
            for case in left if number % 2 == 0 else left[::-1]:
                began_s = time.monotonic()
                if began_s + slowest_s[case.label] > self._deadline_s:
                    return "budget"
                if (one := self._pair(case, number)) is not None:
                    found[case.label].append(one)
                spent_s = time.monotonic() - began_s
                slowest_s[case.label] = max(slowest_s[case.label], spent_s)
                self._observer.pair(number, judge(found, self._request.design))
            # the first pair is checked after its timing, as few are
            if number == 1 and not self._request.calibration:
                self._tell_outlook(time.monotonic() - began_round_s)
            number += 1

    def _explain(self, cases: Sequence[Case]) -> None:
        """Profiles in both versions what is slower."""
        standing = judge(self._found, self._request.design, ended=True)
        for case in cases:
            if standing[case.label].status == "slower" and case not in self._failed:
                self._observer.doing(f"profiling {case.label} in both")
                launches = {arm: self._launch(case, arm) for arm in ARMS}
                jobs = {arm: self._job(case, arm, inside=False) for arm in ARMS}
                for arm, found in ladder_turns.profile(case, launches, jobs).items():
                    self._writer.write(schema.Profiled(arm, found))

    def _tell_outlook(self, pair_s: float) -> None:
        """Says how many pairs the budget allows, when two have run and the last took so long."""
        request = self._request
        pairs = 2 + int(max(self._deadline_s - time.monotonic(), 0) / pair_s)
        told, enough = request.design.outlook(pairs, request.budget_s, pair_s)
        self._observer.doing(told)
        if not enough:
            self._writer.write(schema.Note(told))

    def _goes_on(self, case: Case, standing: Mapping[str, Verdict]) -> bool:
        undecided = self._request.calibration or standing[case.label].status == "undecided"
        return undecided and case not in self._failed

    def _pair(self, case: Case, number: int) -> float | None:
        """ln(new / base) of a pair; None when one of its processes failed."""
        halves: dict[Arm, Process] = {}
        for arm, process in self._living(case, number) or self._alone(case, number):
            halves[arm] = process = self._proven(case, arm, number, process)
            self._writer.write(schema.Half(arm, process))
            if process.status != "ok":
                self._failed.add(case)
                return None
        return difference(**halves)

    def _living(self, case: Case, number: int) -> list[tuple[Arm, Process]]:
        """The pair of processes that live side by side; none where they do not fit."""
        if case in self._crowded:
            return []
        launches = {arm: self._launch(case, arm) for arm in ARMS}
        jobs = {arm: self._timing_job(case, arm, number) for arm in ARMS}
        try:
            ended = living_pair.measure(case, order(number), launches, jobs, SHARE_S)
        except Crowded as crowded:
            self._crowded[case] = str(crowded)
            self._writer.write(schema.Note(f"{case.label}: one version after the other: {crowded}"))
            return []
        checked = jobs["base"]["check"]
        return [
            (arm, results.process(case, number, each, checked=checked))
            for arm, each in ended.items()
        ]

    def _alone(self, case: Case, number: int) -> Iterator[tuple[Arm, Process]]:
        """The same one after the other."""
        for arm in order(number):
            process = self._timed(case, arm, number)
            yield arm, msgspec.structs.replace(process, alone=self._crowded[case])

    def _proven(self, case: Case, arm: Arm, number: int, process: Process) -> Process:
        """A process, and that its timings are not to be believed where others like it prove that."""
        attempts = [process]
        while attempts[-1].late and len(attempts) < ATTEMPTS:
            attempts.append(self._timed(case, arm, number))
        reason = proven_late([(each, of_process(each)) for each in attempts])
        return (
            msgspec.structs.replace(process, status="unverified", reason=reason)
            if reason
            else process
        )

    def _timed(self, case: Case, arm: Arm, number: int) -> Process:
        job = self._timing_job(case, arm, number)
        ended = run_worker(STEPS, job, self._launch(case, arm))
        return results.process(case, number, ended, checked=job["check"])

    def _timing_job(self, case: Case, arm: Arm, number: int) -> Job:
        check = number % CHECK_EVERY == 0
        return self._job(case, arm, scenario=case.scenario, budget_s=SHARE_S, check=check)

    def _job(self, case: Case, arm: Arm, **options: Any) -> Job:
        plan, own = case.plan(self._request.plan.seed), self._request.versions[arm].own()
        return self._material.job(plan, self._adapters(case)[arm], own=own, **options)

    def _launch(self, case: Case, arm: Arm) -> Launch:
        limit_s, python = self._request.plan.limit_s, self._request.versions[arm].python
        return launch_of(case.backend, case.threads, limit_s, python)

    def _adapters(self, case: Case) -> dict[Arm, str | None]:
        versions = self._request.versions
        return targets(versions["base"], versions["new"], case.backend)

    def _label(self, arm: Arm) -> str:
        return self._request.versions[arm].label

    def _beside(
        self, cases: Sequence[Case], status: schema.Aside, reason: str, out: str = ""
    ) -> None:
        for case in cases:
            self._writer.write(schema.Beside(case.label, status, reason, out))

    def _header(self, shared: Sequence[Case]) -> schema.Header:
        request = self._request
        return schema.Header(
            schema=schema.SCHEMA,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            dlbench=dlbench.__version__,
            base=self._label("base"),
            new=self._label("new"),
            suite=request.plan.suite.name,
            workload_digest=self._material.workload.digest,
            data=self._material.data,
            seed=request.plan.seed,
            threads=request.plan.chosen_threads,
            budget_s=request.budget_s,
            share_s=SHARE_S,
            design=request.design,
            machine=request.plan.machine,
            cases=tuple(shared),
            accepted=dict(request.waived),
            calibration=request.calibration,
            workload=self._material.workload.to_table(),
        )


def _cases(request: Request, arm: Arm) -> list[Case]:
    """The cases of a version's suite by the selection."""
    chosen = dataclasses.replace(request.plan, suite=request.suites[arm])
    if not chosen.devices:
        raise UsageError("a gate needs to know on which device")
    return [case for _, selection in chosen.selections() for case in product(selection)]
