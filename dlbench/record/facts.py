"""What a worker finds out and a record keeps, with nothing but the standard library and the contract, since workers
import it.

A worker's result is one of the dataclasses named ``…Result``. It travels as JSON and is decoded once, on arrival; what
does not fit its type is a protocol error of that worker.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from dlbench.contract import BackendInfo, Span

PEAK_MEMORY = "peak_device_memory_bytes"
"""The fact by which a session tells its allocator's peak (bytes)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One array held against the oracle; the figures are those of its worst element.

    Attributes
    ----------
    name : what was compared, ``gradient of conv2.bias, step 3``.
    where : the index of the worst element, ``[3, 0]``; empty for a scalar.
    got, expected : its two values; None when not finite.
    error, tolerance : |got − expected| and what rounding may cause there.
    scale : the size of the terms that were summed, so that error / scale is the relative error; 0 for a
        figure that is not subject to rounding alone (a fraction, a movement).

    Where nothing could be compared `got`, `expected` and `error` are None, and `name` is what was found.
    """

    name: str
    where: str
    got: float | None
    expected: float | None
    error: float | None
    tolerance: float
    scale: float
    passed: bool

    @property
    def relative_error(self) -> float | None:
        """error / scale; None where the error is not finite or rounding alone does not explain it."""
        return None if self.error is None or self.scale <= 0 else self.error / self.scale

    def sentence(self) -> str:
        """The comparison in words: ``gradient of conv2.bias[3] is 0, should be 0.0132 (tolerance 2e-05)``."""
        if self.expected is None and not self.where and not self.tolerance:
            return self.name.rstrip(";")
        got = "not a finite number" if self.got is None else f"{self.got:.6g}"
        if self.expected is None:
            return f"{self.name}{self.where} is {got}, where the oracle has no finite number"
        room = f"(tolerance {self.tolerance:.2g})" if self.tolerance else "exactly"
        return f"{self.name}{self.where} is {got}, should be {self.expected:.6g} {room}"


@dataclasses.dataclass(frozen=True)
class Environment:
    """What is installed where a backend's workers run.

    Attributes
    ----------
    python : the version of Python.
    packages : versions of those of `dlbench.host.environment.PACKAGES` that are there.
    package_count : how many distributions there are on the search path.
    packages_digest : SHA-256 of their lines ``name==version``, names normalised as PyPI does, in alphabetical
        order.
    """

    python: str
    packages: dict[str, str]
    package_count: int
    packages_digest: str


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """A window between two readings: what a machine did beside the process that was timed.

    Attributes
    ----------
    window_s : its length.
    other_cores : cores that other processes had, on average.
    stolen_cores : cores that the hypervisor gave to others.
    waiting_share, memory_waiting_share : share of the time in which something waited for a processor, or for memory.
    throttled_share : time that the control group's quota held processes back, all cores together, over the window's.
    preemptions_per_s : how often this process was taken off a core against its will.
    usable_cores : cores that this process may run on, at the end.
    granted_cores : cores that it might run on, had nobody bound it to fewer: its cpuset's, or the machine's.
    quota_cores : processor time a second that its control group grants; None without a limit.
    frequency_hz : mean clock of these cores at the end.
    own_cores : cores that this process had, with all that it has started; None in records of earlier versions.
    """

    window_s: float
    other_cores: float | None
    stolen_cores: float | None
    waiting_share: float | None
    memory_waiting_share: float | None
    throttled_share: float | None
    preemptions_per_s: float | None
    usable_cores: int | None
    granted_cores: int | None
    quota_cores: float | None
    frequency_hz: float | None
    own_cores: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Declared:
    """What a backend declares without its framework: its `title`, and the device of its row where it cannot be used."""

    default_device: str
    title: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What a backend is here, None where it cannot be used: `unavailable` is why, and what would help. `facts` are
    those of a small session, empty unless one was opened."""

    declared: Declared
    environment: Environment
    info: BackendInfo | None = None
    unavailable: tuple[str, str] | None = None
    facts: dict[str, str | int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FitsResult:
    """Whether a process that looked at a backend can go on with it by a plan."""

    fits: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedResult:
    """The result of a worker that says where its time went: `seconds` by phase."""

    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BackendResult(TimedResult):
    """The same of a worker with a backend: its `version` and those of its `libraries`."""

    version: str
    libraries: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VerifyResult(BackendResult):
    """What holding a backend against the oracle found. `reason` is empty when all agrees; `ambiguous_branches` counts
    branches within rounding of the other way; `loaded` is as in `dlbench.worker.import_provenance`, if asked for."""

    checks: tuple[Check, ...]
    ambiguous_branches: int
    facts: dict[str, str | int]
    reason: str
    loaded: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class FirstSteps:
    """What steps took before all rounds (`timings_ns`), and what else the machine did meanwhile."""

    timings_ns: tuple[int, ...]
    during: Surroundings


@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstResult(TimedResult):
    """The same by scenario."""

    steps: dict[str, FirstSteps]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a trial of a backend's conformance went.

    Attributes
    ----------
    group, name : which trial; see `dlbench.verify.conformance.Trial`.
    reason : empty where the backend agreed with the oracle.
    refused : whether it has not got what the trial needs, and said so, which is no failure.
    checks : how many comparisons were made.
    worst : the largest error, as a share of its tolerance; None where it is not finite, or nothing was compared.
    trace : where the backend raised something: its own frames, the innermost last.
    """

    group: str
    name: str
    reason: str = ""
    refused: bool = False
    checks: int = 0
    worst: float | None = None
    trace: str = ""

    @property
    def failed(self) -> bool:
        """Whether it went wrong; a refusal is none."""
        return bool(self.reason) and not self.refused


@dataclasses.dataclass(frozen=True, kw_only=True)
class OpenResult(TimedResult):
    """A session that is live: `facts` are what it observed; or why it was `refused`, with the remedy."""

    facts: dict[str, str | int]
    refused: tuple[str, str] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmUpResult:
    """A scenario that is warm: its `typical_s` is the median step of the warm-up (s)."""

    typical_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class RestResult:
    """What a process did since its last job: `idle_cores` is the processor time a second that it used, None where the
    system does not tell."""

    idle_cores: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class BlockResult:
    """How many `steps` were sampled in a turn."""

    steps: int


@dataclasses.dataclass(frozen=True, slots=True)
class RateTrial:
    """A rate at which queries came for a while: how many were answered, the percentile of their latencies (None where
    it was given up, too many being late already), and whether that was `within` the bound."""

    rate_per_s: float
    queries: int
    percentile_ns: int | None
    within: bool


@dataclasses.dataclass(frozen=True, slots=True)
class RankSteps:
    """Steps of several ranks, off the timed ones: `together_ns` until the slowest rank was done; `alone_ns`, by rank,
    in which none told its gradients, by the rank's own clock."""

    together_ns: tuple[int, ...]
    alone_ns: tuple[tuple[int, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureResult(BackendResult):
    """What a process timed of a scenario; the fields are those of `dlbench.record.schema.Process`, whose `seconds` have
    `start_seconds` too: what the process' start took, told with each of its scenarios."""

    timings_ns: tuple[int, ...]
    warmup_ns: tuple[int, ...]
    start_seconds: dict[str, float]
    first_step_ns: int
    started_ns: int
    ended_ns: int
    block_steps: tuple[int, ...]
    block_started_ns: tuple[int, ...]
    block_ended_ns: tuple[int, ...]
    reentry_steps: int
    reentry_ns: tuple[int, ...]
    scenarios_before: int
    idle_cores: float | None
    upload_ns: tuple[int, ...]
    download_ns: tuple[int, ...]
    device_ns: tuple[int, ...]
    steady: bool | None
    before: Surroundings
    during: Surroundings
    after: Surroundings
    canary_ns: tuple[int, ...]
    checks: tuple[Check, ...]
    settling: Check | None
    facts: dict[str, str | int]
    peak_memory_bytes: int | None
    waited_ns: tuple[int, ...] = ()
    unserved: int = 0
    rate_per_s: float | None = None
    rate_trials: tuple[RateTrial, ...] = ()
    rank_steps: RankSteps | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimerResult(TimedResult):
    """What timing a step costs: the median of timing nothing (ns)."""

    null_timing_ns: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PeakResult(TimedResult):
    """The rate of `numpy.matmul`, several times over."""

    flops_per_s: tuple[float, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class RungTimes:
    """How long the steps of one network of a ladder took; see `dlbench.profile.rungs.Rung`.

    Attributes
    ----------
    kind, name, front : which network it is.
    step : ``train`` or ``infer``; in a training ladder the networks infer too.
    blocks_ns : in each round, or in each that it was due in, the median of a block of steps.
    """

    kind: str
    name: str
    step: str
    front: str
    blocks_ns: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Primitive:
    """What oneDNN carried out in a step, alike primitives as one.

    Attributes
    ----------
    kind : ``convolution``, ``reorder``, …
    implementation : which of several ways it took.
    direction : ``forward_training``, ``backward_data``, …; empty where there is none.
    formats : of each tensor how it lies in memory, ``src:acdb wei:Acdb16a dst:acdb``.
    fused : what it computed besides, ``eltwise_relu``.
    problem : the sizes, as oneDNN writes them.
    calls, total_s : how often, and how long in all.
    """

    kind: str
    implementation: str
    direction: str
    formats: str
    fused: str
    problem: str
    calls: int
    total_s: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrimitivesResult(TimedResult):
    """The primitives of one step, in the order in which they came."""

    primitives: tuple[Primitive, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SpanTimes:
    """What the spans come to that served the same `layers` in the same pass; see `dlbench.contract.Span`. The name is
    empty where there are layers. `blocks_ns` is, in each block of observed steps, what they took in the median step."""

    layers: tuple[str, ...]
    track: str
    name: str
    blocks_ns: tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class StepSpans:
    """What steps said of themselves, or the `reason` why they did not. `plain_ns` and `observed_ns` are, in each pair
    of blocks, the median step of those that were not observed and of those that were; `sample` the spans of one step as
    it passed, empty where these are too many to be kept."""

    reason: str = ""
    plain_ns: tuple[int, ...] = ()
    observed_ns: tuple[int, ...] = ()
    times: tuple[SpanTimes, ...] = ()
    sample: tuple[Span, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class SpansResult(TimedResult):
    """What the steps of a session said of themselves."""

    spans: StepSpans


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProfileResult(BackendResult):
    """What a ladder's networks took, when each round ended (the monotonic clock), and what the machine did `during`
    these; whether its sessions may say more (`dlbench.contract.SpansSession`)."""

    rungs: tuple[RungTimes, ...]
    round_ended_ns: tuple[int, ...]
    during: Surroundings
    facts: dict[str, str | int]
    offers_spans: bool = True
