"""Letters and digits, drawn: many classes in many fonts and colours, at any size, with a caption for each.

Outlines of the fonts that ship with matplotlib are filled with exact coverage of each pixel (antialiased, not hinted),
so that a glyph is as good at 16 pixels as at 256. Nothing is downloaded and nothing is cached: sample i of a split is a
function of (seed, split, i) and of the options.
"""

from collections.abc import Sequence
from typing import Literal

import numpy
import torch

from ..randomness import derive, uniform
from .augment import check_size
from .base import Attribute, Dataset, Split, datasets
from .colours import NAMED, palettes, shaded, stands_out
from .drawn_glyph import Drawing
from .fonts import CHARACTERS, STYLES, TYPEFACES, Face, faces
from .streamed import Streamed, held

Label = Literal["character", "colour", "background", "family", "typeface", "weight", "slant"]


@datasets.register("glyphs")
def glyphs(
    split: Split = "train",
    size: int = 32,
    count: int = 20000,
    test_count: int = 2000,
    letters: str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789",
    fonts: Sequence[str] = tuple(TYPEFACES),
    styles: Sequence[str] = STYLES,
    colours: Sequence[str] | bool = NAMED,
    backgrounds: Sequence[str] = ("white", "black"),
    scale: Sequence[float] = (0.5, 0.75),
    shift: float = 0.6,
    rotation: float = 10.0,
    shade: float = 0.06,
    hold_out: float = 0.0,
    label: Label = "character",
    seed: int = 0,
    stream: bool | None = None,
) -> Dataset | Streamed:
    """Letters and digits in many fonts and colours, drawn at any size, each with a caption and its attributes.

    "a red letter B in bold serif on white". Characters come in turn, so that there are as many of each; everything else
    is drawn by lot. The label is the character, unless told otherwise; ``attributes`` of the data set holds all of
    "character", "colour", "background", "family" (sans, serif, mono), "typeface", "weight" (regular, bold), "slant"
    (upright, italic) and "pair" (common, held out).

    Args:
        split: "train" or "test": independent draws.
        size: Pixels a side.
        count: Number of samples to train on.
        test_count: Number of samples to test with.
        letters: The characters, from A-Z, a-z and 0-9: a class each. 0 is not among them by default: in most fonts it
            is an O.
        fonts: Typefaces; ``flowguide.data.fonts`` lists them.
        styles: "regular", "bold", "italic" and "bold italic"; not every typeface has them all.
        colours: Names of colours for the characters; true for the usual ones. False is white on black in one channel.
        backgrounds: Names of colours for the background; a character is only put on those it stands out from.
        scale: Least and greatest height of a capital, as a share of the side. What would not fit is made smaller.
        shift: How far from the middle, as a share of the room there is, at most 1. Nothing is ever cut off.
        rotation: Greatest angle, in degrees, either way.
        shade: How far a colour strays from its name, as a share of the range of each channel.
        hold_out: The share of pairs (character, colour) that occur in the test split only, where they are as frequent
            as any other; the attribute "pair" tells them apart. Every character and every colour keeps one to train on.
        label: The attribute that is the label.
        seed: Of all draws, and of which pairs are held out.
        stream: Draw samples when they are asked for; null to do so only if they would fill 2 GiB of memory.
    """
    check_size(size)
    _check_options(count, test_count, scale, shift, rotation, shade, hold_out)
    number = count if split == "train" else test_count
    characters = _characters(letters)
    styled = faces(fonts, styles)
    grey = colours is False
    inks, grounds = (("white",), ("black",)) if grey else palettes(colours, backgrounds)
    held_pairs = _held_out(len(characters), len(inks), hold_out, seed)

    # One row of numbers per sample, each row by itself; float64, so that no number is rounded to 1.
    lots = uniform((number, 14), derive(seed, 0 if split == "train" else 1), dtype=torch.float64).numpy()
    character = numpy.arange(number) % len(characters)
    allowed = ~held_pairs if split == "train" else numpy.ones_like(held_pairs)
    ink = _pick(lots[:, 0], allowed[character])
    ground = _pick(lots[:, 1], stands_out(inks, grounds)[ink])
    widest = max(map(len, styled))
    exists = numpy.array([[style < len(each) for style in range(widest)] for each in styled])
    typeface = _pick(lots[:, 2], numpy.ones((number, len(styled)), dtype=bool))
    style = _pick(lots[:, 3], exists[typeface])

    flat = [face for each in styled for face in each]
    first = numpy.cumsum([0, *map(len, styled[:-1])])
    face = first[typeface] + style
    low, high = scale
    drawing = Drawing(
        size,
        1 if grey else 3,
        tuple(characters),
        tuple(one.file for one in flat),
        character=character.astype(numpy.int16),
        face=face.astype(numpy.int16),
        ink=shaded(inks, ink, shade * (2 * lots[:, 4:7] - 1), grey),
        ground=shaded(grounds, ground, shade * (2 * lots[:, 7:10] - 1), grey),
        height=low + (high - low) * lots[:, 10],
        shift=shift * (2 * lots[:, 11:13] - 1),
        angle=numpy.deg2rad(rotation) * (2 * lots[:, 13] - 1),
    )
    attributes = {
        "character": _attribute(character, characters),
        "colour": _attribute(ink, inks),
        "background": _attribute(ground, grounds),
        **_of_faces(face, flat),
        "pair": _attribute(held_pairs[character, ink].astype(numpy.int64), ("common", "held out")),
    }
    chosen = attributes[label]
    return held(
        Streamed(
            f"glyphs ({split})",
            drawing,
            number,
            (drawing.channels, size, size),
            chosen.values,
            len(chosen.names),
            classes=chosen.names,
            captions=_captions(attributes, flat, face, grey),
            attributes=attributes,
        ),
        stream,
    )


