"""The options that commands share, and what they mean where that takes more than a type."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dlbench import paths, plugins
from dlbench.cli.option_types.counts import Counts, flat
from dlbench.record.case import SELECTED, Axis
from dlbench.spec.scenarios import NO_LOAD, PERCENTS, Load

if TYPE_CHECKING:
    _ParamType = click.ParamType[str]
else:
    # generic in newer versions alone
    _ParamType = click.ParamType
F = TypeVar("F", bound=Callable[..., Any])

DATA = (
    *("mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "images"),
    *("digits", "stand-in", "noise"),
)
"""Words of ``--data``."""


class Place(click.Path):
    """A file or folder; ``~`` is the user's home, which a shell expands only where it begins a word."""

    def __init__(self, **choices: bool) -> None:
        super().__init__(path_type=Path, **choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        return super().convert(os.path.expanduser(value), param, ctx)


class Database(Place):
    """A file, or the URL of a database."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the URL as it is."""
        return value if "://" in str(value) else super().convert(value, param, ctx)


class Format(_ParamType):
    """A format that some installed reporter writes, by the name of its entry point."""

    name = "format"

    def __init__(self, group: str) -> None:
        self._group = group

    def words(self) -> list[str]:
        """All that there are, the terminal's first."""
        names = plugins.reporter_names(self._group)
        return [plugins.TABLE, *(name for name in names if name not in (_TERMINAL, *_PICTURES))]

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What there is to choose from."""
        return f"[{'|'.join(self.words())}]"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word, if there is such a format."""
        # the default is always there; asking what is installed takes a while
        if value != plugins.TABLE and value not in (words := self.words()):
            self.fail(f"{value!r} is not one of {', '.join(words)}", param, ctx)
        return value


_TERMINAL = "terminal"
_PICTURES = ("plot",)
"""Reporters that write no text."""


class Renamed(click.Option):
    """An option that goes by its `former` names too, of which the help says nothing."""

    def __init__(self, *words: Any, former: tuple[str, ...], **more: Any) -> None:
        super().__init__(*words, **more)
        self._former = former

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """As of any option, with its former names."""
        names = self.opts
        self.opts = [*names, *self._former]
        super().add_to_parser(parser, ctx)
        self.opts = names


def positive(
    context: click.Context, parameter: click.Parameter, value: float | None
) -> float | None:
    """Refuses seconds that are not above 0, or more than anything may take; for options of type float."""
    if value is not None and not 0 < value <= paths.MOST_S:
        raise click.BadParameter(
            f"{value} is not a number greater than 0, at most {paths.MOST_S:,}", context, parameter
        )
    return value


def not_negative(context: click.Context, parameter: click.Parameter, value: float) -> float:
    """Refuses seconds below 0, or more than anything may take; for options of type float."""
    if not 0 <= value <= paths.MOST_S:
        raise click.BadParameter(
            f"{value} is not a number from 0 to {paths.MOST_S:,}", context, parameter
        )
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
    if not paths.SHORTEST_PERIOD_S <= seconds <= paths.LONGEST_PERIOD_S:
        bounds = f"{paths.SHORTEST_PERIOD_S * 1e3:.0f}ms to {paths.LONGEST_PERIOD_S:.0f}s"
        raise click.BadParameter(f"{value} is not within {bounds}", context, parameter)
    return seconds


def accuracy(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """``95%``, ``95`` or ``0.95`` as the share 0.95, at most 1."""
    with contextlib.suppress(TypeError, ValueError):
        # nobody means less than one per cent
        if 0 < float(value or "") <= 1:
            return float(value or "")
    share = percent(context, parameter, value)
    if share is not None and share > 1:
        raise click.BadParameter(f"{value!r} is more than 100%", context, parameter)
    return share


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


def loaded(chosen: dict[str, Any]) -> dict[str, Any]:
    """The selection with what a server is asked in the place of the options that say it; without it where none does."""
    rate_per_s, bound_ms, percent = (
        chosen.pop(name) for name in ("rate", "latency_bound", "latency_percentile")
    )
    load = Load(rate_per_s, None if bound_ms is None else bound_ms * 1e-3, int(percent))
    return chosen if load == NO_LOAD else chosen | {"load": load}


def given(chosen: dict[str, Any]) -> dict[str, Any]:
    """Those of the current command's options that were said and not left at their default."""
    context = click.get_current_context()
    default = click.core.ParameterSource.DEFAULT
    return {
        name: value
        for name, value in chosen.items()
        if name == "load" or context.get_parameter_source(name) not in (default, None)
    }


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


def selection(modes: str, **defaults: tuple[str, ...]) -> Callable[[F], F]:
    """An option for each axis along which a run may have several values.

    Parameters
    ----------
    modes : which are taken by default, in words.
    defaults : by the names of the selections.
    """
    return _together(
        *(
            click.option(
                f"--{axis.name}",
                axis.plural,
                multiple=True,
                type=_type(axis),
                callback=flat if axis.type is int else None,
                metavar=axis.metavar,
                default=defaults.get(axis.plural),
                show_default=axis.plural in defaults,
                help=f"{axis.help}  [default: {modes}]" if axis.name == "mode" else axis.help,
            )
            for axis in SELECTED
        )
    )


def _type(axis: Axis) -> Any:
    if axis.type is int:
        return Counts(min=1)
    return click.Choice(axis.words) if axis.words else click.STRING


source = _together(
    click.option("--data", type=click.Choice(DATA), help="Data set in place of the suite's own."),
    click.option(
        "--data-dir",
        type=Place(exists=True, file_okay=False),
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
what = _together(
    click.option(
        "--suite",
        default="cnn-mnist",
        metavar="NAME|FILE.toml",
        show_default=True,
        help="What to run.",
    ),
    selection(modes="each backend's first; all for all that it has"),
    click.option(
        "--threads",
        type=click.IntRange(1, 65_536),
        help="CPU threads of every backend.  [default: all cores]",
    ),
    source,
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


def how_shown(group: str = plugins.REPORTS) -> Callable[[F], F]:
    """``--format``, with the words of a group of reporters."""
    return click.option(
        "--format",
        "form",
        type=Format(group),
        default=plugins.TABLE,
        show_default=True,
        help="How the result is written to stdout.",
    )


against = _together(
    click.option(
        "--baseline",
        metavar="ROW",
        help="Row that speed-ups refer to: BACKEND:DEVICE, with /MODE where it has several.  [default: numpy:cpu]",
    ),
)
cold_start = _together(
    click.option(
        "--cold-start",
        is_flag=True,
        help="Show what came before the steady steps, and when it has paid off.",
    ),
    click.option(
        "--cold-start-baseline",
        "against",
        cls=Renamed,
        former=("--against",),
        metavar="ROW",
        help="Row that --cold-start holds the others against.  [default: the backend's own mode]",
    ),
)
rounds = click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Fresh processes a case."
)
_TIME_S: Any = {"metavar": "SECONDS", "type": float, "callback": positive, "show_default": True}
budget = click.option(
    "--budget",
    "budget_s",
    **_TIME_S,
    default=6.0,
    help="Time for sampling of each row.",
)
timeout = click.option(
    "--timeout",
    "limit_s",
    **_TIME_S,
    default=paths.TIMEOUT_S,
    envvar=paths.TIMEOUT_VARIABLE,
    show_envvar=True,
    help="The longest a worker may show no progress.",
)
max_wait = click.option(
    "--max-wait",
    "patience_s",
    cls=Renamed,
    former=("--patience",),
    metavar="SECONDS",
    type=float,
    callback=not_negative,
    default=paths.MAX_WAIT_S,
    show_default=True,
    envvar=list(paths.MAX_WAIT_VARIABLES),
    help=f"Time to wait, in all, for a machine that others use.  [env var: {paths.MAX_WAIT_VARIABLES[0]}]",
)
target = click.option(
    "--target",
    "target_accuracy",
    cls=Renamed,
    former=("--until-accuracy",),
    metavar="PERCENT",
    callback=accuracy,
    help="End a training with the first epoch after which so much of the validation part is right.",
)
served = _together(
    click.option(
        "--rate",
        metavar="PER_SECOND",
        type=float,
        callback=positive,
        help="Of --scenario server: queries a second.",
    ),
    click.option(
        "--latency-bound",
        metavar="MS",
        type=float,
        callback=positive,
        help="Of --scenario server: find the largest rate within this many milliseconds.",
    ),
    click.option(
        "--latency-percentile",
        type=click.Choice([str(percent) for percent in PERCENTS]),
        default="99",
        show_default=True,
        help="The percentile of latencies that is to be within --latency-bound.",
    ),
)
shard = click.option(
    "--shard",
    metavar="I/N",
    help="Measure part I of N, whose records `dlbench merge` makes one of.",
)
where = _together(
    click.option(
        "--output",
        type=Place(),
        metavar="FILE.jsonl",
        help="Record to write; a new file.  [default: results/<time>-<suite>.jsonl]",
    ),
    click.option("--quiet", is_flag=True, help="No progress on stderr."),
)
database = _together(
    click.option(
        "--database",
        envvar="DLBENCH_HISTORY",
        type=Database(dir_okay=False),
        default=paths.history_file,
        metavar="FILE|URL",
        help="The history: a file, or postgresql://USER@HOST/NAME.  [default: $DLBENCH_HISTORY, or history.sqlite in"
        " your data folder]",
    ),
)
