import os
import time

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
