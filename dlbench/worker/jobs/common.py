"""What several jobs begin with: the adapter, the workload and the initial weights that a job names."""

from __future__ import annotations

import numbers
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dlbench import members, plugins
from dlbench.contract import AdapterBase, BackendInfo, Plan
from dlbench.spec.verification import SECTION, from_table
from dlbench.spec.workload import Weights, Workload, read_workload
from dlbench.worker.measurements import Job
from dlbench.worker.phases import Phases

if TYPE_CHECKING:
    from dlbench.verify.extent import Extent

_set: dict[str, str] = {}
"""What adapters have set in the environment of this process."""


def load_adapter(job: Job, plan: Plan, phases: Phases) -> AdapterBase:
    """The adapter that a job names, with the environment set that it wants before its framework is imported."""
    phases.enter("import")
    adapter = plugins.load_adapter(job["adapter"])
    phases.out_of_memory = adapter.out_of_memory
    _set.update(adapter.environment(plan))
    os.environ.update(_set)
    return adapter


def fits(job: Job) -> bool:
    """Whether this process, in which a backend is imported, may go on with the plan of a job: whether no other
    environment is wanted for it."""
    return dict(plugins.load_adapter(job["adapter"]).environment(Plan(**job["plan"]))) == _set


def import_adapter(job: Job, phases: Phases) -> tuple[AdapterBase, BackendInfo]:
    """The adapter that a job names for its plan, and what it says of itself."""
    adapter = load_adapter(job, Plan(**job["plan"]), phases)
    return adapter, members.info_of(adapter)


def start_device(adapter: AdapterBase, plan: Plan, phases: Phases) -> None:
    """Has the device started apart from the session, where the backend does that."""
    if type(adapter).start is not AdapterBase.start:
        phases.enter("device")
        adapter.start(plan)


def versions(info: BackendInfo) -> dict[str, Any]:
    """The version of a backend and those of its libraries, as results have them."""
    libraries = {str(name): str(version) for name, version in info.libraries.items()}
    return {"version": str(info.version), "libraries": libraries}


def plain(facts: Mapping[str, Any]) -> dict[str, str | int]:
    """Facts with integers as such, whatever library they come from, and all else as text."""
    return {
        str(name): int(fact) if isinstance(fact, numbers.Integral) else str(fact)
        for name, fact in facts.items()
    }


def workload_of(job: Job) -> Workload:
    """The workload that a job is about."""
    return read_workload(job["workload"])


def extent_of_job(job: Job) -> Extent:
    """How much is verified of the workload that a job is about."""
    from dlbench.verify.extent import extent_of

    return extent_of(from_table(job.get(SECTION)))


def initial_of(job: Job) -> Weights:
    """The initial weights that a job names."""
    with np.load(job["files"]["weights"]) as arrays:
        weights: dict[str, npt.NDArray[np.float32]] = dict(arrays)
    return weights
