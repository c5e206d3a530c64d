"""What tells one measured thing from another: a case, and the axes along which cases differ.

The axes are declared here and nowhere else, on the fields of `Case`. Labels, row names, keys, groups, columns,
baselines, series and selections follow from `AXES`: a new value of an axis changes nothing in dlbench, a new
axis is one field here, and one of `dlbench.contract.Plan` where backends are to obey it.
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from dlbench.errors import UsageError
from dlbench.spec.decode import nearest
from dlbench.spec.scenarios import KINDS, SCENARIOS, Scenario, Step

if typing.TYPE_CHECKING:
    from dlbench.contract import Plan

HOST = "cpu"
"""The kind of device that is the host itself: nothing is copied to it, and its own telemetry is the host's."""

RESIDENT, STREAMED = INPUTS = ("resident", "streamed")
"""Where a step's batch comes from: it lies on the device, or a loader prepares it while others are trained on."""

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
        row where the baseline has a row with it, else the default. A speed-up over another value of an ``own`` axis
        carries a badge, and a row whose value is not the default is held against its own backend's row of
        the default too (`dlbench.record.baseline`).
    condition : whether it is how something was measured rather than what: two records' cases may differ in it and
        still be the same, though not comparable.
    words : all that it can be; empty where backends and suites say what there is.
    metavar, help : of the option that selects some of its values.
    verified_alone : False where cases that differ in nothing else are verified together.
    form : how labels write a value, where the value alone would not say what it is of.
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
    form: str = "{}"

    def shown(self, case: Case) -> str:
        """A case's value, as labels have it; empty where it is."""
        value = getattr(case, self.name)
        return "" if value == "" else self.form.format(value)


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
    world: Annotated[
        int,
        Axis(
            order=8,
            title="ranks",
            plural="worlds",
            label="row",
            baseline="any",
            form="{}-ranks",
            metavar="N[,N…]",
            help="Ranks that share each batch of a data-parallel training, like 1,2,4.  [default: 1]",
        ),
        msgspec.Meta(ge=1),
    ] = 1
    input: Annotated[
        str,
        Axis(
            order=9,
            title="input",
            plural="inputs",
            label="row",
            words=INPUTS,
            help="Batches that lie on the device before a step (resident), or that each training step takes from the "
            "framework's own loader (streamed); repeatable.  [default: resident]",
        ),
    ] = RESIDENT

    @property
    def row_name(self) -> str:
        """What a row of tables, a baseline, a series of a sweep is called: ``torch:cpu/eager/tf32``."""
        return joined(self, (axis for axis in ROW if stands_out(self, axis)))

    @property
    def label(self) -> str:
        """What tells it from the other cases of its suite: ``torch:cpu/eager/train/64``."""
        return joined(self, (axis for axis in _LABEL if stands_out(self, axis)))

    @property
    def bare_label(self) -> str:
        """Its label without what has a default: ``torch:cpu/train/64``."""
        return joined(self, (axis for axis in _LABEL if axis.default is None))

    @property
    def key(self) -> str:
        """What two runs match it by, whatever the conditions were: ``ci/torch:cpu/train/64[eager]``. Files of
        pytest-benchmark hold it, so it stays as it is."""
        other = (axis for axis in AXES if axis.default is not None and not axis.condition)
        told = (f"[{axis.shown(self)}]" for axis in other if stands_out(self, axis))
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
    def is_plain(self) -> bool:
        """Whether it is of the default on all ``own`` axes: in float32."""
        return all(getattr(self, a.name) == a.default for a in AXES if a.baseline == "own")

    @property
    def step(self) -> Step:
        """What a session does for it, again and again."""
        return KINDS[self.scenario].step

    @property
    def trains(self) -> bool:
        """Whether its session trains; else it infers alone."""
        return self.step == "train"

    @property
    def learns(self) -> bool:
        """Whether it is trained over whole epochs where that is asked for. No loader takes part in such a training, so
        a streamed row would only repeat the resident one's."""
        return self.trains and self.input == RESIDENT

    @property
    def has_steps(self) -> bool:
        """Whether its steps are timed in rounds; else it is trained from several seeds."""
        return KINDS[self.scenario].has_steps

    @property
    def on_host(self) -> bool:
        """Whether its device is the host's own processor."""
        return self.device_kind == HOST

    def plan(self, seed: int) -> Plan:
        """What a worker is given to carry it out."""
        from dlbench.contract import Plan

        named = {field.name for field in dataclasses.fields(Plan)} - {"seed"}
        fields = {name: getattr(self, name) for name in named}
        return Plan(seed=seed, **(fields | {"scenario": self.step}))


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

