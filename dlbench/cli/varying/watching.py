"""What commands that run one suite at many points have in common: where records go, and who hears what goes on."""

from __future__ import annotations

import contextlib
import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench import paths

if TYPE_CHECKING:
    from dlbench.execute.events import Observer


def new_folder(suite: str, what: str) -> Path:
    """A folder for the records of one command: UTC time and what they are of, in the folder of records."""
    stamp = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H-%M-%S")
    return Path(paths.RECORDS) / f"{stamp}-{suite}-{what}"


class Watching:
    """Makes what shows one run after the other on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self) -> contextlib.AbstractContextManager[Observer]:
        from dlbench.cli.progress import progress

        return progress(sys.stderr, quiet=self._quiet)
