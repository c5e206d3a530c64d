"""A record's lines without what no report shows.

Most of a large record is comparisons with the oracle that passed. A report shows the largest error among them
and no other, so they are let go as each line is read, and 10,000 rows fit in memory.
"""

from __future__ import annotations

import msgspec

from dlbench.record.schema import Line, Process, Trial, Verification


def brief(line: Line) -> Line:
    """The line with those of its checks that failed, and of the others the one with the largest relative
    error."""
    if isinstance(line, Trial):
        process = brief(line.process)
        assert isinstance(process, Process)
        return Trial(process)
    if not isinstance(line, Verification | Process) or len(line.checks) < 2:
        return line
    kept, largest, most = [], None, -1.0
    for check in line.checks:
        if not check.passed:
            kept.append(check)
        elif (error := check.relative_error or 0.0) > most:
            largest, most = check, error
    if largest is not None:
        kept.append(largest)
    return msgspec.structs.replace(line, checks=tuple(kept))
