from pathlib import Path

import pytest

from dlbench.host.cgroups import granted_cores, memory_left_bytes, quota_cores, throttled_s


@pytest.fixture
def system(tmp_path):
    """Makes a system of these groups (the lines of ``/proc/self/cgroup``) and files beneath ``/sys/fs/cgroup``."""

    def system(groups, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text("\n".join(groups) + "\n")
        for name, content in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return system


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (["0::/a/b"], {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        (["0::/a/b"], {"a/b/cpu.max": "max 100000\n"}, None),
        # the least on the way to the root counts
        (["0::/a/b"], {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        (["0::/a"], {"a/cpu.max": "400000 100000", "cpu.max": "200000 100000"}, 2.0),
        (["0::/"], {"cpu.max": "200000 100000"}, 2.0),
        (
            ["3:cpu,cpuacct:/a", "0::/"],
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "150000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            1.5,
        ),
        (["1:cpu:/"], {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        # a container that sees its own group as the root
        (
            ["1:cpu:/docker/abc"],
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        (["0::/../.."], {"cpu.max": "200000 100000"}, 2.0),
        (["2:cpuset:/a"], {"cpuset/a/cpu.max": "100000 100000"}, None),
        (["0::/a"], {"a/cpu.max": "rubbish"}, None),
        (["0::/a"], {"a/cpu.max": "100000 0"}, None),
        (["0::/a"], {}, None),
    ],
)
def test_the_quota_is_the_least_of_all_groups_around(system, groups, files, expected):
    assert expected == quota_cores(system(groups, files))


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (["0::/a"], {"a/cpuset.cpus.effective": "0-3,8\n"}, 5),
        (["0::/a/b"], {"cpuset.cpus.effective": "0-1\n"}, 2),
        (["5:cpuset:/a"], {"cpuset/a/cpuset.effective_cpus": "1"}, 1),
        (["5:cpuset:/a"], {"cpuset/a/cpuset.cpus": "0,2"}, 2),
        (["0::/a"], {"a/cpuset.cpus.effective": "\n"}, None),
        (["0::/a"], {"a/cpuset.cpus.effective": "0-x"}, None),
        (["0::/a"], {}, None),
    ],
)
def test_the_cores_that_are_granted_are_those_of_the_nearest_cpuset(
    system, groups, files, expected
):
    assert expected == granted_cores(system(groups, files))


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (["0::/a"], {"a/cpu.stat": "usage_usec 5\nthrottled_usec 1500000\n"}, 1.5),
        (["1:cpu:/a"], {"cpu/a/cpu.stat": "nr_throttled 3\nthrottled_time 2500000000\n"}, 2.5),
        (["0::/a"], {"a/cpu.stat": "usage_usec 5\n"}, None),
    ],
)
def test_the_time_held_back_is_read_in_its_unit(system, groups, files, expected):
    assert expected == throttled_s(system(groups, files))


MIB = 2**20


def memory_of(group, limit, used, files=0):
    """The files of a group with a limit of version 2."""
    limits = {
        "memory.max": limit,
        "memory.current": used,
        "memory.stat": f"anon 1\ninactive_file {files}",
    }
    return {f"{group}{name}": f"{value}\n" for name, value in limits.items()}


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (["0::/a"], memory_of("a/", 300 * MIB, 100 * MIB), 200 * MIB),
        # what files keep is given up when it is needed
        (["0::/a"], memory_of("a/", 300 * MIB, 300 * MIB, 20 * MIB), 20 * MIB),
        (["0::/a"], memory_of("a/", "max", 100 * MIB), None),
        (["0::/a"], memory_of("a/", 300 * MIB, 310 * MIB), 0),
        # the least on the way to the root counts
        (
            ["0::/a/b"],
            memory_of("a/b/", 500 * MIB, 0) | memory_of("a/", 300 * MIB, 250 * MIB),
            50 * MIB,
        ),
        (
            ["0::/a/b"],
            memory_of("a/b/", 100 * MIB, 90 * MIB) | memory_of("a/", 300 * MIB, 250 * MIB),
            10 * MIB,
        ),
        # limits of a group beside it are none of its own
        (["0::/a"], memory_of("b/", 1, 0), None),
        (
            ["4:memory:/a", "3:cpu:/c", "0::/"],
            {
                "memory/a/memory.limit_in_bytes": f"{300 * MIB}\n",
                "memory/a/memory.usage_in_bytes": f"{200 * MIB}\n",
                "memory/a/memory.stat": f"inactive_file 7\ntotal_inactive_file {MIB}\n",
            },
            101 * MIB,
        ),
    ],
)
def test_the_memory_that_is_left_is_the_least_of_all_groups_around(system, groups, files, expected):
    assert expected == memory_left_bytes(system(groups, files))


def test_a_system_without_control_groups_tells_nothing(tmp_path: Path):
    assert quota_cores(tmp_path) is granted_cores(tmp_path) is throttled_s(tmp_path) is None
