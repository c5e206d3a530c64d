"""Slurm itself, its controller and a node on this machine: a task that is killed and queued again goes on, and what is
merged is what one run would have measured."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dlbench.analyse.outcomes import outcomes
from dlbench.cluster import submission
from dlbench.cluster.task import record_of
from dlbench.execute.tasks import missing
from dlbench.host.machine import usable_cores
from dlbench.record.file import read_record
from dlbench.record.schema import Process, Resumed, Verification

NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(
        not all(map(shutil.which, NEEDED)) or os.geteuid() != 0,
        reason="takes root and Debian's packages slurmctld, slurmd, slurm-client and munge",
    ),
]
CONFIGURATION = """\
ClusterName=dlbench
SlurmctldHost={host}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/node.pid
SlurmctldLogFile={folder}/controller.log
SlurmdLogFile={folder}/node.log
SlurmctldPort={controller}
SlurmdPort={node}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobRequeue=1
KillWait=5
NodeName={host} CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROGRAM = [sys.executable, "-c", "from dlbench.cli.main import main; main()"]
SHARDS, ROUNDS = 4, 24


def free_port():
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return asked.getsockname()[1]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A cluster of one node: the environment in which its commands find it."""
    # munge refuses a socket in a folder that others may write to, and long paths
    folder = Path(tmp_path_factory.mktemp("slurm"))
    for part in (folder, *folder.parents[:2]):
        part.chmod(0o755)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host = socket.gethostname().partition(".")[0]
    names = {"host": host, "folder": folder, "cores": os.cpu_count()}
    ports = {"controller": free_port(), "node": free_port()}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**names, **ports))
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    munge = [f"--{name}={folder}/munge.{end}" for name, end in MUNGE.items()]
    subprocess.run(["munged", "--force", *munge], check=True)
    try:
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=environment, check=True)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            asked = ["sinfo", "--noheader", "--format=%T"]
            if (
                "idle"
                in subprocess.run(asked, env=environment, capture_output=True, text=True).stdout
            ):
                break
            time.sleep(0.5)
        else:
            pytest.fail((folder / "controller.log").read_text()[-2000:])
        yield environment
    finally:
        for name in ("node.pid", "controller.pid", "munge.pid"):
            if (folder / name).exists():
                os.kill(int((folder / name).read_text()), signal.SIGTERM)


MUNGE = {
    "socket": "socket",
    "key-file": "key",
    "pid-file": "pid",
    "log-file": "log",
    "seed-file": "seed",
}


@pytest.fixture
def submit(slurm, tmp_path, cache_dir):
    def submit(*words):
        return subprocess.Popen(
            [*PROGRAM, "submit", *map(str, words)],
            cwd=tmp_path,
            env=slurm | {"DLBENCH_CACHE_DIR": str(cache_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return submit


def words_of(suite):
    return [
        *("--suite", suite, "--backend", "numpy", "--scenario", "train", "--threads", 1),
        *("--budget", 2.4, "--rounds", ROUNDS, "--max-wait", 0),
    ]


def test_four_shards_of_which_one_is_queued_again_are_the_record_of_one_run(
    submit, slurm, tiny_file, tmp_path, cache_dir
):
    folder = tmp_path / "dealt"
    begun = submit(
        *("--slurm", "--shards", SHARDS, "--detach", "--folder", folder, "--"), *words_of(tiny_file)
    )
    told = begun.communicate()[1]
    assert begun.returncode == 0, told
    jobs = submission.read(folder).jobs
    assert len(jobs) == SHARDS
    end = time.monotonic() + 240
    while time.monotonic() < end and not timed(folder, 2):
        time.sleep(0.05)
    subprocess.run(["scontrol", "requeue", jobs[1]], env=slurm, check=True)
    waited = submit("--attach", folder)
    told, said = waited.communicate(timeout=300)
    assert waited.returncode == 0, said
    assert "4 parts of 1 machine" in said
    assert "numpy" in told
    assert any(isinstance(line, Resumed) for line in read_record(record_of(folder, 2)).lines)
    record = read_record(folder / "merged.jsonl")
    assert () == missing(record)
    assert record.end.status == "complete"
    rounds = [line.round for line in record.lines if isinstance(line, Process)]
    assert sorted(rounds) == list(range(1, ROUNDS + 1))
    # what one process of one run on this machine would have written, but for times
    alone = tmp_path / "alone.jsonl"
    words = ["run", *words_of(tiny_file), "--output", alone, "--quiet"]
    environment = os.environ | {"DLBENCH_CACHE_DIR": str(cache_dir)}
    subprocess.run([*PROGRAM, *map(str, words)], env=environment, check=True, capture_output=True)
    assert rows_of(read_record(alone)) == rows_of(record)


def rows_of(record):
    """What a record says, but for what differs from run to run: times, and what a time decides."""
    header = record.header
    return (
        (header.suite, header.workload, header.data, header.seed, header.rounds, header.cases),
        {
            (line.case, line.round, line.status, line.version)
            for line in record.lines
            if isinstance(line, Process)
        },
        {
            (line.case, line.status, line.checks, line.loss_difference, line.version)
            for line in record.lines
            if isinstance(line, Verification)
        },
        [(each.case, each.status, each.verified, len(each.timed)) for each in outcomes(record)],
    )


def timed(folder, index):
    try:
        return b'{"kind":"process"' in record_of(folder, index).read_bytes()
    except OSError:
        return False


def test_a_job_that_was_cancelled_is_told_and_the_others_are_merged(
    submit, slurm, tiny_file, tmp_path
):
    folder = tmp_path / "dealt"
    begun = submit(
        *("--slurm", "--shards", 2, "--detach", "--folder", folder, "--"), *words_of(tiny_file)
    )
    assert (begun.communicate(), begun.returncode)[1] == 0
    subprocess.run(["scancel", submission.read(folder).jobs[1]], env=slurm, check=True)
    waited = submit("--attach", folder)
    said = waited.communicate(timeout=300)[1]
    assert waited.returncode == 1
    assert "shard 2/2: it left the queue without a result" in said
    assert "! batch 32: 12 rounds not measured" in said


def test_a_shard_that_no_node_is_fit_for_ends_with_the_reason(submit, tiny_file, tmp_path):
    too_many = usable_cores() + 1
    asked = submit(
        *("--slurm", "--folder", tmp_path / "dealt", "--", *words_of(tiny_file)),
        *("--threads", too_many, "--max-wait", 1),
    )
    said = asked.communicate(timeout=300)[1]
    assert asked.returncode == 1
    assert "is not fit to measure: confined to" in said
    assert "! shard 1/1: no node is fit to measure; dlbench doctor tells" in said


def test_what_slurm_refuses_is_told_in_its_words(submit, tiny_file, tmp_path):
    asked = submit(
        *("--slurm", "--partition", "nowhere", "--folder", tmp_path / "dealt", "--"),
        *words_of(tiny_file),
    )
    said = asked.communicate()[1]
    assert asked.returncode == 2
    assert "invalid partition" in said
