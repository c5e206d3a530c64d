"""Of all modes of each backend, the fastest that is right (``--best``): a short trial of each, then verification, the
fastest first, until one agrees with the oracle."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from dlbench.analyse.modes.trials import Group, candidates, group_of
from dlbench.execute.context import Context
from dlbench.execute.scheduler import by_batch
from dlbench.execute.stages.trying import try_briefly
from dlbench.execute.stages.verifying import right, waited
from dlbench.execute.tasks import Task
from dlbench.record.schema import Case, Choice, Process, Trial, Verification

SHARE_OF_A_PROCESS = 0.25
"""How long a trial samples, as a share of what a process of the rounds does."""


def choose(run: Context, cases: Sequence[Case]) -> Sequence[Case]:
    """The cases that are gone on with, all of them where nothing is to be chosen, or has been."""
    request, held = run.request, run.held
    if not request.best or held.has_chosen:
        return cases
    # nothing of the oracle's goes on where something is timed
    for reason in waited(run, run.references.failures):
        run.observer.message(reason)
    share_s = round(SHARE_OF_A_PROCESS * request.budget_s / max(request.all_rounds, 1), 3)
    trials: dict[Case, Process] = {}
    sizes = collections.Counter(map(group_of, cases))
    # who is alone needs no trial
    order = {group_of(case): [case] for case in cases if sizes[group_of(case)] == 1}
    for together in by_batch([case for case in cases if group_of(case) not in order]):
        for backend in dict.fromkeys(case.backend for case in together):
            own = [case for case in together if case.backend == backend]
            if all(Task(Trial, case) in held.tasks for case in own):
                trials |= {case: held.trials[case] for case in own}
            else:
                trials |= try_briefly(run, share_s, own)
    taken = _first_right(run, order | candidates(trials))
    run.write(Choice(tuple(case for case in cases if case in taken)))
    return [case for case in cases if case in taken]


def _first_right(run: Context, order: dict[Group, list[Case]]) -> set[Case]:
    """Of each group the first case that agrees with the oracle. A configuration that several groups wish for is
    verified once for all of them."""
    taken: set[Case] = set()
    while order:
        wished = {group: cases[0] for group, cases in order.items()}
        backend = next(iter(wished.values())).backend
        own = {group: case for group, case in wished.items() if case.backend == backend}
        for configuration in dict.fromkeys(case.configuration for case in own.values()):
            sharing = [case for case in own.values() if case.configuration == configuration]
            well = right(run, sharing)
            run.held = run.held.knowing(Task(Verification, configuration))
            for group in [each for each, case in own.items() if case in sharing]:
                taken.update({own[group]} & set(well))
                if own[group] in well or len(order[group]) == 1:
                    del order[group]
                else:
                    del order[group][0]
        if all(cases[0].backend != backend for cases in order.values()):
            run.end_look(backend)
    return taken
