"""The table as Markdown, for READMEs, pull requests and job summaries."""

from __future__ import annotations

from collections.abc import Sequence

from dlbench.analyse.table import Report, Run

from . import cold_start, sweep, telemetry, words
from .conclusions import readings

_RIGHT = {
    "batch",
    "samples/s",
    "to device",
    "from device",
    "device clock",
    "device memory",
    "of sgemm",
    "largest error",
    "near ties",
    "first step",
    "interpreter",
    "device start",
    "import",
    "build",
    "compile",
    "in all",
    "steady after",
    "loss",
    "test accuracy",
}


def render(report: Report, *, width: int = 80, colour: bool = False) -> str:
    """A section for each record: a table of what was measured, a list of what was not, and the
    reading."""
    parts = [_section(run, report) for run in report.runs]
    parts += [f"**{note}**" for note in report.notes]
    parts += readings(report)
    return "\n\n".join(parts) + "\n"


def _section(run: Run, report: Report) -> str:
    rows = words.rows_of(run)
    measured = [row for row in rows if row["status"] == "ok"]
    beneath = [row for row in rows if row["status"] != "ok"]
    parts = [
        f"### {_text(words.title(run))}",
        _text(words.machine(run)),
        f"{words.LEGEND}   {words.INTERVALS}",
    ]
    if measured:
        parts.append(_table(_cells(measured, words.against(report.baseline))))
        parts += _telemetry(measured)
    if beneath:
        parts.append(
            "\n".join(
                f"- {words.mark(row)} {_text(words.label(row))}: {_text(words.trouble(row))}"
                for row in beneath
            )
        )
    parts += _sweeps(run, report.baseline)
    parts += _cold_start(run, report)
    if facts := [*words.devices(rows), *words.environments(run)]:
        parts.append("\n".join(f"- {_text(fact)}" for fact in facts))
    parts += [_text(remark) for remark in words.remarks(rows)]
    parts.append(_text(words.accounting(run)))
    return "\n\n".join(parts)


def _telemetry(rows: Sequence[words.Row]) -> list[str]:
    columns = telemetry.cells(rows)
    if not columns:
        return []
    who = {
        "backend": [words.label(row) for row in rows],
        "batch": [f"{row['batch']:,}" for row in rows],
    }
    return [f"{telemetry.HEADING}:", _table(who | columns), *map(_text, telemetry.notes(rows))]


def _cells(rows: Sequence[words.Row], baseline: str) -> dict[str, list[str]]:
    """Columns by title; those without a single entry are left out."""
    columns: dict[str, list[str]] = {
        "": [words.mark(row) for row in rows],
        "backend": [f"{row['backend']} {row['version']}".strip() for row in rows],
        "device": [row["device"] for row in rows],
        "mode": [row["mode"] for row in rows],
        "scenario": [row["scenario"] for row in rows],
        "batch": [f"{row['batch']:,}" for row in rows],
        "median": [words.median(row) for row in rows],
        "over": [row["interval_over"] or "" for row in rows],
        "samples/s": [words.samples(row) for row in rows],
        f"vs {baseline}": [words.speedup(row) for row in rows],
        **dict(words.copies(rows, baseline)),
        "of sgemm": [words.share(row) for row in rows],
        "largest error": [words.largest_error(row) for row in rows],
        "near ties": [words.near_ties(row) for row in rows],
        "first step": [words.seconds(row["first_step_s"]) for row in rows],
        "loss": [words.loss(row) for row in rows],
        "test accuracy": [words.accuracy(row) for row in rows],
    }
    return {title: cells for title, cells in columns.items() if any(cells)}


def _cold_start(run: Run, report: Report) -> list[str]:
    """What came before the steady steps; nothing where it was not asked for."""
    rows = cold_start.rows_with(run)
    if not report.cold_start or not rows:
        return []
    columns = {
        cold_start.HEADING: [f"{row['backend']} {row['version']}".strip() for row in rows],
        "device": [row["device"] for row in rows],
        "mode": [row["mode"] for row in rows],
        "scenario": [row["scenario"] for row in rows],
        "batch": [f"{row['batch']:,}" for row in rows],
        **cold_start.cells(rows),
    }
    parts = [_table({title: column for title, column in columns.items() if any(column)})]
    if told := cold_start.paid_off(rows):
        parts.append("\n".join(f"- {_text(sentence)}" for sentence in told))
    return parts


def _sweeps(run: Run, baseline: str) -> list[str]:
    """Samples a second by batch size; nothing where there is one batch size."""
    lines = sweep.lines(run)
    if not lines:
        return []
    columns = {
        "samples/s by batch size": [line.backend for line in lines],
        "device": [line.device for line in lines],
        "mode": [line.mode for line in lines],
        "scenario": [line.scenario for line in lines],
    }
    for index, batch in enumerate(sweep.batches(run)):
        columns[f"{batch:,}"] = [line.throughput[index] for line in lines]
    columns[f"faster than {baseline}"] = [line.without_copies for line in lines]
    columns["with the copies"] = [line.with_copies for line in lines]
    return [_table({title: cells for title, cells in columns.items() if any(cells)})]


def _table(columns: dict[str, list[str]]) -> str:
    right = [title in _RIGHT or title[:1].isdigit() for title in columns]
    lines = [list(columns), ["---:" if each else "---" for each in right]]
    lines += [[_text(cell) for cell in row] for row in zip(*columns.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(text: str) -> str:
    """Text on one line that cannot end a cell or start markup."""
    flat = " ".join(text.split())
    for character in "\\|*_`<[":
        flat = flat.replace(character, f"\\{character}")
    return flat
