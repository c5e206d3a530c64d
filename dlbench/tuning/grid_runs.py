"""A grid of points: each is a run of its own, whose record stays, so that a sweep that was cut off goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from dlbench.errors import UsageError
from dlbench.plan.cases import check
from dlbench.plan.request import Request
from dlbench.tuning.point_record import Watching, record_of
from dlbench.tuning.points import Swept, series_of
from dlbench.tuning.space import Choices, Point, at, file_name, grid, told

_MOST_POINTS = 10_000


def planned(request: Request, space: Mapping[str, Choices]) -> list[tuple[Point, Request]]:
    """Every point of a grid, and the request that it makes.

    Parameters
    ----------
    space : what each field may be.

    Raises
    ------
    UsageError, SuiteError : one of them cannot be carried out.
    """
    count = math.prod(len(each.values) for each in space.values())
    if count > _MOST_POINTS:
        raise UsageError(f"the grid has {count:,} points, more than {_MOST_POINTS:,}")
    found = [(point, at(request, point)) for point in grid(space)]
    for _, each in found:
        check(each)
    return found


def sweep(
    request: Request,
    space: Mapping[str, Choices],
    folder: Path,
    watching: Watching,
    say: Callable[[str], None],
) -> Swept:
    """Runs a request at every point of a grid.

    Parameters
    ----------
    folder : where the records are; those that are there are not made again.
    say : told each point before it is run.

    Raises
    ------
    UsageError, SuiteError, DataError : a point cannot be carried out; nothing was run then.
    KeyboardInterrupt : somebody interrupted it; what was measured is kept.
    """
    points = planned(request, space)
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    for number, (point, each) in enumerate(points, 1):
        say(f"point {number} of {len(points)}: {told(point)}")
        records.append((point, record_of(each, folder / file_name(point), watching, say)))
    fields = tuple(space)
    return Swept(request.suite.name, fields, str(folder), series_of(records, fields))
