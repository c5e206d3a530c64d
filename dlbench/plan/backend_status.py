"""What is known of a backend on this machine: planning needs it, and starts no process to get it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from dlbench.contract import Device
from dlbench.helpers.refusals import no_freeze
from dlbench.record.case import SELECTED, Axis, Case, device_kind
from dlbench.record.facts import Environment
from dlbench.spec.precision import trains_in
from dlbench.spec.workload import Workload
from dlbench.worker.supervisor import Status


@dataclasses.dataclass(frozen=True)
class Found:
    """One backend, as seen here.

    Attributes
    ----------
    status : ``ok``; ``skipped`` when it cannot be used here; or how looking at it went wrong.
    reason, remedy : why it is not ``ok``, and what would help.
    output : traceback and last output of a failure.
    title : what people call it; its name where empty.
    version, devices, modes, precisions, scenarios, libraries, absent, worlds, freezes : as in
        `dlbench.contract.BackendInfo`; where it is not ``ok``, what every backend has.
    facts : what a session observed (``threads``, …); empty unless one was opened.
    default_device : device of the row of a backend that cannot be used.
    environment : what is installed where its workers run; None where that could not be asked.
    seconds : wall time of the look.
    """

    status: Status
    reason: str = ""
    remedy: str = ""
    output: str = ""
    title: str = ""
    version: str = ""
    devices: tuple[Device, ...] = ()
    modes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("fp32",)
    scenarios: tuple[str, ...] = ("train", "infer")
    libraries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict)
    worlds: tuple[int, ...] = (1,)
    freezes: bool = False
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)
    default_device: str = "cpu"
    environment: Environment | None = None
    seconds: float = 0.0

    @property
    def mode(self) -> str:
        """The mode that a plan without one gets."""
        return self.modes[0] if self.modes else ""

    def device(self, name: str) -> Device | None:
        """The device that a plan calls so; a kind alone is the first of it. None where there is none."""
        named = [each for each in self.devices if name in (each.name, each.kind)]
        return named[0] if named else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of device that it has, here or elsewhere."""
        kinds = [*(each.kind for each in self.devices), *self.absent]
        return tuple(dict.fromkeys(kinds or [device_kind(self.default_device)]))

    def declared(self, axis: Axis) -> tuple[str | int, ...]:
        """What it says that there is of an axis; empty where it says nothing."""
        return self.kinds if axis.name == "device" else getattr(self, axis.plural, ())

    def refusal(self, case: Case, workload: Workload) -> str:
        """Why a usable backend cannot carry a case of a workload out, by what it declares; empty where it can."""
        for axis in SELECTED:
            there = self.declared(axis)
            value = case.step if axis.name == "scenario" else getattr(case, axis.name)
            if axis.name == "world" and value not in there:
                have = "one rank" if set(there) == {1} else f"{_listed(there)} ranks"
                return f"this backend trains on {have}, not on {value}"
            if there and axis.name != "device" and value not in there:
                return f"this backend has no {axis.title} {value!r}; it has {_listed(there)}"
        if case.trains and not trains_in(case.precision):
            return f"{case.precision} is for inference alone"
        if case.trains and not self.freezes and workload.first_frozen is not None:
            return no_freeze(workload.first_frozen)
        if case.batch % case.world:
            return f"a batch of {case.batch:,} cannot be cut evenly for {case.world} ranks"
        return ""


def _listed(words: Iterable[str | int]) -> str:
    return " and ".join(map(str, words))
