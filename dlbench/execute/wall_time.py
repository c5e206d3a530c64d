"""Where the wall time of a run went."""

from __future__ import annotations

import time
from collections.abc import Mapping

_PARTS = {
    "interpreter": "import",
    "import": "import",
    "oracle": "verify",
    "verify": "verify",
    "check": "verify",
    "device": "set-up",
    "open": "set-up",
    "upload": "set-up",
    "warm-up": "warm-up",
    "measure": "measured",
    "copy": "measured",
    "peak": "measured",
    "train": "training",
}


class Account:
    """Adds up what workers and the runner spent; what nobody names is ``other``."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seconds = dict.fromkeys(dict.fromkeys(_PARTS.values()), 0.0) | {
            "waiting for quiet": 0.0
        }

    def add_phases(self, seconds: Mapping[str, float]) -> None:
        """Adds the phases of a worker (s)."""
        for phase, spent in seconds.items():
            if phase in _PARTS:
                self._seconds[_PARTS[phase]] += spent

    def add_waiting(self, seconds: float) -> None:
        """Adds time in which the run waited for a quiet machine."""
        self._seconds["waiting for quiet"] += seconds

    def wall_s(self) -> float:
        """Seconds since the account was opened."""
        return time.monotonic() - self._began

    def parts(self, wall_s: float) -> dict[str, float]:
        """Seconds of each part, ``other`` being what is left of `wall_s`."""
        named = {part: round(seconds, 3) for part, seconds in self._seconds.items()}
        return named | {"other": round(max(0.0, wall_s - sum(named.values())), 3)}
