"""The columns of the table that say what was measured and how fast it was, one declaration each."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from dlbench.analyse import device_columns, input_columns, telemetry_columns
from dlbench.analyse.columns import (
    ACCURACY,
    ALWAYS,
    COLD_START,
    CONVERGE,
    COPIES,
    MAIN,
    TRAINING,
    Column,
    Row,
    badged,
    interval,
)
from dlbench.analyse.modes import accuracy
from dlbench.analyse.outcomes import Outcome, Round
from dlbench.analyse.queries import query_columns
from dlbench.analyse.speedup import ranks_apart
from dlbench.analyse.statistics import Estimate, Timed, case_estimate, units
from dlbench.analyse.training import classes, convergence_columns
from dlbench.data.datasets import NAMES
from dlbench.record.case import AXES
from dlbench.record.schema import Data, Header
from dlbench.text import digits, percent, plural, seconds, times


def data_name(data: Data) -> str:
    """The name of the data that was used, which is not the name of what a stand-in stands in
    for."""
    stand_in = f"stand-in-{data.name}"
    return stand_in if data.stand_in and stand_in in NAMES else data.name


@dataclasses.dataclass(frozen=True)
class Seen:
    """What the cells of a row are computed from.

    Attributes
    ----------
    outcome, header : the case, and the first line of its record.
    record : the record's name.
    peaks : the median matrix-product rate (FLOP/s) by number of threads.
    cells : values that are computed several at once: speed-ups, the device's, telemetry's, the cold start's.
    """

    outcome: Outcome
    header: Header
    record: str
    peaks: Mapping[int, float]
    cells: Mapping[str, Any]

    @functools.cached_property
    def step(self) -> Estimate | None:
        """A step (s)."""
        return _estimate(self.outcome.timed)

    @functools.cached_property
    def with_copies(self) -> Estimate | None:
        """A step with the copies of a batch in and of its result out (s)."""
        return _estimate(self.outcome.with_copies)

    @functools.cached_property
    def ranks_apart(self) -> tuple[float | None, float | None]:
        """The spread of the ranks, and the share of communication."""
        return ranks_apart(self.outcome.processes)

    @property
    def samples_per_s(self) -> float | None:
        """Samples a second; of a server at a given rate, those that it answered."""
        load, case = self.header.load, self.outcome.case
        if case.scenario == "server" and load is not None and load.rate_per_s is not None:
            per_s = query_columns.answered_per_s(self.outcome.processes)
            return None if per_s is None or not self.step else case.batch * per_s
        return self.outcome.case.batch / self.step.value if self.step else None

    @property
    def share_of_peak(self) -> float | None:
        """The achieved floating-point rate / that of a matrix product on this machine's CPU; of rows there alone."""
        case, header = self.outcome.case, self.header
        flops = header.training_flops if case.trains else header.forward_flops
        peak = self.peaks.get(case.threads)
        if not case.on_host or not peak or not flops or not self.samples_per_s:
            return None
        return flops * self.samples_per_s / peak


def _estimate(timed: Mapping[Round, Timed]) -> Estimate | None:
    return case_estimate(units(timed.values())) if timed else None


def _bound(of: Callable[[Seen], Estimate | None], side: str) -> Callable[[Seen], float | None]:
    """A column that is one end of an interval."""

    def value(seen: Seen) -> float | None:
        estimate = of(seen)
        return getattr(estimate.interval, side) if estimate and estimate.interval else None

    return value


def _of_case(name: str) -> Callable[[Seen], Any]:
    return lambda seen: getattr(seen.outcome.case, name)


def _of_outcome(name: str) -> Callable[[Seen], Any]:
    return lambda seen: getattr(seen.outcome, name)


def _of_environment(name: str) -> Callable[[Seen], Any]:
    return lambda seen: getattr(seen.header.environments.get(seen.outcome.case.backend), name, None)


def _away(show: Callable[[Row], str]) -> Callable[[Row], str]:
    """The text of a cell about copies, which rows on the host do not have."""
    return lambda row: "" if row.case.on_host else show(row)


