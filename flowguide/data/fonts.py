"""Letters and digits as outlines, from the fonts that ship with matplotlib."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from ..registry import unknown

if TYPE_CHECKING:
    from matplotlib.path import Path as Outline

# Typeface -> its family, and the file of each of its styles.
TYPEFACES: dict[str, tuple[str, dict[str, str]]] = {
    "dejavu_sans": (
        "sans",
        {
            "regular": "DejaVuSans",
            "bold": "DejaVuSans-Bold",
            "italic": "DejaVuSans-Oblique",
            "bold italic": "DejaVuSans-BoldOblique",
        },
    ),
    "dejavu_serif": (
        "serif",
        {
            "regular": "DejaVuSerif",
            "bold": "DejaVuSerif-Bold",
            "italic": "DejaVuSerif-Italic",
            "bold italic": "DejaVuSerif-BoldItalic",
        },
    ),
    "dejavu_mono": (
        "mono",
        {
            "regular": "DejaVuSansMono",
            "bold": "DejaVuSansMono-Bold",
            "italic": "DejaVuSansMono-Oblique",
            "bold italic": "DejaVuSansMono-BoldOblique",
        },
    ),
    "stix": (
        "serif",
        {
            "regular": "STIXGeneral",
            "bold": "STIXGeneralBol",
            "italic": "STIXGeneralItalic",
            "bold italic": "STIXGeneralBolIta",
        },
    ),
    "computer_modern": ("serif", {"regular": "cmr10", "bold": "cmb10", "italic": "cmti10"}),
    "computer_modern_sans": ("sans", {"regular": "cmss10"}),
    "computer_modern_mono": ("mono", {"regular": "cmtt10"}),
}
STYLES = ("regular", "bold", "italic", "bold italic")
CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"  # that every one of these fonts has


@dataclass(frozen=True)
class Face:
    """One style of a typeface."""

    typeface: str
    family: str
    style: str
    file: str


def faces(typefaces: Sequence[str], styles: Sequence[str]) -> list[list[Face]]:
    """For each typeface its faces in the styles asked for; typefaces with none of them are left out.

    Raises:
        ValueError: if a name is unknown, or nothing is left.
    """
    for kind, names, known in (("typeface", typefaces, TYPEFACES), ("style", styles, STYLES)):
        for name in names:
            if name not in known:
                raise unknown(kind, name, known)
    found = []
    for typeface in dict.fromkeys(typefaces):
        family, files = TYPEFACES[typeface]
        found.append([Face(typeface, family, style, files[style]) for style in dict.fromkeys(styles) if style in files])
    found = [each for each in found if each]
    if not found:
        raise ValueError(
            f"no typeface of {', '.join(typefaces) or 'none'} comes in {' or '.join(styles) or 'no style at all'}"
        )
    return found


@cache
def outline(file: str, character: str) -> tuple["Outline", numpy.ndarray]:
    """A character, in units of the height of the font's capitals, about its own middle, y upwards.

    Args:
        file: Name of one of matplotlib's fonts.
        character: One of ``CHARACTERS``.
    Returns:
        The outline, and points along it, shape (P, 2), close enough together to tell its extent at any angle.
    """
    import matplotlib
    from matplotlib.font_manager import FontProperties
    from matplotlib.path import Path as Outline
    from matplotlib.textpath import TextPath

    font = FontProperties(fname=Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{file}.ttf")
    capital = TextPath((0, 0), "H", size=1000, prop=font).get_extents().height
    path = TextPath((0, 0), character, size=1000, prop=font)
    points = numpy.concatenate(path.to_polygons(closed_only=False))
    middle = (points.min(0) + points.max(0)) / 2
    path = Outline((path.vertices - middle) / capital, path.codes)
    return path, (points - middle) / capital
