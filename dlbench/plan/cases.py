"""From what was asked for to the cases of a run: everything is decided here, before a worker starts."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from dlbench import plugins
from dlbench.errors import SuiteError, UsageError
from dlbench.plan.backend_status import Found
from dlbench.plan.rounds import LEAST_PROCESSES
from dlbench.record.case import (
    AXES,
    HOST,
    SCENARIOS,
    SELECTED,
    Case,
    Scenario,
    check_row_name,
    device_kind,
    find_baseline,
    product,
)
from dlbench.record.facts import Environment
from dlbench.record.schema import Machine
from dlbench.spec.decode import nearest
from dlbench.spec.suite import Suite, check_memory, check_training
from dlbench.worker.interpreters import check_pythons, labelled

DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(:[A-Za-z0-9][\w./-]*)?")
"""A device as it is asked for: its kind, and which of that kind by index or by the UUID that the driver writes."""
PRECISIONS = ("fp32", "tf32")
_ASSUMED_FLOPS_PER_S_AND_THREAD = 20e9
_STEP_OVERHEAD_S = 1e-3
_WORKER_S = 0.4
_VERIFY_S = 3.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be run. An empty selection stands for the suite's own.

    Attributes
    ----------
    suite : the suite.
    machine : where this runs; its usable cores are the default number of threads.
    cache_dir : where fetched data and the oracle's results are kept.
    backends : names, or ``module:Class``.
    devices : ``cpu``, ``cuda``, ``cuda:N`` or ``cuda:`` and a UUID.
    own_device : each backend on one device alone, a GPU where it has one, whatever `devices` and the suite say.
    modes : ``eager`` or ``graph``; empty for all that each backend has.
    precisions : of `PRECISIONS`; empty for ``fp32``.
    scenarios, batches, threads, seed : the rest of the selection.
    rounds : measuring processes a case; 0 verifies only.
    target_interval : measure on until every interval is at most ± this share of its value; None for just the
        rounds.
    budget_s : time for sampling, shared by all measuring processes.
    patience_s : time to wait in all for a machine that others use.
    epochs : length of trainings from the initial weights; 0 for none.
    data : a data set instead of the suite's.
    data_dir : a folder with the data set's files.
    baseline : the ``backend:device`` that speed-ups are to refer to, which must be among the cases; None for
        any.
    pythons : interpreters of backends that do not run under this one; a name with a label is a backend to run.
    limit_s : the longest a worker may go without progress, on top of its share of the budget; a phase with progress
        may take ten times as long.
    telemetry_period_s : time between two samples of device and host while a case is timed; 0 for none.
    """

    suite: Suite
    machine: Machine
    cache_dir: Path
    backends: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    own_device: bool = False
    modes: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ()
    scenarios: tuple[Scenario, ...] = ()
    batches: tuple[int, ...] = ()
    threads: int | None = None
    seed: int = 0
    rounds: int = 3
    target_interval: float | None = None
    budget_s: float = 12.0
    patience_s: float = 12.0
    epochs: int = 0
    data: str | None = None
    data_dir: Path | None = None
    baseline: str | None = None
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    limit_s: float = 180.0
    telemetry_period_s: float = 0.05

    @property
    def all_rounds(self) -> int:
        """Rounds over all cases; intervals that are to be narrow need some processes."""
        return max(self.rounds, LEAST_PROCESSES) if self.target_interval else self.rounds

    @property
    def chosen_threads(self) -> int:
        """CPU threads of every case."""
        return self.threads or self.machine.usable_cores

    @property
    def chosen_backends(self) -> tuple[str, ...]:
        """The backends to run, each once."""
        named = self.backends or self.suite.matrix.backends or plugins.adapter_names()
        return tuple(dict.fromkeys((*named, *labelled(self.pythons))))

    @property
    def chosen_scenarios(self) -> tuple[Scenario, ...]:
        """The scenarios to run."""
        return self.scenarios or cast(tuple[Scenario, ...], self.suite.matrix.scenarios)

    @property
    def chosen_precisions(self) -> tuple[str, ...]:
        """The arithmetic to run in."""
        return self.precisions or PRECISIONS[:1]

    def selections(self) -> Iterator[tuple[str, dict[str, Sequence[Any]]]]:
        """What is chosen of each axis, for one batch size and backend after the other, in the order of the run."""
        chosen: dict[str, Sequence[Any]] = {
            axis.name: getattr(self, axis.plural)
            or getattr(self.suite.matrix, axis.plural, ())
            or (axis.default,)
            for axis in AXES
            if axis.plural
        }
        chosen |= {"suite": (self.suite.name,), "threads": (self.chosen_threads,)}
        for batch, backend in itertools.product(self.chosen_batches, self.chosen_backends):
            yield backend, {**chosen, "batch": (batch,), "backend": (backend,)}

    @property
    def chosen_batches(self) -> tuple[int, ...]:
        """The batch sizes to run, each once."""
        return tuple(dict.fromkeys(self.batches or self.suite.matrix.batches))


