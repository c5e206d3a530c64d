"""What a worker can be asked to do: one function a job, from the job's plain data to a plain result.

A job names its adapter as ``module:Class`` and its arrays by the paths of the files that the runner wrote. The
result of a job holds only what JSON can carry.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dlbench import plugins
from dlbench.contract import AdapterBase, BackendInfo, Plan, Session, check_batch
from dlbench.data.preprocessing import Recipe
from dlbench.errors import BackendUnavailable
from dlbench.host import environment, interference
from dlbench.measure import reference_load, timing
from dlbench.spec.workload import Weights, Workload, initial_weights, read_workload
from dlbench.worker import import_provenance
from dlbench.worker.phases import Phases
from dlbench.worker.training import Part, train

Job = Mapping[str, Any]
Result = dict[str, Any]

_PEAK_SIDE = 2048
_PEAK_REPETITIONS = 5
_PEAK_MOST_S = 1.0
_NULL_BUDGET_S = 0.1


def home(job: Job, phases: Phases) -> Result:
    """Which device a backend's row is on where the backend cannot be used; imports no framework."""
    phases.enter("import")
    return _declared(plugins.load_adapter(job["adapter"]))


def look(job: Job, phases: Phases) -> Result:
    """What a backend is, or why it cannot be used here; with ``open``, also what a session observes."""
    phases.enter("import")
    adapter = _load_adapter(job, None, phases)
    found = dataclasses.asdict(environment.read(adapter.packages))
    known = _declared(adapter) | {"environment": found}
    try:
        info = adapter.info()
        facts = _observed(adapter, info, job["threads"]) if job["open"] else {}
    except BackendUnavailable as error:
        return known | {"unavailable": [error.reason, error.remedy]}
    return known | {"info": _plain_info(info), "facts": facts}


def oracle(job: Job, phases: Phases) -> Result:
    """Computes what backends are held against, into the cache: before the timing, and with a ``seed`` of
    initial weights also after it."""
    from dlbench.verify.after_timing import prepare_after
    from dlbench.verify.reference import prepare_reference

    phases.enter("oracle")
    workload, cache_dir = _workload(job), Path(job["cache_dir"])
    prepare_reference(workload, job["batch"], cache_dir)
    if job["seed"] is not None:
        prepare_after(workload, job["batch"], initial_weights(workload, job["seed"]), cache_dir)
    return {"seconds": phases.seconds()}


def verify(job: Job, phases: Phases) -> Result:
    """Holds a backend against the oracle."""
    from dlbench.verify.check import verify as hold

    adapter, info = _import_adapter(job, phases)
    phases.enter("verify")
    plan, cache_dir = Plan(**job["plan"]), Path(job["cache_dir"])
    outcome = hold(adapter, plan, _workload(job), cache_dir, phases.beat)
    return _described(info) | {
        "checks": _plain_checks(outcome.checks),
        "ambiguous_branches": outcome.ambiguous_branches,
        "facts": _plain(outcome.facts),
        "reason": outcome.reason,
        "seconds": phases.seconds(),
        "loaded": import_provenance.look(job["own"], job["adapter"]) if "own" in job else {},
    }


def conformance(job: Job, phases: Phases) -> Result:
    """Holds a backend against the oracle in all that the spec has."""
    from dlbench.verify.conformance import hold

    adapter, info = _import_adapter(job, phases)
    phases.enter("verify")
    plan, cache_dir = Plan(**job["plan"]), Path(job["cache_dir"])
    verdicts = hold(adapter, plan, job["networks"], job["seed"], cache_dir, phases.beat)
    tables = [dataclasses.asdict(verdict) for verdict in verdicts]
    for table in tables:
        # JSON has no infinity
        table["worst"] = table["worst"] if math.isfinite(table["worst"]) else None
    return _described(info) | {"verdicts": tables, "seconds": phases.seconds()}


