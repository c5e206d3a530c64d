"""The record of a run: JSON lines that hold everything measured, from which every figure can be computed again.

One line a fact, tagged by `kind`, appended and flushed as soon as the fact is known, so a run that
is cut off keeps what it has. Raw timings are kept; nothing here is a statistic. No user names, host
names or home folders.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import msgspec

from dlbench.record.bounded import Amount, Count, Nanoseconds, Seconds, Share
from dlbench.record.case import Case, Configuration
from dlbench.record.facts import (
    Check,
    FirstSteps,
    Primitive,
    RankSteps,
    RateTrial,
    RungTimes,
    StepSpans,
    Surroundings,
)
from dlbench.record.header import Data, Header, Machine, Part, Resumed
from dlbench.spec.scenarios import Scenario

__all__ = [
    "Case",
    "Configuration",
    "Data",
    "Header",
    "Machine",
    "Part",
    "Resumed",
    "Scenario",
]

SCHEMA = 1

Status = Literal["ok", "unverified", "skipped", "failed", "timeout", "out_of_memory"]


class Skip(msgspec.Struct, frozen=True, tag="skip", tag_field="kind"):
    """A case that cannot run here: why, and what would change that."""

    case: Case
    reason: str
    remedy: str


class Verification(msgspec.Struct, frozen=True, tag="verification", tag_field="kind"):
    """What one process found when it held a backend against the oracle. Train and infer share it, unless one of them
    has its own; see `dlbench.record.sharing`. `first_steps` are steps that the process took afterwards, by scenario:
    shown to who waits, while the row has no figure; none ever comes from them."""

    case: Case
    status: Status
    reason: str
    checks: tuple[Check, ...]
    max_relative_error: Annotated[float, msgspec.Meta(ge=0)] | None
    ambiguous_branches: Count
    version: str
    facts: dict[str, str | int]
    seconds: dict[str, Seconds]
    output: str = ""
    first_steps: dict[str, FirstSteps] = {}


class Process(msgspec.Struct, frozen=True, tag="process", tag_field="kind"):
    """One fresh process that timed a case: the unit of replication.

    `timings_ns` are the steady steps in order, `warmup_ns` the ones before, `first_step_ns` the very first
    (compilation included). `started_ns` and `ended_ns` are the monotonic clock before the first and after the
    last steady step. `during` says what else the machine did in between, `before` what it did since the
    process began, `after` what it did until the process had said all; `canary_ns` is how long a reference computation
    took before and after. A process that was disturbed may be followed by another of the same round, one `attempt`
    further. `settling` is whether a synchronised step was a finished one: a timing, so a process that is `late` counts
    as disturbed, and proves something about the backend only when it repeats. `device_ns` are further
    steps after the steady ones, by the device's own clock; empty where it has none.
    `seconds` accounts for the process: interpreter, import, device (of backends that tell it apart from open),
    open, upload, warm-up, measure, check, copy.

    The processes of a round take turns in blocks of steps. `block_steps` is how many timings each block has, in order,
    `block_started_ns` and `block_ended_ns` are its window on the monotonic clock, and `during` is about these windows
    alone; all are empty in records of earlier versions, whose timings are one block. `reentry_ns` are the first
    `reentry_steps` of every block, one block after the other: they found caches or clocks that others had changed, and
    are not among the timings. A process times every scenario of its configuration, each a line:
    `scenarios_before` counts those that it had timed already. What the process' start took is in the `seconds` of each,
    unless others started beside it; `peak_memory_bytes` is None where an earlier one had reached it. `idle_cores` is
    the processor time a second that it used while others were on turn, None where that could not be read; `stopped`
    says that it was put to sleep meanwhile, since it computed. `alone` says why it did not take turns with the others
    of its round; empty where it did. `rank_steps` are further steps of a case of several ranks.

    Of the scenario ``server``, `timings_ns` are latencies of queries that came at `rate_per_s`, from when each was due,
    and `waited_ns` what of that each waited; `unserved` came and were not answered in time. `rate_trials` are all rates
    that were tried to find the largest within a bound, empty where none was to be found; the queries are those of the
    largest, or of the least rate where none was within. A single trial had too few queries to be judged. Of a streamed
    case `waited_ns` is what of each of `timings_ns` the step waited for its batch.
    """

    case: Case
    round: Count
    status: Status
    reason: str
    timings_ns: tuple[Nanoseconds, ...] = ()
    warmup_ns: tuple[Nanoseconds, ...] = ()
    first_step_ns: Nanoseconds | None = None
    started_ns: Nanoseconds | None = None
    ended_ns: Nanoseconds | None = None
    upload_ns: tuple[Nanoseconds, ...] = ()
    download_ns: tuple[Nanoseconds, ...] = ()
    device_ns: tuple[Nanoseconds, ...] = ()
    steady: bool | None = None
    attempt: Count = 0
    before: Surroundings | None = None
    during: Surroundings | None = None
    after: Surroundings | None = None
    canary_ns: tuple[Nanoseconds, ...] = ()
    checks: tuple[Check, ...] = ()
    settling: Check | None = None
    version: str = ""
    facts: dict[str, str | int] = {}
    libraries: dict[str, str] = {}
    peak_memory_bytes: Count | None = None
    seconds: dict[str, Seconds] = {}
    output: str = ""
    block_steps: tuple[Count, ...] = ()
    block_started_ns: tuple[Nanoseconds, ...] = ()
    block_ended_ns: tuple[Nanoseconds, ...] = ()
    reentry_steps: Count = 0
    reentry_ns: tuple[Nanoseconds, ...] = ()
    scenarios_before: Count = 0
    idle_cores: Amount | None = None
    stopped: bool = False
    alone: str = ""
    waited_ns: tuple[Nanoseconds, ...] = ()
    unserved: Count = 0
    rate_per_s: Amount | None = None
    rate_trials: tuple[RateTrial, ...] = ()
    rank_steps: RankSteps | None = None

    @property
    def blocks_ns(self) -> tuple[tuple[int, ...], ...]:
        """The timings of each block; one block where the record does not tell."""
        if not self.block_steps:
            return (self.timings_ns,) if self.timings_ns else ()
        ends = itertools.accumulate(self.block_steps)
        return tuple(
            self.timings_ns[end - steps : end]
            for steps, end in zip(self.block_steps, ends, strict=True)
        )

    @property
    def largest_rate_per_s(self) -> float | None:
        """The largest rate that was within the bound; None where none was, or none was to be found."""
        within = (trial.rate_per_s for trial in self.rate_trials if trial.within)
        return max(within, default=None)

    @property
    def late(self) -> bool:
        """Whether steps of it were still going on when they had been synchronised."""
        return self.settling is not None and not self.settling.passed


HOST = "host"
"""The source of what earlier versions sampled of the host."""


class Trace(msgspec.Struct, frozen=True):
    """One metric, named with its unit: `values` at the times `t_ns` on the monotonic clock of the timings."""

    t_ns: tuple[Nanoseconds, ...]
    values: tuple[float, ...]


class Telemetry(msgspec.Struct, frozen=True, tag="telemetry", tag_field="kind"):
    """What was sampled beside one measuring process, raw.

    `source` is what was asked: ``nvml`` is NVIDIA's driver; in records of earlier versions also `HOST`, CPU and memory.
    `device_uuid` is the driver's own, looked up from what the session said it ran on. `period_ns` is the time between
    samples that was asked for, `started_ns` to `ended_ns` when sampling went on, with rests between the turns of its
    process. A metric is in `traces`, in `unavailable` with the reason, or, where it stopped on the way, in both.
    `processor_s` is what the sampling itself used.
    """

    case: Case
    round: Count
    source: str
    period_ns: Nanoseconds
    attempt: Count = 0
    started_ns: Nanoseconds | None = None
    ended_ns: Nanoseconds | None = None
    device_uuid: str = ""
    device_name: str = ""
    traces: dict[str, Trace] = {}
    unavailable: dict[str, str] = {}
    processor_s: Seconds | None = None


class Trial(msgspec.Struct, frozen=True, tag="trial", tag_field="kind"):
    """A case that was tried for a moment (``--best``), beside the other modes of its backend in one process; no figure
    of a row is computed from it. Its `process` is of round 0."""

    process: Process

    @property
    def case(self) -> Case:
        """What was tried."""
        return self.process.case


class Choice(msgspec.Struct, frozen=True, tag="choice", tag_field="kind"):
    """The cases that a run with ``--best`` went on with after its trials; of the others no more was to be found out."""

    taken: tuple[Case, ...]


class Wait(msgspec.Struct, frozen=True, tag="wait", tag_field="kind"):
    """A wait after a disturbed process: what the machine did meanwhile, and whether it came to rest."""

    case: Case
    round: Count
    disturbed_by: tuple[str, ...]
    seen: Surroundings
    quiet: bool


class Sampling(msgspec.Struct, frozen=True, tag="sampling", tag_field="kind"):
    """Mean times (ns) of a fixed computation in blocks with a pass of the host's sampler, and in blocks without, as
    earlier versions measured them in every run.

    `passes` is how many there were in the blocks with one, by the clock; None in records from before it was counted,
    whose passes fell between the blocks.
    """

    threads: Count
    block_ns: Nanoseconds
    with_ns: tuple[Annotated[float, msgspec.Meta(gt=0, le=1e17)], ...]
    without_ns: tuple[Annotated[float, msgspec.Meta(gt=0, le=1e17)], ...]
    passes: Count | None = None


class Peak(msgspec.Struct, frozen=True, tag="peak", tag_field="kind"):
    """This machine's matrix-product rate: `numpy.matmul` of two 2048² float32 matrices, all threads of the run."""

    round: Count
    threads: Count
    flops_per_s: tuple[Amount, ...]