@dataclasses.dataclass(frozen=True)
class Planned:
    """The cases of a run, in the order in which they are shown.

    Attributes
    ----------
    cases : all of them.
    problems : those known not to run, with what was found.
    estimate_s : about how long the run will take; a rough guess.
    found : what was found of each backend.
    """

    cases: tuple[Case, ...]
    problems: Mapping[Case, Found]
    estimate_s: float
    found: Mapping[str, Found] = dataclasses.field(default_factory=dict)

    @property
    def environments(self) -> dict[str, Environment]:
        """What is installed where a backend's workers run, by backend."""
        return {name: each.environment for name, each in self.found.items() if each.environment}

    @property
    def titles(self) -> dict[str, str]:
        """What people call a backend, by its name without a label."""
        return {
            name.partition("@")[0]: each.title for name, each in self.found.items() if each.title
        }

    def telemetry_of(self, case: Case) -> str:
        """What samples the device of a case, as its backend declares it; empty where nothing does."""
        devices = self.found[case.backend].devices
        return next((each.telemetry for each in devices if each.kind == case.device_kind), "")


def check(request: Request) -> None:
    """Refuses a request that cannot be carried out, before anything is started.

    Raises
    ------
    UsageError : naming the option, or the suite's file and field, the value, and what would be valid.
    """
    matrix, file = request.suite.matrix, request.suite.path.name
    _check_words(request.backends, matrix.backends, file, "backends", _check_backend)
    check_pythons(request.pythons, request.chosen_backends)
    _check_words(request.devices, matrix.devices, file, "devices", _check_device)
    if request.baseline is not None:
        check_row_name(request.baseline)
    for scenario in request.scenarios:
        if scenario not in SCENARIOS:
            raise UsageError(f"scenario {scenario!r} is unknown; {nearest(scenario, SCENARIOS)}")
    for batch in request.batches:
        if batch < 1:
            raise UsageError(f"batch {batch} must be 1 or more")
        check_memory(request.suite.workload, batch)
    for batch in request.chosen_batches if "train" in request.chosen_scenarios else ():
        check_training(request.suite.workload, batch)
    for name, number, least in (
        ("threads", request.chosen_threads, 1),
        ("rounds", request.rounds, 0),
        ("epochs", request.epochs, 0),
    ):
        if number < least or (name == "threads" and request.threads == 0):
            raise UsageError(f"{name} must be {least} or more")
    target = request.target_interval
    if target is not None and not 0 < target < 1:
        raise UsageError(f"target-interval {target} must be a share between 0 and 1, such as 1%")
    if not (math.isfinite(request.budget_s) and request.budget_s > 0):
        raise UsageError(f"budget {request.budget_s} must be a number of seconds greater than 0")


def plan(request: Request, found: Mapping[str, Found], training_samples: int) -> Planned:
    """The cases of a request, given what was found about its backends and how large the training part is.

    A suite's devices are those that a backend has here; devices that were asked for give a row each in
    any case. A backend that cannot be used has its rows on the one device that it is known for.

    Raises
    ------
    UsageError : a word that was asked for is none that the backends declare, or the baseline is none of the cases.
    """
    _check_declared(request, found)
    cases: list[Case] = []
    problems: dict[Case, Found] = {}
    for backend, chosen in request.selections():
        seen = found[backend]
        here = {"device": _devices(request, seen), "mode": _modes(request, seen)}
        for case in product({**chosen, **here}):
            cases.append(case)
            if seen.status != "ok":
                problems[case] = seen
            elif reason := seen.refusal(case):
                problems[case] = Found("skipped", reason)
    if request.baseline is not None:
        find_baseline(request.baseline, cases)
    estimate_s = estimate(request, cases, problems, found, training_samples)
    return Planned(tuple(cases), problems, estimate_s, found)


