"""The CuPy backend's adapter with its device exchanged: sessions, kernels and all on the CPU."""

from __future__ import annotations

from dlbench.backends.cupy.adapter import MODES, PRECISIONS
from dlbench.backends.cupy.device import source_text
from dlbench.backends.launches.network import HAS, LACKS
from dlbench.backends.launches.program import Launch
from dlbench.backends.launches.session import Session
from host_device import HostDevice

from dlbench.contract import BackendInfo, Device, Plan
from dlbench.helpers.refusals import refuse_unless
from dlbench.spec.workload import Weights, Workload


class HostAdapter:
    """Opens sessions on one `HostDevice`."""

    def __init__(self, device: HostDevice | None = None) -> None:
        self.device = device or HostDevice(source_text, mode="fast")

    def info(self) -> BackendInfo:
        """What the device is called."""
        there = Device(self.device.name, self.device.description)
        return BackendInfo("host", (there,), MODES, PRECISIONS, own_kernels=True)

    def open(self, plan: Plan, workload: Workload, weights: Weights) -> Session:
        """A session in the plan's mode; what has no kernel is refused, as by the adapter."""
        refuse_unless(
            "cupy", plan, workload, modes=MODES, precisions=PRECISIONS, has=HAS, lacks=LACKS
        )
        return Session(self.device, plan, workload, weights, plan.mode or MODES[0])


def launches(session: Session) -> list[Launch]:
    """All launches of a session's training step and of its inference."""
    return [launch for program in session.programs.values() for launch in program.launches]
