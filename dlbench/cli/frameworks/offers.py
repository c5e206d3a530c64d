"""Asks backends what they have of the specification: each layer, loss and optimizer, frozen layers, each precision,
mode, scenario and device by a small network that is held against the oracle. Nothing is known beforehand of any
backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dlbench import plugins
from dlbench.contract import Plan
from dlbench.execute.probe import look_at
from dlbench.paths import TIMEOUT_S
from dlbench.plan.backend_status import Found
from dlbench.plan.matrix import (
    AGREES,
    FAILS,
    NOT_INSTALLED,
    NOT_OFFERED,
    REFUSES,
    SECTIONS,
    Cell,
    Column,
    Matrix,
)
from dlbench.spec.layers import KINDS
from dlbench.spec.precision import POLICIES, trains_in
from dlbench.spec.training import LOSSES, OPTIMIZERS
from dlbench.text import one_line, why
from dlbench.verify.conformance import Trial, example_of
from dlbench.verify.single_parts import FROZEN
from dlbench.worker.launch import Launch, Worker, launch_of
from dlbench.worker.measurements import FITS, TRIAL, Job

_SPECIFIED = {
    "layer": tuple(KINDS),
    "loss": tuple(LOSSES),
    "optimizer": tuple(OPTIMIZERS),
    "freeze": tuple(FROZEN),
    "precision": tuple(POLICIES),
}
_BY_EXAMPLE = ("layer", "loss", "optimizer", "freeze")
_ALL_OTHERS = ("layer", "conv2d")
"""What precisions, modes, scenarios and devices are tried with."""
_THREADS = 1


def ask(
    backends: Sequence[str] | None = None,
    *,
    cache_dir: Path,
    pythons: Mapping[str, str] | None = None,
    sections: Sequence[str] = SECTIONS,
    limit_s: float = TIMEOUT_S,
    tell: Callable[[str], None] = lambda text: None,
) -> Matrix:
    """What backends have.

    Parameters
    ----------
    backends : names, or ``module:Class``; None for all that are installed, and those that have an interpreter.
    cache_dir : where the oracle's results are kept.
    pythons : interpreters by backend; the others run under this one.
    sections : what to ask about.
    limit_s : the longest that a worker may go without progress.
    tell : told each question before it is asked.

    Raises
    ------
    UsageError : no such backend.
    """
    own = pythons or {}
    found = look_at(backends, threads=_THREADS, open_session=False, limit_s=limit_s, pythons=own)
    words = {section: _words(section, found) for section in sections}
    columns = {}
    for name, seen in found.items():
        launch = launch_of(name, _THREADS, limit_s, own.get(name))
        columns[name] = _column(name, seen, words, launch, cache_dir, tell)
    return Matrix(words, columns)


def _words(section: str, found: Mapping[str, Found]) -> tuple[str, ...]:
    """What there is to be asked about: of what the specification leaves to backends, all that any of them names."""
    if section in _SPECIFIED:
        return _SPECIFIED[section]
    named = [word for seen in found.values() for word in _declared(section, seen)]
    return tuple(dict.fromkeys(named))


def _declared(section: str, seen: Found) -> Sequence[str]:
    """What a backend names of it."""
    match section:
        case "device":
            return seen.kinds
        case "mode":
            return seen.modes
        case "scenario":
            return seen.scenarios
        case "precision":
            return seen.precisions
        case "loss" | "optimizer" | "freeze" if "train" not in seen.scenarios:
            return ()
    return _SPECIFIED[section]


def _column(
    name: str,
    seen: Found,
    words: Mapping[str, Sequence[str]],
    launch: Launch,
    cache_dir: Path,
    tell: Callable[[str], None],
) -> Column:
    every = [(section, word) for section, those in words.items() for word in those]
    if seen.status != "ok":
        absent = why(seen.reason, seen.remedy)
        state = NOT_INSTALLED if seen.status == "skipped" else FAILS
        return Column("", absent, dict.fromkeys(every, Cell(state)))
    cells = {}
    with _Asked(name, launch, cache_dir) as asked:
        for section, word in every:
            cell = _known(section, word, seen)
            if cell is None:
                tell(f"{name}: {section} {word}")
                cell = asked.answer(*_question(name, section, word, seen))
            cells[section, word] = cell
    return Column(seen.version, "", cells)


def _known(section: str, word: str, seen: Found) -> Cell | None:
    """What a backend's own words answer; None where it has to be tried."""
    if word not in _declared(section, seen):
        return Cell(NOT_OFFERED)
    if section == "device" and seen.device(word) is None:
        return Cell(NOT_INSTALLED, one_line(seen.absent.get(word, "")))
    return None


def _question(name: str, section: str, word: str, seen: Found) -> tuple[Trial, Plan]:
    """The network that shows it, and the plan to carry it out by."""
    shown_by = (section, word) if section in _BY_EXAMPLE else _ALL_OTHERS
    trial = example_of(*shown_by)
    device = seen.device(word) if section == "device" else None
    precision = word if section == "precision" else seen.precisions[0]
    scenario = word if section == "scenario" else seen.scenarios[0]
    plan = Plan(
        name,
        (device or seen.devices[0]).name,
        trial.batch,
        _THREADS,
        precision=precision,
        mode=word if section == "mode" else seen.mode,
        scenario=scenario if trains_in(precision) else "infer",
    )
    return trial, plan


class _Asked:
    """One backend that answers, in a worker that goes from one question to the next."""

    def __init__(self, name: str, launch: Launch, cache_dir: Path) -> None:
        self._adapter = plugins.adapter_target(name)
        self._launch = launch
        self._cache_dir = str(cache_dir)
        self._worker: Worker | None = None

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def answer(self, trial: Trial, plan: Plan) -> Cell:
        """What it makes of a network."""
        job: Job = {
            "adapter": self._adapter,
            "cache_dir": self._cache_dir,
            "plan": dataclasses.asdict(plan),
            "workload": trial.workload.to_table(),
            "group": trial.group,
            "name": trial.name,
        }
        ended = self._fitting(job).ask(TRIAL, job)
        verdict = ended.result
        if verdict is None:
            self._close()
            state = NOT_INSTALLED if ended.status == "skipped" else FAILS
            return Cell(state, why(ended.reason, ended.remedy))
        state = REFUSES if verdict.refused else FAILS if verdict.failed else AGREES
        return Cell(state, one_line(verdict.reason) if verdict.reason else "")

    def _fitting(self, job: Job) -> Worker:
        """The worker, or a new one where another environment is wanted for this plan."""
        if self._worker is not None:
            fits = self._worker.ask(FITS, job).result
            if fits is None or not fits.fits:
                self._close()
        if self._worker is None:
            self._worker = Worker(self._launch)
        return self._worker

    def _close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.close()
