"""The options that commands share, and what they mean where that takes more than a type."""

from __future__ import annotations

import datetime
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from dlbench.errors import UsageError

SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 0.005, 10.0
"""Bounds of ``--telemetry-period``: sampling more often would disturb what is timed."""

PATIENCE_S, PATIENCE_VARIABLE = 12.0, "DLBENCH_PATIENCE"
"""The default of ``--patience``, and the environment variable that says otherwise."""

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = {
    "table": "terminal",
    "markdown": "markdown",
    "csv": "csv",
    "json": "json",
    "pytest-benchmark": "pytest-benchmark",
    "github-action-benchmark": "github-action-benchmark",
    "bencher": "bencher",
}
"""Words of ``--format`` and the reporters they name."""

VERDICT_FORMATS = {
    "table": "terminal",
    "markdown": "markdown",
    "json": "json",
    "csv": "csv",
    "junit": "junit",
}
"""Words of ``--format`` where verdicts are shown, and their reporters."""

HISTORY_FORMATS = {"table": "terminal", "csv": "csv"}
"""Words of ``--format`` where a history is shown, and their reporters."""

RECORDS = "results"
"""The folder that records are written into unless a word says otherwise."""

DATA = ("mnist", "cifar10", "digits", "stand-in", "noise")
"""Words of ``--data``."""

SWEPT = {"batch": "batches"}
"""Names of ``--sweep`` and the selections they stand for."""


def positive(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuses a number that is not finite and above 0; for options of type float."""
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a number greater than 0", context, parameter)
    return value


def period_s(context: click.Context, parameter: click.Parameter, value: str) -> float:
    """The time between samples in seconds that ``50ms``, ``0.1 s`` or ``off`` means; 0 for off."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s)", value.strip())
    if value.strip() in ("off", "0") or (found and not float(found[1])):
        return 0.0
    if found is None:
        wrong = f"{value!r} is not a time with its unit like 50ms or 0.2s, nor off"
        raise click.BadParameter(wrong, context, parameter)
    seconds = float(found[1]) * (1e-3 if found[2] == "ms" else 1.0)
    if not SHORTEST_PERIOD_S <= seconds <= LONGEST_PERIOD_S:
        bounds = f"{SHORTEST_PERIOD_S * 1e3:.0f}ms to {LONGEST_PERIOD_S:.0f}s"
        raise click.BadParameter(f"{value} is not within {bounds}", context, parameter)
    return seconds


def percent(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """``3%`` or ``3`` as the share 0.03; for options that are percentages."""
    if value is None:
        return None
    try:
        given = float(value.strip().removesuffix("%"))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a percentage like 3%", context, parameter
        ) from None
    if not 0.1 <= given <= 1000:
        raise click.BadParameter(f"{value!r} is not between 0.1% and 1000%", context, parameter)
    return given / 100


def cache_dir() -> Path:
    """Where fetched data and the oracle's results are kept: ``$DLBENCH_CACHE_DIR``, else the user's
    cache folder."""
    if chosen := os.environ.get("DLBENCH_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache") / "dlbench"


def patience_s() -> float:
    """How long a run waits in all for a machine that others use: ``$DLBENCH_PATIENCE``, else as long as `dlbench run`.

    Raises
    ------
    UsageError : it is no number of seconds.
    """
    said = os.environ.get(PATIENCE_VARIABLE, PATIENCE_S)
    try:
        seconds = float(said)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise UsageError(f"{PATIENCE_VARIABLE}={said} is no number of seconds")
    return seconds


def history_file() -> Path:
    """Where the history is kept unless a word says otherwise: in the user's data folder."""
    base = os.environ.get("XDG_DATA_HOME")
    chosen = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "share"
    return chosen / "dlbench" / "history.sqlite"


def sweep(
    context: click.Context, parameter: click.Parameter, word: str | None
) -> dict[str, tuple[int, ...]]:
    """What ``--sweep NAME=LIST`` says: the values of a name, ascending and each once; empty without it."""
    if word is None:
        return {}
    name, equals, listed = word.partition("=")
    if not equals:
        raise click.BadParameter(
            f"{word!r} is not NAME=LIST, like batch=1,8,64", context, parameter
        )
    if name not in SWEPT:
        raise click.BadParameter(
            f"{name!r} cannot be swept; only {', '.join(SWEPT)} can", context, parameter
        )
    values = [value.strip() for value in listed.split(",")]
    wrong = [value for value in values if not value.isdecimal() or int(value) < 1]
    if wrong:
        raise click.BadParameter(
            f"{wrong[0]!r} in {word!r} is not a whole number of 1 or more", context, parameter
        )
    return {SWEPT[name]: tuple(sorted({int(value) for value in values}))}


