"""What to ask next of a record: why its fastest row is faster than another, as the commands that answer it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from dlbench.analyse.columns import Row
from dlbench.analyse.table import Run
from dlbench.profile.command import PROFILES, profile_command
from dlbench.record.case import RESIDENT, Case
from dlbench.record.schema import Profile


def next_step(run: Run) -> Iterator[str]:
    """How to see in which layers the fastest row of training, or else of inference, gains over the baseline, or where
    that is the fastest itself, over the next; none without two rows to compare."""
    pair = _pair(run)
    if pair is None:
        return
    slower, faster = pair
    rows = f"{shlex.quote(slower.row_name)} {shlex.quote(faster.row_name)}"
    explain = f"dlbench explain {rows} "
    profiled = {line.case for line in run.record.lines if isinstance(line, Profile)}
    if profiled.issuperset(pair):
        yield f"→ in which layers: {explain}{shlex.quote(run.path)}"
        return
    yield f"→ in which layers: {profile_command(run.header, pair)} && {explain}{PROFILES}"


def _pair(run: Run) -> tuple[Case, Case] | None:
    """The slower and the faster of two rows."""
    for scenario in ("train", "infer"):
        rows = [r for r in run.rows if r["status"] == "ok" and r["median_s"] is not None]
        # a profile is of one process, whose batches are resident
        rows = [r for r in rows if r.case.scenario == scenario and r.case.is_plain]
        rows = [r for r in rows if r.case.world == 1 and r.case.input == RESIDENT]
        rows = [r for r in rows if (r.case.batch, r.case.threads) == _first(rows)]
        if len(rows) > 1:
            rows.sort(key=lambda row: float(row["median_s"]))
            fastest = rows[0]
            base = run.baseline.of(fastest.case)
            others = [row for row in rows[1:] if row.case == base] or rows[1:]
            return others[0].case, fastest.case
    return None


def _first(rows: Sequence[Row]) -> tuple[int, int]:
    return rows[0].case.batch, rows[0].case.threads
