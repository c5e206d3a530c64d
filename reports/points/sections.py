"""What was found at many points as sections: a table a row, its best point, and what cannot be told apart from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from dlbench.text import digits, plural, seconds, why
from dlbench.tuning.objective import Objective
from dlbench.tuning.points import Series, Swept, Tried
from dlbench.tuning.search import Trial, Tuned, rank

from ..tables.model import Column, Line, Section

_MARKS = {"best": "→", "not apart": "≈", "behind": " ", "no figure": "–"}
_STYLES = {"best": "good", "no figure": "dim"}
_CHOSEN = {
    "accuracy": "Chosen by the accuracy on the validation part; what is told apart is the share of right answers on"
    " the test part, which is the same for all points. There is one training a point: another seed would give another"
    " accuracy.",
    "throughput": "Chosen by samples a second; what is told apart is told over fresh processes of runs that came one"
    " after the other, so what the machine did meanwhile is in it.",
}
_MOST_NAMED = 6


def of_sweep(found: Swept) -> list[Section]:
    """A section for each row."""
    return [
        *(_series(each, found) for each in found.series),
        Section(notes=(f"records: {found.folder}",)),
    ]


def _series(series: Series, found: Swept) -> Section:
    figures = _figures(series.tried)
    columns = (
        *(_field(name, [each.point.get(name) for each in series.tried]) for name in found.fields),
        *(column for column in figures if any(column.cells)),
        _bars(series),
    )
    return Section(
        f"{found.suite} · {series.label}",
        top=True,
        columns=tuple(column for column in columns if column is not None),
        lines=tuple(
            Line(
                _MARKS[each.place],
                _STYLES.get(each.place, ""),
                f"{each.status}: {each.problem}" if each.problem else "",
            )
            for each in series.tried
        ),
        notes=(*_conclusion(series), _CHOSEN[series.criterion]),
    )


def _field(name: str, values: Sequence[object]) -> Column:
    right = all(isinstance(value, int | float) for value in values)
    return Column(name, tuple(map(_written, values)), right=right, names=True)


def _written(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(tried: Sequence[Tried]) -> list[Column]:
    return [
        Column("step", tuple(_step(each) for each in tried)),
        Column("samples/s", tuple(_text(each.samples_per_s, digits) for each in tried), right=True),
        Column(
            "validation accuracy",
            tuple(_text(each.validation_accuracy, _percent) for each in tried),
            right=True,
        ),
        Column("test accuracy", tuple(_share(each) for each in tried)),
        Column("time of its steps", tuple(_text(each.training_s, seconds) for each in tried)),
    ]


def _bars(series: Series) -> Column | None:
    if series.criterion == "accuracy":
        lengths = [each.validation_accuracy or 0.0 for each in series.tried]
    else:
        lengths = [each.samples_per_s or 0.0 for each in series.tried]
    longest = max(lengths, default=0.0)
    if not longest:
        return None
    blank = ("",) * len(lengths)
    return Column("", blank, bars=tuple(length / longest for length in lengths), priority=5)


def _conclusion(series: Series) -> Iterator[str]:
    best = series.best
    if best is None:
        yield "! no point has a figure that anything could be concluded from"
        return
    alike = [_point(each) for each in series.tried if each.place == "not apart"]
    yield f"→ best at {_point(best)}"
    if alike:
        named = "; ".join(alike[:_MOST_NAMED])
        more = len(alike) - _MOST_NAMED
        yield f"  not to be told apart from it: {named}" + (f"; {more} more" if more > 0 else "")


def _point(one: Tried) -> str:
    return ", ".join(f"{name} = {_written(value)}" for name, value in one.point.items())


def _step(one: Tried) -> str:
    if one.step is None:
        return ""
    interval = one.step.interval
    return seconds(one.step.value, *((interval.low, interval.high) if interval else ()))


def _share(one: Tried) -> str:
    found = one.test_accuracy
    if found is None:
        return ""
    return f"{_percent(found.value)} [{100 * found.low:.2f}, {100 * found.high:.2f}]"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _text(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None else form(value)


def of_search(found: Tuned) -> list[Section]:
    """The trials in their order, the best one, and how it stands to the suite's own point."""
    numbers = [str(each.number + 1) for each in found.trials]
    columns = [
        Column("trial", tuple(numbers), right=True, names=True),
        *(
            _field(name, [each.point.get(name, "") for each in found.trials])
            for name in found.fields
        ),
        Column(found.objective.word, tuple(_value(each, found.objective) for each in found.trials)),
        Column(
            "test accuracy",
            tuple(_share(each.tried) if each.tried else "" for each in found.trials),
        ),
    ]
    lines = tuple(
        Line(
            "→" if each is found.best else "–" if each.value is None else " ",
            "good" if each is found.best else "dim" if each.value is None else "",
            each.told if each.value is None else "",
        )
        for each in found.trials
    )
    return [
        Section(
            f"{found.suite} · {found.row}",
            top=True,
            columns=tuple(column for column in columns if any(column.cells)),
            lines=lines,
            notes=tuple(_verdict(found)),
        ),
        Section(notes=(f"records: {found.folder}",)),
    ]


def _value(trial: Trial, objective: Objective) -> str:
    return "" if trial.value is None else objective.told(trial.value)


def _verdict(found: Tuned) -> Iterator[str]:
    best, own, objective = found.best, found.own, found.objective
    if best is None:
        yield "! no training came to an end with a figure; a longer --epochs, or a wider range"
        return
    told = ", ".join(f"{name} = {_written(value)}" for name, value in best.point.items())
    yield f"→ best of {plural(len(found.trials), 'trial')}: {told}: {_value(best, objective)}"
    if own is best:
        yield "  which is the suite's own point"
    elif own is not None:
        yield f"  the suite's own point: {_value(own, objective) or why(own.told, '')}"
    close = rank(found.trials, objective)[1:4]
    if close:
        yield "  next: " + "; ".join(
            f"trial {each.number + 1}, {_value(each, objective)}" for each in close
        )
    yield (
        "One training a trial: the best of many is partly the luckiest. dlbench run --sweep seed=1,2,3 at the best"
        " point says how far it can be trusted."
    )
