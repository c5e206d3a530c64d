"""What a node does: measures one shard, or goes on with what an earlier attempt has left of it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dlbench.cluster.fitness import GivenBack, node_name, unfit

_INTERRUPTED = 130
_PROGRAM = "from dlbench.cli.main import main; main()"


def record_of(folder: Path, index: int) -> Path:
    """Where the record of a shard is, in the folder of a submission."""
    return folder / f"shard-{index}.jsonl"


def command(words: Sequence[str], record: Path, shard: str) -> list[str]:
    """The command that measures a shard: begins its record, or goes on with one that is there."""
    begun = record.exists() and record.stat().st_size > 0
    # resumed with the same words: they name files, which a record does not
    where = ["--resume" if begun else "--output", str(record)]
    return [sys.executable, "-c", _PROGRAM, "run", *words, "--shard", shard, *where, "--quiet"]


@dataclasses.dataclass(frozen=True)
class ShardTask:
    """Measures part `index` of `of` of the run that `words` ask for; what submitit carries to a node.

    Called, it gives the exit code of `dlbench run`, or the shard back where the node is not fit for `threads` threads
    (None: one for each core) and does not come to rest in `patience_s`. A task that the batch system takes off its node
    begins again where its record ends, also without `checkpoint`, since what is in the record is not measured anew.
    """

    folder: Path
    words: tuple[str, ...]
    index: int
    of: int
    threads: int | None = None
    patience_s: float = 0.0

    def __call__(self) -> int | GivenBack:
        """Runs the command."""
        if reason := unfit(self.threads, self.patience_s):
            return GivenBack(node_name(), reason)
        record = record_of(self.folder, self.index)
        own = command(self.words, record, f"{self.index}/{self.of}")
        code = subprocess.run(own, check=False).returncode
        if code == _INTERRUPTED:
            # a result would end the job, which may already be queued again
            os._exit(code)
        return code

    def checkpoint(self) -> Any:
        """What is to be submitted when the time is over or another job goes first: the same, which resumes."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)
