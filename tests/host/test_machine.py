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

from dlbench.host.machine import look, usable_cores


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
