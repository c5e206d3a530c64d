"""Processes that ought to be gone."""

import time
from pathlib import Path


def ends(pid, within_s=10):
    """Whether a process that is not our child is gone, or at most a zombie, in time."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False
