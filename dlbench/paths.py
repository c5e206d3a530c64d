"""Where files are kept, and what environment variables say about runs that no option says it of."""

from __future__ import annotations

import datetime
import itertools
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dlbench.errors import UsageError

RECORDS = "results"
"""The folder that records are written into unless an option says otherwise."""

MAX_WAIT_S, MAX_WAIT_VARIABLES = 12.0, ("DLBENCH_MAX_WAIT", "DLBENCH_PATIENCE")
"""How long a run waits in all for a machine that others use, and the variables that say otherwise; the second is the
name that it had."""

TIMEOUT_S, TIMEOUT_VARIABLE = 180.0, "DLBENCH_TIMEOUT"
"""The longest a worker may show no progress, and the variable that says otherwise."""

SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.005, 10.0
"""Bounds of the time between samples of telemetry: sampling more often would disturb what is timed."""

MOST_S = 1_000_000
"""The longest that anything may be told to take or wait, some days; the system's own clocks end soon after."""


def cache_dir() -> Path:
    """Where fetched data and the oracle's results are kept: ``$DLBENCH_CACHE_DIR``, else the user's
    cache folder."""
    if chosen := os.environ.get("DLBENCH_CACHE_DIR"):
        return Path(os.path.expanduser(chosen))
    return _users("XDG_CACHE_HOME", ".cache") / "dlbench"


def history_file() -> Path:
    """Where the history is kept unless an option says otherwise: in the user's data folder."""
    return _users("XDG_DATA_HOME", ".local/share") / "dlbench" / "history.sqlite"


def environments_dir() -> Path:
    """Where the environments of `dlbench env` are kept: ``$DLBENCH_ENVIRONMENTS``, else in the user's data folder."""
    if chosen := os.environ.get("DLBENCH_ENVIRONMENTS"):
        return Path(os.path.abspath(os.path.expanduser(chosen)))
    return _users("XDG_DATA_HOME", ".local/share") / "dlbench" / "environments"


def _users(variable: str, folder: str) -> Path:
    """A folder of the user's: what a variable says, as the XDG Base Directory Specification has it, else one in the
    home; of a user who has none, in the temporary folder."""
    base = os.environ.get(variable)
    if base and Path(base).is_absolute():
        return Path(base)
    home = os.path.expanduser("~")
    if Path(home).is_absolute():
        return Path(home) / folder
    return Path(tempfile.gettempdir()) / f"dlbench-{os.getuid()}" / folder


def default_outputs(name: str, now: datetime.datetime | None = None) -> Iterator[Path]:
    """Names for a new record, in the order in which they are to be tried: UTC time and what it is of, in the folder of
    records."""
    stamp = (now or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%dT%H-%M-%S")
    yield Path(RECORDS) / f"{stamp}-{name}.jsonl"
    for count in itertools.count(2):
        yield Path(RECORDS) / f"{stamp}-{name}-{count}.jsonl"


def max_wait_s() -> float:
    """`MAX_WAIT_S`, or what a variable says.

    Raises
    ------
    UsageError : it is no number of seconds.
    """
    return _seconds(MAX_WAIT_VARIABLES, MAX_WAIT_S, least_s=0.0)


def timeout_s() -> float:
    """`TIMEOUT_S`, or what a variable says.

    Raises
    ------
    UsageError : it is no number of seconds.
    """
    return _seconds((TIMEOUT_VARIABLE,), TIMEOUT_S, least_s=1.0)


def _seconds(variables: tuple[str, ...], default_s: float, least_s: float) -> float:
    variable = next((name for name in variables if os.environ.get(name)), None)
    if variable is None:
        return default_s
    try:
        seconds = float(os.environ[variable])
    except ValueError:
        seconds = math.nan
    if not least_s <= seconds <= MOST_S:
        said = os.environ[variable]
        raise UsageError(
            f"{variable}={said} is not a number of seconds of {least_s:.0f} to {MOST_S:,}"
        )
    return seconds


def write_new(path: Path, contents: bytes) -> None:
    """Writes a file that is not there yet, the whole of it or nothing.

    Raises
    ------
    UsageError : it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with partial.open("xb") as file:
            file.write(contents)
        # unlike a rename, this leaves alone what somebody put there meanwhile
        os.link(partial, path)
    except FileExistsError:
        raise UsageError(f"{path} is there already") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
