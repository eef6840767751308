"""Figures of matplotlib as SVG inside a page: colours are the page's, so that dark mode works."""

from __future__ import annotations

import io
import re
import zlib
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
# Colours that nothing else has; each becomes the CSS variable of its name (style.css).
_NAMES = ("ink", "muted", "line", "pass", "fail", "unsure", "shade", "heat", "a", "b", "c", "d")
COLOURS = {name: f"#0101{number:02x}" for number, name in enumerate(_NAMES, 1)}
SUBJECTS = "abcd"
# So wide is the narrowest column that shows them: a phone's. Text is then as large as the page's.
_WIDTH = 4.6
_SIZE = 10.0
_COORDINATES = {"d", "x", "y", "width", "height", "transform"}

_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: to be read aloud, found and copied
    "svg.hashsalt": "edgeopt",  # the same figure has the same ids
    "font.family": "sans-serif",
    "font.size": _SIZE,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "text.parse_math": False,
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
}


class Drawing:
    """A figure under construction: draw on `axes` within the `with` block, then take `svg`.

    Args:
        title: what it shows, for those who cannot see it.
        description: what is to be seen in it, with figures.
        heights: of each panel, one below the other, in inches.
    """

    def __init__(self, title: str, description: str, *heights: float) -> None:
        import matplotlib as mpl
        from matplotlib.figure import Figure

        self._title, self._description = title, description
        self._settings = mpl.rc_context(_SETTINGS)
        self._settings.__enter__()
        self._figure: Figure = Figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        panels = self._figure.subplots(
            len(heights), 1, sharex=True, squeeze=False, height_ratios=heights
        )
        self.axes: list[Axes] = list(panels[:, 0])
        self.svg = ""

    def __enter__(self) -> Drawing:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.svg = self._render()
        finally:
            self._settings.__exit__(None, None, None)

    def _render(self) -> str:
        self._figure.patch.set_visible(False)
        for axes in self.axes:
            axes.patch.set_visible(False)
        out = io.BytesIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self._figure.savefig(out, format="svg", metadata=nothing)
        return _inline(out.getvalue(), self._title, self._description)


def _inline(document: bytes, title: str, description: str) -> str:
    """An `svg` element that scales with its place, is described, and shares its ids with nobody."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(document)  # noqa: S314 - matplotlib has just written it
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    for part in root.iter():
        for element in [one for one in part if one.tag.endswith("}metadata")]:
            part.remove(element)
        # Nothing refers to groups.
        if part.tag == f"{{{_SVG}}}g":
            part.attrib.pop("id", None)
        # Of coordinates: the texts of labels are not among them.
        for name in _COORDINATES & part.attrib.keys():
            part.set(name, re.sub(r"(\d+\.\d\d)\d+", r"\1", part.attrib[name]))
    root.set("role", "img")
    described = ET.Element(f"{{{_SVG}}}desc")
    described.text = description
    named = ET.Element(f"{{{_SVG}}}title")
    named.text = title
    root.insert(0, described)
    root.insert(0, named)
    # Clips and markers are named by what they are, which is the same in several figures.
    text = re.sub(
        r'(\bid="|href="#|url\(#)',
        rf"\g<1>f{zlib.crc32(document):08x}",
        ET.tostring(root, "unicode"),
    )
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    # The page's font, in the size that the viewBox gives it.
    return re.sub(r"font: [^;\"]*'sans-serif'[^;\"]*", f"font-size: {_SIZE}px", text)
