"""Charts of results: the same that ``dlbench report --chart`` draws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from dlbench import plugins
from dlbench.analyse.table import Report
from dlbench.api.arguments import place
from dlbench.errors import UsageError


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Chart:
    """One drawing, which a notebook shows. The same results give the same bytes.

    Attributes
    ----------
    name : which chart it is, like ``speedup``.
    """

    name: str
    _draw: Callable[[str], bytes]

    def svg(self) -> str:
        """The drawing as SVG."""
        return self._draw("svg").decode()

    def png(self) -> bytes:
        """The drawing as PNG."""
        return self._draw("png")

    def save(self, path: str | Path) -> Path:
        """Writes the drawing into a file, whose name ends with .svg or .png; where it is.

        Raises
        ------
        UsageError : the name ends otherwise.
        OSError : it cannot be written.
        """
        where = place("path", path)
        form = where.suffix.removeprefix(".").lower()
        if form not in ("svg", "png"):
            raise UsageError(f"{where}: name a file that ends with .svg or .png")
        where.write_bytes(self._draw(form))
        return where

    def __repr__(self) -> str:
        return f"<chart {self.name}>"

    def _repr_svg_(self) -> str:
        return self.svg()


class Plots:
    """The charts that there are of results. Rows that are not verified are never drawn as results.

    Each raises a `dlbench.UsageError` where there is nothing to draw, which says how to get it, and a
    `dlbench.DlbenchError` where what draws is not installed (``pip install 'dlbench[charts]'``).
    """

    def __init__(self, report: Callable[[], Report]) -> None:
        self._report = report

    def chart(self, name: str) -> Chart:
        """A chart by the word of ``dlbench report --chart``.

        Raises
        ------
        UsageError : there is no such chart, or nothing to draw.
        DlbenchError : what draws is not installed.
        """
        draw = plugins.load_reporter(name, plugins.CHARTS)
        report = self._report()
        # drawn at once, so that what is wrong is told here and not by a notebook
        drawn = {"svg": draw(report, "svg")}
        return Chart(name, lambda form: drawn.get(form) or draw(report, form))

    def speedup(self) -> Chart:
        """How many times as fast each row is as the baseline, with intervals, on a log axis; each round a dot."""
        return self.chart("speedup")

    def time(self) -> Chart:
        """What a step takes (s), with intervals; each process a dot."""
        return self.chart("time")

    def throughput(self) -> Chart:
        """Samples a second by batch size."""
        return self.chart("throughput")

    def latency(self) -> Chart:
        """What a step takes (s) by batch size."""
        return self.chart("latency")

    def layers(self) -> Chart:
        """What each layer of a profiled step takes (s)."""
        return self.chart("layers")

    def roofline(self) -> Chart:
        """The layers of a profiled step under the machine's measured ceilings."""
        return self.chart("roofline")

    def cold_start(self) -> Chart:
        """What comes before the steady steps (s)."""
        return self.chart("cold-start")

    def pay_off(self) -> Chart:
        """Seconds against steps: where a compiled row has paid for its start."""
        return self.chart("pay-off")

    def percentiles(self) -> Chart:
        """Percentiles of the latency of queries (s), with intervals."""
        return self.chart("percentiles")

    def rates(self) -> Chart:
        """A server's latency (s) against the rate of queries."""
        return self.chart("rates")

    def training(self) -> Chart:
        """Loss and accuracy against steps and seconds."""
        return self.chart("training")

    def precisions(self) -> Chart:
        """Speed against accuracy across precisions."""
        return self.chart("precisions")

    def telemetry(self) -> Chart:
        """What device and host did while rows were timed."""
        return self.chart("telemetry")

    def errors(self) -> Chart:
        """The largest error of each row as a share of its tolerance."""
        return self.chart("errors")

    def disturbance(self) -> Chart:
        """What else used the machine while each process was timed."""
        return self.chart("disturbance")
