"""Waits for a machine that others use to come to rest, but not for ever.

A process that was disturbed is measured again when the disturbance has passed. How long a run may wait for
that in all is its patience; when that is spent, it measures what there is, and the rows say so.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

from dlbench.analyse.disturbance import causes, passes
from dlbench.host import interference
from dlbench.host.cause import Cause, told
from dlbench.record.facts import Surroundings

LOOK_S = 0.3
"""How long the machine is watched to see whether it is at rest."""

Look = Callable[[float], Surroundings]
"""Watches the machine for some seconds in which the caller does nothing."""


DeviceLook = Callable[[float], Sequence[Cause]]
"""Watches a device for some seconds in which nothing of the run is on it: what disturbs it."""


def look(seconds: float) -> Surroundings:
    """What the machine does in the next seconds, as this process sees it."""
    before = interference.read()
    time.sleep(seconds)
    return interference.between(before, interference.read())


@dataclasses.dataclass(frozen=True)
class Waited:
    """A wait that has ended: what the machine did meanwhile, and whether it and the device are at rest now."""

    seen: Surroundings
    quiet: bool


class Patience:
    """What is left of a run's time for waiting.

    Parameters
    ----------
    limit_s : all of it; waiting and measuring again are taken from it.
    threads : how many cores have to be free.
    tell : takes a sentence for people when a wait begins.
    look : watches the machine.

    Attributes
    ----------
    waited_s : how long has been waited.
    """

    def __init__(
        self, limit_s: float, threads: int, tell: Callable[[str], None], look: Look = look
    ) -> None:
        self.waited_s = 0.0
        self._left_s = limit_s
        self._threads = threads
        self._tell = tell
        self._look = look

    def wait(
        self, disturbed_by: Sequence[Cause], look_at_device: DeviceLook = lambda seconds: ()
    ) -> Waited | None:
        """Waits until the machine and the device are at rest, or patience is spent; None for what no wait can end, and
        when patience was spent before."""
        if not passes(disturbed_by) or self._left_s <= 0:
            return None
        self._tell(f"{told(disturbed_by)}: waiting for a quiet machine")
        windows: list[Surroundings] = []
        quiet = False
        while not quiet and self._left_s > 0:
            began_s = time.monotonic()
            on_device = look_at_device(LOOK_S)
            device_s = time.monotonic() - began_s
            windows.append(self._look(LOOK_S))
            quiet = not on_device and not passes(causes(windows[-1], self._threads))
            self.waited_s += device_s + windows[-1].window_s
            self._left_s -= device_s + windows[-1].window_s
        seen = interference.over(windows)
        assert seen is not None
        return Waited(seen, quiet)

    def spend(self, seconds: float) -> None:
        """A process that was measured again took this long."""
        self._left_s -= seconds