ROW = tuple(axis for axis in AXES if axis.label == "row")
"""The axes that name a row."""
_LABEL = (*ROW, *(axis for axis in AXES if axis.label == "behind"))


def values(case: Case, axes: Iterable[Axis] = AXES) -> tuple[Any, ...]:
    """The case's values on some axes."""
    return tuple(getattr(case, axis.name) for axis in axes)


def columns(case: Case) -> dict[str, Any]:
    """The case's values by the names of the axes, in their order."""
    return {axis.name: getattr(case, axis.name) for axis in AXES}


def product(chosen: Mapping[str, Iterable[Any]]) -> Iterator[Case]:
    """The cases of all combinations of values by axis, each once; those of an axis that is not named are its default,
    and the last axis changes fastest. Several ranks have nothing to share but the batches of a training, and nothing
    else is streamed."""
    choices = (chosen.get(axis.name, [axis.default]) for axis in AXES)
    for combination in itertools.product(*(tuple(dict.fromkeys(each)) for each in choices)):
        case = Case(**dict(zip((axis.name for axis in AXES), combination, strict=True)))
        if case.scenario == "train" or (case.world == 1 and case.input == RESIDENT):
            yield case


def case_of(row: Mapping[Any, Any]) -> Case:
    """The case of a row that has a column for each axis.

    Raises
    ------
    ValueError : one holds what is no value of its axis.
    """
    found = {}
    for axis in AXES:
        try:
            found[axis.name] = axis.type(row[axis.name])
        except (TypeError, OverflowError) as error:
            raise ValueError(f"{axis.name}: {error}") from None
    return Case(**found)


def without(case: Case, *names: str) -> tuple[Any, ...]:
    """The case's values on all axes but some: what the points of a sweep over these share."""
    return values(case, (axis for axis in AXES if axis.name not in names))


def device_kind(device: str) -> str:
    """The kind of a device: ``cuda`` of ``cuda:0``."""
    return device.partition(":")[0]


def stands_out(case: Case, axis: Axis) -> bool:
    """Whether a label tells the case's value on an axis."""
    return axis.label == "behind" or getattr(case, axis.name) not in ("", axis.default)


def joined(case: Case, axes: Iterable[Axis]) -> str:
    """The case's values on some axes, the backend and the device first, as labels have them."""
    backend, device, *others = (axis.shown(case) for axis in axes)
    return "/".join([f"{backend}:{device}", *others])


def spellings(case: Case, axes: Sequence[Axis] | None = None) -> Iterator[str]:
    """Every name of a case, or of its values on some axes: what has a default may be left out, and may be said."""
    axes = _LABEL if axes is None else axes
    ways = (((axis,),) if _has_to_be_said(case, axis) else ((axis,), ()) for axis in axes)
    for chosen in itertools.product(*ways):
        yield joined(case, (a for some in chosen for a in some if getattr(case, a.name) != ""))


def _has_to_be_said(case: Case, axis: Axis) -> bool:
    # a number or a word of dlbench's own that is left out is the default; a backend's may be the only one there is
    is_own = axis.type is int or bool(axis.words)
    is_other = is_own and getattr(case, axis.name) != axis.default
    return axis.default is None or axis.label == "behind" or is_other


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
        raise UsageError(
            f"{what}: {word!r} names several cases: {listed_or_none(c.label for c in found)}"
        )
    known = sorted(case.label for case in there)
    raise UsageError(f"{what}: no case is called {word!r}; {nearest(word, known)}")


def listed_or_none(words: Iterable[str]) -> str:
    """Words in a row, each once."""
    return ", ".join(dict.fromkeys(words)) or "none"
