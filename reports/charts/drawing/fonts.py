"""Which fonts a picture's text is measured with.

vl-convert brings Liberation Sans, in which charts are set, and keeps it in memory. Where the system has that font too,
its file is taken instead, and opened anew whenever a word is measured: thousands of times a picture, which took as long
as all else. So vl-convert is told of the system's other fonts alone, whose glyphs stand in for what that has not.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

_ROOTS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.fonts", "~/.local/share/fonts")
_FORMATS = (".ttf", ".ttc", ".otf", ".otc")
_OWN = "Liberation"
_VARIABLE = "FONTCONFIG_FILE"
_WORD = {
    "data": {"values": [{}]},
    "mark": {"type": "text", "text": "a"},
}


@functools.cache
def read_fonts() -> None:
    """Has vl-convert read fonts, which it does once in a process, with its first picture."""
    import vl_convert

    if not sys.platform.startswith("linux") or _VARIABLE in os.environ:
        return
    # one folder at the least, or the usual ones are read
    folders = "".join(f"<dir>{escape(folder)}</dir>" for folder in (*_folders(), "/nowhere"))
    with tempfile.TemporaryDirectory() as place:
        config = Path(place) / "fonts.conf"
        config.write_text(f"<fontconfig>{folders}</fontconfig>", "utf-8")
        os.environ[_VARIABLE] = str(config)
        try:
            vl_convert.vegalite_to_svg(_WORD)
        finally:
            del os.environ[_VARIABLE]


def _folders() -> Iterator[str]:
    """Where the system's fonts lie, without those that vl-convert has itself."""
    for root in _ROOTS:
        found = []
        for folder, _, files in os.walk(Path(root).expanduser()):
            fonts = [name for name in files if name.lower().endswith(_FORMATS)]
            if fonts and not any(name.startswith(_OWN) for name in fonts):
                found.append(folder)
        yield from sorted(found)