def measure(job: Job, phases: Phases) -> Result:
    """Times a case, then checks what the timing left behind, unless ``check`` is false."""
    readings, canary_ns = [interference.read()], []
    adapter, info = _import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), _workload(job)
    initial = _weights(job)
    _start_device(adapter, plan, phases)
    phases.enter("open")
    session = adapter.open(plan, workload, initial)
    phases.opened(_plain(session.facts))
    phases.enter("upload")
    with np.load(job["files"]["batches"]) as arrays:
        inputs, targets = list(arrays["inputs"]), list(arrays["targets"])
    for batch in zip(inputs, targets, strict=True):
        check_batch(plan, workload, *batch)
    batches, upload_ns = timing.upload_all(session, inputs, targets)
    checks_after = job.get("check", True)
    # one row of each, another every time
    rows = [(7 * i + 3) % plan.batch for i in range(len(batches))]
    held = [samples[row].copy() for row, samples in zip(rows, inputs, strict=True)]
    del inputs, targets

    def enter(phase: str) -> None:
        phases.enter(phase)
        if phase == "measure":
            canary_ns.append(interference.canary_ns())
            readings.append(interference.read())

    times = timing.time_steps(
        session, batches, job["scenario"], initial, job["budget_s"], on_phase=enter
    )
    readings.append(interference.read())
    canary_ns.append(interference.canary_ns())
    # read here, so that neither copies nor checks count
    peak_memory_bytes = _peak_memory_bytes()
    facts = _plain(session.facts) | interference.threading_facts()
    if plan.device != "cpu":
        facts["idle_synchronize_ns"] = timing.time_idle_synchronize(session)
    checks: list[Result] = []
    download_ns: tuple[int, ...] = ()
    device_ns: tuple[int, ...] = ()
    if checks_after:
        phases.enter("check")
        checks = _checks_after(
            job, session, plan, workload, initial, list(zip(batches, rows, held, strict=True))
        )
        phases.enter("copy")
        download_ns = timing.time_downloads(session, batches[0], job["scenario"])
        device_ns = timing.time_device_steps(session, batches, job["scenario"], initial)
    readings.append(interference.read())
    before, during, after = itertools.starmap(interference.between, itertools.pairwise(readings))
    return (
        _described(info)
        | dataclasses.asdict(times)
        | {
            "upload_ns": upload_ns,
            "download_ns": download_ns,
            "device_ns": device_ns,
            "before": dataclasses.asdict(before),
            "during": dataclasses.asdict(during),
            "after": dataclasses.asdict(after),
            "canary_ns": canary_ns,
            "checks": checks,
            "facts": facts,
            "peak_memory_bytes": peak_memory_bytes,
            "seconds": phases.seconds(),
        }
    )


def _checks_after(
    job: Job,
    session: Session,
    plan: Plan,
    workload: Workload,
    initial: Weights,
    held: Sequence[tuple[Any, int, npt.NDArray[np.float32]]],
) -> list[Result]:
    """What the timing left behind, held against the oracle; `held` are its batches, each with the number and a
    copy of one of its rows."""
    from dlbench.verify.after_timing import Witness, check_after, check_settled

    with np.load(job["files"]["held_out"]) as arrays:
        held_out = arrays["inputs"], arrays["targets"]
    check_batch(plan, workload, *held_out)
    witnesses = [Witness(*each) for each in held]
    witnesses.append(Witness(session.upload(*held_out), plan.batch - 1, held_out[0][-1]))
    trained = job["scenario"] == "train"
    cache_dir = Path(job["cache_dir"])
    checks = check_after(session, plan, workload, initial, trained, witnesses, cache_dir)
    settling = timing.time_settling(
        session, held[0][0], lambda: session.upload(*held_out), job["scenario"]
    )
    return _plain_checks((*checks, check_settled(**dataclasses.asdict(settling))))


def train_epochs(job: Job, phases: Phases) -> Result:
    """Trains over whole epochs and judges the result on the test part."""
    adapter, info = _import_adapter(job, phases)
    plan, workload = Plan(**job["plan"]), _workload(job)
    phases.enter("open")
    session = adapter.open(plan, workload, _weights(job))
    with np.load(job["files"]["parts"]) as arrays:
        parts = {
            name: Part(arrays[f"{name}_samples"], arrays[f"{name}_targets"])
            for name in ("train", "validation", "test")
        }
    phases.enter("train")
    recipe = Recipe.from_table(job["recipe"])
    trained = train(session, plan, workload, recipe, parts, job["epochs"], phases.beat)
    return _described(info) | {
        "trained": dataclasses.asdict(trained),
        "seconds": phases.seconds(),
    }


