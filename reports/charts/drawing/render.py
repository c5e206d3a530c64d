"""Drawings as SVG and PNG, the same bytes for the same record.

What Vega writes is made smaller, gets a title and a description, and its descriptions of marks become titles, which
every browser shows under the pointer, with scripts off too.
"""

from __future__ import annotations

import importlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dlbench.errors import DlbenchError
from dlbench.text import one_line

from . import style
from .fonts import read_fonts

if TYPE_CHECKING:
    from .figure import Figure

MISSING = "charts need Altair, vl-convert and Jinja2: pip install 'dlbench[charts]'"
_NEEDED = ("altair", "jinja2", "vl_convert")
_SVG = "http://www.w3.org/2000/svg"
_NUMBER = re.compile(r"-?\d+\.\d{2,}")
_REFERENCE = re.compile(r"url\(['\"]?#([^'\")]+)['\"]?\)")
_NOT_NEEDED = ("aria-hidden", "aria-roledescription", "role", "class", "pointer-events")
_DEFAULTS = {"opacity": "1", "stroke-width": "1", "font-family": style.FONT}
_SCALE = 2


def require() -> None:
    """Makes sure that charts can be drawn.

    Raises
    ------
    DlbenchError : what draws them is not installed.
    """
    try:
        for each in _NEEDED:
            importlib.import_module(each)
    except ImportError:
        raise DlbenchError(MISSING) from None


def svg(figure: Figure, width: int = style.WIDE, *, alone: bool = True, prefix: str = "") -> str:
    """A figure as SVG.

    Parameters
    ----------
    alone : a file of its own, with its title drawn and its colours for dark paper; else a part of a page, which has
        both.
    prefix : of its identifiers, which a page must have but once.
    """
    root = ElementTree.fromstring(_vega_svg(figure, width, alone))
    _shrink(root)
    _identify(root, prefix)
    _describe(root, figure, alone)
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode") + "\n" * alone


def drawn(figure: Figure, form: str) -> bytes:
    """A figure as a file's contents; `form` is ``svg``, ``png`` or ``pdf``."""
    import vl_convert

    match form:
        case "svg":
            return svg(figure).encode()
        case "png":
            return png(figure)
    page: bytes = vl_convert.svg_to_pdf(_vega_svg(figure, style.WIDE, True))
    return page


def png(figure: Figure, width: int = style.WIDE) -> bytes:
    """A figure as PNG on white paper, two dots a pixel."""
    import vl_convert

    drawn: bytes = vl_convert.svg_to_png(_vega_svg(figure, width, True), scale=_SCALE)
    return drawn


def _vega_svg(figure: Figure, width: int, titled: bool) -> str:
    import vl_convert
    from altair.utils.schemapi import debug_mode

    # what tests have held against the schema need not be at each report, which takes as long as drawing
    with debug_mode(False):
        whole = figure.draw(width).to_dict(format="vega-lite", validate=False)
    whole["config"] = style.config()
    if titled and not figure.titled:
        whole["title"] = {"text": one_line(figure.title), "limit": width, "aria": False}
    read_fonts()
    drawn: str = vl_convert.vegalite_to_svg(whole)
    return drawn


def _shrink(root: ElementTree.Element) -> None:
    """Leaves out what says nothing, and digits beyond a hundredth of a pixel."""
    for parent, element in list(_pairs(root)):
        tip = element.attrib.pop("aria-label", None)
        # what Vega says itself of titles and axes stands there in words
        guide = "role-" in element.get("class", "")
        for name in _NOT_NEEDED:
            element.attrib.pop(name, None)
        for name, value in list(element.attrib.items()):
            if _DEFAULTS.get(name) == value:
                del element.attrib[name]
            elif name not in ("fill", "stroke", "id"):
                element.set(name, _NUMBER.sub(_rounded, value))
        if tip and not guide and element.tag != f"{{{_SVG}}}svg":
            ElementTree.SubElement(element, f"{{{_SVG}}}title").text = tip
        if element.attrib.get("display") == "none" and not len(element):
            parent.remove(element)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.2f}".rstrip("0").rstrip(".")


def _pairs(
    parent: ElementTree.Element,
) -> Iterator[tuple[ElementTree.Element, ElementTree.Element]]:
    for element in parent:
        yield from _pairs(element)
        yield parent, element


def _identify(root: ElementTree.Element, prefix: str) -> None:
    """Numbers identifiers anew: Vega counts on from one drawing of a process to the next."""
    named = [element for element in root.iter() if "id" in element.attrib]
    new = {element.get("id", ""): f"{prefix}d{n}" for n, element in enumerate(named)}
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "id":
                element.set(name, new[value])
            elif found := _REFERENCE.search(value):
                element.set(name, f"url(#{new.get(found[1], found[1])})")


def _describe(root: ElementTree.Element, figure: Figure, alone: bool) -> None:
    root.set("role", "img")
    root.set("font-family", style.FONT)
    root.attrib.pop("version", None)
    if not alone:
        root.set("aria-label", f"{one_line(figure.title)}. {one_line(figure.summary)}")
        return
    for place, (tag, text) in enumerate(
        (
            ("title", one_line(figure.title)),
            ("desc", one_line(figure.summary)),
            ("style", f"@media (prefers-color-scheme:dark){{{style.dark_rules()}}}"),
        )
    ):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}")
        element.text = text
        root.insert(place, element)
