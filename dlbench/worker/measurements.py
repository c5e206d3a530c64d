"""Everything that a worker can be asked to do, each declared once: its name, what runs it, the type of what comes back,
and what the time of its phases counts as.

The runner's side and the worker's side read the same declaration, so it imports the standard library alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, Generic, TypeVar, cast

from dlbench.record.facts import (
    BlockResult,
    Declared,
    FirstResult,
    FitsResult,
    MeasureResult,
    OpenResult,
    PeakResult,
    PrimitivesResult,
    ProbeResult,
    ProfileResult,
    RestResult,
    SpansResult,
    TimedResult,
    TimerResult,
    Verdict,
    VerifyResult,
    WarmUpResult,
)
from dlbench.record.trained import AnswerResult, CarriedResult, TrainResult
from dlbench.worker.phases import Phases

R = TypeVar("R")

Job = Mapping[str, Any]
"""What a worker needs to know, as plain data: its adapter as ``module:Class``, its arrays by the paths of files."""


@dataclasses.dataclass(frozen=True)
class Measurement(Generic[R]):
    """One of them.

    Attributes
    ----------
    name : what a job calls it.
    function : what runs it, ``module:name`` within `dlbench.worker.jobs`; imported in the worker alone.
    result : the type of what comes back, of `dlbench.record.facts`; anything else is a protocol error.
    counts_as : by phase of the worker, the part of the run's wall time that it belongs to.
    """

    name: str
    function: str
    result: type[R]
    counts_as: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def load(self) -> Callable[[Job, Phases], R]:
        """What runs it."""
        module, _, name = self.function.partition(":")
        found = getattr(import_module(f"dlbench.worker.jobs.{module}"), name)
        return cast(Callable[[Job, Phases], R], found)


START = {"interpreter": "import", "import": "import"}
"""What the phases count as that every worker begins with."""
_STEPS = {"warm-up": "warm-up", "measure": "measured"}
_SESSION = {"device": "set-up", "open": "set-up", "upload": "set-up"}

HOME = Measurement("home", "probe:home", Declared)
LOOK = Measurement("look", "probe:look", ProbeResult)
FITS = Measurement("fits", "probe:fits", FitsResult)
ORACLE = Measurement("oracle", "verify:oracle", TimedResult, {"oracle": "verify"})
VERIFY = Measurement("verify", "verify:verify", VerifyResult, {"verify": "verify"})
TRIAL = Measurement("trial", "verify:trial", Verdict)
_TIMED = _SESSION | _STEPS | {"check": "verify", "copy": "measured"}
FIRST = Measurement(
    "first", "measure:first_figures", FirstResult, _SESSION | {"first figures": "measured"}
)
OPEN = Measurement("open", "measure:open_session", OpenResult, _SESSION)
TRY = Measurement("try", "measure:try_session", OpenResult, _SESSION)
WARM_UP = Measurement("warm-up", "measure:warm_up", WarmUpResult)
REST = Measurement("rest", "measure:rest", RestResult)
BLOCK = Measurement("block", "measure:block", BlockResult)
FINISH = Measurement("finish", "measure:finish", MeasureResult, _TIMED)
STEPS = Measurement("measure", "measure:measure", MeasureResult, _TIMED)
TRAIN = Measurement("train", "train:train_epochs", TrainResult, _SESSION | {"train": "training"})
ANSWER = Measurement("answer", "train:answer_test", AnswerResult, _SESSION | {"answer": "training"})
OPEN_LADDER = Measurement("open-ladder", "profile:open_ladder", OpenResult)
TIME_LADDER = Measurement("time-ladder", "profile:time_ladder", BlockResult)
FINISH_LADDER = Measurement(
    "finish-ladder", "profile:finish_ladder", ProfileResult, _SESSION | {"measure": "profile"}
)
PRIMITIVES = Measurement("primitives", "primitives:primitives", PrimitivesResult, _SESSION)
SPANS = Measurement("spans", "step_spans:spans", SpansResult, _SESSION | {"measure": "profile"})
CARRY = Measurement("carry", "carry:carry", CarriedResult, {"answer": "training"})
PEAK = Measurement("peak", "overhead:peak", PeakResult, {"peak": "measured"})
TIMER = Measurement("null", "overhead:null", TimerResult, _STEPS)

_ALL: Sequence[Measurement[Any]] = (
    *(HOME, LOOK, FITS, ORACLE, VERIFY, TRIAL),
    *(FIRST, OPEN, TRY, WARM_UP, REST, BLOCK, FINISH, STEPS),
    *(OPEN_LADDER, TIME_LADDER, FINISH_LADDER, PRIMITIVES, SPANS),
    *(TRAIN, ANSWER, CARRY, PEAK, TIMER),
)
MEASUREMENTS: Mapping[str, Measurement[Any]] = {each.name: each for each in _ALL}
