"""What is installed where workers ran, in reports and comparisons: told where it is not the same."""

from collections.abc import Callable
from typing import Any

import pytest

from dlbench.analyse.table import build
from dlbench.compare.from_record import side_of_records
from dlbench.compare.judge import compare
from dlbench.plugins import load_reporter
from dlbench.record.facts import Environment
from dlbench.record.schema import Record

OWN = Environment("3.11.2", {"numpy": "2.4.6"}, 84, "ab" * 32)
OLD = Environment("3.11.2", {"numpy": "1.26.4", "torch": "2.9.0"}, 12, "cd" * 32)


@pytest.fixture
def record_with(make: Any) -> Callable[..., Record]:
    """Makes a record of the backends in environments."""

    def record_with(**environments: Environment) -> Record:
        cases = [make.case(name.replace("_", "@")) for name in environments]
        lines = [make.verification(case) for case in cases]
        lines += [make.process(case, number) for case in cases for number in range(3)]
        named = {name.replace("_", "@"): found for name, found in environments.items()}
        found: Record = make.measured(cases, lines, environments=named)
        return found

    return record_with


@pytest.mark.parametrize("form", ["terminal", "markdown"])
def test_a_report_tells_environments_that_are_not_the_same(
    record_with: Callable[..., Record], form: str
) -> None:
    render = load_reporter(form)
    told = render(build([("a", record_with(numpy=OWN, torch=OWN, torch_old=OLD))]), width=200)
    # in Markdown a sign that mentions somebody is followed by one without width
    told = told.replace("&#8203;", "")
    assert "environment of numpy, torch: Python 3.11.2, NumPy 2.4.6, 84 packages (abababab)" in told
    assert "environment of torch@old: Python 3.11.2, NumPy 1.26.4, 12 packages (cdcdcdcd)" in told
    alike = render(build([("a", record_with(numpy=OWN, torch=OWN))]), width=200)
    assert "environment of" not in alike


def test_each_row_has_its_environment(record_with: Callable[..., Record]) -> None:
    frame = build([("a", record_with(numpy=OWN, torch_old=OLD))]).frame.set_index("backend")
    assert list(frame.loc["torch@old", ["python", "packages_digest"]]) == ["3.11.2", "cd" * 32]
    assert frame.loc["numpy", "packages_digest"] == "ab" * 32


def test_rows_of_one_backend_in_unlike_environments_have_a_note(
    record_with: Callable[..., Record],
) -> None:
    records = [("a.jsonl", record_with(torch=OWN)), ("b.jsonl", record_with(torch=OLD))]
    (note,) = build(records).notes
    assert note.startswith("different environments: the package numpy of torch is 2.4.6 in a.jsonl")
    assert "the package torch of torch is not installed in a.jsonl and 2.9.0 in b.jsonl" in note
    assert build([records[0], ("c.jsonl", records[0][1])]).notes == ()


def test_a_record_from_before_environments_is_no_difference(
    record_with: Callable[..., Record], make: Any
) -> None:
    before = make.record(backends=("numpy",))
    assert before.header.environments == {}
    report = build([("a.jsonl", record_with(numpy=OWN)), ("b.jsonl", before)])
    assert not [note for note in report.notes if "environment" in note]
    assert build([("b.jsonl", before)]).frame["python"].isna().all()


def test_a_comparison_names_what_differs_in_a_backends_own_environment(
    record_with: Callable[..., Record], make: Any
) -> None:
    newer = Environment("3.11.2", {"numpy": "1.26.4", "torch": "2.9.1"}, 13, "ef" * 32)
    base, new = (
        side_of_records(name, [record_with(numpy=OWN, torch_old=found)])
        for name, found in (("base", OLD), ("new", newer))
    )
    notes = compare(base, new, 0.03).notes
    assert "torch of torch@old 2.9.0 in the base, 2.9.1 in the new one" in notes
    told = "12 packages (cdcdcdcd) in the base, 13 packages (efefefef) in the new one"
    assert f"all packages of torch@old {told}" in notes
    before = side_of_records("before", [make.record(backends=("numpy",))])
    assert not [note for note in compare(before, new, 0.03).notes if "all packages" in note]
