"""What pruning costs and gives: the accuracy of the whole network, of what is left of it, and of that after more
training; and how long steps of both take, verified and timed as any workload is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from dlbench.analyse.modes.accuracy import Share
from dlbench.analyse.outcomes import Outcome, outcomes
from dlbench.errors import UsageError
from dlbench.execute.runner import plan_run
from dlbench.plan.request import Request
from dlbench.pruning.bench import bench
from dlbench.record.case import Case
from dlbench.record.schema import Record
from dlbench.spec.suite import Suite
from dlbench.spec.workload import Weights
from dlbench.text import why
from dlbench.tuning.point_record import Watching, record_of
from dlbench.weights.tensors import write_weights

Say = Callable[[str], None]
Change = Callable[[Suite, Weights], tuple[Suite, Weights]]
WHOLE, PRUNED, TUNED = "whole", "pruned", "fine-tuned"


@dataclasses.dataclass(frozen=True)
class Trial:
    """What was found.

    Attributes
    ----------
    suites : the `WHOLE` one and the `PRUNED` one.
    accuracies : shares of right answers on the test part: of the `WHOLE` network, of the `PRUNED` one, and of that
        as it is `TUNED`, where it was trained more.
    records : the verification and timing of both networks, at the last weights of each.
    weights : the last ones of the pruned network.
    """

    suites: Mapping[str, Suite]
    accuracies: Mapping[str, Share]
    records: Mapping[str, Record]
    weights: Weights

    def outcome(self, name: str, scenario: str) -> Outcome | None:
        """What became of a network's row; None where there is none."""
        found = outcomes(self.records[name])
        return next((each for each in found if each.case.scenario == scenario), None)


def trial(
    request: Request,
    weights: Weights | None,
    change: Change,
    epochs: int,
    fine_tune: int,
    folder: Path,
    watching: Watching,
    say: Say,
) -> Trial:
    """Carries it out.

    Parameters
    ----------
    request : of one backend and one batch size, with the whole suite.
    weights : of the whole network; None has it trained for `epochs` first.
    change : what makes the smaller suite and its weights.
    fine_tune : for how many epochs what is left is trained.
    folder : a new one, for the records and the weights that they begin with.

    Raises
    ------
    UsageError, SuiteError, DataError : it cannot be carried out.
    DlbenchError : the backend went wrong on the way.
    """
    with watching() as observer:
        request = dataclasses.replace(request, scenarios=("train", "infer"))
        case = _case(request)
        with bench(request, case, observer) as whole:
            if weights is None:
                say(f"training the whole network for {epochs} epochs")
                weights = whole.trained(whole.initial(), epochs)
            accuracies = {WHOLE: whole.accuracy(weights)}
        smaller, left = change(request.suite, weights)
        narrow = dataclasses.replace(request, suite=smaller)
        with bench(narrow, _named(case, smaller), observer) as pruned:
            accuracies[PRUNED] = pruned.accuracy(left)
            if fine_tune:
                say(f"training what is left for {fine_tune} epochs")
                left = pruned.trained(left, fine_tune)
                accuracies[TUNED] = pruned.accuracy(left)
    folder.mkdir(parents=True)
    records = {}
    for name, own, values in ((WHOLE, request, weights), (PRUNED, narrow, left)):
        say(f"verifying and timing the {name} network")
        file = folder / f"{name}.safetensors"
        write_weights(
            file, values, {"suite": own.suite.name, "workload": own.suite.workload.digest}
        )
        timed = dataclasses.replace(own, init_weights=file)
        records[name] = record_of(timed, folder / f"{name}.jsonl", watching, say)
    suites = {WHOLE: request.suite, PRUNED: smaller}
    return Trial(suites, accuracies, records, left)


def _case(request: Request) -> Case:
    """The training of a request that is of one.

    Raises
    ------
    UsageError : it is of several, or of none that can run here.
    """
    planned = plan_run(request)
    found = [case for case in planned.cases if case.scenario == "train"]
    if len(found) != 1:
        raise UsageError(
            f"pruning is tried on one row, and {len(found)} train: name one --backend, --device, --mode and --batch"
        )
    if (problem := planned.problems.get(found[0])) is not None:
        raise UsageError(f"{found[0].label}: {why(problem.reason, problem.remedy)}")
    return found[0]


def _named(case: Case, suite: Suite) -> Case:
    return msgspec.structs.replace(case, suite=suite.name)
