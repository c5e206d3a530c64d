"""Two records or two runs, judged case by case."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dlbench import plugins
from dlbench.api.results import Results
from dlbench.compare.from_record import side_of_records
from dlbench.compare.judge import compare, read_side
from dlbench.compare.sides import Side
from dlbench.compare.verdicts import CaseVerdict, Verdicts

if TYPE_CHECKING:
    import pandas as pd


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What became of each case between a base and something new. Printed it is what ``dlbench compare`` shows.

    Attributes
    ----------
    verdicts : all that is known (`dlbench.compare.verdicts.Verdicts`): the cases, in what the two sides are unlike, and
        notes.
    """

    verdicts: Verdicts

    @property
    def cases(self) -> tuple[CaseVerdict, ...]:
        """The verdicts: ``case``, ``status`` (``slower``, ``faster``, ``same``, ``inconclusive``, …), ``ratio`` (new /
        base, above 1 where the new one is slower) with its 95 % interval ``low`` to ``high``, and ``reason``."""
        return self.verdicts.cases

    @property
    def conclusion(self) -> str:
        """The answer in one sentence."""
        return self.verdicts.conclusion

    @property
    def exit_code(self) -> int:
        """What ``dlbench compare`` would end with: 0 no case is slower, 1 one is, 3 that cannot be told, 4 nothing was
        measured on both sides."""
        return self.verdicts.exit_code

    def report(self, format: str = "table", *, width: int = 120) -> str:
        """The verdicts in any format of ``dlbench compare --format``.

        Raises
        ------
        UsageError : there is no such format.
        """
        return plugins.text_of(self.verdicts, format, plugins.VERDICTS, width)

    def to_pandas(self) -> pd.DataFrame:
        """A row for each case, with a column for each field of `CaseVerdict`; times in seconds."""
        import pandas as pd

        names = [field.name for field in dataclasses.fields(CaseVerdict)]
        found = pd.DataFrame([dataclasses.asdict(each) for each in self.cases], columns=names)
        return found.astype(dict.fromkeys(("base_s", "new_s", "ratio", "low", "high"), "float64"))

    def __iter__(self) -> Iterator[CaseVerdict]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __str__(self) -> str:
        return self.report().rstrip("\n")

    def __repr__(self) -> str:
        return f"<Comparison of {self.verdicts.base} and {self.verdicts.new}: {self.conclusion}>"

    def _repr_html_(self) -> str:
        return self.report("html-fragment")


def compared(base: Path | Results, new: Path | Results, threshold: float) -> Comparison:
    """The comparison of two sides; errors as for `read_side` and `compare`."""
    return Comparison(compare(_side(base), _side(new), threshold))


def _side(given: Path | Results) -> Side:
    if isinstance(given, Path):
        return read_side(given)
    return side_of_records(", ".join(given.paths), [record for _, record in given.records])
