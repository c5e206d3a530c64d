"""How trainings went: the loss and the accuracy on the validation part, against steps and against seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench.analyse.table import Run
from dlbench.record.schema import Training
from dlbench.text import digits, listed, one_line, plural, seconds

from ..tables.model import Column, Line, Section
from .drawing import axes, style
from .drawing.figure import Figure, values

if TYPE_CHECKING:
    import altair as alt

HOW_TO_READ = (
    "The loss of each step's batch, a mean over neighbouring steps where there are more than {most}. Against "
    "seconds the steps of an epoch are drawn as if they took the same time, data handling included and evaluation not."
)
_MOST_POINTS, _MOST_LINES = 120, 8
_PANEL_PX = 210


def trainings(run: Run) -> list[Training]:
    """The trainings of a record that went well, of cases that are verified, the last of each case and seed."""
    verified = {row.case for row in run.rows if row["status"] == "ok"}
    lines = (line for line in run.record.lines if isinstance(line, Training))
    found = {
        (line.case, line.seed): line
        for line in lines
        if line.status == "ok" and line.losses and line.case in verified
    }
    return list(found.values())


def figures(run: Run) -> Iterator[Figure]:
    """The losses, and the accuracies on the validation part; none where nothing was trained."""
    found = trainings(run)
    if not found:
        return
    shown = found[:_MOST_LINES]
    final = [f"{_who(each)}: {digits(_last_loss(each))}" for each in shown]
    notes = [HOW_TO_READ.format(most=_MOST_POINTS)]
    if len(found) > len(shown):
        notes.append(
            f"{len(shown)} of {plural(len(found), 'training')} are drawn; the table has all."
        )
    yield Figure(
        name="loss",
        title="Loss of the training",
        summary=f"Lines of the loss against steps and seconds. The mean loss of the last epoch of {listed(final)}.",
        draw=lambda width: _draw_losses(shown, width),
        table=_table(found),
        notes=tuple(notes),
    )
    if max(len(each.validation_accuracy) for each in shown) > 1:
        yield Figure(
            name="accuracy",
            title="Accuracy on the validation part",
            summary="Lines of the share of right answers after each epoch against steps and seconds, of "
            f"{listed([_who(e) for e in shown])}.",
            draw=lambda width: _draw_accuracies(shown, run.header.target_accuracy, width),
            table=_accuracy_table(found),
        )


def _who(each: Training) -> str:
    seed = "" if each.case.has_steps else f", seed {each.seed}"
    return one_line(f"{each.case.row_name}, batch {each.case.batch:,}{seed}")


def _last_loss(each: Training) -> float:
    steps = max(len(each.losses) // max(each.epochs, 1), 1)
    return float(np.mean(each.losses[-steps:]))


def _points(each: Training) -> list[dict[str, Any]]:
    """Means over neighbouring steps, each at the middle of these."""
    losses = np.asarray(each.losses)
    parts = np.array_split(np.arange(len(losses)), min(_MOST_POINTS, len(losses)))
    ended_s = _step_ended_s(each)
    return [
        {
            "who": _who(each),
            "steps": float(part.mean()) + 1,
            "seconds": float(ended_s[part].mean()),
            "value": float(losses[part].mean()),
        }
        for part in parts
    ]


def _step_ended_s(each: Training) -> npt.NDArray[np.float64]:
    """When each step was over, on a clock that stands still while something else is done; records of earlier versions
    tell the whole time alone."""
    steps = len(each.losses)
    spent_s = np.cumsum(each.epoch_s or (each.seconds or 0.0,))
    ends = np.linspace(0, steps, len(spent_s) + 1)
    ended_s: npt.NDArray[np.float64] = np.interp(
        np.arange(1, steps + 1), ends, np.concatenate([[0.0], spent_s])
    )
    return ended_s


def _draw_losses(shown: Sequence[Training], width: int) -> Any:
    import altair as alt

    points = [point for each in shown for point in _points(each)]
    known = [p["value"] for p in points]
    timed = any(each.seconds for each in shown)
    beside = timed and width >= style.WIDE
    inner = (width - 110) // 2 if beside else width - 50
    if min(known) > 0:
        low, high = axes.span(known, 1.1)
        y = alt.Y("value:Q", **axes.log(low, high, 4 * 52, "loss (logarithmic)", axes.NUMBERS))
    else:
        y = alt.Y("value:Q", **axes.linear("loss"))
    panels = [
        _lines(points, [_who(each) for each in shown], by, y, inner, width)
        for by in (("steps", "seconds") if timed else ("steps",))
    ]
    whole: alt.ConcatChart = alt.concat(*panels, columns=2 if beside else 1)
    return whole


def _draw_accuracies(shown: Sequence[Training], target: float | None, width: int) -> Any:
    import altair as alt

    points: list[dict[str, Any]] = [
        {
            "who": _who(each),
            "steps": epoch * len(each.losses) // len(each.validation_accuracy),
            "seconds": spent_s,
            "value": share,
        }
        for each in shown
        for epoch, (share, spent_s) in enumerate(
            zip(each.validation_accuracy, _epoch_ended_s(each), strict=True), 1
        )
    ]
    beside = width >= style.WIDE
    inner = (width - 110) // 2 if beside else width - 50
    y = alt.Y(
        "value:Q",
        title="right answers",
        scale=alt.Scale(zero=False, nice=True),
        axis=alt.Axis(format=".1%", tickCount=5),
    )
    panels = [
        _lines(points, [_who(each) for each in shown], by, y, inner, width, dots=True, rule=target)
        for by in ("steps", "seconds")
    ]
    whole: alt.ConcatChart = alt.concat(*panels, columns=2 if beside else 1)
    return whole


def _epoch_ended_s(each: Training) -> Sequence[float]:
    """When each epoch was over, on the clock of `_step_ended_s`."""
    epochs = len(each.validation_accuracy)
    last = np.arange(1, epochs + 1) * len(each.losses) // epochs - 1
    found: list[float] = _step_ended_s(each)[last].tolist()
    return found


def _lines(
    points: list[dict[str, Any]],
    names: Sequence[str],
    by: str,
    y: alt.Y,
    inner: int,
    width: int,
    dots: bool = False,
    rule: float | None = None,
) -> Any:
    import altair as alt

    legend = axes.lines_legend(width)
    hues = alt.Scale(domain=list(names), range=list(style.SERIES[: len(names)]))
    dashes = alt.Scale(domain=list(names), range=list(style.DASHES[: len(names)]))
    least: dict[str, Any] = {} if by == "seconds" else {"tickMinStep": 1}
    x = alt.X(
        f"{by}:Q",
        title=by,
        scale=alt.Scale(zero=not dots, nice=not dots),
        axis=alt.Axis(
            labelExpr=axes.NUMBERS,
            tickCount=5,
            labelFlush=True,
            grid=False,
            **least,
        ),
    )
    data = alt.Chart(values(points))
    line = data.mark_line(strokeWidth=1.8).encode(
        x=x,
        y=y,
        color=alt.Color("who:N", scale=hues, legend=legend),
        strokeDash=alt.StrokeDash("who:N", scale=dashes, legend=legend),
    )
    layers = [line]
    if dots:
        layers.append(
            data.mark_point(size=40, filled=True, opacity=1).encode(
                x=x, y=y, color=alt.Color("who:N", scale=hues, legend=legend)
            )
        )
    if rule is not None:
        layers.append(
            alt.Chart(values([{"value": rule}]))
            .mark_rule(strokeDash=[2, 3], opacity=0.6)
            .encode(y=y)
        )
    return alt.layer(*layers).properties(width=inner, height=_PANEL_PX)


def _table(found: Sequence[Training]) -> Section:
    columns = (
        Column("row", tuple(map(_who, found)), names=True),
        Column("epochs", tuple(f"{each.epochs:,}" for each in found), right=True),
        Column("steps", tuple(f"{len(each.losses):,}" for each in found), right=True),
        Column("first loss", tuple(digits(each.losses[0]) for each in found), right=True),
        Column(
            "mean loss of the last epoch", tuple(digits(_last_loss(e)) for e in found), right=True
        ),
        Column("test accuracy", tuple(_percent(each.test_accuracy) for each in found), right=True),
        Column("seconds", tuple(seconds(each.seconds) for each in found), right=True),
    )
    shown = tuple(column for column in columns if any(column.cells))
    return Section(columns=shown, lines=(Line(),) * len(found))


def _accuracy_table(found: Sequence[Training]) -> Section:
    most = max(len(each.validation_accuracy) for each in found)
    columns = [Column("row", tuple(map(_who, found)), names=True)]
    for epoch in range(most):
        cells = [
            _percent(each.validation_accuracy[epoch])
            if epoch < len(each.validation_accuracy)
            else ""
            for each in found
        ]
        columns.append(Column(f"epoch {epoch + 1}", tuple(cells), right=True))
    return Section(columns=tuple(columns), lines=(Line(),) * len(found))


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f} %"
