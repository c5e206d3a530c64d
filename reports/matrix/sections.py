"""The matrix of backends as sections, which terminal and Markdown print."""

from __future__ import annotations

from dlbench.plan.matrix import Cell, Matrix

from ..tables.model import Column, Line, Section


def build_sections(matrix: Matrix) -> list[Section]:
    """Which backends there are, then a section for each kind of word, with what was refused and why beneath."""
    return [_backends(matrix), *(_section(matrix, section) for section in matrix.words)]


def _backends(matrix: Matrix) -> Section:
    names = tuple(matrix.columns)
    found = [column.absent or f"version {column.version}" for column in matrix.columns.values()]
    return Section(
        "backends",
        top=True,
        columns=(Column("backend", names, names=True), Column("here", tuple(found))),
        lines=tuple(Line() for _ in names),
    )


def _section(matrix: Matrix, section: str) -> Section:
    words = matrix.words[section]
    numbers: dict[str, int] = {}

    def shown(cell: Cell) -> str:
        if not cell.reason:
            return cell.state
        return f"{cell.state} ({numbers.setdefault(cell.reason, len(numbers) + 1)})"

    rows = [[shown(c.cells[section, word]) for c in matrix.columns.values()] for word in words]
    columns = [
        Column(name, tuple(row[number] for row in rows))
        for number, name in enumerate(matrix.columns)
    ]
    return Section(
        section,
        top=True,
        columns=(Column(section, words, names=True), *columns),
        lines=tuple(Line() for _ in words),
        notes=tuple(f"({number}) {reason}" for reason, number in numbers.items()),
    )
