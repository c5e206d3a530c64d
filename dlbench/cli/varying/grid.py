"""What `dlbench run --sweep` does where its fields take several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench.cli.exit_codes import INTERRUPTED, exit_code, tell
from dlbench.cli.output import answer, show_points
from dlbench.cli.varying.watching import Watching, new_folder

if TYPE_CHECKING:
    from dlbench.plan.request import Request


def run_sweep(
    request: Request,
    words: Sequence[str],
    output: Path | None,
    form: str,
    *,
    quiet: bool,
    dry_run: bool,
) -> int:
    """Runs a request at every point of a grid, and shows what was found; the exit code.

    Parameters
    ----------
    words : of ``--sweep``, each ``FIELD=VALUE,VALUE``.
    output : the folder of the records; what is there is not measured again.
    """
    from dlbench.tuning.grid_runs import planned, sweep
    from dlbench.tuning.space import Choices, read_space, told

    space = read_space(words, ranges=False)
    choices = {name: each for name, each in space.items() if isinstance(each, Choices)}
    if dry_run:
        for point, _ in planned(request, choices):
            answer(told(point))
        return 0
    folder = output or new_folder(request.suite.name, "sweep")

    def say(text: str) -> None:
        if not quiet:
            tell(text)

    try:
        found = sweep(request, choices, folder, Watching(quiet), say)
    except KeyboardInterrupt:
        tell(f"interrupted; to go on: the same command with --output {folder}")
        return INTERRUPTED
    show_points(found, form)
    return exit_code(each.status for series in found.series for each in series.tried)
