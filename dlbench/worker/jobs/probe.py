"""What a backend is here, or why it cannot be used."""

from __future__ import annotations

import dataclasses

from dlbench import members, plugins
from dlbench.contract import AdapterBase, BackendInfo, Plan
from dlbench.errors import BackendUnavailable
from dlbench.host import environment
from dlbench.record.facts import Declared, FitsResult, ProbeResult
from dlbench.spec.workload import initial_weights, read_workload
from dlbench.worker.jobs import common
from dlbench.worker.jobs.common import load_adapter, plain, versions
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases


def home(job: Job, phases: Phases) -> Declared:
    """Which device a backend's row is on where the backend cannot be used; imports no framework."""
    phases.enter("import")
    return _declared(plugins.load_adapter(job["adapter"]))


def look(job: Job, phases: Phases) -> ProbeResult:
    """What a backend is, or why it cannot be used here; with ``open``, also what a session observes."""
    undecided = Plan("", device="", batch=1, threads=job["threads"])
    adapter = load_adapter(job, undecided, phases)
    known, seen = _declared(adapter), environment.read(adapter.packages)
    try:
        info = members.info_of(adapter)
        facts = _observed(adapter, info, job["threads"]) if job["open"] else {}
    except BackendUnavailable as error:
        why = (error.reason, error.remedy)
        return ProbeResult(declared=known, environment=seen, unavailable=why)
    info = dataclasses.replace(info, **versions(info))
    return ProbeResult(declared=known, environment=seen, info=info, facts=facts)


def fits(job: Job, phases: Phases) -> FitsResult:
    """Whether this process can be asked to verify by a plan too."""
    # what the look took is not part of what follows
    phases.take_seconds()
    return FitsResult(fits=common.fits(job))


def _declared(adapter: AdapterBase) -> Declared:
    """What is known of a backend without its framework."""
    return Declared(default_device=str(adapter.default_device), title=str(adapter.title))


def _observed(adapter: AdapterBase, info: BackendInfo, threads: int) -> dict[str, str | int]:
    """The facts of a session of the smallest network there is."""
    workload = read_workload(
        {
            "input_shape": [1],
            "layers": [{"type": "linear", "out_features": 1}],
            "loss": "mean_squared_error",
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
        }
    )
    scenario = info.scenarios[0] if len(info.scenarios) == 1 else "train"
    plan = Plan("", info.devices[0].name, 1, threads, mode=info.mode, scenario=scenario)
    session = members.open_session(adapter, plan, workload, initial_weights(workload, 0))
    return plain(session.facts)
