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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from dlbench.cluster.fitness import REMEDY, GivenBack
from dlbench.cluster.task import ShardTask, record_of
from dlbench.errors import DlbenchError, UsageError

Cluster = Literal["slurm", "local"]
DESCRIPTION = "submission.json"
_LOGS = "logs"
_POLL_S = 2.0
_LOCAL_MINUTES = 7 * 24 * 60
_GRACE_S = 60.0


class Submission(msgspec.Struct, frozen=True):
    """What was submitted: the words of `dlbench run`, in so many `shards`, and the batch system's names of the jobs.
    `threads` and `patience_s` say which node is fit, see `dlbench.cluster.task.ShardTask`; `options` are submitit's
    parameters of the batch system."""

    cluster: Cluster
    words: tuple[str, ...]
    shards: int
    jobs: tuple[str, ...] = ()
    threads: int | None = None
    patience_s: float = 0.0
    options: dict[str, Any] = {}

    def task(self, folder: Path, index: int) -> ShardTask:
        """The task of a shard."""
        return ShardTask(folder, self.words, index, self.shards, self.threads, self.patience_s)


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
    folder: Path,
    cluster: Cluster,
    words: Sequence[str],
    shards: int,
    options: Mapping[str, Any],
    threads: int | None = None,
    patience_s: float = 0.0,
) -> Submission:
    """Hands the shards of a run to a batch system and writes down which jobs they are.

    Parameters
    ----------
    folder : a new folder, which all nodes can see.
    words : options of `dlbench run`.
    options : submitit's parameters of the batch system.
    threads, patience_s : as in `Submission`.

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
    found = Submission(
        cluster, tuple(words), shards, (), threads, patience_s, options=dict(options)
    )
    if cluster == "slurm":
        found = msgspec.structs.replace(found, jobs=_handed(folder, found, range(1, shards + 1)))
    _keep(folder, found)
    return found


def _handed(
    folder: Path, submission: Submission, indices: Sequence[int], but: Collection[str] = ()
) -> tuple[str, ...]:
    """Slurm's names of the jobs that carry some shards, on any nodes but those.

    Raises
    ------
    UsageError : Slurm refuses.
    """
    submitit = _submitit()
    executor = submitit.AutoExecutor(folder / _LOGS, cluster="slurm")
    exclude = {"slurm_exclude": ",".join(sorted(but))} if but else {}
    try:
        executor.update_parameters(name="dlbench", **submission.options, **exclude)
        with executor.batch():
            jobs = [executor.submit(submission.task(folder, index)) for index in indices]
    except (ValueError, RuntimeError, submitit.core.utils.FailedJobError) as error:
        raise UsageError(f"--slurm: {error}") from None
    return tuple(job.job_id for job in jobs)


def _keep(folder: Path, submission: Submission) -> None:
    (folder / DESCRIPTION).write_bytes(msgspec.json.format(msgspec.json.encode(submission)))


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
    jobs = list(submission.jobs)
    waiting = {index: submitit.SlurmJob(folder / _LOGS, job) for index, job in enumerate(jobs, 1)}
    told: dict[int, str] = {}
    gone_s: dict[int, float] = {}
    unfit: dict[str, str] = {}
    while waiting:
        queued = _queued(jobs)
        for index, job in list(waiting.items()):
            state = f"{queued.get(job.job_id, 'ended').lower()}{_progress(folder, index)}"
            if told.get(index) != state:
                on_change(f"shard {index}/{submission.shards}: {state}")
                told[index] = state
            if job.paths.result_pickle.exists():
                del waiting[index]
                ended = _ended(index, job)
                if isinstance(ended, GivenBack):
                    unfit[ended.node] = ended.reason
                    why = f"{ended.node} is not fit to measure: {ended.reason}"
                    on_change(f"shard {index}/{submission.shards}: {why}")
                    try:
                        jobs[index - 1] = _handed_on(folder, submission, index, unfit)
                    except UsageError as error:
                        yield Ended(index, str(error))
                        continue
                    _keep(folder, msgspec.structs.replace(submission, jobs=tuple(jobs)))
                    waiting[index] = submitit.SlurmJob(folder / _LOGS, jobs[index - 1])
                    continue
                yield ended
            elif job.job_id in queued:
                gone_s.pop(index, None)
            # what a node has written may be seen here a little later
            elif time.monotonic() - gone_s.setdefault(index, time.monotonic()) > _GRACE_S:
                del waiting[index]
                yield Ended(index, "it left the queue without a result", Path(job.paths.stderr))
        if waiting:
            time.sleep(_POLL_S)


def _handed_on(folder: Path, submission: Submission, index: int, unfit: Mapping[str, str]) -> str:
    """Slurm's name of the job that carries a shard to another node than those that gave one back.

    Raises
    ------
    UsageError : there is no other, or Slurm refuses.
    """
    other_nodes(unfit, submission.options.get("slurm_partition"))
    [job] = _handed(folder, submission, [index], unfit)
    return job


def other_nodes(unfit: Mapping[str, str], partition: str | None) -> set[str]:
    """Slurm's nodes that answer, but for those that are not fit: a job that no node may have would wait for ever.

    Raises
    ------
    UsageError : there is none, or Slurm cannot be asked.
    """
    where = ["--partition", partition] if partition else []
    command = ["sinfo", "--noheader", "--Node", "--responding", "--format=%N", *where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"sinfo: {done.stderr.strip() or 'failed'}")
    left = set(done.stdout.split()) - unfit.keys()
    if not left:
        raise UsageError(f"no node is fit to measure; {REMEDY}")
    return left


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
        job = executor.submit(submission.task(folder, index))
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
        ended = _ended(index, job)
        if isinstance(ended, GivenBack):
            why = f"this machine is not fit to measure: {ended.reason}; {REMEDY}"
            ended = Ended(index, why)
        yield ended


def _progress(folder: Path, index: int) -> str:
    """How much a shard has in its record; nothing before there is one."""
    try:
        with record_of(folder, index).open("rb") as file:
            timed = sum(line.startswith(b'{"kind":"process"') for line in file)
    except OSError:
        return ""
    return f", {timed} timed" if timed else ", verifying"


def _ended(index: int, job: Any) -> Ended | GivenBack:
    try:
        code = job.result()
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        return Ended(index, first, Path(job.paths.stderr))
    if isinstance(code, GivenBack):
        return code
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
