"""The parts of the page of one record: from what was found to how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from dlbench.analyse.table import Report, Run, rebased
from dlbench.record.comparability import facts_of, versions_of
from dlbench.record.schema import Profile
from dlbench.text import one_line, plural

from ..charts import (
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
from ..charts import telemetry as beside
from ..charts.drawing.figure import Figure
from ..charts.drawing.row_groups import measured
from ..charts.queries import percentiles, rates
from ..run import sections, words
from ..tables.model import Column, Line, Section
from ..trainings import by_class
from . import again, glossary
from .blocks import Block, Choice, Command, Part, Picture, Table, Text

_DRAWN_IN_CHOICES, _MOST_BASELINES = 120, 6
_MOST_ROOFLINES, _MOST_SERVERS = 6, 6
_COMPARE = (
    "Rows under one heading and of one batch size may be compared: they computed the same network on the same "
    "weights and batches, agreed with the same float64 reference, and took turns on this machine. A row with "
    "! was disturbed: do not quote it. ≠ marks a speed-up over another precision, part of which is less "
    "exact arithmetic. Rows of different batch sizes, scenarios or numbers of threads are not held against "
    "each other."
)
_METHOD = (
    "Every backend is given the same weights and the same batches. Before anything is timed its loss, "
    "gradients and updated weights are held against a float64 reference; an error beyond what rounding can "
    "cause there makes it 'not verified', and none of its figures is shown. What agrees is timed in fresh "
    "processes, round by round. In a round the processes of all rows take turns, block by block, so that what "
    "the machine does to one it does to the others. A figure is the median of the processes' medians, and "
    "its interval says where many more fresh processes would lie (95 %). A speed-up is the mean ratio over "
    "rounds. Who else used the machine is watched, and a disturbed row is marked."
)


def parts(run: Run, report: Report) -> list[Part]:
    """The numbered parts of a record, from 2 on; 1 is about all records together. What was not measured is one part
    at the end."""
    told = sections.parts(run, report)
    every = [
        Part("The comparison", list(_comparison(run, told))),
        Part("Throughput and latency by batch size", list(_by_batch(run, told))),
        Part("Where the time goes", list(_layers(run, told))),
        Part("Cold start", list(_cold_start(run, told))),
        Part("Training", list(_training(run, told))),
        Part("Telemetry", list(_telemetry(run, told))),
        Part("How far to trust it", list(_trust(run, told))),
    ]
    without = [part for part in every if all(block.kind in _WORDS for block in part.blocks)]
    if not without:
        return every
    asked = [block for part in without for block in part.blocks]
    return [*(part for part in every if part not in without), Part(_NOT_MEASURED, asked)]


_WORDS = ("text", "command")
_NOT_MEASURED = "Not measured here, and how to"


Told = dict[str, list[Section]]


def _comparison(run: Run, told: Told) -> Iterator[Block]:
    (main,) = told["main"]
    yield Text(main.intro[1:])
    yield Table(Section(columns=_ordered(main.columns), lines=main.lines, notes=main.notes))
    yield Text((_COMPARE,))
    yield Table(glossary.section(), folded=True)
    options = [(label, (Picture(figure),)) for label, figure in _baselines(run)]
    if options:
        yield Choice("Baseline", tuple(options))
    yield from _pictures([step_time.figure(run)])
    yield from _pictures([percentiles.figure(run), *list(rates.figures(run))[:_MOST_SERVERS]])
    yield from (Table(each) for each in told["queries"])
    yield from (Table(each) for each in told["copies"])
    yield from (Table(each, folded=True) for each in told["tried"])


def _ordered(columns: Sequence[Column]) -> tuple[Column, ...]:
    """Who a row is in one column, then its figures, the most important first, so that a narrow screen shows these."""
    who = [each for each in columns if each.names and not (each.groups or each.right)]
    named = tuple(
        " · ".join(filter(None, cells)) for cells in zip(*(each.cells for each in who), strict=True)
    )
    names = [each for each in columns if each.names and each not in who]
    figures = [each for each in columns if not each.names and not each.bars]
    figures.sort(key=lambda each: -each.priority)
    return (*names[:1], Column("row", named, names=True), *names[1:], *figures)


def _baselines(run: Run) -> Iterator[tuple[str, Figure]]:
    """The speed-ups over the record's own baseline, then over each other row that has one."""
    rows = measured(run.rows)
    names = list(dict.fromkeys(row.case.row_name for row in rows))
    own = run.baseline.name if run.baseline.cases else ""
    most = max(1, min(_MOST_BASELINES, _DRAWN_IN_CHOICES // max(len(rows), 1)))
    words_ = dict.fromkeys([own, *names] if own else names)
    found = 0
    for name in words_:
        based = run if name == own else rebased(run, name)
        if any(case.row_name == name for case in run.baseline.cases) and name != own:
            continue
        figure = speedups.figure(based)
        if figure is not None:
            yield one_line(name), figure
            found += 1
        if found == most:
            return


def _by_batch(run: Run, told: Told) -> Iterator[Block]:
    found = list(_pictures(batches.figures(run)))
    if not found:
        yield Command("One batch size was measured. For several:", again.sweep(run))
    yield from found
    yield from (Table(each) for each in told["offline"])
    yield from (Table(each, folded=True) for each in told["sweep"])


def _layers(run: Run, told: Told) -> Iterator[Block]:
    if not any(isinstance(line, Profile) for line in run.record.lines):
        what = "No step of this record was split by layer. To see which layer takes how long:"
        yield Command(what, again.command(run, name="profile"))
        return
    yield from _pictures(layers.figures(run))
    yield from _pictures(list(roofs.figures(run))[:_MOST_ROOFLINES])
    yield from (Table(each, folded=bool(each.columns)) for each in told["layers"])


def _cold_start(run: Run, told: Told) -> Iterator[Block]:
    figure = cold_start.figure(run)
    yield from _pictures([figure])
    if figure is None:
        yield Text(("No process of this record tells of a whole start.",))
        return
    yield from _pictures([pay_off.figure(run)])
    yield from (
        Table(Section(each.title, columns=each.columns, lines=each.lines), folded=True)
        for each in told["cold start"]
    )


def _training(run: Run, told: Told) -> Iterator[Block]:
    found = list(_pictures([*training.figures(run), precisions.figure(run)]))
    parts_ = (*told["training"], *told["converge"], *told["accuracy"])
    tables = [Table(each) for each in parts_]
    yield from found
    yield from tables
    yield from (Table(each, folded=True) for each in by_class.sections(run))
    if not training.trainings(run):
        what = "No training to an accuracy was asked for. For losses and accuracies:"
        yield Command(what, again.command(run, "--epochs", "2"))


def _telemetry(run: Run, told: Told) -> Iterator[Block]:
    found = list(_pictures(beside.figures(run)))
    yield from found
    yield from (Table(each) for each in told["telemetry"])
    if not found and not told["telemetry"]:
        yield Text(("Nothing was sampled beside the timing of this record.",))


def _trust(run: Run, told: Told) -> Iterator[Block]:
    yield from _pictures(trust.figures(run))
    without = [row for row in run.rows if row["status"] != "ok"]
    if without:
        columns = (
            Column("row", tuple(one_line(row.case.label) for row in without), names=True),
            Column("what", tuple(words.STATUS_WORDS[row["status"]] for row in without)),
            Column("why, and what would help", tuple(map(words.trouble, without))),
        )
        lines = tuple(Line(words.mark(row), words.style(row)) for row in without)
        yield Table(Section("Skipped, failed or not verified", columns=columns, lines=lines))
    (closing,) = told["closing"]
    yield Table(Section("What else should be known", notes=closing.notes))
    yield Command("To run it again:", again.command(run))
    yield Table(_circumstances(run), folded=True)
    yield Text((_METHOD,))


def _circumstances(run: Run) -> Section:
    header = run.header
    facts = {
        "record": run.name,
        "begun": header.created,
        "dlbench": header.dlbench,
        "suite": header.suite,
        "what it is": header.description,
        "data": header.data.source or header.data.name,
        "rounds": plural(header.rounds, "fresh process") + " a row",
        **facts_of(header),
        **versions_of(header),
    }
    if header.data.stand_in:
        facts["data"] = f"stand-in for {facts['data']}"
    known = {name: one_line(str(value)) for name, value in facts.items() if value}
    columns = (
        Column("fact", tuple(map(one_line, known)), names=True),
        Column("value", tuple(known.values())),
    )
    return Section("Machine, versions, workload", columns=columns, lines=(Line(),) * len(known))


def _pictures(figures: Iterable[Figure | None]) -> Iterator[Block]:
    return (Picture(figure) for figure in figures if figure is not None)
