"""A record's lines without what no report shows.

Most of a large record is comparisons with the oracle that passed. A report shows the largest error among them
and no other, so they are let go as each line is read, and 10,000 rows fit in memory.
"""

from __future__ import annotations

import msgspec

from dlbench.record.facts import Check
from dlbench.record.schema import Line, Process, Trial, Verification


def brief(line: Line) -> Line:
    """The line with those of its checks that failed, and of the others the one with the largest relative
    error and the one that comes nearest to its tolerance."""
    if isinstance(line, Trial):
        process = brief(line.process)
        assert isinstance(process, Process)
        return Trial(process)
    if not isinstance(line, Verification | Process) or len(line.checks) < 2:
        return line
    kept: list[Check] = []
    largest: Check | None = None
    nearest: Check | None = None
    most, share = -1.0, -1.0
    for check in line.checks:
        if not check.passed:
            kept.append(check)
            continue
        if (error := check.relative_error or 0.0) > most:
            largest, most = check, error
        if check.tolerance > 0 and (check.error or 0.0) / check.tolerance > share:
            nearest, share = check, (check.error or 0.0) / check.tolerance
    kept += [] if largest is None else [largest]
    kept += [] if nearest is None or nearest is largest else [nearest]
    return msgspec.structs.replace(line, checks=tuple(kept))
