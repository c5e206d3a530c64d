"""Says whose fault it is that a gate measured nothing: exits with 0 where it is not the new version's, else 1.

    python tools/gate_blame.py RECORD BASE

RECORD is the gate's record. Where it is not there, both versions are built once more, the working tree and the commit
BASE, since one that does not build ends the gate before there is a record.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from dlbench.gate import schema
from dlbench.gate.build import BuildError, built, root_of

BUILD_S = 120.0
"""For how long the two versions may be built."""


def main() -> None:
    """Reads both files and exits."""
    path, base = sys.argv[1:]
    sys.exit(0 if excused(Path(path), base) else 1)


def excused(path: Path, base: str) -> bool:
    """Whether the base is broken and the new version is not, or the gate came to an end without either.

    Raises
    ------
    DlbenchError : the file is not a gate's record.
    """
    if not path.exists():
        try:
            with built(root_of(Path.cwd()), base, until_s=time.monotonic() + BUILD_S):
                return False
        except BuildError as error:
            return error.broken == {"base"}
    lines = schema.read(path).lines
    broken = {
        line.arm
        for line in lines
        if (isinstance(line, schema.Verified) and line.verification.status != "ok")
        or (isinstance(line, schema.Half) and line.process.status != "ok")
    }
    if broken:
        return broken == {"base"}
    return any(
        (isinstance(line, schema.Beside) and line.status == "inconclusive")
        or (isinstance(line, schema.End) and line.status == "budget")
        for line in lines
    )


if __name__ == "__main__":
    main()
