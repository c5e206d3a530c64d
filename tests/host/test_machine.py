"""What is said of this machine is true, and nothing is said that is nobody's business."""

import getpass
import json
import os
import platform
import re
import socket
from pathlib import Path

import msgspec
import psutil
import pytest

from dlbench.host.machine import look, usable_cores, usable_physical_cores


def test_the_machine_is_described_without_names_of_host_user_or_home() -> None:
    told = json.dumps(msgspec.to_builtins(look()))
    for name in (socket.gethostname(), os.path.expanduser("~")):
        if len(name) > 1:
            assert name not in told
    assert getpass.getuser() not in msgspec.to_builtins(look()).values()


def test_cores_and_memory_are_within_what_the_system_has() -> None:
    machine = look()
    assert 1 <= machine.usable_cores == usable_cores() <= (os.cpu_count() or 1)
    assert machine.memory_bytes is not None
    assert 0 < machine.memory_bytes <= psutil.virtual_memory().total


def test_the_processor_is_what_the_kernel_calls_it() -> None:
    told = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = re.findall(r"^(?:model name|Model)\s*:[ \t]*(.*\S)[ \t]*$", told, re.MULTILINE)
    # kernels for some processors name none
    expected = " ".join(names[0].split()) if names else platform.processor() or None
    assert expected == look().cpu


def test_only_installed_packages_have_a_version() -> None:
    packages = look().packages
    assert packages["numpy"]
    assert all(packages.values())


@pytest.mark.parametrize(
    ("siblings", "expected"),
    [
        (["0-1", "0-1", "2-3", "2-3"], 2),
        (["0,2", "1,3", "0,2", "1,3"], 2),
        (["0", "1", "2", "3"], 4),
        (["0-1", "0-1", "2-3"], None),
    ],
)
def test_hyper_threads_of_one_core_count_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, siblings: list[str], expected: int | None
) -> None:
    for core, shared in enumerate(siblings):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{core}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{shared}\n")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3})
    assert expected == usable_physical_cores(tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert usable_physical_cores(tmp_path) == 1
