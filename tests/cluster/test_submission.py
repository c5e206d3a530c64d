"""A run dealt out by the executor of this machine, which takes the path that a batch system takes."""

import os
import signal
import subprocess
import sys
import time

import pytest

from dlbench.cluster import submission
from dlbench.cluster.fitness import unfit
from dlbench.cluster.submission import Submission
from dlbench.cluster.task import ShardTask, command, record_of
from dlbench.errors import UsageError
from dlbench.execute.tasks import missing
from dlbench.host.machine import usable_cores
from dlbench.record.file import read_record
from dlbench.record.schema import Process

PROGRAM = [sys.executable, "-c", "from dlbench.cli.main import main; main()"]


@pytest.fixture
def program(tmp_path, cache_dir):
    """Starts the program in a folder of its own."""

    def program(*words):
        environment = os.environ | {"DLBENCH_CACHE_DIR": str(cache_dir)}
        return subprocess.Popen(
            [*PROGRAM, *map(str, words)],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return program


def run_words(suite, rounds=3):
    return [
        *("--suite", suite, "--backend", "numpy", "--scenario", "train", "--threads", 1),
        *("--budget", 0.3, "--rounds", rounds, "--max-wait", 0, "--timeout", 100),
    ]


def test_two_shards_become_the_record_of_a_whole_run(program, tiny_file, tmp_path):
    folder = tmp_path / "dealt"
    words = ["submit", "--local", "--shards", 2, "--folder", folder, "--", *run_words(tiny_file)]
    done = program(*words)
    told, said = done.communicate()
    assert done.returncode == 0, said
    assert "shard 1/2: running" in said
    assert "2 parts of 1 machine" in said
    assert "numpy" in told
    record = read_record(folder / "merged.jsonl")
    assert () == missing(record)
    assert {1, 2, 3} == {line.round for line in record.lines if isinstance(line, Process)}
    # each shard has its own rounds and nothing else
    assert [{1, 3}, {2}] == [
        {
            line.round
            for line in read_record(record_of(folder, index)).lines
            if isinstance(line, Process)
        }
        for index in (1, 2)
    ]
    again = program(*words)
    said = again.communicate()[1]
    assert again.returncode == 2
    assert f"to see it: dlbench submit --attach {folder}" in said


def test_what_was_broken_off_goes_on_where_it_was(program, tiny_file, tmp_path):
    folder = tmp_path / "dealt"
    rounds = 12
    begun = program(
        *("submit", "--local", "--shards", 2, "--folder", folder, "--"),
        *run_words(tiny_file, rounds),
    )
    end = time.monotonic() + 300
    while time.monotonic() < end and begun.poll() is None:
        if timed(folder, 1) >= 2:
            break
        time.sleep(0.02)
    begun.send_signal(signal.SIGINT)
    said = begun.communicate()[1]
    assert begun.returncode == 130, said
    assert f"to go on: dlbench submit --attach {folder}" in said
    first = record_of(folder, 1).read_bytes()
    assert timed(folder, 1) < rounds / 2
    done = program("submit", "--attach", folder)
    said = done.communicate()[1]
    assert done.returncode == 0, said
    assert record_of(folder, 1).read_bytes().startswith(first)
    record = read_record(folder / "merged.jsonl")
    assert () == missing(record)
    rounds_there = [line.round for line in record.lines if isinstance(line, Process)]
    assert sorted(rounds_there) == list(range(1, rounds + 1))


def timed(folder, index):
    try:
        lines = record_of(folder, index).read_bytes().splitlines()
    except OSError:
        return 0
    return sum(line.startswith(b'{"kind":"process"') for line in lines)


def test_a_shard_that_fails_is_named_with_its_log_and_the_others_are_shown(tmp_path, monkeypatch):
    def broken(words, record, shard):
        return [
            sys.executable,
            "-c",
            "import sys; print('no such device', file=sys.stderr); sys.exit(4)",
        ]

    monkeypatch.setattr("dlbench.cluster.task.command", broken)
    handed = submission.submit(tmp_path / "dealt", "local", ("--suite", "ci"), 1, {})
    # submitit's worker is another process, which has the real command: words that it refuses
    (ended,) = submission.follow(tmp_path / "dealt", Submission("local", ("--nonsense",), 1), print)
    assert "exit code 2" in ended.trouble
    assert "No such option" in ended.log.read_text()
    assert [] == submission.records(tmp_path / "dealt", handed)


def test_a_machine_that_is_not_fit_gives_its_shard_back_with_the_reason_and_what_to_do(
    program, tiny_file, tmp_path
):
    folder, too_many = tmp_path / "dealt", usable_cores() + 1
    words = [*run_words(tiny_file), "--threads", too_many, "--max-wait", 1]
    done = program("submit", "--local", "--folder", folder, "--", *words)
    said = done.communicate()[1]
    assert done.returncode == 1, said
    assert "! shard 1/1: this machine is not fit to measure: confined to" in said
    assert f"for {too_many} threads" in said
    assert "--max-wait 0 measures all the same" in said
    assert "no shard has measured anything" in said
    assert not record_of(folder, 1).exists()
    # and whoever does not wait is not asked
    assert "" == unfit(too_many, 0.0)


def test_a_shard_is_handed_on_to_a_node_that_did_not_give_one_back(tmp_path, monkeypatch):
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho node-a\necho node-b\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {"node-b"} == submission.other_nodes({"node-a": "busy"}, "all")
    with pytest.raises(UsageError, match="no node is fit to measure; dlbench doctor tells"):
        submission.other_nodes({"node-a": "busy", "node-b": "hot"}, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shards", "2"], "say where: --slurm, or --local"),
        (["--local", "--detach"], "--detach is for --slurm"),
        (["--local", "--", "--shard", "1/2"], "--shard is set for each shard by itself"),
        (["--local", "--", "--output", "x.jsonl"], "--output is set for each shard by itself"),
        (["--local", "--", "--rounds", "no"], "'no' is not a valid integer"),
        (["--slurm"], "there is no sbatch here"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_before_anything_is_begun(
    words, said, tmp_path, monkeypatch, capsys
):
    from dlbench.cli.main import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert 2 == cli.main(["submit", *words], standalone_mode=False)
    assert said in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())


def test_a_folder_without_a_submission_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no submission"):
        submission.read(tmp_path)
    (tmp_path / submission.DESCRIPTION).write_text("{")
    with pytest.raises(UsageError, match="cannot be read"):
        submission.read(tmp_path)


def test_an_attempt_that_was_taken_off_its_node_is_resumed(tmp_path):
    task = ShardTask(tmp_path, ("--suite", "ci"), 2, 3)
    record = record_of(tmp_path, 2)
    begun = command(task.words, record, "2/3")
    assert ["--shard", "2/3", "--output", str(record), "--quiet"] == begun[-5:]
    record.write_text("{}\n")
    resumed = command(task.words, record, "2/3")
    assert ["--shard", "2/3", "--resume", str(record), "--quiet"] == resumed[-5:]
    assert task.checkpoint().function == task
