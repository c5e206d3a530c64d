"""Reads the step times of processes that all ran the same code: a record of `dlbench gate --calibrate`, or a CSV file
as they were recorded before there was one."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dlbench.errors import DlbenchError
from dlbench.gate import schema
from dlbench.gate.calibration import stream_of
from dlbench.gate.pairs import summary


def read_timings(path: Path) -> list[npt.NDArray[np.float64]]:
    """The step times of a recording's processes, in the order in which they ran.

    Parameters
    ----------
    path : a calibration's record, or a CSV file, gzipped where it is called ``.gz``: a header line, then one row a
        process, its number and its step times in any one unit.

    Raises
    ------
    DlbenchError : the file is not of this form.
    """
    if schema.is_one(path):
        halves = (line for line in schema.read(path).lines if isinstance(line, schema.Half))
        return [np.array(half.process.timings_ns, np.float64) for half in halves]
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt") as file:
            rows = [row[1:] for row in csv.reader(file)][1:]
        timings = [np.array([float(time) for time in row]) for row in rows]
        for each in timings:
            summary(each)
    except (ValueError, OSError, EOFError, csv.Error) as error:
        raise DlbenchError(
            f"{path}: not a recording of processes (number, then step times): {error}"
        ) from None
    return timings


def read_stream(path: Path) -> npt.NDArray[np.float64]:
    """ln(second / first) of a recording's pairs: those that lived side by side in a calibration, and of a CSV file each
    process and the next.

    Raises
    ------
    DlbenchError : the file is not of either form.
    """
    if schema.is_one(path):
        return stream_of(schema.read(path))
    return paired([summary(timings) for timings in read_timings(path)])


def paired(summaries: Sequence[float] | npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """ln(second / first) of processes that ran one after the other, two by two."""
    logs = np.log(np.asarray(summaries, np.float64))[: len(summaries) // 2 * 2]
    differences: npt.NDArray[np.float64] = logs[1::2] - logs[::2]
    return differences
