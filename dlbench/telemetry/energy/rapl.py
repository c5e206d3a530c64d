"""The energy of processors by RAPL: Intel's, and AMD's since Zen under the same name, as Linux shows it
(https://docs.kernel.org/power/powercap/powercap.html)."""

from __future__ import annotations

import re
from pathlib import Path

from dlbench.telemetry.log import Log, Probe, Refused, timed

POWERCAP = Path("/sys/class/powercap")
_ZONE = re.compile(r"intel-rapl:\d+")


def probe(root: Path) -> Probe:
    """Reads what all packages of this machine have used since the probe was made (J), as `energy_j`.

    Parameters
    ----------
    root : where the kernel shows RAPL, `POWERCAP`.

    Raises
    ------
    Refused : there is none, or it may not be read; with what would help.
    """
    # beside packages there may be psys, which holds them
    zones = [each for each in sorted(root.glob("*")) if _ZONE.fullmatch(each.name)]
    try:
        counters = [
            _Counter(zone)
            for zone in zones
            if (zone / "name").read_text().strip().startswith("package")
        ]
    except PermissionError as error:
        raise Refused(
            f"{error.filename} may be read by root alone; as root: chmod a+r {root}/*/energy_uj"
        ) from None
    except (OSError, ValueError) as error:
        raise Refused(f"RAPL cannot be read: {error}") from None
    if not counters:
        raise Refused(
            f"there is no package of RAPL in {root}; it takes a machine that is not virtual, and the kernel's module"
            " intel_rapl_msr"
        )

    def read(log: Log) -> None:
        try:
            t_ns, joules = timed(lambda: sum(counter.joules() for counter in counters))
        except (OSError, ValueError) as error:
            raise Refused(f"RAPL cannot be read: {error}") from None
        log.add("energy_j", t_ns, joules)

    return Probe(("energy_j",), read)


class _Counter:
    """A package's counter (µJ), which begins again from 0 behind the largest value that it can have."""

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range_uj = int((zone / "max_energy_range_uj").read_text())
        self._last_uj = int(self._file.read_text())
        self._risen_uj = 0

    def joules(self) -> float:
        now_uj = int(self._file.read_text())
        # read far more often than it begins again, which takes minutes
        self._risen_uj += (now_uj - self._last_uj) % (self._range_uj + 1)
        self._last_uj = now_uj
        return self._risen_uj * 1e-6
