"""What tells one measured thing from another: a case, and the axes along which cases differ.

The axes are declared here and nowhere else, on the fields of `Case`. Labels, row names, keys, groups, columns,
baselines, series and selections follow from `AXES`: a new value of an axis changes nothing in dlbench, a new
axis is one field here, and one of `dlbench.contract.Plan` where backends are to obey it.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from dlbench.errors import UsageError
from dlbench.spec.decode import nearest

if typing.TYPE_CHECKING:
    from dlbench.contract import Plan

Scenario = Literal["train", "infer"]
SCENARIOS: tuple[Scenario, ...] = ("train", "infer")

HOST = "cpu"
"""The kind of device that is the host itself: nothing is copied to it, and its own telemetry is the host's."""

Configuration = tuple[str | int, ...]
"""A case but for its scenario; see `Case.configuration`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
    """One way in which cases differ.

    Attributes
    ----------
    order : its place among the axes: in labels, in tables and in sorting.
    title : the title of a column.
    name : the field of `Case`.
    type : of its values.
    default : the value of records that do not name it; None where every record does.
    plural : what a selection of several of its values is called (`dlbench.plan.cases.Request`, a suite's matrix).
    label : where labels show it: in the name of the table's row, behind that, or not at all. In a row's name the
        default is left out.
    baseline : in what a row may differ from its baseline: ``any`` value; the ``same`` only; or the ``own`` value of the
        row where the baseline has a row with it, else the default.
    condition : whether it is how something was measured rather than what: two records' cases may differ in it and
        still be the same, though not comparable.
    words : all that it can be; empty where backends and suites say what there is.
    metavar, help : of the option that selects some of its values.
    verified_alone : False where cases that differ in nothing else are verified together.
    """

    order: int
    title: str
    name: str = ""
    type: type = str
    default: str | int | None = None
    plural: str = ""
    label: Literal["row", "behind", "no"] = "no"
    baseline: Literal["any", "own", "same"] = "same"
    condition: bool = False
    words: tuple[str, ...] = ()
    metavar: str | None = None
    help: str = ""
    verified_alone: bool = True


class Case(msgspec.Struct, frozen=True, order=True):
    """What one row of the report is about; two lines belong together when their cases are equal.

    A case is a scenario of a suite, carried out by a plan.
    """

    suite: Annotated[str, Axis(order=0, title="suite")]
    scenario: Annotated[
        Scenario,
        Axis(
            order=5,
            title="scenario",
            plural="scenarios",
            label="behind",
            words=SCENARIOS,
            help="Only this scenario (repeatable).",
            verified_alone=False,
        ),
    ]
    backend: Annotated[
        str,
        Axis(
            order=1,
            title="backend",
            plural="backends",
            label="row",
            baseline="any",
            metavar="NAME",
            help="Only this backend, or a module:Class (repeatable).",
        ),
    ]
    device: Annotated[
        str,
        Axis(
            order=2,
            title="device",
            plural="devices",
            label="row",
            baseline="any",
            metavar="KIND[:N|:UUID]",
            help="Only this device, like cpu or cuda:1 (repeatable).",
        ),
    ]
    batch: Annotated[
        int,
        Axis(
            order=6,
            title="batch",
            plural="batches",
            label="behind",
            help="Samples a step (repeatable).",
        ),
        msgspec.Meta(ge=1),
    ]
    threads: Annotated[int, Axis(order=7, title="threads", condition=True), msgspec.Meta(ge=1)]
    precision: Annotated[
        str,
        Axis(
            order=4,
            title="precision",
            plural="precisions",
            label="row",
            baseline="own",
            condition=True,
            metavar="WORD",
            help="Arithmetic, like bf16 (repeatable); all for all that a backend has.  [default: fp32]",
        ),
    ] = "fp32"
    mode: Annotated[
        str,
        Axis(
            order=3,
            title="mode",
            plural="modes",
            label="row",
            baseline="any",
            metavar="WORD",
            help="Only this mode, in a backend's own word (repeatable).",
        ),
    ] = ""

    @property
    def row_name(self) -> str:
        """What a row of tables, a baseline, a series of a sweep is called: ``torch:cpu/eager/tf32``."""
        return _joined(self, (axis for axis in _ROW if _stands_out(self, axis)))

    @property
    def label(self) -> str:
        """What tells it from the other cases of its suite: ``torch:cpu/eager/train/64``."""
        return _joined(self, (axis for axis in _LABEL if _stands_out(self, axis)))

    @property
    def bare_label(self) -> str:
        """Its label without what has a default: ``torch:cpu/train/64``."""
        return _joined(self, (axis for axis in _LABEL if axis.default is None))

    @property
    def key(self) -> str:
        """What two runs match it by, whatever the conditions were: ``ci/torch:cpu/train/64[eager]``. Files of
        pytest-benchmark hold it, so it stays as it is."""
        other = (axis for axis in AXES if axis.default is not None and not axis.condition)
        told = (f"[{getattr(self, axis.name)}]" for axis in other if _stands_out(self, axis))
        return f"{self.suite}/{self.bare_label}{''.join(told)}"

    @property
    def conditions(self) -> dict[str, str]:
        """What must be alike in two runs of it, by axis."""
        return {axis.name: str(getattr(self, axis.name)) for axis in AXES if axis.condition}

    @property
    def configuration(self) -> Configuration:
        """What is verified once: cases that share it differ in their scenario alone."""
        return values(self, (axis for axis in AXES if axis.verified_alone))

    @property
    def device_kind(self) -> str:
        """The kind of its device: ``cuda`` of ``cuda:0``."""
        return device_kind(self.device)

    @property
    def on_host(self) -> bool:
        """Whether its device is the host's own processor."""
        return self.device_kind == HOST

    def plan(self, seed: int) -> Plan:
        """What a worker is given to carry it out."""
        from dlbench.contract import Plan

        named = {field.name for field in dataclasses.fields(Plan)} - {"seed"}
        return Plan(seed=seed, **{name: getattr(self, name) for name in named})


def _declared() -> tuple[Axis, ...]:
    hints = typing.get_type_hints(Case, include_extras=True)
    found = []
    for field in msgspec.structs.fields(Case):
        axis = next(each for each in hints[field.name].__metadata__ if isinstance(each, Axis))
        found.append(
            dataclasses.replace(
                axis,
                name=field.name,
                type=int if hints[field.name].__origin__ is int else str,
                default=None if field.default is msgspec.NODEFAULT else field.default,
            )
        )
    return tuple(sorted(found, key=lambda axis: axis.order))


AXES: tuple[Axis, ...] = _declared()
"""The axes, in the order in which they are shown."""

SELECTED = tuple(axis for axis in AXES if axis.plural)
"""The axes along which a run may have several values."""

_ROW = tuple(axis for axis in AXES if axis.label == "row")
_LABEL = (*_ROW, *(axis for axis in AXES if axis.label == "behind"))


def values(case: Case, axes: Iterable[Axis] = AXES) -> tuple[Any, ...]:
    """The case's values on some axes."""
    return tuple(getattr(case, axis.name) for axis in axes)


def columns(case: Case) -> dict[str, Any]:
    """The case's values by the names of the axes, in their order."""
    return {axis.name: getattr(case, axis.name) for axis in AXES}


def product(chosen: Mapping[str, Iterable[Any]]) -> Iterator[Case]:
    """The cases of all combinations of values by axis, each once; those of an axis that is not named are its default,
    and the last axis changes fastest."""
    choices = (chosen.get(axis.name, [axis.default]) for axis in AXES)
    for combination in itertools.product(*(tuple(dict.fromkeys(each)) for each in choices)):
        yield Case(**dict(zip((axis.name for axis in AXES), combination, strict=True)))


def case_of(row: Mapping[Any, Any]) -> Case:
    """The case of a row that has a column for each axis."""
    return Case(**{axis.name: axis.type(row[axis.name]) for axis in AXES})


def without(case: Case, *names: str) -> tuple[Any, ...]:
    """The case's values on all axes but some: what the points of a sweep over these share."""
    return values(case, (axis for axis in AXES if axis.name not in names))


def device_kind(device: str) -> str:
    """The kind of a device: ``cuda`` of ``cuda:0``."""
    return device.partition(":")[0]


def _stands_out(case: Case, axis: Axis) -> bool:
    return axis.label == "behind" or getattr(case, axis.name) not in ("", axis.default)


def _joined(case: Case, axes: Iterable[Axis]) -> str:
    backend, device, *others = (str(getattr(case, axis.name)) for axis in axes)
    return "/".join([f"{backend}:{device}", *others])


def spellings(case: Case, axes: Sequence[Axis] | None = None) -> Iterator[str]:
    """Every name of a case, or of its values on some axes: what has a default may be left out, and may be said."""
    axes = _LABEL if axes is None else axes
    ways = (
        ((axis,),) if axis.default is None or axis.label == "behind" else ((axis,), ())
        for axis in axes
    )
    for chosen in itertools.product(*ways):
        yield _joined(case, (a for some in chosen for a in some if getattr(case, a.name) != ""))


def find_case(word: str, cases: Iterable[Case], what: str) -> Case:
    """The case that a label names; mode and precision may be left out where that names just one.

    Parameters
    ----------
    what : what the word is given for, with which the error begins: ``--waive``.

    Raises
    ------
    UsageError : no case is called so, or several are.
    """
    there = list(dict.fromkeys(cases))
    found = [case for case in there if case.label == word]
    found = found or [case for case in there if word in spellings(case)]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{what}: {word!r} names several cases: {_listed(c.label for c in found)}")
    known = sorted(case.label for case in there)
    raise UsageError(f"{what}: no case is called {word!r}; {nearest(word, known)}")


def _listed(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(words)) or "none"


@dataclasses.dataclass(frozen=True)
class Baseline:
    """The one row that others are held against: a backend on a device, in a mode.

    Attributes
    ----------
    name : of the row.
    cases : its cases.
    chosen : whether its precision was chosen too, so that rows of any precision are held against it.
    """

    name: str
    cases: tuple[Case, ...]
    chosen: bool = False

    def of(self, case: Case) -> Case | None:
        """The case that a case is held against; None where there is none.

        A row is held against the baseline's case of its own precision; against that of the default precision where
        the baseline has none of its own at all.
        """
        there = self._by_own
        wanted = list(there) if self.chosen else _own_or_default(case)
        own = next((each for each in wanted if each in there), None)
        return there[own].get(values(case, _SAME)) if own is not None else None

    @functools.cached_property
    def _by_own(self) -> Mapping[tuple[Any, ...], Mapping[tuple[Any, ...], Case]]:
        found: dict[tuple[Any, ...], dict[tuple[Any, ...], Case]] = {}
        for case in self.cases:
            found.setdefault(values(case, _OWN), {})[values(case, _SAME)] = case
        return found

    def has(self, case: Case) -> bool:
        """Whether a case is one of the row's."""
        return case in self.cases


_SAME = tuple(axis for axis in AXES if axis.baseline == "same")
_OWN = tuple(axis for axis in AXES if axis.baseline == "own")
_FREE = tuple(axis for axis in AXES if axis.baseline == "any")


def _own_or_default(case: Case) -> Iterator[tuple[Any, ...]]:
    return itertools.product(*((getattr(case, axis.name), axis.default) for axis in _OWN))


def find_baseline(word: str, cases: Iterable[Case], what: str = "baseline") -> Baseline:
    """The row that a word names: ``numpy:cpu``, or with mode and precision ``cupy:cuda/graph/tf32``.

    Both may be left out: the mode where that names just one row, the precision always, since rows are held against
    the baseline's of their own.

    Raises
    ------
    UsageError : no row is called so, or several are.
    """
    there = list(dict.fromkeys(cases))
    check_row_name(word, what)
    plain = [case for case in there if word == _joined(case, _plain(case))]
    named = [case for case in there if word == case.row_name]
    found, chosen = plain or named, not plain
    if not found:
        found = [case for case in there if word in spellings(case, _FREE)]
        chosen = not found
    found = found or [case for case in there if word in spellings(case, _ROW)]
    if not found:
        rows = _listed(case.row_name for case in there)
        raise UsageError(f"{what} {word!r} matches no row; the rows are: {rows}")
    if len(found) > len({values(case, (*_SAME, *_OWN)) for case in found}):
        several = _listed(case.row_name for case in found)
        raise UsageError(f"{what} {word!r} matches several rows: {several}; name one of them")
    name = _joined(found[0], _plain(found[0])) if not chosen else found[0].row_name
    if len({values(case, _FREE) for case in found}) > 1:
        # of its scenarios each has a mode of its own
        name = word
    return Baseline(name, tuple(found), chosen)


def _plain(case: Case) -> Iterator[Axis]:
    return (axis for axis in _FREE if _stands_out(case, axis))


def check_row_name(word: str, what: str = "baseline") -> None:
    """Refuses a word that cannot be a row's name.

    Raises
    ------
    UsageError : saying what one looks like.
    """
    backend, colon, device = word.rpartition(":")
    if not (backend and colon and device):
        raise UsageError(f"{what} {word!r} is not a backend:device, like numpy:cpu")
