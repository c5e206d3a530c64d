"""The command line in a process of its own, with an end to memory and time, for input that may be anything.

One process carries out one command after the other, since its start costs more than most of them. Looking at the
backends is left out, which would start others each time; everything up to there is real.
"""

import contextlib
import io
import json
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

ADDRESSES_BYTES = 6 * 2**30
"""Enough for libraries that map much and use little."""
MOST_CPU_S, MOST_BYTES = 10, 10**9


def peak_bytes():
    """The most memory that this process has had in use since `forget_peak`, or since its program was begun: what
    `getrusage` says may be that of the process which began it."""
    [peak] = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(peak)


def forget_peak():
    """From now on, the peak is that of what is to come (proc(5), clear_refs); what is in use at this moment."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_bytes()


class Confined:
    """The process; its answers are tables with ``code``, ``told``, ``cpu_s`` and ``peak_bytes``."""

    def __enter__(self):
        self._child = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *error):
        self._child.kill()
        self._child.communicate()

    def answer(self, *words):
        """What became of a command; one that ends the process is a failure of the test."""
        self._child.stdin.write(json.dumps(words) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        assert line, f"the process ended with {self._child.wait()}"
        return json.loads(line)

    def holds(self, *words):
        """Carries out a command, which must end well or with an error that says why, within its bounds."""
        found = self.answer(*words)
        assert found["code"] in (0, 2, 4), found
        assert "itself failed" not in found["told"], found
        assert found["code"] == 0 or found["told"].startswith("error: "), found
        assert len(found["told"]) < 2000, found
        assert found["cpu_s"] < MOST_CPU_S, found
        assert found["peak_bytes"] < MOST_BYTES, found


def _serve():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    from dlbench.cli.main import cli
    from dlbench.contract import Device
    from dlbench.execute import runner
    from dlbench.plan.backend_status import Found

    seen = Found("ok", modes=("eager",), devices=(Device("cpu", "a CPU"),), seconds=0.1)
    runner.look_at = lambda names, **options: dict.fromkeys(names, seen)
    answers = sys.stdout
    for line in sys.stdin:
        told, begin_s = io.StringIO(), time.process_time()
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(io.StringIO()):
            code = cli.main(json.loads(line), standalone_mode=False)
        found = {"code": code, "told": told.getvalue(), "cpu_s": time.process_time() - begin_s}
        answers.write(json.dumps(found | {"peak_bytes": peak_bytes()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
