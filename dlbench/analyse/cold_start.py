"""The cold-start ledger: what a case costs before its steps are what they stay, and when that has paid off.

A row's median hides what came before it: starting the interpreter, importing the framework, waking the
device, building the network, compiling. Whoever runs a few hundred steps pays for that as well, so it is
told apart, and held against a row that starts faster.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlbench.analyse.columns import COLD_START, Column, Row
from dlbench.analyse.outcomes import Outcome, Round
from dlbench.analyse.speedup import baseline_of
from dlbench.analyse.statistics import Timed, median, process_summary, ratio
from dlbench.record.baseline import find_baseline
from dlbench.record.case import Case, without
from dlbench.record.schema import Process
from dlbench.text import plural, seconds


def _steps(value: float) -> str:
    """A number of steps, which a median over an even number of processes may halve."""
    return "1 step" if value == 1 else f"{value:g} steps"


def whole_steps(row: Row) -> str:
    """``140 steps [120, 170]``, each rounded up to whole steps, of a row that has them."""
    return steps_told(*(row[f"payback_steps{side}"] for side in ("", "_low", "_high")))


def steps_told(steps: float, low: float, high: float) -> str:
    """The same of these numbers."""
    interval = f"[{math.ceil(low):,}, {math.ceil(high):,}]"
    return f"{plural(math.ceil(steps), 'step')} {interval}"


def _paid(row: Row) -> str:
    """When the row has paid for its start, in a few words."""
    match row.get("payback"):
        case None:
            return ""
        case "after":
            return f"after {whole_steps(row)}"
        case "until":
            return f"ahead for {whole_steps(row)}"
        case "unknown":
            return "cannot be told"
    return str(row["payback"])


def _part(name: str, title: str, priority: int) -> Column:
    return Column(name, "float64", None, (COLD_START,), title, seconds, priority=priority)


COLUMNS: tuple[Column, ...] = (
    _part("interpreter_s", "interpreter", 12),
    _part("import_s", "import", 40),
    _part("device_start_s", "device start", 41),
    _part("build_s", "build", 42),
    _part("compile_s", "compile", 43),
    Column(
        "steps_until_steady", "float64", None, (COLD_START,), "steady after", _steps, priority=30
    ),
    _part("cold_start_s", "total", 60),
    Column("cold_start_processes", sections=(COLD_START,), title="processes", priority=11),
    Column("against"),
    Column(
        "payback",
        sections=(COLD_START,),
        title="pays off",
        show=_paid,
        right=False,
        priority=29,
    ),
    Column("payback_steps", "float64"),
    Column("payback_steps_low", "float64"),
    Column("payback_steps_high", "float64"),
    Column("payback_reason"),
)
"""Columns that the ledger adds to the table. See `ColdStart` and `Payback`; `against` is the row (``torch:cpu/eager``)
that the last five refer to."""

_IN_A_ROW = 3
_COLD_QUANTILE = 0.95
_JUMP = 5.0


@dataclasses.dataclass(frozen=True)
class ColdStart:
    """What the processes of a case spent before their steps were steady, each a median over processes (s).

    Attributes
    ----------
    interpreter_s : from starting the process to the adapter: Python, NumPy, the harness' own modules.
    import_s : the framework, and what it looks up about its devices.
    device_start_s : waking the device: threads, contexts, the libraries' first use. None where the backend does
        not tell it apart; it is then in `build_s`, or in the first step.
    build_s : opening the session: the network, its weights, whatever is compiled there.
    compile_s : what the steps until steady took beyond as many steady ones: compilation, autotuning, first
        touches of memory.
    steps_until_steady : see the function of that name.
    total_s : all of them together, so that n steps take ``total_s + n · step``.
    processes : how many processes have all of this.
    """

    interpreter_s: float
    import_s: float
    device_start_s: float | None
    build_s: float
    compile_s: float
    steps_until_steady: float
    total_s: float
    processes: int


@dataclasses.dataclass(frozen=True)
class Payback:
    """When a row has paid for a slower start with faster steps.

    Attributes
    ----------
    verdict : ``after`` so many steps it has caught up with the other; ``never``, since it starts later and its
        steps are no shorter; ``at once``, since neither is longer; ``until`` so many steps it is ahead, and
        behind from then on; ``unknown``.
    steps : that number; None for the other verdicts.
    low, high : the same with the bounds of the interval of the ratio of the steps, both cold starts at their
        medians.
    reason : why it is unknown.
    """

    verdict: str
    steps: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""


def steps_until_steady(early_ns: Sequence[int], steady_ns: Sequence[int]) -> int | None:
    """How many of a process' first steps are not yet what its steps stay at.

    A step is like the steady ones when it is no longer than 95 % of them. The first three such steps in a row
    end the beginning, unless a later step of the warm-up takes more than five times as long as a steady one:
    that is a compilation, which may come late.

    Parameters
    ----------
    early_ns : the steps before sampling, the very first included (ns).
    steady_ns : the sampled steps (ns).

    Returns
    -------
    None where no three steps in a row are like the steady ones.
    """
    usual = float(np.quantile(np.asarray(steady_ns, np.float64), _COLD_QUANTILE))
    durations = [*early_ns, *steady_ns]
    like = [duration <= usual for duration in durations]
    starts = range(len(like) - _IN_A_ROW + 1)
    first = next((start for start in starts if all(like[start : start + _IN_A_ROW])), None)
    if first is None:
        return None
    jump = _JUMP * median(steady_ns)
    late = [number for number, duration in enumerate(early_ns, 1) if duration > jump]
    return max([first, *late])


def cold_start(processes: Sequence[Process]) -> ColdStart | None:
    """What the processes of one case spent at the beginning; None where no process tells all of it.

    A process that never became steady has no end of its beginning and is left out.
    """
    parts = [each for each in map(_parts, processes) if each is not None]
    if not parts:
        return None
    middle = {name: median([each[name] for each in parts]) for name in parts[0]}
    device = [line.seconds["device"] for line in processes if "device" in line.seconds]
    return ColdStart(
        interpreter_s=middle["interpreter"],
        import_s=middle["import"],
        device_start_s=median(device) if device else None,
        build_s=middle["open"],
        compile_s=middle["compile"],
        steps_until_steady=middle["steps"],
        total_s=middle["total"],
        processes=len(parts),
    )


def payback(
    cold_s: float | None,
    timed: Mapping[Round, Timed],
    other_cold_s: float | None,
    other_timed: Mapping[Round, Timed],
) -> Payback:
    """When a row has paid for its start against another one.

    Parameters
    ----------
    cold_s, other_cold_s : their cold starts (s), None where unknown.
    timed, other_timed : their processes by round.
    """
    if not timed or not other_timed:
        return Payback("unknown", reason="a row has no step time")
    if cold_s is None or other_cold_s is None:
        return Payback("unknown", reason="a cold start was not measured")
    extra_s = cold_s - other_cold_s
    other_s = median([process.median_s for process in other_timed.values()])
    faster = ratio(other_timed, timed)
    interval = faster.interval
    if interval is None:
        return Payback("unknown", reason="a single process gives no confidence interval")
    if not interval.excludes(1.0):
        return Payback("unknown", reason="no significant difference between the step times")
    shorter = faster.value > 1
    if extra_s == 0 or shorter == (extra_s < 0):
        return Payback("at once" if shorter else "never")
    ratios = (faster.value, interval.low, interval.high)
    # the time that a step saves: other · (1 − 1 / faster)
    middle, *bounds = (extra_s / (other_s * (1 - 1 / each)) for each in ratios)
    return Payback("after" if shorter else "until", middle, min(bounds), max(bounds))


class Ledger:
    """The cells of `COLUMNS` for the outcomes of one record.

    Parameters
    ----------
    found : its outcomes.
    against : the row that every row is held against; None for the row that differs in the mode alone and comes
        first, as a backend's own mode does.
    """

    def __init__(self, found: Sequence[Outcome], against: str | None) -> None:
        self._baseline = against and baseline_of(against, [outcome.case for outcome in found])
        timed = [outcome for outcome in found if outcome.medians_s]
        self._cold = {outcome.case: cold_start(outcome.processes) for outcome in timed}
        self._timed = {outcome.case: outcome for outcome in timed}
        self._first_mode: dict[tuple[Any, ...], Case] = {}
        for outcome in found:
            self._first_mode.setdefault(without(outcome.case, "mode"), outcome.case)

    def cells(self, outcome: Outcome) -> dict[str, Any]:
        """The row's cells; none for one without figures."""
        if outcome.case not in self._cold:
            return {}
        cold = self._cold[outcome.case]
        row: dict[str, Any] = {}
        if cold is not None:
            row = dataclasses.asdict(cold)
            row["cold_start_s"] = row.pop("total_s")
            row["cold_start_processes"] = row.pop("processes")
        other = self._other(outcome.case)
        if other is None or other.case == outcome.case:
            return row
        other_cold = self._cold[other.case]
        paid = payback(
            cold.total_s if cold else None,
            outcome.timed,
            other_cold.total_s if other_cold else None,
            other.timed,
        )
        return row | {
            "against": other.case.row_name,
            "payback": paid.verdict,
            "payback_steps": paid.steps,
            "payback_steps_low": paid.low,
            "payback_steps_high": paid.high,
            "payback_reason": paid.reason,
        }

    def _other(self, case: Case) -> Outcome | None:
        if self._baseline:
            other = self._baseline.of(case)
        else:
            other = self._first_mode[without(case, "mode")]
        return self._timed.get(other) if other else None


def check_against(against: str, cases: Sequence[Case]) -> None:
    """Refuses a row to hold others against that is none of the cases.

    Raises
    ------
    UsageError : with what there is.
    """
    find_baseline(against, cases, "--cold-start-baseline")


def _parts(line: Process) -> dict[str, float] | None:
    """A process' beginning by part (s), ``steps``, and the ``total``."""
    spent = line.seconds
    if line.first_step_ns is None or line.steady is False or not line.timings_ns:
        return None
    if not {"interpreter", "import", "open"} <= spent.keys():
        return None
    early_ns = [line.first_step_ns, *line.warmup_ns]
    steps = steps_until_steady(early_ns, line.timings_ns)
    if steps is None:
        return None
    first = [*early_ns, *line.timings_ns][:steps]
    compile_s = max(0.0, sum(first) * 1e-9 - steps * process_summary(line.timings_ns))
    parts = {name: spent[name] for name in ("interpreter", "import", "open")}
    total = sum(parts.values()) + spent.get("device", 0.0) + compile_s
    return parts | {"compile": compile_s, "steps": float(steps), "total": total}
