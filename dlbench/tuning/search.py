"""Has Optuna choose which points to train at: its samplers, its pruners, its storage."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlbench.errors import DlbenchError, UsageError
from dlbench.execute.events import Observer
from dlbench.plan.cases import check
from dlbench.plan.request import Request
from dlbench.record.case import Case
from dlbench.record.schema import Line, Record
from dlbench.spec.training import CrossEntropy
from dlbench.tuning.objective import Objective
from dlbench.tuning.point_record import Watching, record_of
from dlbench.tuning.points import Tried, series_of
from dlbench.tuning.space import Choices, Point, Range, Space, at, file_name, own_point, told

if TYPE_CHECKING:
    import optuna

REMEDY = "pip install 'dlbench[tune]'"
_JOURNAL = "study.log"
_WARM_UP_EPOCHS = 1
_BEFORE_PRUNING = 5
"""Trainings to the end before any is cut short: what is typical is not known earlier."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """A point that was tried: with which figure, or why there is none."""

    number: int
    point: Point
    value: float | None
    told: str
    tried: Tried | None


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes
    ----------
    suite, row, fields, folder : of what, by which row, over which fields, and where the records are.
    trials : in their order.
    best : the one with the best figure; None where none has one.
    own : the suite's own point among them; None where that lies outside.
    """

    suite: str
    row: str
    objective: Objective
    fields: tuple[str, ...]
    folder: str
    trials: tuple[Trial, ...]
    best: Trial | None
    own: Trial | None


class Pruned(Exception):
    """A training is cut short: it will not be the best."""


def tune(
    request: Request,
    space: Space,
    objective: Objective,
    count: int,
    folder: Path,
    watching: Watching,
    say: Callable[[str], None],
) -> Tuned:
    """Trains at up to `count` points, the suite's own among the first, each chosen by what came of those before.

    Parameters
    ----------
    request : of one row that is trained; its seed is the search's too.
    folder : holds the study and the records. A search that was cut off goes on there.
    say : told each point, and what came of it.

    Raises
    ------
    UsageError, SuiteError, DataError : the request cannot be tuned, or what is in the folder is of something else.
    DlbenchError : Optuna is not installed.
    KeyboardInterrupt : somebody interrupted it; what was found is kept.
    """
    request = dataclasses.replace(request, energy=objective.word == "joules")
    _check(request, count)
    study, fresh = _study(request, space, objective, folder)
    own, why = own_point(request, space)
    if fresh and own is None:
        say(f"the suite's own point is not tried: {why}")
    if fresh and own is not None:
        study.enqueue_trial(dict(own))
    trials: list[Trial] = []
    for done in _finished(study):
        trials.append(_known(request, done, folder))
    while len(trials) < count:
        asked = study.ask()
        point = _suggested(asked, space)
        say(f"trial {asked.number + 1}: {told(point)}")
        trial = _measured(request, objective, study, asked, point, folder, watching, say)
        say(f"trial {asked.number + 1}: {trial.told}")
        trials.append(trial)
    able = [each for each in trials if each.value is not None]
    sign = -1 if objective.is_small else 1
    best = max(able, key=lambda each: sign * (each.value or 0.0), default=None)
    return Tuned(
        suite=request.suite.name,
        row=request.chosen_backends[0],
        objective=objective,
        fields=tuple(space),
        folder=str(folder),
        trials=tuple(trials),
        best=best,
        own=next((each for each in trials if each.point == own), None),
    )


def _check(request: Request, count: int) -> None:
    if count < 1:
        raise UsageError("--trials must be 1 or more")
    if len(request.chosen_backends) != 1:
        raise UsageError("one backend is tuned at a time; name it with --backend")
    if not request.epochs:
        raise UsageError("nothing is trained without --epochs")
    if not isinstance(request.suite.workload.loss, CrossEntropy):
        raise UsageError(f"suite {request.suite.name} gives values, whose accuracy nobody knows")
    check(request)


