"""All charts by name: what a page is made of, and what one file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from dlbench.analyse.table import Report, Run
from dlbench.errors import UsageError

from . import (
    batches,
    cold_start,
    layers,
    pay_off,
    precisions,
    roofs,
    speedups,
    step_time,
    training,
    trust,
)
from . import telemetry as beside
from .drawing import render
from .drawing.figure import Figure, together
from .queries import percentiles, rates


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart that the command line knows by a name (entry points ``dlbench.charts``).

    Attributes
    ----------
    of : its figures of one record.
    missing : what a record lacks that has none, and how to get it.
    ledger : whether it is of the ledger of cold starts.
    """

    of: Callable[[Run], Iterable[Figure | None]]
    missing: str
    ledger: bool = False

    def figures(self, report: Report) -> list[Figure]:
        """The figures of all records, each with its record in the title where there are several."""
        report = cold_start.with_ledger(report) if self.ledger else report
        several = len(report.runs) > 1
        return [
            dataclasses.replace(each, title=f"{run.name}: {each.title}") if several else each
            for run in report.runs
            for each in self.of(run)
            if each is not None
        ]

    def __call__(self, report: Report, form: str) -> bytes:
        """A file with all of them, the same bytes for the same records.

        Parameters
        ----------
        form : ``svg`` or ``png``.

        Raises
        ------
        UsageError : there is nothing to draw.
        DlbenchError : what draws is not installed.
        """
        render.require()
        found = self.figures(report)
        if not found:
            raise UsageError(self.missing)
        return render.drawn(together(found), form)


_NOTHING = "nothing was timed and verified in these records, so there is nothing to draw"
_PROFILED = "no step was profiled; profiles are made with: dlbench profile"
_TRAINED = "nothing was trained; trainings are made with: dlbench run --epochs 2"
_SWEPT = "one batch size was measured; several are with: dlbench run --sweep batch=1,8,64"

speedup_chart = Chart(
    lambda run: [speedups.figure(run)],
    "no row is held against a baseline with figures; name one with --baseline BACKEND:DEVICE",
)
time_chart = Chart(lambda run: [step_time.figure(run)], _NOTHING)
throughput_chart = Chart(lambda run: batches.figures(run, ["throughput"]), _SWEPT)
latency_chart = Chart(lambda run: batches.figures(run, ["latency"]), _SWEPT)
percentiles_chart = Chart(
    lambda run: [percentiles.figure(run)],
    "no queries were timed, or too few; they are with: dlbench run --scenario latency",
)
rates_chart = Chart(
    rates.figures,
    "no largest rate was looked for; it is with: dlbench run --scenario server --latency-bound 20",
)
layers_chart = Chart(layers.figures, _PROFILED)
roofline_chart = Chart(roofs.figures, _PROFILED)
cold_start_chart = Chart(
    lambda run: [cold_start.figure(run)],
    "no process recorded a complete start and became steady, so there is no cold start to draw",
    ledger=True,
)
pay_off_chart = Chart(
    lambda run: [pay_off.figure(run)],
    "no two rows with whole cold starts are held against each other, a compiled mode against the backend's own or any "
    "against the baseline, so there is no pay-off to draw",
    ledger=True,
)
training_chart = Chart(training.figures, _TRAINED)
precisions_chart = Chart(
    lambda run: [precisions.figure(run)],
    "no accuracies in several precisions; they are made with: dlbench run --precision all --epochs 2",
)
telemetry_chart = Chart(
    beside.figures, "nothing was sampled beside the timing, so there is nothing to draw"
)
errors_chart = Chart(lambda run: [trust.errors(run)], "no row of these records is verified")
disturbance_chart = Chart(
    lambda run: [trust.disturbances(run)],
    "nobody watched what else used the machine, so there is nothing to draw",
)