class Energy(msgspec.Struct, frozen=True):
    """The energy of a training's device in the steps of each epoch (J), by its ``counter`` or its ``power`` over time;
    none, and the reason, where it could not be told."""

    joules: tuple[Annotated[float, msgspec.Meta(ge=0)], ...] = ()
    source: str = ""
    reason: str = ""


class Training(msgspec.Struct, frozen=True, tag="training", tag_field="kind"):
    """A training over whole epochs (``--epochs``): the loss of each step and what came of it on the test part.
    `answers` is the class that each test sample was given, `wrong` the samples for which that is not the right one,
    `true_classes` what each of these is; all are empty for regression, and in records of earlier versions. `epochs` is
    how many there were: fewer than were asked for where `Header.target_accuracy` was reached before. `epoch_s` are the
    steps of each with their data, without the evaluation behind them, which took `evaluation_s`; empty in records of
    earlier versions. `seed` is that of its weights and batches, None in records of earlier versions: the header's.
    `energy` is None where it was not asked for."""

    case: Case
    status: Status
    reason: str
    epochs: Count
    losses: tuple[float, ...] = ()
    validation_accuracy: tuple[Share, ...] = ()
    test_accuracy: Share | None = None
    test_loss: float | None = None
    seconds: Seconds | None = None
    answers: tuple[Count, ...] = ()
    wrong: tuple[Count, ...] = ()
    epoch_s: tuple[Seconds, ...] = ()
    evaluation_s: tuple[Seconds, ...] = ()
    true_classes: tuple[Count, ...] = ()
    seed: int | None = None
    energy: Energy | None = None


