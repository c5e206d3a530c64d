"""Times what is left of a step once it has been synchronised: nothing, where a synchronised step is a finished one."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Literal

from dlbench.contract import Session
from dlbench.measure.timed_steps import LEAST_STEPS, Clock

_READ_STEPS = 7
_LONG_NS = 100_000_000


@dataclasses.dataclass(frozen=True)
class Settling:
    """What is left of a step when it has been synchronised (ns).

    `step_ns` is a step on a batch of the timed loop, synchronised (the median); `read_ns` one on a batch never seen
    before, until its outcome has been read; `copy_ns` reading the same outcome once more (the shortest of each: work
    that was put off is in every one, what holds up a busy machine is not).
    """

    step_ns: float
    read_ns: float
    copy_ns: float


class ReadSteps:
    """Takes steps whose outcome is read at once, for as many as it takes to know how long that is.

    Parameters
    ----------
    step_ns : a synchronised step of the timed loop.
    """

    def __init__(
        self,
        session: Session,
        scenario: Literal["train", "infer"],
        step_ns: float,
        *,
        clock: Clock = time.perf_counter_ns,
    ) -> None:
        self._session, self._trains = session, scenario == "train"
        self._step = session.train_step if self._trains else session.infer
        self._step_ns = step_ns
        self._clock = clock
        self._reads_ns: list[int] = []
        self._copies_ns: list[int] = []

    @property
    def are_enough(self) -> bool:
        """Whether those that were read suffice; fewer do where they are long."""
        count = len(self._reads_ns)
        is_long = sum(self._reads_ns) > _LONG_NS and count >= LEAST_STEPS
        return is_long or count >= _READ_STEPS

    def take(self, batch: Any) -> None:
        """A step on a batch that the session has not seen; once there are enough, nobody reads what it gives."""
        session, clock = self._session, self._clock
        if self.are_enough:
            self._step(batch)
            return
        session.synchronize()
        begin = clock()
        result = self._step(batch)
        self._read(result)
        self._reads_ns.append(clock() - begin)
        begin = clock()
        self._read(result)
        self._copies_ns.append(clock() - begin)

    def settling(self) -> Settling:
        """What they took."""
        reads_ns, copies_ns = float(min(self._reads_ns)), float(min(self._copies_ns))
        return Settling(self._step_ns, reads_ns, copies_ns)

    def _read(self, result: Any) -> None:
        if self._trains:
            self._session.weights()
        else:
            self._session.download(result)
