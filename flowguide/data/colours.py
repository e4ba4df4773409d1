"""The colours of drawn letters: their names, which can be read on which, and how they stray from their names."""

from collections.abc import Sequence

import numpy

from ..registry import unknown

# Red, green and blue, in [0, 255].
COLOURS = {
    "red": (220, 35, 40),
    "orange": (250, 135, 15),
    "yellow": (250, 215, 30),
    "green": (30, 150, 60),
    "cyan": (20, 195, 210),
    "blue": (55, 105, 235),
    "purple": (150, 65, 205),
    "pink": (250, 115, 185),
    "brown": (130, 80, 40),
    "black": (15, 15, 15),
    "grey": (128, 128, 128),
    "white": (240, 240, 240),
}
NAMED = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
_CONTRAST = 2.6  # least ratio of luminances of letter and background, where 1 is none and 21 is black on white


def palettes(colours: Sequence[str] | bool, backgrounds: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the colours of letters, and of their backgrounds; ValueError if one is unknown or cannot be read."""
    chosen = []
    for option, names in (("colours", NAMED if colours is True else colours), ("backgrounds", backgrounds)):
        if not names:
            raise ValueError(f"{option} is an empty list; name one at least (known: {', '.join(COLOURS)})")
        for name in names:
            if name not in COLOURS:
                raise unknown("colour", name, COLOURS)
        chosen.append(tuple(dict.fromkeys(names)))
    inks, grounds = chosen
    for ink, some in zip(inks, stands_out(inks, grounds), strict=True):
        if not some.any():
            raise ValueError(f"{ink} does not stand out from {' or '.join(grounds)}; name another of backgrounds")
    return inks, grounds


def stands_out(inks: Sequence[str], grounds: Sequence[str]) -> numpy.ndarray:
    """Which colours can be read on which, shape (inks, grounds): by the contrast ratio of WCAG 2."""
    ours, theirs = (numpy.array([_luminance(name) for name in names]) + 0.05 for names in (inks, grounds))
    ratio = ours[:, None] / theirs
    return numpy.maximum(ratio, 1 / ratio) >= _CONTRAST


def _luminance(name: str) -> float:
    """Relative luminance of sRGB."""
    channels = numpy.array(COLOURS[name]) / 255
    linear = numpy.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def shaded(names: Sequence[str], chosen: numpy.ndarray, strays: numpy.ndarray, grey: bool) -> numpy.ndarray:
    """Colours that stray from their names, shape (N, channels), uint8; of grey ones all channels by the same."""
    table = numpy.array([COLOURS[name] for name in names])
    if grey:
        table, strays = table[:, :1], strays[:, :1]
    return (table[chosen] + 255 * strays).round().clip(0, 255).astype(numpy.uint8)
