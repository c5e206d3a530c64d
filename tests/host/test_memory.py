"""How much memory is left, from files as Linux has them."""

import os

import pytest

from dlbench.host.memory import available_bytes, resident_bytes


@pytest.fixture
def root(tmp_path):
    """A machine with 8 GiB to be had."""
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:    8388608 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    (tmp_path / "sys/fs/cgroup/job").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cgroup.controllers").write_text("cpu memory\n")
    return tmp_path


def limit(root, limit, used, files=0):
    folder = root / "sys/fs/cgroup/job"
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {files}\n")


def test_without_a_limit_it_is_the_machines(root):
    assert 8 * 2**30 == available_bytes(root)
    limit(root, "max", 123)
    assert 8 * 2**30 == available_bytes(root)


def test_a_limit_leaves_what_is_not_used_and_what_files_keep(root):
    limit(root, 3 * 2**30, 2 * 2**30, 2**29)
    assert 2**30 + 2**29 == available_bytes(root)


def test_a_limit_above_what_there_is_changes_nothing(root):
    limit(root, 100 * 2**30, 0)
    assert 8 * 2**30 == available_bytes(root)


def test_where_nothing_tells_it_is_unknown(tmp_path):
    assert available_bytes(tmp_path) is None


def test_a_process_holds_something_and_one_that_is_gone_nothing():
    assert resident_bytes(os.getpid()) > 2**20
    assert resident_bytes(2**22 + 1) is None