def _shares(value: float | None, low: float | None, high: float | None) -> str:
    """``93 % [91, 95]``; empty when unknown."""
    if value is None or low is None or high is None:
        return "" if value is None else percent(value)
    bounds = (percent(each).removesuffix(" %") for each in (low, high))
    return f"{percent(value)} [{', '.join(bounds)}]"


COLUMNS: tuple[Column, ...] = (
    *(
        Column(axis.name, "int64" if axis.type is int else "object", _of_case(axis.name))
        for axis in AXES
    ),
    Column("version", value=_of_outcome("version")),
    Column("data", value=lambda seen: data_name(seen.header.data)),
    Column("seed", "int64", lambda seen: seen.header.seed),
    Column("status", value=_of_outcome("status")),
    Column("verified", value=_of_outcome("verified")),
    Column("reason", value=_of_outcome("reason")),
    # a step: the median of the processes' medians, with its 95 % interval over interval_over
    Column(
        "median_s",
        "float64",
        lambda seen: seen.step and seen.step.value,
        (MAIN, ACCURACY),
        "median{processes}",
        show=interval(seconds, "median_s", "ci_low_s", "ci_high_s"),
        right=False,
        priority=ALWAYS,
    ),
    Column("ci_low_s", "float64", _bound(lambda seen: seen.step, "low")),
    Column("ci_high_s", "float64", _bound(lambda seen: seen.step, "high")),
    Column(
        "interval_over",
        "object",
        lambda seen: seen.step and plural(seen.step.processes, "process"),
        (MAIN,),
        "over",
        right=False,
        priority=70,
        varies=True,
    ),
    Column(
        "samples_per_s",
        "float64",
        lambda s: s.samples_per_s,
        (MAIN,),
        "samples/s",
        digits,
        priority=30,
    ),
    # how many times as long the baseline takes, by rounds
    Column(
        "speedup",
        "float64",
        sections=(MAIN,),
        title="vs {baseline}",
        show=badged(interval(times, "speedup", "speedup_low", "speedup_high")),
        right=False,
        priority=ALWAYS,
    ),
    Column("speedup_low", "float64"),
    Column("speedup_high", "float64"),
    Column("baseline"),
    # a speed-up over a disturbed row says nothing, whichever of the two was disturbed; None where nobody watched
    Column("baseline_disturbed"),
    # None: the row and its baseline compute in the same precision
    Column("speedup_badge"),
    # over the row of the same backend in fp32
    Column(
        "speedup_over_fp32",
        "float64",
        sections=(MAIN, ACCURACY),
        title="vs own fp32",
        show=interval(
            times, "speedup_over_fp32", "speedup_over_fp32_low", "speedup_over_fp32_high"
        ),
        right=False,
        priority=95,
    ),
    Column("speedup_over_fp32_low", "float64"),
    Column("speedup_over_fp32_high", "float64"),
    Column("fp32_row"),
    # of several ranks, over the row of one
    Column(
        "scaling",
        "float64",
        sections=(MAIN,),
        title="scaling",
        show=interval(_shares, "scaling", "scaling_low", "scaling_high"),
        right=False,
        priority=94,
    ),
    Column("scaling_low", "float64"),
    Column("scaling_high", "float64"),
    # what the slowest rank computes longer than the fastest
    Column(
        "rank_spread",
        "float64",
        lambda seen: seen.ranks_apart[0],
        (MAIN,),
        "spread of ranks",
        percent,
        priority=24,
    ),
    # what a step takes longer than its slowest rank's own
    Column(
        "communication_share",
        "float64",
        lambda seen: seen.ranks_apart[1],
        (MAIN,),
        "communication",
        percent,
        priority=60,
    ),
    *input_columns.COLUMNS,
    # with both copies, one after the other; on the host the step alone
    Column(
        "with_copies_s",
        "float64",
        lambda seen: seen.with_copies and seen.with_copies.value,
        (COPIES,),
        "with copies",
        show=_away(interval(seconds, "with_copies_s", "with_copies_low_s", "with_copies_high_s")),
        right=False,
        priority=ALWAYS,
    ),
    Column("with_copies_low_s", "float64", _bound(lambda seen: seen.with_copies, "low")),
    Column("with_copies_high_s", "float64", _bound(lambda seen: seen.with_copies, "high")),
    Column(
        "speedup_with_copies",
        "float64",
        sections=(COPIES,),
        title="vs {baseline} with copies",
        show=_away(
            badged(
                interval(
                    times,
                    "speedup_with_copies",
                    "speedup_with_copies_low",
                    "speedup_with_copies_high",
                )
            )
        ),
        right=False,
        priority=ALWAYS,
    ),
    Column("speedup_with_copies_low", "float64"),
    Column("speedup_with_copies_high", "float64"),
    Column(
        "share_of_peak",
        "float64",
        lambda s: s.share_of_peak,
        (MAIN,),
        "% of SGEMM peak",
        percent,
        priority=28,
    ),
    # the first step of a process with any compilation
    Column(
        "first_step_s",
        "float64",
        _of_outcome("first_step_s"),
        (MAIN, COLD_START),
        "first step",
        seconds,
        priority=20,
    ),
    Column(
        "upload_s",
        "float64",
        _of_outcome("upload_s"),
        (COPIES,),
        "to device",
        show=_away(lambda row: seconds(row["upload_s"])),
        priority=27,
    ),
    Column(
        "download_s",
        "float64",
        _of_outcome("download_s"),
        (COPIES,),
        "from device",
        show=_away(lambda row: seconds(row["download_s"])),
        priority=26,
    ),
    # None: the machine was not watched
    Column("disturbed", value=_of_outcome("disturbed")),
    Column("disturbance", value=lambda seen: seen.outcome.disturbance or None),
    # error / scale, the worst of all checks
    Column(
        "max_relative_error",
        "float64",
        _of_outcome("max_relative_error"),
        (MAIN,),
        "largest error",
        "{:.1e}".format,
        priority=15,
    ),
    Column(
        "ambiguous_branches",
        "object",
        _of_outcome("ambiguous_branches"),
        (MAIN,),
        "ambiguous branches",
        "{:,}".format,
        priority=14,
    ),
    # what was compared of a network that is verified at a smaller input, None where all was
    Column("verified_at", "object", lambda seen: seen.outcome.verified_at or None),
    Column("epochs", "object", _of_outcome("epochs"), (TRAINING,), "epochs"),
    Column(
        "training_s",
        "float64",
        _of_outcome("training_s"),
        (TRAINING,),
        "time of its steps",
        seconds,
    ),
    Column(
        "validation_accuracy",
        "float64",
        _of_outcome("validation_accuracy"),
        (TRAINING,),
        "validation accuracy",
        lambda share: f"{100 * share:.2f} %",
        priority=40,
    ),
    Column(
        "final_loss",
        "float64",
        _of_outcome("final_loss"),
        (TRAINING,),
        "final loss",
        "{:.4g}".format,
    ),
    Column(
        "test_accuracy",
        "float64",
        _of_outcome("test_accuracy"),
        (TRAINING, CONVERGE),
        "test accuracy",
        lambda share: f"{100 * share:.2f} %",
        priority=ALWAYS,
    ),
    *accuracy.COLUMNS,
    *query_columns.COLUMNS,
    *convergence_columns.COLUMNS,
    *classes.COLUMNS,
    *telemetry_columns.COLUMNS,
    *device_columns.COLUMNS,
    Column("python", value=_of_environment("python")),
    Column("packages_digest", value=_of_environment("packages_digest")),
    Column(
        "arithmetic",
        "object",
        lambda seen: seen.outcome.arithmetic or None,
        (ACCURACY,),
        "arithmetic seen",
        right=False,
        priority=50,
    ),
    Column("remedy", value=_of_outcome("remedy")),
    Column("record", value=lambda seen: seen.record),
)
"""The table's columns, in the order of CSV. What is unknown is None (NaN in a DataFrame), never 0."""
