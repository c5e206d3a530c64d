"""How long the program takes over a record of 10,000 rows and over a history of 100,000, and how much memory.

Time and memory are shown and stand in `extra_info` (`--benchmark-json`). They should stay under 5 s and 1 GB for the
report and under 1 s for the history; the time is not asserted, since a machine that does something else besides takes
longer, the memory of the report is.
"""

import os
import sys
import time

import large
import pytest


def run(output, *words):
    """Runs the program, its answer into a file; wall time (s) and the most memory it had (bytes)."""
    with output.open("wb") as file:
        begin = time.perf_counter()
        code = "from dlbench.cli.main import main; main()"
        child = os.posix_spawn(
            sys.executable,
            [sys.executable, "-c", code, *map(str, words)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 1)],
        )
        _, status, used = os.wait4(child, 0)
    assert status == 0
    return time.perf_counter() - begin, used.ru_maxrss * 1024


MOST_MEMORY = 10**9


def measured(benchmark, capsys, output, *words):
    """Shows the least time and the most memory of three runs; the memory (bytes)."""
    seen = []
    benchmark.pedantic(lambda: seen.append(run(output, *words)), rounds=3)
    seconds, memory = min(s for s, _ in seen), max(m for _, m in seen)
    benchmark.extra_info.update(seconds=seconds, memory_bytes=memory)
    with capsys.disabled():
        sys.stdout.write(
            f"\n{' '.join(map(str, words[:2]))}: {seconds:.2f} s, {memory / 1e6:.0f} MB "
        )
    return memory


@pytest.mark.parametrize(("timings", "long"), [(100, 0), (100, 100)], ids=["short", "long"])
def test_a_report_of_10_000_rows(benchmark, capsys, tmp_path, timings, long):
    record = large.write(tmp_path / "large.jsonl", 10_000, timings, long)
    output = tmp_path / "out"
    memory = measured(benchmark, capsys, output, "report", record, "--format", "json")
    assert memory < MOST_MEMORY


@pytest.mark.parametrize("shape", [(1_000, 100), (10_000, 10)], ids=["wide", "deep"])
@pytest.mark.parametrize("words", [[], ["numpy:cpu/train/1 "]], ids=["list", "series"])
def test_a_history_of_100_000_rows(benchmark, capsys, tmp_path, shape, words):
    database = large.write_history(tmp_path / "history.sqlite", *shape)
    measured(benchmark, capsys, tmp_path / "out", "history", "show", *words, "--database", database)


LARGEST_PAGE = 2_000_000


def test_a_page_of_1_000_rows_and_a_million_timings(benchmark, capsys, tmp_path):
    record = large.write(tmp_path / "large.jsonl", 1_000, 334, 0)
    output = tmp_path / "out"
    memory = measured(benchmark, capsys, output, "report", record, "--format", "html")
    assert memory < MOST_MEMORY
    assert output.stat().st_size < LARGEST_PAGE
