"""What a verdict needs where chance has a part: the same failure, again and again.

The masks that a session's dropout drew nobody knows. So what it computed is held against what the oracle computes under
masks of its own, within a bound beyond the farthest of a few further draws. Session and further draws come from one
distribution, so each is the farthest of them with the same probability: a bound beyond the farthest of K fails a right
session at most once in K + 1 times, however the masks act (the rank argument of conformal prediction: Vovk, Gammerman
and Shafer 2005, "Algorithmic Learning in a Random World", chapter 2). That alone is no proof. But all masks are drawn
anew when the same is asked again, and what is wrong stays wrong: `FAILURES` in a row come by chance at most
(K + 1)^−`FAILURES` times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dlbench.record.facts import Check

FAILURES = 12
"""With two further draws, 2 in a million for each parameter."""


def ask_again(take: Callable[[int], Sequence[Check]]) -> list[Check]:
    """The checks of `take(0)`; one of them that fails is taken again until it passes once or has failed `FAILURES`
    times. One that cannot be judged so often is left out.

    Parameters
    ----------
    take : takes all checks afresh; it is given how often that was done before.
    """
    first = take(0)
    failures = {check.name: 1 for check in first if not check.passed}
    passed: dict[str, Check] = {}
    for attempt in range(1, 2 * FAILURES):
        doubtful = {name for name, times in failures.items() if times < FAILURES} - passed.keys()
        if not doubtful:
            break
        for check in take(attempt):
            if check.name in doubtful:
                failures[check.name] += 1
                if check.passed:
                    passed[check.name] = check
    return [
        passed.get(check.name, check)
        for check in first
        if check.passed or check.name in passed or failures[check.name] == FAILURES
    ]
