"""The terminal's smaller tables, beneath the main one: copies and the device's own figures, a sweep over batch
sizes, and trainings."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from dlbench.analyse.table import Run
from dlbench.record.case import case_of

from . import sweep, telemetry, words
from .columns import Column, fitting, headings, marked, name_of, row_text, titled, without, wrapped


def devices(rows: Sequence[words.Row], baseline: str, width: int) -> list[Text]:
    """What rows on a device of their own spend on copies, and what the device itself saw."""
    there = [row for row in rows if not case_of(row).on_host]
    if not there:
        return []
    columns = [
        Column("backend", tuple(name_of(row) for row in there)),
        Column("device", tuple(row["device"] for row in there)),
        titled("scenario", (row["scenario"] for row in there)),
        titled("batch", (f"{row['batch']:,}" for row in there), right=True),
        *(titled(title, cells, right=True) for title, cells in words.copies(there, baseline)),
    ]
    columns = [column for column in columns if any(column.cells)]
    columns, left_out = fitting(columns, width)
    lines = [Text(" with the copies of a batch to the device and of the result back", "bold")]
    lines.append(headings(columns))
    lines += [marked(row, row_text(columns, index)) for index, row in enumerate(there)]
    return lines + without(left_out, width)


def sampled(rows: Sequence[words.Row], width: int) -> list[Text]:
    """What device and host did meanwhile, as far as something is known."""
    shown = telemetry.cells(rows)
    if not shown:
        return []
    columns = [
        Column("backend", tuple(name_of(row) for row in rows)),
        Column("device", tuple(row["device"] for row in rows)),
        Column("scenario", tuple(row["scenario"] for row in rows)),
    ]
    if len({row["batch"] for row in rows}) > 1:
        columns.append(titled("batch", (f"{row['batch']:,}" for row in rows), right=True))
    columns += [titled(title, cells, right=True) for title, cells in shown.items()]
    columns, left_out = fitting(columns, width, telemetry.LEFT_OUT_FIRST)
    lines = [Text(f" {telemetry.HEADING}", "bold"), headings(columns)]
    lines += [marked(row, row_text(columns, index)) for index, row in enumerate(rows)]
    for note in telemetry.notes(rows):
        lines += wrapped(note, width, "dim")
    return lines + without(left_out, width)


def sweeps(run: Run, baseline: str, width: int) -> list[Text]:
    """Samples a second by batch size, a table a scenario."""
    batches, found = sweep.batches(run), sweep.lines(run)
    lines: list[Text] = []
    for scenario in dict.fromkeys(line.scenario for line in found):
        own = [line for line in found if line.scenario == scenario]
        columns = [
            Column("backend", tuple(line.backend for line in own)),
            Column("device", tuple(line.device for line in own)),
            Column("mode", tuple(line.mode for line in own)),
            *(
                titled(f"{batch:,}", (line.throughput[index] for line in own), right=True)
                for index, batch in enumerate(batches)
            ),
            Column("faster", tuple(line.without_copies for line in own), f"faster than {baseline}"),
            titled("with the copies", (line.with_copies for line in own)),
        ]
        columns, left_out = fitting([column for column in columns if any(column.cells)], width)
        lines.append(Text(f" {scenario}, samples/s by batch size", "bold"))
        lines.append(headings(columns))
        lines += [Text(f"    {row_text(columns, index)}") for index in range(len(own))]
        lines += without(left_out, width)
    return lines


def trainings(rows: Sequence[words.Row], width: int) -> list[Text]:
    """What whole trainings came to (``--epochs``)."""
    trained = [
        row for row in rows if row["final_loss"] is not None or row["test_accuracy"] is not None
    ]
    if not trained:
        return []
    columns = [
        Column("backend", tuple(name_of(row) for row in trained)),
        Column("device", tuple(row["device"] for row in trained)),
        titled("batch", (f"{row['batch']:,}" for row in trained), right=True),
        titled("epochs", (str(row["epochs"]) for row in trained), right=True),
        titled("final loss", map(words.loss, trained), right=True),
        titled("test accuracy", map(words.accuracy, trained), right=True),
    ]
    columns, left_out = fitting(columns, width)
    lines = [Text(" trained from the initial weights", "bold")]
    lines.append(headings(columns))
    for index, row in enumerate(trained):
        lines.append(marked(row, row_text(columns, index)))
    return lines + without(left_out, width)