class Answers(msgspec.Struct, frozen=True, tag="answers", tag_field="kind"):
    """What a case of inference in a short precision answered on the test part, at the weights that the training
    `weights_of` ended with; see `Training`."""

    case: Case
    status: Status
    reason: str
    weights_of: Case
    answers: tuple[Count, ...] = ()
    wrong: tuple[Count, ...] = ()
    true_classes: tuple[Count, ...] = ()


class Profile(msgspec.Struct, frozen=True, tag="profile", tag_field="kind"):
    """The ladder of a case, timed in `processes` of its own, one after the other: see `dlbench.profile.rungs` for its
    networks and `dlbench.profile.layer_times` for what they tell. `round_ended_ns` is the monotonic clock at the end of
    each round, `during` what the machine did meanwhile. `primitives` are those of oneDNN in a step of another process,
    see `dlbench.profile.onednn`; none of a backend that does not compute by it. `spans` are what steps of a further
    process said of themselves; None where they were not asked."""

    case: Case
    status: Status
    reason: str
    rungs: tuple[RungTimes, ...] = ()
    round_ended_ns: tuple[Count, ...] = ()
    during: Surroundings | None = None
    version: str = ""
    facts: dict[str, str | int] = {}
    seconds: dict[str, Seconds] = {}
    output: str = ""
    primitives: tuple[Primitive, ...] = ()
    spans: StepSpans | None = None
    processes: Count = 1

    @property
    def rounds(self) -> int:
        """How many rounds its networks were timed in."""
        return len(self.round_ended_ns)


