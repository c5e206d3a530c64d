"""What somebody else may have written into a file that dlbench reads, and what must never come of it."""

import copy
import csv
import io
import json

from hypothesis import strategies as st
from markdown_it import MarkdownIt

HOSTILE = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "a\nb",
    "a\r\n✓ forged",
    "\u202e",
    "\u2028",
    "=cmd()",
    "\t=1",
    "+1",
    "-1",
    "@a",
    "\uff1d1",
    "<script>alert(1)</script>",
    "<img src=x onerror=y>",
    "[a](javascript:b)",
    "![a](http://b)",
    "](c) `d` **e** | f",
    "# a",
    "> a",
    "1. a",
    "&lt;b&gt;",
    "$\\frac$",
    "$",
    "{0}",
    "%s",
    "x" * 300,
    "y" * 20_000,
    "",
    "\ud7ff\uffff",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
]
NUMBERS = [2**63 - 1, 2**63, -(2**63), 2**64, 10**400, 4_600_000_000_000_000_000]
NUMBERS += [1e308, -1e308, 1e-308, 5e-324, -1, -5, 0, 1, 0.5, -0.0, 2**31]
OTHERS = [None, True, [], {}, [0], [None], [[]], {"": 0}, "nan", "NaN"]


def places(value, path=()):
    """The paths of all that a decoded document holds."""
    yield path
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, each in inner:
        yield from places(each, (*path, key))


def changed(value, path, new):
    """The document with something else in one place."""
    if not path:
        return new
    copied = copy.copy(value)
    copied[path[0]] = changed(value[path[0]], path[1:], new)
    return copied


def nested(depth):
    """Lists in lists, as a text of JSON."""
    return b"[" * depth + b"]" * depth


@st.composite
def documents(draw, document):
    """A decoded document of which something is not as it was written."""
    # one list in many is long, and all its places are alike
    every = [
        path for path in places(document) if all(not isinstance(p, int) or p < 3 for p in path)
    ]
    path = draw(st.sampled_from(every))
    how = draw(st.sampled_from(["value", "value", "value", "drop", "key", "double"]))
    there = document
    for part in path:
        there = there[part]
    if how == "drop" and isinstance(there, dict) and there:
        key = draw(st.sampled_from(sorted(there)))
        return changed(document, path, {k: v for k, v in there.items() if k != key})
    if how == "key" and isinstance(there, dict):
        return changed(document, path, there | {draw(st.sampled_from(HOSTILE)): 1})
    if how == "double" and isinstance(there, list):
        return changed(document, path, there + there)
    return changed(document, path, draw(st.sampled_from([*HOSTILE, *NUMBERS, *OTHERS])))


@st.composite
def raw(draw, whole):
    """Bytes that were damaged on the way."""
    how = draw(st.sampled_from(["byte", "cut", "deep", "word"]))
    where = draw(st.integers(0, max(len(whole) - 1, 0)))
    if how == "byte" and whole:
        return whole[:where] + bytes([draw(st.integers(0, 255))]) + whole[where + 1 :]
    if how == "deep":
        return whole[:where] + nested(draw(st.sampled_from([3, 1100, 100_000]))) + whole[where:]
    if how == "word":
        return (
            whole[:where]
            + draw(st.sampled_from([b"NaN", b"1e999", b"\xff\xfe", b"\0"]))
            + whole[where:]
        )
    return whole[:where]


@st.composite
def lines(draw, records):
    """A file of JSON lines, one of those given, of which something is not as it was written."""
    found = list(draw(st.sampled_from(records)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(found) - 1))
        how = draw(
            st.sampled_from(["value", "value", "value", "raw", "double", "swap", "drop", "glue"])
        )
        if how == "value":
            try:
                decoded = json.loads(found[at])
            except (ValueError, RecursionError):
                continue
            found[at] = json.dumps(draw(documents(decoded))).encode() + b"\n"
        elif how == "raw":
            found[at] = draw(raw(found[at]))
        elif how == "double":
            found.insert(at, found[at])
        elif how == "swap":
            other = draw(st.integers(0, len(found) - 1))
            found[at], found[other] = found[other], found[at]
        elif how == "drop" and len(found) > 1:
            del found[at]
        elif how == "glue":
            found[at] = found[at].rstrip(b"\n")
    return b"".join(found)


def acting(text):
    """What of a text would do more on a terminal than be shown."""
    return [c for c in text if not (c.isprintable() or c in "\n\t")]


_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKUP = ("html_block", "html_inline", "link_open", "image", "em_open", "strong_open", "s_open")
_MARKUP += ("code_inline", "fence", "code_block", "blockquote_open", "ordered_list_open", "hr")


def markup(text):
    """What of a Markdown text is more than headings, tables and lists of sentences."""
    found = []
    for token in _MARKDOWN.parse(text):
        found += [each.type for each in (token, *(token.children or ())) if each.type in _MARKUP]
    return found


def formulas(text):
    """The cells of a CSV text that a spreadsheet would compute."""

    def is_number(cell):
        try:
            float(cell)
        except ValueError:
            return False
        return True

    begins = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
    rows = csv.reader(io.StringIO(text))
    return [cell for row in rows for cell in row if cell.startswith(begins) and not is_number(cell)]
