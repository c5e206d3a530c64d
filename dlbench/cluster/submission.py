"""A run that was dealt out: what was asked for, the jobs that carry its shards, and what has become of each.

The batch system is the matter of submitit (https://github.com/facebookincubator/submitit): Slurm, or processes of this
machine one after the other, which is the same path and what one tries first.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dlbench.cluster.task import ShardTask, record_of
from dlbench.errors import DlbenchError, UsageError

Cluster = Literal["slurm", "local"]
DESCRIPTION = "submission.json"
_LOGS = "logs"
_POLL_S = 2.0
_LOCAL_MINUTES = 7 * 24 * 60
_GRACE_S = 60.0


class Submission(msgspec.Struct, frozen=True):
    """What was submitted: the words of `dlbench run`, in so many `shards`, and the batch system's names of the jobs."""

    cluster: Cluster
    words: tuple[str, ...]
    shards: int
    jobs: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a shard ended: `trouble` is why it is not whole, empty where it is; `log` where more is told."""

    index: int
    trouble: str = ""
    log: Path | None = None


def _submitit() -> Any:
    try:
        import submitit
    except ImportError:
        raise UsageError(
            "submit needs the package submitit: pip install 'dlbench[cluster]'"
        ) from None
    # it warns of every cluster without accounting, again and again
    logging.getLogger("submitit").setLevel(logging.ERROR)
    return submitit


def submit(
    folder: Path, cluster: Cluster, words: Sequence[str], shards: int, options: Mapping[str, Any]
) -> Submission:
    """Hands the shards of a run to a batch system and writes down which jobs they are.

    Parameters
    ----------
    folder : a new folder, which all nodes can see.
    words : options of `dlbench run`.
    options : submitit's parameters of the batch system.

    Raises
    ------
    UsageError : submitit is not there, the folder is in use, or the batch system is not there or refuses.
    """
    submitit = _submitit()
    if (folder / DESCRIPTION).exists():
        raise UsageError(
            f"{folder} holds a submission; to see it: dlbench submit --attach {folder}"
        )
    if cluster == "slurm" and submitit.SlurmExecutor.affinity() < 0:
        raise UsageError("--slurm: there is no sbatch here; try the same with --local")
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    tasks = [ShardTask(folder, tuple(words), index, shards) for index in range(1, shards + 1)]
    jobs: tuple[str, ...] = ()
    if cluster == "slurm":
        executor = submitit.AutoExecutor(folder / _LOGS, cluster=cluster)
        try:
            executor.update_parameters(name="dlbench", **options)
            with executor.batch():
                handed = [executor.submit(task) for task in tasks]
        except (ValueError, RuntimeError, submitit.core.utils.FailedJobError) as error:
            raise UsageError(f"--slurm: {error}") from None
        jobs = tuple(job.job_id for job in handed)
    found = Submission(cluster, tuple(words), shards, jobs)
    (folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(found)))
    return found


def read(folder: Path) -> Submission:
    """The submission of a folder.

    Raises
    ------
    UsageError : there is none.
    """
    try:
        return msgspec.json.decode((folder / DESCRIPTION).read_bytes(), type=Submission)
    except OSError as error:
        raise UsageError(f"{folder} holds no submission: {error.strerror}") from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"{folder / DESCRIPTION} cannot be read: {error}") from None


def follow(
    folder: Path, submission: Submission, on_change: Callable[[str], None]
) -> Iterator[Ended]:
    """Waits for the shards and gives each as it ends; `on_change` is told what goes on.

    Shards of this machine are measured here, one after the other, as they are waited for. When the wait is broken off,
    what was begun on this machine ends; jobs of a batch system go on.
    """
    folder = folder.resolve()
    if submission.cluster == "local":
        yield from _locally(folder, submission, on_change)
        return
    submitit = _submitit()
    waiting = {
        index: submitit.SlurmJob(folder / _LOGS, job)
        for index, job in enumerate(submission.jobs, 1)
    }
    told: dict[int, str] = {}
    gone_s: dict[int, float] = {}
    while waiting:
        queued = _queued(submission.jobs)
        for index, job in list(waiting.items()):
            state = f"{queued.get(job.job_id, 'ended').lower()}{_progress(folder, index)}"
            if told.get(index) != state:
                on_change(f"shard {index}/{submission.shards}: {state}")
                told[index] = state
            if job.paths.result_pickle.exists():
                del waiting[index]
                yield _ended(index, job)
            elif job.job_id in queued:
                gone_s.pop(index, None)
            # what a node has written may be seen here a little later
            elif time.monotonic() - gone_s.setdefault(index, time.monotonic()) > _GRACE_S:
                del waiting[index]
                yield Ended(index, "it left the queue without a result", Path(job.paths.stderr))
        if waiting:
            time.sleep(_POLL_S)


def _queued(jobs: Sequence[str]) -> dict[str, str]:
    """The states of those jobs that wait or run, as Slurm's queue has them: unlike its accounting, every cluster has
    one.

    Raises
    ------
    DlbenchError : the queue cannot be asked.
    """
    # one job for each task of an array, by the name that submitit gives it
    command = ["squeue", "--noheader", "--array", "--format=%i %T"]
    asked = ["--jobs", ",".join(dict.fromkeys(job.partition("_")[0] for job in jobs))]
    for words in ([*command, *asked], command):
        # what has left the queue long ago is an invalid job, also where others of the list are there
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            lines = (line.split() for line in done.stdout.splitlines())
            return {name: state for name, state in lines if name in jobs}
    raise DlbenchError(f"squeue: {done.stderr.strip() or 'failed'}")


def records(folder: Path, submission: Submission) -> list[Path]:
    """The records that the shards have left."""
    paths = [record_of(folder, index) for index in range(1, submission.shards + 1)]
    return [path for path in paths if path.exists() and path.stat().st_size]


def _locally(
    folder: Path, submission: Submission, on_change: Callable[[str], None]
) -> Iterator[Ended]:
    submitit = _submitit()
    executor = submitit.AutoExecutor(folder / _LOGS, cluster="local")
    executor.update_parameters(timeout_min=_LOCAL_MINUTES)
    for index in range(1, submission.shards + 1):
        job = executor.submit(ShardTask(folder, submission.words, index, submission.shards))
        told = ""
        try:
            while not job.done():
                state = f"running{_progress(folder, index)}"
                if state != told:
                    on_change(f"shard {index}/{submission.shards}: {state}")
                    told = state
                time.sleep(_POLL_S / 10)
        finally:
            if not job.done():
                job.cancel(check=False)
                with contextlib.suppress(Exception):
                    job.wait()
        yield _ended(index, job)


def _progress(folder: Path, index: int) -> str:
    """How much a shard has in its record; nothing before there is one."""
    try:
        with record_of(folder, index).open("rb") as file:
            timed = sum(line.startswith(b'{"kind":"process"') for line in file)
    except OSError:
        return ""
    return f", {timed} timed" if timed else ", verifying"


def _ended(index: int, job: Any) -> Ended:
    try:
        code = job.result()
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return Ended(index, first, Path(job.paths.stderr))
    # a row that failed is in the record with its reason
    if code in (0, 1):
        return Ended(index)
    return Ended(index, f"dlbench run ended with exit code {code}", Path(job.paths.stderr))


def merged_record(folder: Path) -> Path:
    """Where the merged record of a submission is to be: a new name each time."""
    for count in range(1, 10_000):
        path = folder / ("merged.jsonl" if count == 1 else f"merged-{count}.jsonl")
        if not path.exists():
            return path
    raise DlbenchError(f"{folder} holds too many merged records")
