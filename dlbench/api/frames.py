"""Results as pandas DataFrames, tidy: a row is one observation, a column one variable, units in the names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from dlbench import plugins
from dlbench.analyse.disturbance import key
from dlbench.analyse.table import Report, Run
from dlbench.errors import UsageError
from dlbench.record.case import AXES, columns
from dlbench.record.schema import Process
from dlbench.spec.decode import nearest, shown

if TYPE_CHECKING:
    import pandas as pd

Per = Literal["case", "process", "timing", "layer"]
_PHASES = ("warm-up", "steady")


def frame(report: Report, per: Per) -> pd.DataFrame:
    """The rows of a report, its measuring processes, or their timings; see `dlbench.api.results.Results.to_pandas`.

    Raises
    ------
    UsageError : `per` is none of these.
    """
    if per not in get_args(Per):
        raise UsageError(f"per = {shown(per)} is unknown; {nearest(per, get_args(Per))}")
    if per == "case":
        return report.frame
    return {"process": _processes, "timing": _timings, "layer": _layers}[per](report)


def _layers(report: Report) -> pd.DataFrame:
    """As the format for programs has them, so that they are the same everywhere."""
    import pandas as pd

    found = pd.DataFrame(json.loads(plugins.text_of(report, "json"))["layers"])
    figures = [name for name in found if str(name).endswith(("_s", "_bytes", "share", "flops"))]
    return found.astype(dict.fromkeys(figures, "float64"))


def _measured(report: Report) -> Iterator[tuple[Run, Process, bool, str]]:
    """Every process that timed something: its record, whether its case's figures are of it, and its case's status."""
    for run in report.runs:
        counting = {key(each) for outcome in run.outcomes for each in outcome.processes}
        status = {outcome.case: outcome.status for outcome in run.outcomes}
        for line in run.record.lines:
            if isinstance(line, Process):
                yield run, line, key(line) in counting, status.get(line.case, line.status)


def _processes(report: Report) -> pd.DataFrame:
    import pandas as pd

    rows = []
    phases: dict[str, None] = {}
    for run, line, counts, status in _measured(report):
        middle_s = float(np.median(line.timings_ns)) * 1e-9 if line.timings_ns else None
        phases |= dict.fromkeys(line.seconds)
        rows.append(
            {
                **columns(line.case),
                "record": run.name,
                "round": line.round,
                "attempt": line.attempt,
                "status": line.status,
                "reason": line.reason,
                "case_status": status,
                "counts": counts,
                "median_s": middle_s,
                "steps": len(line.timings_ns),
                "first_step_s": _seconds(line.first_step_ns),
                "steady": line.steady,
                "peak_memory_bytes": line.peak_memory_bytes,
                **{_phase(name): spent for name, spent in line.seconds.items()},
            }
        )
    numbers = ("median_s", "first_step_s", "peak_memory_bytes", *map(_phase, phases))
    names = [*_WHO, *_OF_PROCESS, *map(_phase, phases)]
    found = pd.DataFrame(rows, columns=names)
    return found.astype(dict.fromkeys(numbers, "float64"))


def _timings(report: Report) -> pd.DataFrame:
    """Built of whole arrays: there may be millions."""
    import pandas as pd

    found: dict[str, list[Any]] = {name: [] for name in (*_WHO, *_OF_TIMING)}
    for run, line, counts, status in _measured(report):
        steps = [*line.warmup_ns, *line.timings_ns]
        warm, steady = len(line.warmup_ns), len(line.timings_ns)
        sizes = line.block_steps or ((steady,) if steady else ())
        about: dict[str, Any] = {
            **columns(line.case),
            "record": run.name,
            "round": line.round,
            "attempt": line.attempt,
            "case_status": status,
            "counts": counts,
        }
        for name, value in about.items():
            found[name].append(np.full(len(steps), value, object if _is_word(value) else None))
        blocks = np.repeat(np.arange(1, len(sizes) + 1), sizes)
        found["block"].append(np.concatenate([np.zeros(warm, int), blocks]))
        found["phase"].append(np.repeat(np.array(_PHASES, object), (warm, steady)))
        found["step"].append(np.arange(1, len(steps) + 1))
        found["time_s"].append(np.array(steps, np.float64) * 1e-9)
    joined: dict[str, Any] = {
        name: np.concatenate(each) if each else [] for name, each in found.items()
    }
    words = [name for name in joined if name in _WORDS]
    return pd.DataFrame(joined).astype(dict.fromkeys(words, "category"))


_WHO = (*(axis.name for axis in AXES), "record", "round", "attempt")
_WORDS = {axis.name for axis in AXES if axis.type is str} | {"record", "case_status", "phase"}
_OF_PROCESS = (
    *("status", "reason", "case_status", "counts", "median_s", "steps", "first_step_s", "steady"),
    "peak_memory_bytes",
)
_OF_TIMING = ("case_status", "counts", "block", "phase", "step", "time_s")


def _is_word(value: Any) -> bool:
    return isinstance(value, str)


def _seconds(value_ns: int | None) -> float | None:
    return None if value_ns is None else value_ns * 1e-9


def _phase(name: str) -> str:
    return f"{name.replace('-', '_').replace(' ', '_')}_phase_s"
