"""Finds backends and reporters by name, so that the core never imports one of them statically.

Both are entry points, dlbench's own like anybody's. A backend may also be named as ``module:Class``, for
one that is not installed as a plug-in (yet). Either may have a label behind an ``@`` (``torch@old``), by
which a backend has a second row; it is the same adapter.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dlbench.errors import UsageError
from dlbench.spec.decode import nearest

if TYPE_CHECKING:
    from dlbench.contract import AdapterBase

BACKENDS = "dlbench.backends"
REPORTS = "dlbench.reports"
ROWS_SO_FAR = "dlbench.rows_so_far"
CHARTS = "dlbench.charts"
VERDICTS = "dlbench.verdicts"
TABLE = "table"
"""The word of ``--format`` for the terminal's own reporter."""
_LABEL = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
HISTORIES = "dlbench.histories"
EXPLANATIONS = "dlbench.explanations"
POINTS = "dlbench.points"
MATRICES = "dlbench.matrices"


def adapter_names() -> list[str]:
    """The names of the installed backends, in alphabetical order."""
    return sorted(_targets(BACKENDS))


def adapter_target(name: str) -> str:
    """Where the adapter of a backend is: ``module:Class``. Imports nothing.

    Parameters
    ----------
    name : an installed backend's name, or a ``module:Class`` itself; either may have a label.

    Raises
    ------
    UsageError : no such backend.
    """
    name, at, label = name.partition("@")
    if at and not _LABEL.fullmatch(label):
        raise UsageError(f"backend '{name}@{label}': {label!r} is no label; like {name}@old")
    module, colon, attribute = name.partition(":")
    if colon:
        if all(part.isidentifier() for part in (*module.split("."), *attribute.split("."))):
            return name
        raise UsageError(f"backend {name!r} is not of the form module:Class")
    return _target(BACKENDS, "backend", name)


def is_module(name: str) -> bool:
    """Whether a backend is named as ``module:Class`` and so need not be installed."""
    return ":" in name.partition("@")[0]


def adapters_in(folder: Path) -> dict[str, str]:
    """The backends of what is installed in a folder, by name: ``module:Class``."""
    from importlib.metadata import distributions

    return {
        point.name: point.value
        for each in distributions(path=[str(folder)])
        for point in each.entry_points
        if point.group == BACKENDS
    }


def load(target: str) -> Any:
    """What a ``module:attribute`` names; imports the module, with all that may come of it."""
    module, _, attribute = target.partition(":")
    found: Any = _module(module)
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            if not isinstance(found, ModuleType):
                raise
            names = [name for name in vars(found) if not name.startswith("_")]
            what = f"module {found.__name__!r} has no attribute {part!r}"
            hint = nearest(part, names) if names else "it is empty"
            raise AttributeError(f"{what}; {hint}", name=part, obj=found) from None
    return found


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            # something that it imports itself
            raise
        import pkgutil

        there = [module.name for module in pkgutil.iter_modules()]
        hint = nearest(error.name, there)
        if not hint.startswith("did you mean"):
            hint = "looked for in the current folder, in PYTHONPATH, and among what is installed"
        raise ModuleNotFoundError(f"{error.msg}; {hint}", name=error.name) from None


def load_adapter(target: str) -> AdapterBase:
    """An adapter by its ``module:Class``; a class that does not derive from `AdapterBase` gets its defaults behind
    its own.

    Raises
    ------
    ContractError : what is there is no adapter.
    """
    # not above: the command line asks for names alone, and the contract needs NumPy
    from dlbench.members import adapter_of

    return adapter_of(load(target), target)


def reporter_names(group: str = REPORTS) -> list[str]:
    """The names of the installed reporters of a group, in alphabetical order."""
    return sorted(_targets(group))


def load_reporter(name: str, group: str = REPORTS) -> Any:
    """The reporter of that name: a `dlbench.analyse.table.Reporter`, of `CHARTS` a
    `dlbench.analyse.table.ChartFile`, of `VERDICTS` a `dlbench.compare.verdicts.VerdictReporter`, of `HISTORIES` a
    `dlbench.history.series.HistoryReporter`.

    Raises
    ------
    UsageError : no such reporter.
    """
    return load(_target(group, "format", name))


def text_of(
    what: Any, form: str, group: str = REPORTS, width: int = 120, *, colour: bool = False
) -> str:
    """Something in the format that a word of ``--format`` means, which ends in a line break; `width` and `colour` are
    a terminal's.

    Raises
    ------
    UsageError : no such format, or it cannot show this.
    """
    render = load_reporter("terminal" if form == TABLE else form, group)
    return str(render(what, width=width, colour=colour))


def _targets(group: str) -> Mapping[str, str]:
    # workers import this module for `load` alone, and importing the metadata reader takes a while
    from importlib.metadata import entry_points

    return {point.name: point.value for point in entry_points(group=group)}


def _target(group: str, what: str, name: str) -> str:
    targets = _targets(group)
    if name not in targets:
        hint = nearest(name, list(targets)) if targets else "none is installed"
        raise UsageError(f"{what} {name!r} is unknown; {hint}")
    return targets[name]
