"""The command that deals a run out to the nodes of a batch system, waits for it and shows what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dlbench import paths
from dlbench.cli import options
from dlbench.cli.exit_codes import FAILED, INTERRUPTED, exit_code, tell
from dlbench.cli.output import show
from dlbench.errors import UsageError

if TYPE_CHECKING:
    from dlbench.cluster.submission import Submission

_OWN = {"output": "--output", "resumed": "--resume", "shard": "--shard", "dry_run": "--dry-run"}


@click.command("submit")
@click.option(
    "--slurm", "cluster", flag_value="slurm", help="Submit to Slurm, as an array of jobs."
)
@click.option(
    "--local", "cluster", flag_value="local", help="The same on this machine, one shard at a time."
)
@click.option(
    "--shards",
    type=click.IntRange(1, 100_000),
    help="Parts, each a job with a node for itself.  [default: --nodes]",
)
@click.option(
    "--nodes",
    type=click.IntRange(1, 100_000),
    default=1,
    show_default=True,
    help="Nodes to use at once.",
)
@click.option("--partition", metavar="NAME", help="Slurm's partition.")
@click.option("--gres", metavar="gpu:1", help="What each node is to have (Slurm's --gres).")
@click.option("--cpus", type=click.IntRange(min=1), help="Cores a job (Slurm's --cpus-per-task).")
@click.option("--account", metavar="NAME", help="Slurm's account.")
@click.option(
    "--minutes",
    type=click.IntRange(min=1),
    default=60,
    show_default=True,
    help="Time limit of a job; a job that meets it goes on in another.",
)
@click.option("--detach", is_flag=True, help="Do not wait; --attach FOLDER waits later.")
@click.option(
    "--attach",
    type=options.Place(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Wait for what was submitted into this folder, and show it.",
)
@click.option(
    "--folder",
    type=options.Place(),
    metavar="FOLDER",
    help="New folder, which all nodes see.  [default: results/<time>-submission]",
)
@options.how_shown()
@click.argument("words", nargs=-1, metavar="[-- OPTIONS OF RUN]")
def submit_command(
    cluster: str | None,
    shards: int | None,
    nodes: int,
    detach: bool,
    attach: Path | None,
    folder: Path | None,
    form: str,
    words: tuple[str, ...],
    **slurm: Any,
) -> int:
    """Deal a run out to machines: dlbench submit --slurm --nodes 4 -- --suite cnn-mnist --rounds 12"""
    from dlbench.cluster import submission

    if attach is not None:
        if words or cluster or detach:
            raise UsageError(
                "--attach goes on with what was submitted; leave out the other options"
            )
        return _wait(attach, submission.read(attach), form)
    if cluster is None:
        raise UsageError("say where: --slurm, or --local to try it on this machine")
    if detach and cluster == "local":
        raise UsageError("--detach is for --slurm: on this machine nobody else goes on with it")
    asked = _checked(words)
    where = folder or next(iter(paths.default_outputs("submission"))).with_suffix("")
    given = _parameters(nodes, **slurm) if cluster == "slurm" else {}
    fit = asked["threads"], asked["patience_s"]
    handed = submission.submit(where, cluster, words, shards or nodes, given, *fit)  # type: ignore[arg-type]
    if detach:
        tell(f"submitted {', '.join(handed.jobs)}; to wait: dlbench submit --attach {where}")
        return 0
    return _wait(where, handed, form)


def _checked(words: tuple[str, ...]) -> dict[str, Any]:
    """The options of `dlbench run` that the words are; refuses what that would refuse on every node, and what is the
    submission's own."""
    from dlbench.cli.main import run_command

    given = run_command.make_context("dlbench run", list(words)).params
    for name, option in _OWN.items():
        if given[name]:
            raise UsageError(f"{option} is set for each shard by itself: leave it out")
    return given


def _parameters(
    nodes: int,
    partition: str | None,
    gres: str | None,
    cpus: int | None,
    account: str | None,
    minutes: int,
) -> dict[str, Any]:
    """What submitit is to ask of Slurm: a node a job, used by nobody else."""
    wanted = {
        "timeout_min": minutes,
        "slurm_array_parallelism": nodes,
        "slurm_exclusive": True,
        "slurm_partition": partition,
        "slurm_gres": gres,
        "slurm_account": account,
        "cpus_per_task": cpus,
    }
    return {name: value for name, value in wanted.items() if value is not None}


def _wait(folder: Path, handed: Submission, form: str) -> int:
    """Follows the shards to their end, merges what they have left and shows it; the exit code."""
    from dlbench.analyse.outcomes import outcomes
    from dlbench.api.reading import read
    from dlbench.cluster import submission
    from dlbench.record import merge
    from dlbench.text import plural

    troubled = 0
    try:
        for ended in submission.follow(folder, handed, tell):
            if ended.trouble:
                troubled += 1
                more = f"; see {ended.log}" if ended.log else ""
                tell(f"! shard {ended.index}/{handed.shards}: {ended.trouble}{more}")
    except KeyboardInterrupt:
        if handed.cluster == "slurm":
            tell(
                f"the jobs go on; to wait again: dlbench submit --attach {folder};"
                f" to end them: scancel {' '.join(submission.read(folder).jobs)}"
            )
        else:
            tell(f"interrupted; to go on: dlbench submit --attach {folder}")
        return INTERRUPTED
    records = submission.records(folder, handed)
    if not records:
        tell("no shard has measured anything")
        return FAILED
    merged = merge.merge(records)
    target = submission.merged_record(folder)
    merge.write(merged.lines, target)
    tell(f"{plural(merged.parts, 'part')} of {plural(merged.nodes, 'machine')}: {target}")
    for batch, rounds in merged.lacking.items():
        tell(f"! batch {batch}: {plural(rounds, 'round')} not measured")
    record = read(target)
    show([(str(target), record)], form)
    return FAILED if troubled else exit_code(each.status for each in outcomes(record))
