"""How much memory is left, from files as Linux has them."""

import os

import pytest

from dlbench.host.memory import available_bytes, resident_bytes, total_bytes


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


def test_the_memory_there_is_in_all_is_what_the_groups_up_to_the_root_grant(root):
    assert 9_000_000 * 1024 == total_bytes(root)
    inner = root / "sys/fs/cgroup/job/step"
    inner.mkdir()
    (root / "proc/self/cgroup").write_text("0::/job/step\n")
    (inner / "memory.max").write_text("max\n")
    limit(root, 3 * 2**30, 0)
    assert 3 * 2**30 == total_bytes(root)
    # from which on the kernel slows down who asks for more
    (inner / "memory.high").write_text(f"{2**30}\n")
    assert 2**30 == total_bytes(root)
    (inner / "memory.high").write_text("max\n")
    limit(root, 100 * 2**30, 0)
    assert 9_000_000 * 1024 == total_bytes(root)


def test_limits_of_the_first_version_count_too(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/slurm/job_7\n3:cpu:/\n")
    for group, limit_bytes in (
        ("slurm/job_7", 2**63 - 4096),
        ("slurm", 5 * 2**30),
        ("", 2**63 - 4096),
    ):
        folder = tmp_path / "sys/fs/cgroup/memory" / group
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "memory.limit_in_bytes").write_text(f"{limit_bytes}\n")
    assert 5 * 2**30 == total_bytes(tmp_path)


def test_a_machine_that_tells_nothing_has_an_unknown_amount(tmp_path):
    assert total_bytes(tmp_path) is None
