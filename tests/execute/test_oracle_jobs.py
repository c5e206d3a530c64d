import os
import time

from dlbench.execute.oracle_jobs import started
from dlbench.worker.launch import Launch, worker_environment

LAUNCH = Launch(worker_environment(1), 60.0)
NULL = {"job": "null"}


def test_jobs_run_beside_and_each_has_its_result():
    with started({1: NULL, 2: {"job": "no such job"}}, LAUNCH) as background:
        assert "failed" == background.result(2).status
        assert background.result(1).result.seconds


def test_what_is_not_done_at_the_end_is_stopped(tmp_path):
    (tmp_path / "pid").touch()
    look = {"job": "look", "adapter": "broken_adapters:SleepsInInfo", "open": False, "threads": 1}
    environment = LAUNCH.environment | {"PID_FILE": str(tmp_path / "pid")}
    launch = Launch(environment, 1000.0)
    with started({1: look, 2: look}, launch) as background:
        end = time.monotonic() + 30
        while not (pid := (tmp_path / "pid").read_text()) and time.monotonic() < end:
            time.sleep(0.05)
        assert os.path.exists(f"/proc/{pid}")
    assert not os.path.exists(f"/proc/{pid}")
    assert "stopped in import" == background.result(1).reason
