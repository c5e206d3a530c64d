"""What may be asked of trainings that end with an accuracy, the scenario ``converge`` among them."""

from __future__ import annotations

from dlbench.errors import UsageError
from dlbench.plan.request import Request
from dlbench.spec.training import CrossEntropy

MOST_SEEDS = 1_000


def check_target(request: Request) -> None:
    """Refuses a target that cannot be reached, or that no training of the request has.

    Raises
    ------
    UsageError : naming the option, and what would be valid.
    """
    target = request.target_accuracy
    if request.converges:
        _check_converge(request)
    if target is None:
        return
    if not 0 < target <= 1:
        raise UsageError(f"target {target} must be a share above 0, at most 1, such as 95%")
    if not request.epochs:
        raise UsageError("--target ends a training: say how long at the most with --epochs")
    if not isinstance(request.suite.workload.loss, CrossEntropy):
        raise UsageError(f"--target: suite {request.suite.name} gives values, not classes")


def _check_converge(request: Request) -> None:
    for option, given in (
        ("--best", request.best),
        ("--target-interval", request.target_interval),
    ):
        if given:
            raise UsageError(
                f"{option} goes by steps, and --scenario converge has none: leave one out"
            )
    if not 1 <= request.seeds <= MOST_SEEDS:
        raise UsageError(f"seeds {request.seeds:,} must be 1 to {MOST_SEEDS:,}")
    # verification alone needs no target
    if request.rounds and request.target_accuracy is None:
        raise UsageError(
            "--scenario converge takes --target, the accuracy on the validation part that is to be reached, like 95%"
        )
