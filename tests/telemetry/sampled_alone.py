"""Samples beside itself as a run would beside a worker, and writes a record: run under the stub library.

Arguments: the record, facts as JSON, the window's seconds, and "path=text" of a file to write after a third of it. The
process stands for a worker whose case has steps of 10 ms.
"""

import json
import os
import sys
import time
from pathlib import Path

from dlbench.host import interference, process_tree
from dlbench.record import schema as r
from dlbench.record.file import Writer
from dlbench.telemetry.watch import Watcher

PERIOD_S = 0.02
CREATED = "2026-11-20T12:00:00Z"
CASE = r.Case("tiny", "train", "stand-in", "cuda", 50, 1, "fp32", "")


def main(path, facts, seconds, midway):
    machine = r.Machine(None, None, None, 1, None, (), "test", "3", {})
    data = r.Data("noise", "noise", "00", False)
    writer = Writer(Path(path))
    writer.write(
        r.Header(
            r.SCHEMA, CREATED, "", "tiny", "", {}, "00", 1, 1, 3, data, 0, 1, 1.0, machine, (CASE,)
        )
    )
    check = r.Check("output", "", 0.0, 0.0, 0.0, 1.0, 1.0, True)
    writer.write(r.Verification(CASE, "ok", "", (check,), 0.0, 0, "1", {}, {}))
    listed = Path(os.environ["STAND_IN_STATE"]) / "pids"
    listed.write_text(f"{os.environ['STAND_IN_PIDS']} {os.getpid()}")
    watcher = Watcher(PERIOD_S, lambda case: "nvml")
    with watcher.beside(CASE, 1) as watch:
        watch.opened(os.getpid(), json.loads(facts))
        time.sleep(5 * PERIOD_S)
        watch.on_turn()
        before = interference.read()
        started_ns = time.perf_counter_ns()
        time.sleep(float(seconds) / 3)
        if midway:
            file, _, text = midway.partition("=")
            Path(file).write_text(text)
        time.sleep(float(seconds) * 2 / 3)
        ended_ns = time.perf_counter_ns()
        during = interference.between(before, interference.read())
        watch.off_turn()
    lines = watch.lines()
    watcher.close()
    steps = round((ended_ns - started_ns) * 1e-9 / 0.01)
    writer.write(
        r.Process(
            CASE,
            1,
            "ok",
            "",
            timings_ns=(10_000_000,) * steps,
            started_ns=started_ns,
            ended_ns=ended_ns,
            block_steps=(steps,),
            block_started_ns=(started_ns,),
            block_ended_ns=(ended_ns,),
            during=during,
            peak_memory_bytes=process_tree.peak_memory_bytes(),
            checks=(check,),
        )
    )
    for line in lines:
        writer.write(line)
    writer.write(r.End("complete", 1.0, {}, None))


main(*sys.argv[1:])
