"""Finds the device that a session said it runs on.

The driver's indices are not CUDA's: CUDA orders by speed unless told otherwise and sees only what
CUDA_VISIBLE_DEVICES leaves, the driver orders by PCI bus and sees everything. So the session names its device by
UUID, or by PCI address, and whatever cannot be told apart is refused.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dlbench.telemetry.log import Refused
from dlbench.telemetry.nvml import Hung, Nvml, answered, opened

_PCI = re.compile(r"(?:([0-9a-f]{4,8}):)?([0-9a-f]{2}):([0-9a-f]{2})(?:\.[0-9a-f])?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU or a MIG slice of one, as the driver knows it.

    Attributes
    ----------
    handle : for the driver's functions.
    uuid, name : the driver's own.
    parent : the GPU's handle where this is a slice, and its own otherwise.
    gpu_instance : number of the slice in its GPU; None for a whole GPU.
    """

    handle: Any
    uuid: str
    name: str
    parent: Any
    gpu_instance: int | None = None


def find(nvml: Nvml, facts: Mapping[str, str | int]) -> Device:
    """The device of a session with these facts (``device_uuid`` or ``device_pci_bus_id``).

    Raises
    ------
    Refused : the facts name none, the driver does not know it, or it is one of several slices and they do not
        say which.
    """
    uuid, address = str(facts.get("device_uuid", "")), str(facts.get("device_pci_bus_id", ""))
    if not uuid and not address:
        raise Refused(
            "the backend does not say which device it ran on (facts device_uuid, device_pci_bus_id)"
        )
    refusals: list[str] = []
    for gpu in gpus(nvml, refusals):
        if _is_named(nvml, gpu, uuid, address):
            return _the_only_slice(nvml, gpu)
        for part in slices(nvml, gpu):
            if uuid and bare_uuid(part.uuid) == bare_uuid(uuid):
                return part
    seen = f"; {'; '.join(refusals)}" if refusals else ""
    raise Refused(f"the driver knows no device {uuid or address}{seen}")


def gpu_names() -> tuple[str, ...]:
    """This machine's NVIDIA GPUs by name and memory: none where there is no driver, and the reason in place of their
    names where it does not answer."""
    try:
        with opened() as nvml:
            return answered(lambda: tuple(_name(nvml, gpu) for gpu in gpus(nvml)))
    except Hung as hung:
        return (f"unknown: {hung.reason}",)
    except Refused:
        # no library, or not even how many there are
        return ()


def _name(nvml: Nvml, gpu: Device) -> str:
    try:
        size_bytes = nvml.ask("nvmlDeviceGetMemoryInfo", gpu.handle).total
        memory = f"{size_bytes / 2**30:.0f} GiB"
    except Refused:
        # some share the host's
        memory = "memory unknown"
    return f"{gpu.name or 'GPU'}, {memory}"


def gpus(nvml: Nvml, refusals: list[str] | None = None) -> Iterator[Device]:
    """All GPUs that the driver shows; why it refuses one goes to `refusals`."""
    for index in range(nvml.ask("nvmlDeviceGetCount")):
        try:
            handle = nvml.ask("nvmlDeviceGetHandleByIndex", index)
            yield _described(nvml, handle, handle)
        except Refused as refused:
            if refusals is not None:
                refusals.append(f"device {index} of the driver: {refused.reason}")


def all_devices(nvml: Nvml, refusals: list[str] | None = None) -> list[Device]:
    """All GPUs, each with its slices behind it; see `gpus`."""
    return [part for gpu in gpus(nvml, refusals) for part in (gpu, *slices(nvml, gpu))]


def slices(nvml: Nvml, gpu: Device) -> Iterator[Device]:
    """The MIG slices of a GPU; none where it is not divided or cannot be."""
    try:
        mode, _ = nvml.ask("nvmlDeviceGetMigMode", gpu.handle)
        most = nvml.ask("nvmlDeviceGetMaxMigDeviceCount", gpu.handle) if mode else 0
    except Refused:
        return
    for index in range(most):
        try:
            handle = nvml.ask("nvmlDeviceGetMigDeviceHandleByIndex", gpu.handle, index)
            instance = nvml.ask("nvmlDeviceGetGpuInstanceId", handle)
            yield _described(nvml, handle, gpu.handle, int(instance))
        except Refused:
            # not every place of the most there can be is taken
            continue


def _described(nvml: Nvml, handle: Any, parent: Any, gpu_instance: int | None = None) -> Device:
    uuid = nvml.ask("nvmlDeviceGetUUID", handle)
    try:
        name = nvml.ask("nvmlDeviceGetName", handle)
    except Refused:
        name = ""
    return Device(handle, uuid, name, parent, gpu_instance)


def _is_named(nvml: Nvml, gpu: Device, uuid: str, address: str) -> bool:
    if uuid:
        return bare_uuid(gpu.uuid) == bare_uuid(uuid)
    found = _PCI.fullmatch(address.strip())
    if found is None:
        raise Refused(f"device_pci_bus_id {address!r} is no PCI address like 0000:1b:00.0")
    wanted = tuple(int(part or "0", 16) for part in found.groups())
    try:
        pci = nvml.ask("nvmlDeviceGetPciInfo_v3", gpu.handle)
    except Refused:
        return False
    return wanted == (pci.domain, pci.bus, pci.device)


def _the_only_slice(nvml: Nvml, gpu: Device) -> Device:
    """The device that a session on this GPU uses: a divided GPU computes in its slices only."""
    parts = list(slices(nvml, gpu))
    if len(parts) > 1:
        raise Refused(
            f"{gpu.uuid} is divided into {len(parts)} MIG slices, and the backend does not say which it ran on"
        )
    return parts[0] if parts else gpu


def bare_uuid(uuid: str) -> str:
    """The UUID without GPU- and MIG-, which CUDA leaves out."""
    return re.sub(r"^(?:(?:gpu|mig)-)+", "", uuid.strip().lower())