def peak(job: Job, phases: Phases) -> Result:
    """The rate of `numpy.matmul` of two 2048² float32 matrices, several times over."""
    phases.enter("peak")
    random = np.random.Generator(np.random.SFC64(0))
    left, right = random.random((2, _PEAK_SIDE, _PEAK_SIDE), np.float32)
    product = np.matmul(left, right)
    flops = 2 * _PEAK_SIDE**3
    rates: list[float] = []
    began = time.perf_counter()
    while len(rates) < _PEAK_REPETITIONS and time.perf_counter() - began < _PEAK_MOST_S:
        begin = time.perf_counter()
        np.matmul(left, right, out=product)
        rates.append(flops / (time.perf_counter() - begin))
    return {"flops_per_s": rates, "seconds": phases.seconds()}


def null(job: Job, phases: Phases) -> Result:
    """What a timing costs: an empty session through the same loop."""
    session = timing.EmptySession()
    times = timing.time_steps(
        session, [None] * 8, "train", {}, _NULL_BUDGET_S, on_phase=phases.enter
    )
    median_ns = float(np.median(times.timings_ns))
    return {"null_timing_ns": median_ns, "seconds": phases.seconds()}


def sampling(job: Job, phases: Phases) -> Result:
    """What a sampler beside this process does to a fixed piece of work: with it and without, in turn."""
    phases.opened({})
    on, off = reference_load.in_turn(
        job["threads"], lambda on: phases.enter("sampled" if on else "alone")
    )
    return {
        "with_ns": [block.piece_ns for block in on],
        "without_ns": [block.piece_ns for block in off],
        "windows_ns": [[block.began_ns, block.ended_ns] for block in on],
        "block_ns": reference_load.BLOCK_NS,
        "seconds": phases.seconds(),
    }


JOBS: Mapping[str, Callable[[Job, Phases], Result]] = {
    "home": home,
    "look": look,
    "oracle": oracle,
    "verify": verify,
    "conformance": conformance,
    "measure": measure,
    "train": train_epochs,
    "peak": peak,
    "null": null,
    "sampling": sampling,
}


def _load_adapter(job: Job, plan: Plan | None, phases: Phases) -> AdapterBase:
    """The adapter, with the environment set that it wants before its framework is imported."""
    phases.enter("import")
    adapter = plugins.load_adapter(job["adapter"])
    phases.out_of_memory = adapter.out_of_memory
    os.environ.update(adapter.environment(plan))
    return adapter


def _import_adapter(job: Job, phases: Phases) -> tuple[AdapterBase, BackendInfo]:
    adapter = _load_adapter(job, Plan(**job["plan"]), phases)
    return adapter, adapter.info()


def _start_device(adapter: AdapterBase, plan: Plan, phases: Phases) -> None:
    """Has the device started apart from the session, where the backend does that."""
    if type(adapter).start is not AdapterBase.start:
        phases.enter("device")
        adapter.start(plan)


def _declared(adapter: AdapterBase) -> Result:
    """What is known of a backend without its framework."""
    return {"default_device": str(adapter.default_device), "title": str(adapter.title)}


def _observed(adapter: AdapterBase, info: BackendInfo, threads: int) -> Result:
    """The facts of a session of the smallest network there is."""
    workload = read_workload(
        {
            "input_shape": [1],
            "layers": [{"type": "linear", "out_features": 1}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    plan = Plan("", info.devices[0].name, 1, threads, mode=info.mode)
    return _plain(adapter.open(plan, workload, initial_weights(workload, 0)).facts)


def _plain(facts: Mapping[str, Any]) -> Result:
    """Facts with integers as such, whatever library they come from, and all else as text."""
    return {
        str(name): int(fact) if isinstance(fact, numbers.Integral) else str(fact)
        for name, fact in facts.items()
    }


def _described(info: BackendInfo) -> Result:
    libraries = {str(name): str(version) for name, version in info.libraries.items()}
    return {
        "version": str(info.version),
        "libraries": libraries,
    }


def _plain_info(info: BackendInfo) -> Result:
    """All that a backend declares, as JSON can carry it."""
    return dataclasses.asdict(info) | _described(info)


def _workload(job: Job) -> Workload:
    return read_workload(job["workload"])


def _weights(job: Job) -> Weights:
    with np.load(job["files"]["weights"]) as arrays:
        weights: dict[str, npt.NDArray[np.float32]] = dict(arrays)
    return weights


def _plain_checks(checks: Iterable[Any]) -> list[Result]:
    return [dataclasses.asdict(check) for check in checks]


def _peak_memory_bytes() -> int | None:
    """The most memory that was resident in this process; None where that cannot be read."""
    try:
        # getrusage would count the runner's own memory from before the exec
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None
