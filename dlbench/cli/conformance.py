"""`dlbench conformance BACKEND`: has a backend held against the oracle in a worker, and tells the outcome."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dlbench import plugins
from dlbench.contract import Plan
from dlbench.errors import UsageError
from dlbench.execute.probe import look
from dlbench.paths import TIMEOUT_S
from dlbench.record.facts import ConformanceResult
from dlbench.text import plural
from dlbench.worker.interpreters import check_pythons
from dlbench.worker.launch import launch_of, run_worker
from dlbench.worker.measurements import CONFORMANCE
from dlbench.worker.supervisor import Ended


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


def hold(
    request: Request, on_phase: Callable[[str], None] = lambda phase: None
) -> Ended[ConformanceResult]:
    """Does it in a worker; ``result.verdicts`` is a list of `dlbench.verify.conformance.Verdict` as tables.

    Raises
    ------
    UsageError : no such backend, or it has no such mode or precision.
    """
    from dlbench.verify.conformance import chosen_trials

    chosen_trials(request.networks, request.seed, request.only)
    check_pythons(request.pythons, [request.backend])
    python = request.pythons.get(request.backend)
    found = look(request.backend, request.threads, False, request.limit_s, python)
    if found.status != "ok":
        return Ended(found.status, found.reason, found.remedy, output=found.output)
    for what, word, there in (
        ("mode", request.mode, found.modes),
        ("precision", request.precision, found.precisions),
    ):
        if word and word not in there:
            has = ", ".join(there) or "none"
            raise UsageError(f"{what} {word!r} is unknown: {request.backend} has {has}")
    plan = Plan(
        request.backend,
        request.device,
        1,
        request.threads,
        precision=request.precision,
        mode=request.mode or found.mode,
    )
    job = {
        "adapter": plugins.adapter_target(request.backend),
        "plan": dataclasses.asdict(plan),
        "networks": request.networks,
        "seed": request.seed,
        "only": list(request.only),
        "fail_fast": request.fail_fast,
        "cache_dir": str(request.cache_dir),
    }
    launch = launch_of(request.backend, request.threads, request.limit_s, python)
    return run_worker(CONFORMANCE, job, launch, on_phase)


def describe(
    request: Request, verdicts: Iterable[Mapping[str, Any]], *, verbose: bool = False
) -> str:
    """The report: a line for each group, then every trial that failed with what was wrong and where, and each place
    where the backend raised something once; if `verbose`, also the largest error of every trial."""
    found = list(verdicts)
    groups = dict.fromkeys(str(verdict["group"]) for verdict in found)
    width = max(len(group) for group in groups)
    lines = [f"{request.backend} on {request.device}, against the float64 oracle", ""]
    lines += [
        _group(group.ljust(width), [v for v in found if v["group"] == group]) for group in groups
    ]
    lines.append("")
    if verbose:
        lines += [f"  {v['group']}, {v['name']}: {_told(v)}" for v in found if not failed(v)]
    lines += [f"✗ {v['group']}, {v['name']}: {v['reason']}" for v in found if failed(v)]
    traces = Counter(str(verdict["trace"]) for verdict in found if verdict["trace"])
    for trace, count in traces.items():
        lines += [f"  raised in {plural(count, 'trial')}:", trace.rstrip()]
    refusals = Counter(str(verdict["reason"]) for verdict in found if verdict["refused"])
    lines += [f"– {reason} ({plural(count, 'trial')})" for reason, count in refusals.items()]
    checks = sum(int(verdict["checks"]) for verdict in found)
    bad = [verdict for verdict in found if failed(verdict)]
    agree = [verdict for verdict in found if not verdict["reason"]]
    if bad:
        lines.append(f"not conformant: {plural(len(bad), 'trial')} of {len(found)} failed")
    elif agree:
        refused = len(found) - len(agree)
        rest = f"; {refused} refused" if refused else ""
        lines.append(
            f"conformant: {plural(len(agree), 'trial')}, {plural(checks, 'comparison')}{rest}"
        )
    else:
        lines.append("nothing to judge: every trial was refused")
    return "\n".join(lines)


def failed(verdict: Mapping[str, Any]) -> bool:
    """Whether a trial went wrong; a refusal is none."""
    return bool(verdict["reason"]) and not verdict["refused"]


def _group(name: str, members: Sequence[Mapping[str, Any]]) -> str:
    tried = [verdict for verdict in members if not verdict["refused"]]
    bad = sum(failed(verdict) for verdict in tried)
    mark = "✗" if bad else "✓" if tried else "–"
    refused = f", {len(members) - len(tried)} refused" if len(tried) < len(members) else ""
    worst = max((_share(verdict["worst"]) for verdict in tried), default=math.inf)
    share = f"; largest error {worst:.0%} of its tolerance" if math.isfinite(worst) else ""
    return f"{mark} {name}  {len(tried) - bad} of {len(members)} agree{refused}{share}"


def _told(verdict: Mapping[str, Any]) -> str:
    if verdict["refused"]:
        return "refused"
    worst = _share(verdict["worst"])
    return f"largest error {worst:.1%} of its tolerance" if math.isfinite(worst) else "no error"


def _share(worst: float | None) -> float:
    return math.inf if worst is None else worst
