"""The oracle's results that a run needs, computed beside what else it does before timing."""

from __future__ import annotations

from contextlib import AbstractContextManager

from dlbench.execute.oracle_jobs import Background, started
from dlbench.plan.cases import Request
from dlbench.worker.launch import launch_of


def started_references(request: Request) -> AbstractContextManager[Background[tuple[int, str]]]:
    """The oracle's results in the making, by batch and precision."""
    # half of the cores are left to what goes on meanwhile
    launch = launch_of(None, max(1, request.chosen_threads // 2), request.limit_s)
    job = {
        "job": "oracle",
        "workload": request.suite.workload.to_table(),
        "cache_dir": str(request.cache_dir),
        "seed": request.seed if request.rounds and "train" in request.chosen_scenarios else None,
    }
    jobs = {
        (batch, precision): job | {"batch": batch, "precision": precision}
        for batch in request.chosen_batches
        for precision in request.chosen_precisions
    }
    return started(jobs, launch)
