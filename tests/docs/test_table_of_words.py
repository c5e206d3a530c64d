"""The page's table from a suite's words to classes and attributes, made from the specification itself."""

import dataclasses
import inspect
import re
import sys
from pathlib import Path

from dlbench.spec.layers import KINDS
from dlbench.spec.training import LOSSES, OPTIMIZERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "write-a-backend.md"
HEAD = "| word | class | attributes |\n|---|---|---|\n"


def typed(annotation):
    """A type as a table's cell can hold it."""
    return annotation.replace(" | ", " or ")


def rows():
    """A line for each layer, loss and optimizer: its word, its class, its fields and properties with their types."""
    for kinds in (KINDS, LOSSES, OPTIMIZERS):
        for word, kind in kinds.items():
            room = kind.__module__.rpartition(".")[2]
            found = [f"`{field.name}: {typed(field.type)}`" for field in dataclasses.fields(kind)]
            found += [
                f"`{name}: {typed(each.fget.__annotations__['return'])}`"
                for name, each in inspect.getmembers(kind)
                if isinstance(each, property)
            ]
            yield f"| `{word}` | `{room}.{kind.__name__}` | {', '.join(found)} |\n"


def test_the_table_of_words_is_the_specifications():
    text = PAGE.read_text("utf-8")
    (there,) = re.findall(re.escape(HEAD) + r"((?:\|.*\|\n)+)", text)
    assert "".join(rows()) == there, (
        "to mend it: python tests/docs/test_table_of_words.py > the table in the page"
    )


if __name__ == "__main__":
    sys.stdout.write(HEAD + "".join(rows()))
