"""The stages of a run in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlbench.execute.context import Context
from dlbench.execute.stages.choosing import choose
from dlbench.execute.stages.profiling import profile
from dlbench.execute.stages.quality import answer, train
from dlbench.execute.stages.timing import measure_overheads, time_steps
from dlbench.execute.stages.verifying import verify
from dlbench.record.schema import Case

Stage = Callable[[Context, Sequence[Case]], Sequence[Case]]

STAGES: Sequence[Stage] = (choose, verify, measure_overheads, time_steps, train, answer, profile)