def _devices(request: Request, seen: Found) -> Sequence[str]:
    kinds = list(dict.fromkeys(each.kind for each in seen.devices))
    if request.own_device and seen.status == "ok":
        return [next((kind for kind in kinds if kind != HOST), HOST)]
    if request.devices and not request.own_device:
        return list(dict.fromkeys(request.devices))
    if seen.status != "ok":
        return [seen.default_device]
    wanted = request.suite.matrix.devices
    there = [device for device in wanted if device_kind(device) in kinds]
    # suites name the devices of their time; a backend for another kind runs on its own
    return there or [kind for kind in kinds if kind != HOST][:1] or wanted


def _modes(request: Request, seen: Found) -> Sequence[str]:
    """Those that were asked for, or all that a backend has; one with no modes at all has its only row."""
    return (seen.modes and request.modes) or seen.modes or ("",)


def _check_declared(request: Request, found: Mapping[str, Found]) -> None:
    """Refuses kinds of device that none of the backends knows, and modes and precisions where all could be asked.

    Raises
    ------
    UsageError : with what each has.
    """
    seen = {name: found[name] for name in request.chosen_backends}
    usable = {name: each for name, each in seen.items() if each.status == "ok"}
    for axis in SELECTED:
        if axis.name != "device" and len(usable) < len(seen):
            # what the others would have declared is not known; the rows of these say what they have
            continue
        there = {name: each.declared(axis) for name, each in usable.items()}
        known = {word for words in there.values() for word in words}
        if axis.name == "device":
            elsewhere = (each.kinds for each in seen.values())
            known |= set(
                itertools.chain(*elsewhere, map(device_kind, request.suite.matrix.devices))
            )
        for word in getattr(request, axis.plural) if known and axis.type is str else ():
            if (device_kind(word) if axis.name == "device" else word) not in known:
                each = "; ".join(
                    f"{name} has {', '.join(words) or 'none'}" for name, words in there.items()
                )
                raise UsageError(f"{axis.title} {word!r} is unknown: {each}")


def _check_words(
    asked: Sequence[str],
    own: Sequence[str],
    file: str,
    field: str,
    check_word: Callable[[str], None],
) -> None:
    for word in asked:
        check_word(word)
    for word in () if asked else own:
        try:
            check_word(word)
        except UsageError as error:
            raise SuiteError(f"{file}: matrix.{field}: {error}") from None


def _check_backend(word: str) -> None:
    plugins.adapter_target(word)


def _check_device(word: str) -> None:
    if not DEVICE.fullmatch(word):
        raise UsageError(
            f"device {word!r} is none: a kind like cpu or cuda, or cuda:1, cuda:GPU-UUID"
        )


def estimate(
    request: Request,
    cases: Sequence[Case],
    problems: Mapping[Case, Found],
    found: Mapping[str, Found],
    training_samples: int,
) -> float:
    """About how long cases will take (s), but for those with problems; a rough guess."""
    runnable = [case for case in cases if case not in problems]
    start_s = {name: seen.seconds + _WORKER_S for name, seen in found.items()}
    total_s = sum(seen.seconds for seen in found.values()) + 2 * _WORKER_S
    configurations = {(case.backend, case.device, case.batch) for case in runnable}
    total_s += sum(start_s[backend] + _VERIFY_S for backend, _, _ in configurations)
    if request.rounds and runnable:
        total_s += 1.2 * request.budget_s
        total_s += request.all_rounds * sum(start_s[case.backend] for case in runnable)
    flops = request.epochs * training_samples * request.suite.workload.training_flops
    train_s = flops / (_ASSUMED_FLOPS_PER_S_AND_THREAD * request.chosen_threads)
    for case in runnable:
        if case.scenario == "train" and request.epochs:
            steps = request.epochs * training_samples / case.batch
            total_s += start_s[case.backend] + train_s + steps * _STEP_OVERHEAD_S
    return total_s
