"""Says whose fault it is that a gate measured nothing: exits with 0 where it is not the new version's, else 1.

    python tools/gate_blame.py RECORD MESSAGES

RECORD is the gate's record, which need not be there, MESSAGES a file with what it printed on stderr.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dlbench.gate import schema


def main() -> None:
    """Reads both files and exits."""
    path, said = map(Path, sys.argv[1:])
    sys.exit(0 if excused(path, said.read_text("utf-8", "replace")) else 1)


def excused(path: Path, said: str) -> bool:
    """Whether the base is broken and the new version is not, or the gate came to an end without either.

    Raises
    ------
    DlbenchError : the file is not a gate's record.
    """
    if not path.exists():
        # a version that does not build ends the gate before there is a record
        return " does not build" in said and "working tree does not build" not in said
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