def _study(
    request: Request, space: Space, objective: Objective, folder: Path
) -> tuple[optuna.Study, bool]:
    """The study in a folder, and whether it is a new one."""
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ModuleNotFoundError:
        raise DlbenchError(
            f"Optuna, which chooses the points, is not installed: {REMEDY}"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / _JOURNAL)))
    study = optuna.create_study(
        study_name="dlbench",
        storage=storage,
        load_if_exists=True,
        direction="minimize" if objective.is_small else "maximize",
        pruner=optuna.pruners.MedianPruner(_BEFORE_PRUNING, _WARM_UP_EPOCHS),
    )
    asked = _asked(request, space, objective)
    known = study.user_attrs.get("asked")
    if known is None:
        study.set_user_attr("asked", asked)
    for name, value in (known or {}).items():
        if value != asked.get(name):
            raise UsageError(
                f"{folder} holds a search with another {name} ({value}, not {asked.get(name)});"
                " name another folder with --output"
            )
    # its draws are others in each part of a search that was cut off
    study.sampler = optuna.samplers.TPESampler(seed=request.seed + len(study.trials))
    running = optuna.trial.TrialState.RUNNING
    for cut_off in study.get_trials(deepcopy=False, states=(running,)):
        study.tell(cut_off.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(cut_off.params)
    return study, known is None


def _asked(request: Request, space: Space, objective: Objective) -> dict[str, str]:
    """What has to be the same for trials to be of one search."""
    return {
        "suite": f"{request.suite.name} {request.suite.workload.digest[:12]}",
        "backend": request.chosen_backends[0],
        "data": request.data or request.suite.data.name,
        "space": json.dumps({name: dataclasses.asdict(each) for name, each in space.items()}),
        "objective": f"{objective.word} {objective.target or ''}".strip(),
        "number of epochs": str(request.epochs),
        "seed": str(request.seed),
        "machine": f"{request.machine.cpu} {request.node}",
    }


def _finished(study: optuna.Study) -> Iterator[optuna.trial.FrozenTrial]:
    """The trials that ended, but for those that were cut off and are tried again."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and "told" in trial.user_attrs:
            yield trial


def _known(request: Request, done: optuna.trial.FrozenTrial, folder: Path) -> Trial:
    """A trial of an earlier part of the search."""
    from dlbench.record.file import read_record

    path, tried = folder / file_name(done.params), None
    if path.exists():
        with contextlib.suppress(DlbenchError):
            tried = _row(done.params, read_record(path))
    value = done.value if done.state.name == "COMPLETE" else None
    return Trial(done.number, done.params, value, str(done.user_attrs["told"]), tried)


def _suggested(trial: optuna.Trial, space: Space) -> Point:
    point: dict[str, Any] = {}
    for name, each in space.items():
        if isinstance(each, Choices):
            point[name] = trial.suggest_categorical(name, each.values)
        else:
            assert isinstance(each, Range)
            draw = trial.suggest_int if each.is_whole else trial.suggest_float
            point[name] = draw(name, each.low, each.high, log=each.log)  # type: ignore[arg-type]
    return point


def _measured(
    request: Request,
    objective: Objective,
    study: optuna.Study,
    trial: optuna.Trial,
    point: Point,
    folder: Path,
    watching: Watching,
    say: Callable[[str], None],
) -> Trial:
    import optuna

    best_s = _best_s(study) if objective.word == "time-to-accuracy" else None
    watch = _Watch(trial, objective, best_s)

    @contextlib.contextmanager
    def pruning() -> Iterator[Observer]:
        with watching() as observer:
            yield _Listening(observer, watch)

    state, value, tried = optuna.trial.TrialState.COMPLETE, None, None
    try:
        record = record_of(at(request, point), folder / file_name(point), pruning, say)
        tried = _row(point, record)
        if tried.training is None:
            state, words = optuna.trial.TrialState.FAIL, f"{tried.status}: {tried.problem}"
        else:
            value = objective.value(tried.training)
            words = objective.told(value) if value is not None else _short_of(objective, tried)
    except Pruned as pruned:
        words = f"cut short: {pruned}"
    except UsageError as error:
        # a combination that the suite cannot have, such as an image that is used up
        state, words = optuna.trial.TrialState.FAIL, str(error)
    if value is None and state is optuna.trial.TrialState.COMPLETE:
        state = optuna.trial.TrialState.PRUNED
    trial.set_user_attr("told", words)
    study.tell(trial, value, state=state)
    return Trial(trial.number, point, value, words, tried)


def _short_of(objective: Objective, tried: Tried) -> str:
    energy = tried.training.energy if tried.training else None
    if objective.word == "joules" and energy is not None and energy.reason:
        return f"its energy is unknown: {energy.reason}"
    return f"{100 * (tried.validation_accuracy or 0.0):.2f} %, short of {100 * (objective.target or 0):g} %"


def _row(point: Point, record: Record) -> Tried:
    [series] = series_of([(point, record)], list(point))
    [tried] = series.tried
    return tried


def _best_s(study: optuna.Study) -> float | None:
    from optuna.trial import TrialState

    # of one that was cut short, Optuna takes what it reported last for its value
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min((trial.value for trial in done if trial.value is not None), default=None)


class _Watch:
    """Hears the epochs of one training, and ends it where Optuna or the clock says that it will not be the best."""

    def __init__(self, trial: optuna.Trial, objective: Objective, best_s: float | None) -> None:
        self._trial, self._objective, self._best_s = trial, objective, best_s
        self._spent_s = 0.0

    def epoch(self, number: int, accuracy: float | None, train_s: float) -> None:
        """An epoch is over."""
        accuracy = accuracy or 0.0
        self._spent_s += train_s
        target = self._objective.target
        if target is not None and accuracy >= target:
            return
        if self._best_s is not None and self._spent_s > self._best_s:
            raise Pruned(f"epoch {number} ends later than the best training")
        # Optuna counts from 0
        self._trial.report(1 - accuracy if self._objective.is_small else accuracy, number - 1)
        if self._trial.should_prune():
            raise Pruned(f"{100 * accuracy:.2f} % after epoch {number} is below the median")


class _Listening(Observer):
    """Passes on all that it hears, the epochs to a watch too."""

    def __init__(self, observer: Observer, watch: _Watch) -> None:
        self._observer, self._watch = observer, watch

    def planned(self, cases: tuple[Case, ...], estimate_s: float) -> None:
        self._observer.planned(cases, estimate_s)

    def time_left(self, seconds: float) -> None:
        self._observer.time_left(seconds)

    def phase(self, case: Case | None, round: int | None, phase: str) -> None:
        self._observer.phase(case, round, phase)

    def epoch(self, case: Case, number: int, accuracy: float | None, train_s: float) -> None:
        self._observer.epoch(case, number, accuracy, train_s)
        self._watch.epoch(number, accuracy, train_s)

    def line(self, line: Line) -> None:
        self._observer.line(line)

    def message(self, text: str) -> None:
        self._observer.message(text)


def rank(trials: Sequence[Trial], objective: Objective) -> list[Trial]:
    """The trials with a figure, the best first."""
    able = [each for each in trials if each.value is not None]
    return sorted(able, key=lambda each: each.value or 0.0, reverse=not objective.is_small)
