"""Where the time of a step goes, as a stage."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.execute import results
from dlbench.execute.context import Context
from dlbench.execute.tasks import Task
from dlbench.record.schema import Case, Profile
from dlbench.worker.measurements import PROFILE


def profile(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """Times the ladder of each case in a process of its own, where that was asked for."""
    budget_s = run.request.profile_s
    for case in cases if budget_s else ():
        if Task(Profile, case) not in run.held.tasks:
            with run.start(case, budget_s) as worker:
                job = run.job(case, budget_s=budget_s)
                run.write(results.profile(case, run.ask(worker, PROFILE, job, case)))
    return cases
