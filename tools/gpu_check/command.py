"""The command line of the GPU check: its options, its messages and its exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from dlbench import paths, plugins
from dlbench.analyse.outcomes import outcomes
from dlbench.cli import options
from dlbench.cli.exit_codes import FAILED, INTERRUPTED, NOTHING, Root, exit_code, tell
from dlbench.cli.process import signals, streams
from dlbench.cli.progress import progress
from dlbench.errors import UsageError
from dlbench.execute.probe import look_at
from dlbench.host.machine import look
from dlbench.plan.backend_status import Found
from dlbench.plan.request import PRECISIONS
from dlbench.record.schema import Machine, Record
from dlbench.spec.decode import nearest
from dlbench.telemetry.device import gpu_names
from dlbench.text import one_line, plural
from gpu_check import files, slices
from gpu_check.gpu_tests import gpu_tests
from gpu_check.parts import BASELINE, PARTS, Extent, Part, Planned, planned, with_gpu
from gpu_check.sanitizer import sanitized
from gpu_check.slices import Limit

RESULTS = Path("docs/results")
_TESTS_SHARE = 0.5
"""Of the time left in a slice, what the tests may take."""
_LONGEST_S = 3600.0


@click.group(
    cls=Root,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--minutes",
    type=float,
    callback=options.positive,
    help="Stop cleanly within this time.  [default: no limit]",
)
@click.option(
    "--record",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.jsonl",
    help="Start or resume this one.  [default: docs/results/<date>-<device>.jsonl]",
)
@click.option(
    "--part",
    "parts",
    multiple=True,
    metavar="SUITE:BATCH,…[:PRECISION]",
    help="Only this (repeatable), in this order.",
)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    metavar="NAME",
    help="Only this against NumPy (repeatable).  [default: all that are installed]",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=Extent.rounds,
    show_default=True,
    help="Fresh processes a case.",
)
@click.option(
    "--seconds",
    type=float,
    callback=options.positive,
    default=Extent.seconds,
    show_default=True,
    help="Sampling time of each process.",
)
@click.option(
    "--max-wait",
    "patience_s",
    cls=options.Renamed,
    former=("--patience",),
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=Extent.patience_s,
    show_default=True,
    envvar=list(paths.MAX_WAIT_VARIABLES),
    help="Time to wait, in each part, for a machine that others use.",
)
@click.option("--no-tests", is_flag=True, help="Skip the tests on the GPU.")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--quiet", is_flag=True, help="No progress.")
def command(
    minutes: float | None,
    path: Path | None,
    parts: tuple[str, ...],
    backends: tuple[str, ...],
    rounds: int,
    seconds: float,
    patience_s: float,
    no_tests: bool,
    only_plan: bool,
    quiet: bool,
) -> int:
    """Run the tests on this machine's GPU, compare it with the CPU, and write one record.

    Only what is missing in the record is done, so the same command resumes it.
    """
    limit = Limit(None if minutes is None else 60 * minutes)
    machine = look(gpu_names())
    names = dict.fromkeys((BASELINE, *(backends or plugins.adapter_names())))
    found = look_at([*names], open_session=False)
    on_gpu = with_gpu(found)
    if not on_gpu:
        tell(_no_gpu(found, machine))
        return NOTHING
    chosen = tuple(map(_part, parts)) or PARTS
    extent = Extent(rounds, seconds, patience_s=patience_s)
    plan = planned(found, machine, paths.cache_dir(), chosen, extent)
    gpu = found[on_gpu[0]].device("cuda")
    device = gpu.description if gpu else ""
    if path is None:
        today = datetime.now(UTC).date().isoformat()
        path = files.choose(RESULTS, files.slug(device), today, plan, machine)
    records = slices.records_in(path)
    tell(f"{device.partition(',')[0]} with {', '.join(on_gpu)}; the record is {path}")
    for line in _list(plan, records):
        tell(line)
    if only_plan:
        return 0
    interrupted = False
    try:
        with progress(sys.stderr, quiet=quiet) as observer:
            slices.carry_out(plan[:1], path, limit, machine, observer)
        if not no_tests:
            _test(path, limit)
        with progress(sys.stderr, quiet=quiet) as observer:
            slices.carry_out(plan, path, limit, machine, observer)
    except KeyboardInterrupt:
        interrupted = True
    code = _conclude(path, plan, with_tests=not no_tests)
    return INTERRUPTED if interrupted else code


def main() -> None:
    """The program."""
    streams.outlive_readers()
    signals.take()
    command(prog_name="make gpu-check")


def _test(path: Path, limit: Limit) -> None:
    """Runs the tests that still have no result, within their share of the time, and keeps the results."""
    before = tests = files.tests_of(path)
    if not limit.leaves_time:
        return
    root, end = Path.cwd(), Limit(_TESTS_SHARE * min(limit.left_s, _LONGEST_S), reserve_s=0.0)
    if not tests.finished:
        tests = gpu_tests(root, end.left_s, tests)
        files.keep_tests(path, tests)
    if tests.finished and not tests.sanitizer and end.leaves_time:
        tests = sanitized(tests, root, end.left_s)
    if tests != before:
        files.keep_tests(path, tests)
        tell(tests.sentence)


def _conclude(path: Path, plan: Sequence[Planned], *, with_tests: bool) -> int:
    """Writes the page, says what remains and what to commit; the exit code."""
    records, tests = slices.records_in(path), files.tests_of(path)
    if not records:
        tell("nothing was measured; run the same command again to start")
        return NOTHING
    state = slices.state(plan, records)
    page = files.write_page(path, state.missing)
    statuses = [outcome.status for record in records for outcome in outcomes(record)]
    remaining = [plural(state.missing, "case")] if not slices.is_done(plan, records) else []
    if with_tests and tests.results and not tests.finished:
        remaining.append("some tests")
    if remaining:
        tell(f"{' and '.join(remaining)} remaining; run the same command to resume {path}")
    else:
        tell(f"complete: {plural(state.settled, 'case')}")
    written = [path, page, *path.parent.glob(f"{path.stem}{files.TESTS}")]
    tell(f"to commit: {' '.join(map(str, written))}")
    if not remaining:
        tell("and a reading of them: see docs/results/README.md")
    return FAILED if tests.problems else exit_code(statuses)


def _list(plan: Sequence[Planned], records: Sequence[Record]) -> Iterator[str]:
    for each in plan:
        state = slices.state([each], records)
        lacking = f", {state.missing} remaining" if state.missing else ", complete"
        yield f"  {each.part.label}: {plural(len(each.cases), 'case')}{lacking}"


def _no_gpu(found: Mapping[str, Found], machine: Machine) -> str:
    reasons = "; ".join(
        f"{name}: {one_line(seen.reason or seen.absent.get('cuda', '')) or 'has no CUDA device'}"
        for name, seen in found.items()
        if name != BASELINE
    )
    there = f"the driver has {', '.join(machine.gpus)}, but " if machine.gpus else ""
    return f"no GPU to check: {there}no backend can use one ({reasons})"


def _part(word: str) -> Part:
    found = re.fullmatch(r"([^:]+):([1-9]\d*(?:,[1-9]\d*)*)(?::(\w+))?", word)
    if found is None:
        raise UsageError(f"--part {word!r} is not SUITE:BATCH,…, like cnn-mnist:1,64")
    precision = found[3] or PRECISIONS[0]
    if precision not in PRECISIONS:
        raise UsageError(f"--part {word!r}: {nearest(precision, PRECISIONS)}")
    return Part(found[1], tuple(dict.fromkeys(map(int, found[2].split(",")))), precision)


if __name__ == "__main__":
    main()
