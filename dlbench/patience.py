"""Waits for a machine that others use to come to rest, but not for ever.

A process that was disturbed is measured again when the disturbance has passed. How long a run may wait for
that in all is its patience; when that is spent, it measures what there is, and the rows say so.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from dlbench import surroundings
from dlbench.disturbance import causes, passes

LOOK_S = 0.3
"""How long the machine is watched to see whether it is at rest."""


class Patience:
    """What is left of a run's time for waiting.

    Parameters
    ----------
    limit_s : all of it.
    threads : how many cores have to be free.
    tell : takes a sentence for people when a wait begins.
    """

    def __init__(self, limit_s: float, threads: int, tell: Callable[[str], None]) -> None:
        self.waited_s = 0.0
        self._left_s = limit_s
        self._threads = threads
        self._tell = tell

    def wait(self, disturbed_by: tuple[str, ...]) -> bool:
        """Waits until the machine is at rest.

        Returns
        -------
        Whether it is; False too for what no wait can end.
        """
        if not passes(disturbed_by) or self._left_s <= 0:
            return False
        self._tell(f"{', '.join(disturbed_by)}: waiting for a quiet machine")
        quiet = False
        while not quiet and self._left_s > 0:
            first = surroundings.read()
            time.sleep(LOOK_S)
            last = surroundings.read()
            quiet = not passes(causes(surroundings.between(first, last), self._threads))
            self.waited_s += last.at_s - first.at_s
            self._left_s -= last.at_s - first.at_s
        return quiet

    def spend(self, seconds: float) -> None:
        """A process that was measured again took this long."""
        self._left_s -= seconds
