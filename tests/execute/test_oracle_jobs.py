import os
import sys
import time

import numpy as np

from dlbench.execute.oracle_jobs import started
from dlbench.worker.launch import Launch, worker_environment

LAUNCH = Launch(worker_environment(1), 60.0)


def test_jobs_run_beside_and_each_has_its_result(tiny, tmp_path):
    right = {"workload": tiny.workload.to_table(), "cache_dir": str(tmp_path), "seed": None}
    right |= {"batch": 4, "precision": "fp32", "replicas": 1}
    wrong = right | {"workload": {"layers": "none"}}
    with started({(4, "fp32"): right, (8, "fp32"): wrong}, LAUNCH) as references:
        failure = references.failure((8, "fp32"))
        assert "failed" == failure.status
        assert failure.reason.startswith("the float64 oracle could not be computed: ")
        assert [failure.reason] == references.failures()
        assert references.failure((4, "fp32")) is None


def test_one_process_does_what_goes_well_and_none_is_left_when_all_is_done(tiny, tmp_path):
    pids, python = tmp_path / "pids", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho $$ >> {pids}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    right = {"workload": tiny.workload.to_table(), "cache_dir": str(tmp_path), "seed": None}
    right |= {"precision": "fp32", "replicas": 1}
    jobs = {(batch, "fp32", 1): {**right, "batch": batch} for batch in (2, 4, 6)}
    wrong = {**right, "batch": 8, "workload": {"layers": "none"}}
    launch = Launch(LAUNCH.environment, 60.0, str(python))
    with started({**jobs, (8, "fp32", 1): wrong}, launch) as references:
        assert 1 == len(references.failures())
        first = pids.read_text().split()
        references.want({(10, "fp32", 1): {**right, "batch": 10}})
        assert 1 == len(references.failures())
        every = pids.read_text().split()
        assert (1, 2) == (len(first), len(every))
        assert not any(os.path.exists(f"/proc/{pid}") for pid in every)


def test_parts_beside_each_other_leave_what_one_job_leaves(tiny, tmp_path):
    whole, parted = (
        {
            "workload": tiny.workload.to_table(),
            "cache_dir": str(tmp_path / name),
            "seed": None,
            "precision": "fp32",
            "replicas": 1,
        }
        for name in ("whole", "parted")
    )
    for job, parts in ((whole, False), (parted, True)):
        jobs = {(batch, "fp32", 1): {**job, "batch": batch} for batch in (4, 6)}
        with started(jobs, LAUNCH, parts) as references:
            assert [] == references.failures()
    files = [sorted((tmp_path / name).rglob("*.npz")) for name in ("whole", "parted")]
    assert [file.name for file in files[0]] == [file.name for file in files[1]]
    for one, other in zip(*files, strict=True):
        with np.load(one) as first, np.load(other) as second:
            assert first.files == second.files
            for name in first.files:
                np.testing.assert_array_equal(first[name], second[name])


def test_what_is_not_done_at_the_end_is_stopped(tmp_path):
    pid_file, python = tmp_path / "pid", tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\necho $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 1000\n"
    )
    python.chmod(0o755)
    launch = Launch(LAUNCH.environment, 1000.0, str(python))
    with started({(1, "fp32"): {}, (2, "fp32"): {}}, launch) as references:
        end = time.monotonic() + 30
        while not pid_file.exists() and time.monotonic() < end:
            time.sleep(0.05)
        pid = pid_file.read_text().strip()
        assert os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(f"/proc/{pid}")
    assert "stopped in interpreter" in references.failure((1, "fp32")).reason
