"""Where files are kept, and what environment variables say about runs that no option says it of."""

from __future__ import annotations

import datetime
import itertools
import math
import os
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


def cache_dir() -> Path:
    """Where fetched data and the oracle's results are kept: ``$DLBENCH_CACHE_DIR``, else the user's
    cache folder."""
    if chosen := os.environ.get("DLBENCH_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "dlbench"


def history_file() -> Path:
    """Where the history is kept unless an option says otherwise: in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME")
    chosen = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share"
    return chosen / "dlbench" / "history.sqlite"


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
    if not least_s <= seconds < math.inf:
        said = os.environ[variable]
        raise UsageError(f"{variable}={said} is not a number of seconds of {least_s:.0f} or more")
    return seconds
