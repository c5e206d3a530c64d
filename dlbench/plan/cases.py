"""From what was asked for to the cases of a run: everything is decided here, before a worker starts."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from dlbench import plugins
from dlbench.analyse.modes.trials import group_of
from dlbench.contract import Device
from dlbench.errors import SuiteError, UsageError
from dlbench.paths import LONGEST_PERIOD_S, MOST_S, SHORTEST_PERIOD_S
from dlbench.plan.backend_status import Found
from dlbench.plan.estimate import estimate
from dlbench.plan.load import check_load
from dlbench.plan.request import ALL, Request
from dlbench.plan.sizes import check_files, check_sizes
from dlbench.plan.target import check_target
from dlbench.record.baseline import check_row_name, find_baseline
from dlbench.record.case import (
    HOST,
    INPUTS,
    SELECTED,
    STREAMED,
    Axis,
    Case,
    device_kind,
    product,
)
from dlbench.record.facts import Environment
from dlbench.spec.decode import nearest, shown
from dlbench.spec.precision import trains_in
from dlbench.spec.scenarios import KINDS, SCENARIOS, Scenario
from dlbench.spec.suite import MOST_EPOCHS, check_training
from dlbench.text import shortened
from dlbench.worker.interpreters import check_pythons

MOST_THREADS, MOST_ROUNDS, MOST_BATCHES, MOST_SAMPLES = 65_536, 10_000, 1_000, 2**31
MOST_SEED = 2**63 - 1
MOST_RANKS = 1_024
DEVICE = re.compile(r"[A-Za-z][A-Za-z0-9_]*(:[A-Za-z0-9][\w./-]*)?")
"""A device as it is asked for: its kind, and which of that kind by index or by the UUID that the driver writes."""


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

    def device_of(self, case: Case) -> Device:
        """The device of a case, as its backend declares it."""
        return self.found[case.backend].device(case.device) or Device(case.device, "")

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
        if not 1 <= batch <= MOST_SAMPLES:
            raise UsageError(f"batch {shown(batch)} must be 1 to {MOST_SAMPLES:,}")
    training = [each for each in request.chosen_scenarios if KINDS[each].step == "train"]
    for batch in dict.fromkeys(b for each in training for b in request.batches_of(each)):
        check_training(request.suite.workload, batch)
    for name, number, least, most in (
        ("threads", request.chosen_threads, 1, MOST_THREADS),
        ("rounds", request.rounds, 0, MOST_ROUNDS),
        ("epochs", request.epochs, 0, MOST_EPOCHS),
        ("seed", request.seed, 0, MOST_SEED - (request.seeds if request.converges else 0)),
        ("the number of batch sizes", len(request.chosen_batches), 1, MOST_BATCHES),
        *(("world", world, 1, MOST_RANKS) for world in request.worlds),
    ):
        if number < least or (name == "threads" and request.threads == 0):
            raise UsageError(f"{name} must be {least} or more")
        if number > most:
            raise UsageError(f"{name} must be at most {most:,}")
    if request.worlds and 1 not in request.worlds and not training:
        raise UsageError(
            "world is the ranks of a training, and none is asked for: add --scenario train"
        )
    for word in request.inputs:
        if word not in INPUTS:
            raise UsageError(f"input {word!r} is unknown; {nearest(word, INPUTS)}")
    if STREAMED in request.inputs and "train" not in request.chosen_scenarios:
        raise UsageError(
            "input streamed is of a training, and none is asked for: add --scenario train"
        )
    if request.epochs and set(request.inputs) == {STREAMED} and not request.converges:
        raise UsageError(
            "--epochs trains without the loader, once for the resident row: add --input resident, or leave out --epochs"
        )
    if request.profile_s and STREAMED in request.inputs:
        raise UsageError("a profile is of batches that are resident: leave out --input streamed")
    if request.profile_s and set(request.worlds) - {1}:
        raise UsageError("a profile is of one process: leave out --world")
    target = request.target_interval
    if target is not None and not 0 < target < 1:
        raise UsageError(f"target-interval {target} must be a share between 0 and 1, such as 1%")
    check_target(request)
    if request.save_weights is not None and not request.epochs:
        raise UsageError("--save-weights takes what a training ends with: add --epochs")
    _check_times(request)
    _check_shard(request)
    check_load(request)
    check_sizes(request)
    check_files(request)


def _check_shard(request: Request) -> None:
    for option, given in (
        ("--best", request.best),
        ("--target-interval", request.target_interval),
        ("--epochs", request.epochs),
        ("a profile", request.profile_s),
    ):
        if given and request.shard is not None:
            raise UsageError(f"{option} is of a whole run, and --shard of a part: leave one out")


def _check_times(request: Request) -> None:
    for name, seconds in (("budget", request.budget_s), ("timeout", request.limit_s)):
        if not 0 < seconds <= MOST_S:
            raise UsageError(
                f"{name} {seconds} must be a number of seconds greater than 0, at most {MOST_S:,}"
            )
    for name, seconds in (("max-wait", request.patience_s), ("budget", request.profile_s)):
        if not 0 <= seconds <= MOST_S:
            raise UsageError(f"{name} {seconds} must be a number of seconds from 0 to {MOST_S:,}")
    period_s = request.telemetry_period_s
    if period_s and not SHORTEST_PERIOD_S <= period_s <= LONGEST_PERIOD_S:
        bounds = f"{SHORTEST_PERIOD_S} to {LONGEST_PERIOD_S:.0f}"
        raise UsageError(f"telemetry-period {period_s} must be {bounds} seconds, or 0 for none")


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
        here = {
            "device": _devices(request, seen),
            "mode": _modes(request, seen),
            "precision": seen.precisions if ALL in chosen["precision"] else chosen["precision"],
        }
        for case in product({**chosen, **here}):
            if ALL in chosen["precision"] and case.trains and not trains_in(case.precision):
                continue
            cases.append(case)
            if seen.status != "ok":
                problems[case] = seen
            elif reason := seen.refusal(case, request.suite.workload):
                problems[case] = Found("skipped", reason)
    if request.baseline is not None:
        # of modes that are to be tried one will be left
        find_baseline(request.baseline, _one_a_group(cases) if request.best else cases)
    estimate_s = estimate(request, cases, problems, found, training_samples)
    return Planned(tuple(cases), problems, estimate_s, found)


def _one_a_group(cases: Sequence[Case]) -> Sequence[Case]:
    """The first of the cases that differ in their mode alone."""
    return list({group_of(case): case for case in reversed(cases)}.values())


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
    """Those that were asked for, all of them by that word or where the best is to be found, or the first, which is what
    a backend's users get; one with no modes at all has its only row."""
    if ALL in request.modes or (request.best and not request.modes):
        return seen.modes or ("",)
    return (seen.modes and request.modes) or (seen.mode,)


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
            if axis.name in ("mode", "precision") and word == ALL:
                continue
            if _declared_as(axis, word) not in known:
                each = "; ".join(
                    f"{name} has {', '.join(map(str, words)) or 'none'}"
                    for name, words in there.items()
                )
                raise UsageError(f"{axis.title} {word!r} is unknown: {each}")


def _declared_as(axis: Axis, word: str) -> str:
    """What a backend declares where it has what a word asks for."""
    if axis.name == "scenario":
        return KINDS[cast(Scenario, word)].step
    return device_kind(word) if axis.name == "device" else word


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
            raise SuiteError(f"{file}: matrix.{field}: {shortened(str(error))}") from None


def _check_backend(word: str) -> None:
    plugins.adapter_target(word)


def _check_device(word: str) -> None:
    if not DEVICE.fullmatch(word):
        raise UsageError(
            f"device {word!r} is none: a kind like cpu or cuda, or cuda:1, cuda:GPU-UUID"
        )