def swept(chosen: dict[str, Any], swept: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The selection with what is swept in its place.

    Raises
    ------
    UsageError : the same is chosen by an option of its own.
    """
    for option, name in SWEPT.items():
        if name in swept and chosen[name]:
            raise UsageError(
                f"--sweep {option}=… and --{option} say the same thing; give one of them"
            )
    return chosen | swept


def given(chosen: dict[str, Any]) -> dict[str, Any]:
    """Those of the current command's options that were said and not left at their default."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {
        name: value
        for name, value in chosen.items()
        if context.get_parameter_source(name) not in (default, None)
    }


def default_output(suite: str, now: datetime.datetime | None = None) -> Path:
    """A file name in the folder of records that does not exist yet: UTC time and suite."""
    stamp = (now or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%dT%H-%M-%S")
    path = Path(RECORDS) / f"{stamp}-{suite}.jsonl"
    count = 2
    while path.exists():
        path = Path(RECORDS) / f"{stamp}-{suite}-{count}.jsonl"
        count += 1
    return path


def data_name(word: str | None, of_suite: str) -> str | None:
    """The data set that a word of ``--data`` names for a suite whose own data set is `of_suite`.

    Raises
    ------
    UsageError : a stand-in for data that has none.
    """
    if word != "stand-in":
        return word
    from dlbench.data.datasets import NAMES

    name = of_suite if of_suite.startswith("stand-in-") else f"stand-in-{of_suite}"
    if name not in NAMES:
        raise UsageError(f"--data stand-in: the suite's data set, {of_suite}, has no stand-in")
    return name


def _pythons(
    context: click.Context, parameter: click.Parameter, words: tuple[str, ...]
) -> dict[str, str]:
    if not words:
        return {}
    from dlbench.worker.interpreters import read_pythons

    return read_pythons(words)


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


what = _together(
    click.option(
        "--suite",
        default="cnn-mnist",
        metavar="NAME|FILE.toml",
        show_default=True,
        help="What to run.",
    ),
    click.option(
        "--backend",
        "backends",
        multiple=True,
        metavar="NAME",
        help="Only this backend (repeatable).",
    ),
    click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="cpu|cuda[:N|:UUID]",
        help="Only this device (repeatable).",
    ),
    click.option(
        "--mode",
        "modes",
        multiple=True,
        type=click.Choice(["eager", "graph"]),
        help="Only this mode (repeatable).  [default: all that a backend has]",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        type=click.Choice(["fp32", "tf32"]),
        help="Arithmetic (repeatable).  [default: fp32]",
    ),
    click.option(
        "--scenario",
        "scenarios",
        multiple=True,
        type=click.Choice(["train", "infer"]),
        help="Only this scenario (repeatable).",
    ),
    click.option(
        "--batch",
        "batches",
        multiple=True,
        type=click.IntRange(min=1),
        help="Samples a step (repeatable).",
    ),
    click.option(
        "--threads",
        type=click.IntRange(min=1),
        help="CPU threads of every backend.  [default: all cores]",
    ),
    click.option("--data", type=click.Choice(DATA), help="Data set in place of the suite's own."),
    click.option(
        "--data-dir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Folder with the data set's files.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0, max=2**63 - 1),
        default=0,
        show_default=True,
        help="Seed of weights and batches.",
    ),
)
pythons = _together(
    click.option(
        "--python",
        "pythons",
        multiple=True,
        metavar="BACKEND[@LABEL]=PATH",
        callback=_pythons,
        help="Interpreter of this backend's workers; with a label, a row of its own (repeatable).",
    ),
)
how_shown = _together(
    click.option(
        "--format",
        "form",
        type=click.Choice(list(FORMATS)),
        default="table",
        show_default=True,
        help="How the result is written to stdout.",
    ),
)
against = _together(
    click.option(
        "--baseline",
        metavar="BACKEND:DEVICE",
        help="Row that speed-ups refer to.  [default: numpy:cpu]",
    ),
)
cold_start = _together(
    click.option(
        "--cold-start",
        is_flag=True,
        help="Show what came before the steady steps, and when it has paid off.",
    ),
    click.option(
        "--against",
        metavar="BACKEND:DEVICE",
        help="Row that --cold-start holds the others against.  [default: eager, same backend]",
    ),
)
where = _together(
    click.option(
        "--output",
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE.jsonl",
        help="Record to write; a new file.  [default: results/<time>-<suite>.jsonl]",
    ),
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
)
how_verdicts_are_shown = _together(
    click.option(
        "--format",
        "form",
        type=click.Choice(list(VERDICT_FORMATS)),
        default="table",
        show_default=True,
        help="How the verdicts are written to stdout.",
    ),
)
database = _together(
    click.option(
        "--database",
        envvar="DLBENCH_HISTORY",
        type=click.Path(dir_okay=False, path_type=Path),
        default=history_file,
        metavar="FILE",
        help="The history's file.  [default: $DLBENCH_HISTORY, or history.sqlite in your data folder]",
    ),
)