class End(msgspec.Struct, frozen=True, tag="end", tag_field="kind"):
    """Last line of a run that came to an end: where the wall time went, and how it ended.

    A record that was resumed has one for each of its parts that came to an end; see `Record.end`.
    """

    status: Literal["complete", "interrupted"]
    wall_s: Seconds
    seconds: dict[str, Seconds]
    null_timing_ns: Amount | None


class Damaged(msgspec.Struct, frozen=True, tag="damaged", tag_field="kind"):
    """In the place of a line that cannot be read: bytes were lost or changed. `number` counts from 1."""

    number: int


Measured = (
    Process | Trial | Choice | Wait | Telemetry | Sampling | Peak | Training | Answers | Profile
)
Line = Header | Part | Resumed | Skip | Verification | Measured | End | Damaged


class Record(msgspec.Struct, frozen=True):
    """A record as read back: its header and the other lines in order."""

    header: Header
    lines: tuple[Line, ...]

    @property
    def parts(self) -> int:
        """In how many runs it was written: one, and one more for each time it was resumed."""
        return 1 + sum(isinstance(line, Resumed) for line in self.lines)

    @property
    def merged(self) -> tuple[Part, ...]:
        """What was merged into it; nothing where it is of one run on one machine."""
        return tuple(line for line in self.lines if isinstance(line, Part))

    @property
    def damaged(self) -> tuple[int, ...]:
        """The numbers of its lines that cannot be read."""
        return tuple(line.number for line in self.lines if isinstance(line, Damaged))

    @property
    def end(self) -> End | None:
        """How it ended: as its last part did, with the times of all parts that came to an end added
        up. None where the last part was cut off, or any that was merged in."""
        closing = [one for one, next_ in itertools.pairwise(self.lines) if isinstance(next_, Part)]
        last = [line for line in (*closing, *self.lines[-1:]) if isinstance(line, End)]
        if not last or len(last) <= len(closing):
            return None
        ends = [line for line in self.lines if isinstance(line, End)]
        names = dict.fromkeys(name for end in ends for name in end.seconds)
        seconds = {name: sum(end.seconds.get(name, 0.0) for end in ends) for name in names}
        cut = any(end.status == "interrupted" for end in last)
        status: Literal["complete", "interrupted"] = "interrupted" if cut else "complete"
        return End(status, sum(e.wall_s for e in ends), seconds, self.null_timing_ns)

    @property
    def null_timing_ns(self) -> float | None:
        """What a timing costs, as the first of its parts to find out says; None where none did."""
        ends = (line for line in self.lines if isinstance(line, End))
        return next((e.null_timing_ns for e in ends if e.null_timing_ns is not None), None)