def _characters(letters: str) -> list[str]:
    for character in letters:
        if character not in CHARACTERS:
            raise ValueError(f"letters are taken from A-Z, a-z and 0-9, and {character!r} is none of them")
        if letters.count(character) > 1:
            raise ValueError(f"letters names {character!r} twice; each is a class of its own")
    if not letters:
        raise ValueError("letters is empty; name the characters that are to be drawn, ABC say")
    return list(letters)


def _held_out(characters: int, inks: int, share: float, seed: int) -> numpy.ndarray:
    """Which pairs are held out, shape (characters, inks): by lot, but for the last of a character or of a colour."""
    held_pairs = numpy.zeros((characters, inks), dtype=bool)
    wanted = round(share * held_pairs.size)
    lot = uniform((held_pairs.size, 1), derive(seed, 2), dtype=torch.float64)[:, 0].argsort(stable=True)
    for pair in lot.tolist():
        if held_pairs.sum() == wanted:
            break
        character, ink = divmod(pair, inks)
        if (~held_pairs[character]).sum() > 1 and (~held_pairs[:, ink]).sum() > 1:
            held_pairs[character, ink] = True
    if held_pairs.sum() < wanted or (share > 0 and not wanted):
        raise ValueError(
            f"hold_out={share:g} cannot be had of {held_pairs.size} pairs of {characters} characters and {inks} "
            f"colours; every one of either is to keep one"
        )
    return held_pairs


def _pick(lots: numpy.ndarray, allowed: numpy.ndarray) -> numpy.ndarray:
    """One of the allowed columns of each row, all equally likely: lots in (0, 1), shape (N,); allowed, shape (N, K)."""
    rank = numpy.floor(lots * allowed.sum(1)).astype(numpy.int64)
    return ((allowed.cumsum(1) - 1 == rank[:, None]) & allowed).argmax(1)


def _attribute(values: numpy.ndarray, names: Sequence[str]) -> Attribute:
    return Attribute(torch.from_numpy(values.astype(numpy.int64)), tuple(names))


def _of_faces(face: numpy.ndarray, flat: Sequence[Face]) -> dict[str, Attribute]:
    """What a face is, one thing at a time."""
    found = {}
    for name, of in {
        "family": lambda each: each.family,
        "typeface": lambda each: each.typeface,
        "weight": lambda each: "bold" if "bold" in each.style else "regular",
        "slant": lambda each: "italic" if "italic" in each.style else "upright",
    }.items():
        names = list(dict.fromkeys(map(of, flat)))
        found[name] = _attribute(numpy.array([names.index(of(each)) for each in flat])[face], names)
    return found


def _captions(attributes: dict[str, Attribute], flat: Sequence[Face], face: numpy.ndarray, grey: bool) -> list[str]:
    """A sentence for each sample: "a red letter B in bold serif on white"."""
    names = {name: [each.names[value] for value in each.values.tolist()] for name, each in attributes.items()}
    captions = []
    for number, character in enumerate(names["character"]):
        kind = "digit" if character.isdigit() else "letter"
        one = flat[face[number]]
        style = "" if one.style == "regular" else f"{one.style} "
        thing, ground = f"{kind} {character} in {style}{one.family}", names["background"][number]
        ink = names["colour"][number]
        captions.append(f"a {thing}" if grey else f"{'an' if ink[0] in 'aeiou' else 'a'} {ink} {thing} on {ground}")
    return captions


def _check_options(
    count: int,
    test_count: int,
    scale: Sequence[float],
    shift: float,
    rotation: float,
    shade: float,
    hold_out: float,
) -> None:
    for name, value in (("count", count), ("test_count", test_count)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale is a least and a greatest share of the side, [0.5, 0.75] say, not {list(scale)}")
    for name, value, most in (("shift", shift, 1), ("rotation", rotation, 180), ("shade", shade, 1)):
        if not 0 <= value <= most:
            raise ValueError(f"{name} must lie between 0 and {most}, not {value:g}")
    if not 0 <= hold_out < 1:
        raise ValueError(f"hold_out is a share of pairs, at least 0 and below 1, not {hold_out:g}")
