"""Raw timings as the fields of a result."""

from __future__ import annotations

import itertools
from typing import Any

from dlbench.measure.reentry import reentry_steps
from dlbench.measure.served_queries import AtRate
from dlbench.measure.timed_steps import Timings


def queries_of(found: AtRate | None) -> dict[str, Any]:
    """What of a server's queries the steps do not tell, and what of these is another's."""
    if found is None:
        return {}
    return {
        "waited_ns": found.served.waited_ns,
        "unserved": found.served.unserved,
        "rate_per_s": found.rate_per_s,
        "rate_trials": found.trials,
    }


def steps_of(times: Timings) -> dict[str, Any]:
    """The steps as the record has them, without those that a turn begins with and that are unlike the others."""
    left_out = reentry_steps([block.timings_ns for block in times.blocks])
    kept = [block.timings_ns[left_out:] for block in times.blocks]
    return {
        "timings_ns": tuple(itertools.chain(*kept)),
        "warmup_ns": times.warmup_ns,
        "steady": times.steady,
        "started_ns": times.blocks[0].started_ns,
        "ended_ns": times.blocks[-1].ended_ns,
        "block_steps": tuple(map(len, kept)),
        "block_started_ns": tuple(block.started_ns for block in times.blocks),
        "block_ended_ns": tuple(block.ended_ns for block in times.blocks),
        "waited_ns": tuple(
            itertools.chain(*(block.waited_ns[left_out:] for block in times.blocks))
        ),
        "reentry_steps": left_out,
        "reentry_ns": tuple(
            itertools.chain(*(block.timings_ns[:left_out] for block in times.blocks))
        ),
    }
