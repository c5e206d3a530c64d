"""What processes saw of the device they ran on, as cells of the table.

A device is named by what was observed there and not by what was asked for, since an index means another GPU as
soon as an environment variable says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlbench.analyse.columns import COPIES, Column, Row
from dlbench.analyse.statistics import median, process_summary
from dlbench.record.facts import PEAK_MEMORY
from dlbench.record.schema import Process
from dlbench.text import seconds, size

FACTS = ("tf32", "cudnn", "cudnn_benchmark")
"""What sessions say of the arithmetic and the libraries behind it."""


def _on_device(form: Callable[[float], str], name: str) -> Callable[[Row], str]:
    """The text of a figure that only a device of its own has."""
    return lambda row: "" if row.case.on_host or row[name] is None else form(row[name])


COLUMNS: tuple[Column, ...] = (
    *(Column(name) for name in FACTS),
    Column(
        "device_s",
        "float64",
        sections=(COPIES,),
        title="device time",
        show=_on_device(seconds, "device_s"),
        priority=13,
    ),
    Column(
        PEAK_MEMORY,
        "float64",
        sections=(COPIES,),
        title="peak device memory",
        show=_on_device(size, PEAK_MEMORY),
        priority=12,
    ),
)
"""`device_s` is the median over processes of the median step by the device's own clock (s), the peak the most that the
framework's own allocator had in use in any process."""


def device_cells(processes: Sequence[Process]) -> dict[str, str | float]:
    """The cells of a row from the processes that measured it; what none of them saw is left out."""
    cells: dict[str, str | float] = {}
    for name in ("device_name", "device_uuid", *FACTS):
        seen = dict.fromkeys(str(_observed(line, name)) for line in processes)
        seen.pop("None", None)
        if seen:
            cells[name] = " and ".join(seen)
    medians_s = [process_summary(line.device_ns) for line in processes if line.device_ns]
    if medians_s:
        cells["device_s"] = median(medians_s)
    peaks = [line.facts.get(PEAK_MEMORY) for line in processes]
    known = [peak for peak in peaks if isinstance(peak, int)]
    if known:
        cells[PEAK_MEMORY] = float(max(known))
    return cells


def _observed(line: Process, name: str) -> str | int | None:
    """A fact of the session; cuDNN's version also from the libraries, when no session told it."""
    fact = line.facts.get(name)
    return line.libraries.get("cudnn") if fact is None and name == "cudnn" else fact
