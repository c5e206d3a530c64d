"""`dlbench conformance BACKEND`: has a backend held against the oracle in a worker, and tells the outcome."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench import plugins
from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.execute.probe import look
from dlbench.host.machine import usable_cores
from dlbench.paths import TIMEOUT_S
from dlbench.record.case import HOST
from dlbench.record.facts import Verdict
from dlbench.text import plural
from dlbench.worker.interpreters import check_pythons
from dlbench.worker.launch import Launch, Worker, launch_of
from dlbench.worker.measurements import TRIAL, Job
from dlbench.worker.supervisor import Ended

if TYPE_CHECKING:
    from dlbench.verify.conformance import Trial

_MOST_AT_ONCE = 4
_MOST_ENDS = 3
"""After so many trials in which a worker ended no more are made: each may take until the timeout."""


@dataclasses.dataclass(frozen=True)
class Request:
    """Which backend to hold against the oracle: on `networks` random networks from `seed` on, besides every
    layer, loss and optimizer, or on those of them that `only` names, up to the first that fails with `fail_fast`;
    `pythons` may have an interpreter for it."""

    backend: str
    device: str
    threads: int
    networks: int
    seed: int
    cache_dir: Path
    precision: str = "fp32"
    mode: str = ""
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit_s: float = TIMEOUT_S
    only: Sequence[str] = ()
    fail_fast: bool = False


@dataclasses.dataclass
class Held:
    """How far a backend was held against the oracle.

    Attributes
    ----------
    planned : how many trials there are.
    verdicts : of those that were made.
    trouble : why none could be made; None where they could.
    interrupted : whether a person or the system ended it before the last.
    output : the end of what the backend printed.
    """

    planned: int = 0
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    trouble: Ended[Any] | None = None
    interrupted: bool = False
    output: str = ""

    @property
    def failed(self) -> list[Verdict]:
        """The trials that went wrong."""
        return [verdict for verdict in self.verdicts if verdict.failed]


def hold(request: Request, tell: Callable[[str], None] = lambda text: None) -> Held:
    """Makes the trials in workers that go from one to the next; where one ends, its trial has failed, and another takes
    its place. `tell` is told each trial as it begins, and one that failed at once. An interrupt ends it with what was
    found until then.

    Raises
    ------
    UsageError : no such backend, or it has no such mode or precision.
    """
    from dlbench.verify.conformance import chosen_trials, is_of_training

    tried = chosen_trials(request.networks, request.seed, request.only)
    check_pythons(request.pythons, [request.backend])
    python = request.pythons.get(request.backend)
    found = look(request.backend, request.threads, False, request.limit_s, python)
    if found.status != "ok":
        trouble = Ended[Any](found.status, found.reason, found.remedy, output=found.output)
        return Held(trouble=trouble, output=found.output)
    for what, word, there in (
        ("mode", request.mode, found.modes),
        ("precision", request.precision, found.precisions),
    ):
        if word and word not in there:
            has = ", ".join(there) or "none"
            raise UsageError(f"{what} {word!r} is unknown: {request.backend} has {has}")
    tried = chosen_trials(request.networks, request.seed, request.only, found.freezes)
    trains = "train" in found.scenarios
    plan = Plan(
        request.backend,
        request.device,
        1,
        request.threads,
        precision=request.precision,
        mode=request.mode or found.mode,
        scenario="train" if trains else "infer",
    )
    tried = tried if trains else [trial for trial in tried if not is_of_training(trial)]
    held = Held(planned=len(tried))
    launch = launch_of(request.backend, request.threads, request.limit_s, python)
    try:
        _make(held, tried, plan, request, launch, tell)
    except KeyboardInterrupt:
        held.interrupted = True
    return held


def _make(
    held: Held,
    tried: Sequence[Trial],
    plan: Plan,
    request: Request,
    launch: Launch,
    tell: Callable[[str], None],
) -> None:
    ends = 0
    with contextlib.closing(_ended(tried, plan, request, launch, tell)) as made:
        for trial, ended in made:
            held.output = ended.output or held.output
            verdict = ended.result
            if verdict is None:
                if ended.status == "skipped":
                    # what it lacks now it lacks in every trial
                    held.trouble = ended
                    return
                ends += 1
                verdict = Verdict(trial.group, trial.name, ended.reason, trace=ended.output)
            held.verdicts.append(verdict)
            if verdict.failed:
                tell(f"✗ {trial.group}, {trial.name}: {verdict.reason}")
                if request.fail_fast or ends == _MOST_ENDS:
                    return


def _ended(
    tried: Sequence[Trial],
    plan: Plan,
    request: Request,
    launch: Launch,
    tell: Callable[[str], None],
) -> Generator[tuple[Trial, Ended[Verdict]], None, None]:
    """How each trial ended, in their order. On the CPU as many are under way as there are cores for, each in a worker
    of its own; a device may be for one process alone."""
    at_once = min(_MOST_AT_ONCE, usable_cores() // request.threads) if plan.device == HOST else 1
    common = {
        "adapter": plugins.adapter_target(request.backend),
        "cache_dir": str(request.cache_dir),
    }
    begun: deque[tuple[Trial, Worker, Job]] = deque()
    free: list[Worker] = []

    def next_ended() -> tuple[Trial, Ended[Verdict]]:
        trial, worker, job = begun.popleft()
        ended = worker.ask(TRIAL, job)
        if ended.result is not None:
            free.append(worker)
        return trial, ended

    with contextlib.ExitStack() as living:
        for number, trial in enumerate(tried, 1):
            if len(begun) >= max(1, at_once):
                yield next_ended()
            tell(f"{number} of {len(tried)}, {trial.group}: {trial.name}")
            worker = free.pop() if free else living.enter_context(Worker(launch))
            job = common | {
                "plan": dataclasses.asdict(dataclasses.replace(plan, batch=trial.batch)),
                "workload": trial.workload.to_table(),
                "group": trial.group,
                "name": trial.name,
            }
            worker.send(TRIAL, job)
            begun.append((trial, worker, job))
        while begun:
            yield next_ended()


def as_table(request: Request, held: Held) -> dict[str, Any]:
    """All that is known of each trial, as plain data."""
    return {
        "backend": request.backend,
        "planned": held.planned,
        "interrupted": held.interrupted,
        "trials": [dataclasses.asdict(verdict) for verdict in held.verdicts],
    }


def describe(request: Request, held: Held, *, verbose: bool = False) -> str:
    """The report: a line for each group, then every trial that failed with what was wrong and where, and each place
    where the backend raised something once; if `verbose`, also the largest error of every trial."""
    found = held.verdicts
    groups = dict.fromkeys(verdict.group for verdict in found)
    width = max(map(len, groups), default=0)
    lines = [f"{request.backend} on {request.device}, against the float64 oracle", ""]
    lines += [
        _group(group.ljust(width), [v for v in found if v.group == group]) for group in groups
    ]
    lines.append("")
    if verbose:
        lines += [f"  {v.group}, {v.name}: {_told(v)}" for v in found if not v.failed]
    for reason in dict.fromkeys(verdict.reason for verdict in held.failed):
        lines += _failure(reason, [v for v in held.failed if v.reason == reason])
    refusals = Counter(verdict.reason for verdict in found if verdict.refused)
    lines += [f"– {reason} ({plural(count, 'trial')})" for reason, count in refusals.items()]
    return "\n".join([*lines, _conclusion(held)])


def _failure(reason: str, members: Sequence[Verdict]) -> list[str]:
    """What went wrong alike in these trials, and by which frames where something was raised."""
    first = members[0]
    if len(members) == 1:
        lines = [f"✗ {first.group}, {first.name}: {reason}"]
    else:
        lines = [f"✗ {plural(len(members), 'trial')}: {reason}"]
        for group in dict.fromkeys(verdict.group for verdict in members):
            names = ", ".join(verdict.name for verdict in members if verdict.group == group)
            lines.append(f"  {group}: {names}")
    traces = Counter(verdict.trace for verdict in members if verdict.trace)
    for trace, count in traces.most_common(1):
        lines += [f"  raised in {plural(count, 'trial')}:", trace.rstrip()]
    return lines


def _conclusion(held: Held) -> str:
    found = held.verdicts
    bad, agree = len(held.failed), sum(not verdict.reason for verdict in found)
    if held.interrupted:
        told = f"{len(found)} of {plural(held.planned, 'trial')} made, {bad} failed"
        return f"interrupted: {told}"
    if bad:
        rest = held.planned - len(found)
        left = f"; {rest} not made" if rest else ""
        return f"not conformant: {plural(bad, 'trial')} of {len(found)} failed{left}"
    if agree:
        refused = f"; {len(found) - agree} refused" if len(found) > agree else ""
        checks = sum(verdict.checks for verdict in found)
        sessions = [verdict.refused for verdict in found if verdict.group == "session"]
        untried = "; no trial of sessions could be made" if sessions and all(sessions) else ""
        told = f"{plural(agree, 'trial')}, {plural(checks, 'comparison')}{refused}{untried}"
        return f"conformant: {told}"
    return "nothing to judge: every trial was refused"


def _group(name: str, members: Sequence[Verdict]) -> str:
    tried = [verdict for verdict in members if not verdict.refused]
    bad = sum(verdict.failed for verdict in tried)
    mark = "✗" if bad else "✓" if tried else "–"
    refused = f", {len(members) - len(tried)} refused" if len(tried) < len(members) else ""
    known = [verdict.worst for verdict in tried if verdict.worst is not None]
    share = (
        f"; largest error {max(known):.0%} of its tolerance" if len(known) == len(tried) > 0 else ""
    )
    return f"{mark} {name}  {len(tried) - bad} of {len(members)} agree{refused}{share}"


def _told(verdict: Verdict) -> str:
    if verdict.refused:
        return "refused"
    if verdict.worst is None:
        return "no error"
    return f"largest error {verdict.worst:.1%} of its tolerance"
