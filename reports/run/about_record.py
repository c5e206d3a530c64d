"""What a report says of a whole record, in lines: what, where, and how far it can be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dlbench.analyse.columns import Row
from dlbench.analyse.self_check import SelfMeasurement
from dlbench.analyse.statistics import Estimate, medians_by_node
from dlbench.analyse.table import Run
from dlbench.record.comparability import began_with, facts_of, package_list
from dlbench.text import one_line, percent, plural, seconds, si


def title(run: Run) -> str:
    """What was measured, on which data."""
    header = run.header
    return " · ".join(
        [
            header.suite,
            f"{header.parameter_count:,} parameters",
            f"{si(header.training_flops)}FLOP/sample training",
            f"data: {one_line(header.data.source) or header.data.name}",
            *filter(None, [began_with(header).strip()]),
        ]
    )


def machine(run: Run) -> str:
    """Where it was measured; what could not be read is said to be unknown."""
    found = run.header.machine
    memory = facts_of(run.header).get("memory", "memory unknown")
    cores = plural(found.usable_cores, "core")
    threads = sorted({case.threads for case in run.header.cases})
    parts = [f"{found.cpu or 'CPU unknown'}, {cores}, {memory}", ", ".join(found.gpus) or "no GPU"]
    if threads:
        parts.append(f"{', '.join(map(str, threads))} thread{'s' if threads != [1] else ''}")
    precisions = {case.precision for case in run.header.cases}
    if len(precisions) == 1:
        parts += precisions
    if run.peak_flops_per_s:
        rates = (f"{si(rate)}FLOP/s" for rate in run.peak_flops_per_s.values())
        parts.append(f"SGEMM {', '.join(rates)}")
    return " · ".join(parts)


def closing(run: Run) -> tuple[str, ...]:
    """What stands beneath the tables of a record."""
    return (
        *_devices(run.rows),
        *_environments(run),
        *_machines_apart(run),
        *_remarks(run.rows),
        *_damage(run),
        accounting(run),
    )


def _damage(run: Run) -> Iterator[str]:
    numbers = run.record.damaged
    if numbers:
        lines = plural(len(numbers), "line")
        which = ", ".join(map(str, numbers[:5])) + (", …" if len(numbers) > 5 else "")
        yield f"! {lines} of this record cannot be read and {'is' if len(numbers) == 1 else 'are'} left out: {which}"


def telemetry_unknown(rows: Sequence[Row]) -> list[str]:
    """Why telemetry is missing, a sentence for each reason that rows share."""
    who: dict[str, list[str]] = {}
    for row in rows:
        if row["telemetry_unknown"]:
            who.setdefault(one_line(row["telemetry_unknown"]), []).append(row.case.label)
    return [f"unavailable for {', '.join(labels)}: {why}" for why, labels in who.items()]


def _devices(rows: Sequence[Row]) -> list[str]:
    """What was observed of the devices that rows ran on."""
    told: dict[str, str] = {}
    for row in rows:
        facts = [
            row["device_name"],
            row["device_uuid"],
            row["cudnn"] and f"cuDNN {row['cudnn']}",
            row["tf32"] and f"TF32 {row['tf32']}",
            row["cudnn_benchmark"] and f"cudnn.benchmark {row['cudnn_benchmark']}",
        ]
        if not row.case.on_host and any(facts):
            who = f"{row['backend']}:{row['device']}"
            told.setdefault(who, f"{who}: {', '.join(one_line(fact) for fact in facts if fact)}")
    return list(told.values())


def _environments(run: Run) -> Iterator[str]:
    """What is installed where workers ran, where it is not the same for all backends; versions in full."""
    versions = {row["backend"]: one_line(row["version"]) for row in run.rows if row["version"]}
    if versions:
        yield f"versions: {', '.join(f'{name} {version}' for name, version in versions.items())}"
    names: dict[tuple[str, str, str], list[str]] = {}
    for backend, found in run.header.environments.items():
        numpy = found.packages.get("numpy", "unknown")
        names.setdefault((found.python, numpy, package_list(found)), []).append(backend)
    if len(names) > 1:
        for (python, numpy, listed), backends in names.items():
            who = ", ".join(backends)
            yield f"environment of {who}: Python {python}, NumPy {numpy}, {listed}"


def _machines_apart(run: Run) -> Iterator[str]:
    """Of a merged record, how far the machines are apart in each row, by the medians of each."""
    parts = run.record.merged
    if len({part.node for part in parts}) < 2:
        return
    yield (
        f"merged from {plural(len(parts), 'part')} of {plural(len({p.node for p in parts}), 'machine')};"
        " intervals are over machines"
    )
    for row in run.rows:
        by_node = medians_by_node(row.outcome.timed.values())
        if len(by_node) > 1:
            (least, low_s), *_, (most, high_s) = sorted(by_node.items(), key=lambda each: each[1])
            yield (
                f"{row.case.label}: from {seconds(low_s)} ({one_line(least)}) to {seconds(high_s)}"
                f" ({one_line(most)}), {percent(high_s / low_s - 1)} apart"
            )


def _remarks(rows: Sequence[Row]) -> list[str]:
    """What should be known before a row with figures is quoted; the same of several rows in one sentence."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] == "ok" and row["reason"]:
            said.setdefault(one_line(row["reason"]), []).append(row.case.label)
        if row["disturbance"]:
            kind = (
                "disturbed"
                if row["disturbed"]
                else "re-measured on an idle machine, disturbed attempts discarded"
            )
            text = f"{kind}: {one_line(row['disturbance'])}"
            said.setdefault(text, []).append(row.case.label)
    return [f"! {', '.join(labels)}: {what}" for what, labels in said.items()]


