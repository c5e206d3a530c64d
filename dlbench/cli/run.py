"""What `dlbench run` does once its options are read: a request, from the record it writes to what is shown."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.cli.exit_codes import INTERRUPTED, NOTHING, exit_code, tell
from dlbench.cli.output import PAGE, TRACE, answer, show

if TYPE_CHECKING:
    from dlbench.api.carrying_out import Work
    from dlbench.plan.request import Request
    from dlbench.record.schema import Header, Record


def run_request(
    request: Request,
    output: Path | None,
    form: str,
    quiet: bool,
    page: Path | None = None,
    trace: Path | None = None,
) -> int:
    """Carries a request out into a new record and shows it, in a `page` and a `trace` too where these are named; the
    exit code."""
    from dlbench.api.carrying_out import new_run

    if request.shard is not None and not request.batches:
        tell(f"shard {request.shard} has nothing to do: the run has fewer rounds")
        return 0
    work = new_run(request, output)
    return _carry_out(work, form, quiet, request.baseline, page=page, trace=trace)


def resume_record(
    path: Path,
    given: dict[str, Any],
    form: str,
    quiet: bool,
    baseline: str | None,
    page: Path | None = None,
) -> int:
    """Completes a record and shows it, in a `page` too where one is named; the exit code."""
    from dlbench.analyse.outcomes import outcomes
    from dlbench.api.carrying_out import rest_of

    with rest_of(path, given, baseline) as (record, work):
        if work is not None:
            return _carry_out(work, form, quiet, baseline, record, page)
        tell(f"nothing is missing in {path}")
        show([(str(path), record)], form, baseline)
        if page is not None:
            show([(str(path), record)], PAGE, baseline, output=page)
        return exit_code(outcome.status for outcome in outcomes(record))


def _carry_out(
    work: Work,
    form: str,
    quiet: bool,
    baseline: str | None,
    held: Record | None = None,
    page: Path | None = None,
    trace: Path | None = None,
) -> int:
    """Has a run write its record, then shows it."""
    from dlbench.analyse.outcomes import outcomes
    from dlbench.api.carrying_out import carry_out
    from dlbench.cli.progress import progress
    from dlbench.text import plural

    finished = carry_out(work, progress(sys.stderr, quiet=quiet, held=held), tell, quiet=quiet)
    if finished is None:
        tell("interrupted before anything was measured")
        return INTERRUPTED
    path, found = finished.path, outcomes(finished.record)
    if finished.interrupted:
        kept = plural(sum(bool(outcome.medians_s) for outcome in found), "case")
        tell(
            f"interrupted; {kept} measured so far and kept; to see: dlbench report {path};"
            f" to go on: {_go_on(path, finished.record.header)}"
        )
        return INTERRUPTED
    show([(str(path), finished.record)], form, baseline)
    for file, its_form in ((page, PAGE), (trace, TRACE)):
        if file is not None:
            show([(str(path), finished.record)], its_form, baseline, output=file)
    return exit_code(outcome.status for outcome in found)


def _go_on(path: Path, header: Header) -> str:
    given = header.given
    suite = ["--suite", given.suite] if given.suite else []
    return shlex.join(["dlbench", "run", "--resume", str(path), *suite, *given.words()])


def say_plan(request: Request, quiet: bool) -> int:
    """Says what a request would run; the exit code."""
    from dlbench.cli.doctor import describe_plan
    from dlbench.cli.progress import progress
    from dlbench.execute.runner import plan_run

    with progress(sys.stderr, quiet=quiet) as observer:
        planned = plan_run(request, observer)
    answer(describe_plan(planned.cases, planned.problems, planned.estimate_s))
    if request.best:
        tell(
            "of cases that differ in their mode alone, the fastest that is right is measured in full"
        )
    return 0 if set(planned.cases) - set(planned.problems) else NOTHING
