"""What a worker can be asked to do: one function a job, from the job's plain data to one of the results of
`dlbench.record.facts`.

A job names its adapter as ``module:Class`` and its arrays by the paths of the files that the runner wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dlbench.worker.jobs.common import Job
from dlbench.worker.jobs.measure import measure
from dlbench.worker.jobs.overhead import null, peak
from dlbench.worker.jobs.probe import home, look
from dlbench.worker.jobs.train import train_epochs
from dlbench.worker.jobs.verify import conformance, oracle, verify
from dlbench.worker.phases import Phases

JOBS: Mapping[str, Callable[[Job, Phases], Any]] = {
    "home": home,
    "look": look,
    "oracle": oracle,
    "verify": verify,
    "conformance": conformance,
    "measure": measure,
    "train": train_epochs,
    "peak": peak,
    "null": null,
}