def accounting(run: Run) -> str:
    """Where the wall time went, what the harness costs, and where the record is."""
    end = run.end
    if end is None:
        return f"interrupted: the record has no end · {run.path}"
    spent = ", ".join(
        f"{name} {_whole(value)}"
        for name, value in end.seconds.items()
        if value >= 0.05 or name.startswith("waiting")
    )
    parts = [f"{_whole(end.wall_s)} s: {spent}" if spent else f"{_whole(end.wall_s)} s"]
    if end.status == "interrupted":
        parts.insert(0, "interrupted")
    parts += _itself(run.itself)
    if run.parts > 1:
        parts.append(f"resumed {plural(run.parts - 1, 'time')}")
    return " · ".join([*parts, run.path])


def _itself(seen: SelfMeasurement) -> Iterator[str]:
    """What the harness measured of itself; nothing where nothing was timed."""
    if seen.watched is None:
        return
    cost = seen.null_timing_s
    yield f"timer overhead {'unknown' if cost is None else seconds(cost) + ' per step'}"
    if seen.sampling is not None:
        of = "telemetry of the host" if seen.device_sampled else "telemetry"
        yield f"{of} {_change(seen.sampling)}"
    if seen.sampler_share is not None:
        yield f"sampler {percent(seen.sampler_share)} of a core"
    if seen.clock_ratios is not None:
        least, most = (f"{ratio:.2f}" for ratio in seen.clock_ratios)
        yield f"device time / wall time {least if least == most else f'{least} to {most}'}"
    if not seen.watched:
        yield "system load unknown (counters not readable)"


def _change(seen: Estimate) -> str:
    """``+0.1 % [-0.4, +0.6]`` for a ratio near 1."""
    bounds = [] if seen.interval is None else [seen.interval.low, seen.interval.high]
    value, *shown = (f"{100 * (ratio - 1):+.1f}" for ratio in (seen.value, *bounds))
    return f"{value} %" + (f" [{', '.join(shown)}]" if shown else "")


def _whole(value_s: float) -> str:
    return f"{value_s:.0f}" if value_s >= 0.95 else f"{value_s:.1f}"
