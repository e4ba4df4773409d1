"""Letters and digits: drawn whole, in the colours and the fonts that their captions name."""

import re
from collections.abc import Sequence

import pytest
import torch

import flowguide as fg
from flowguide.data.colours import COLOURS
from flowguide.data.fonts import CHARACTERS, STYLES, TYPEFACES, outline

FIXED = {"shift": 0.0, "rotation": 0.0, "shade": 0.0, "scale": [0.6, 0.6]}


def glyphs(split: str = "train", **options) -> fg.data.Dataset:
    return fg.data.build("glyphs", split=split, **{"count": 300, "test_count": 300, **options})


def named(dataset: fg.data.Samples, attribute: str) -> list[str]:
    found = dataset.attributes[attribute]
    return [found.names[value] for value in found.values.tolist()]


def ink(dataset: fg.data.Dataset) -> torch.Tensor:
    """Which pixels differ from the corner's colour, shape (N, H, W)."""
    data = dataset.data.int()
    return (data - data[:, :, :1, :1]).abs().amax(1) > 40


@pytest.mark.parametrize("size", [16, 33, 64])
def test_nothing_is_cut_off(size: int) -> None:
    options = {"letters": CHARACTERS, "shift": 1.0, "rotation": 45.0, "scale": [0.3, 1.0], "shade": 0.0}
    drawn = ink(glyphs(size=size, count=620, **options))
    assert drawn.flatten(1).any(1).all()
    for edge in (drawn[:, 0], drawn[:, -1], drawn[:, :, 0], drawn[:, :, -1]):
        assert not edge.any()


def test_in_the_middle_and_of_the_height_asked_for() -> None:
    upright = glyphs(size=64, letters="HEX", fonts=["dejavu_sans"], styles=["regular"], **FIXED)
    rows = ink(upright).any(2)
    height = rows.sum(1)
    assert height.float().sub(0.6 * 64).abs().max() <= 2
    top, bottom = rows.int().argmax(1), rows.flip(1).int().argmax(1)
    assert (top - bottom).abs().max() <= 1


def test_a_drawing_has_the_colour_and_the_character_of_its_caption() -> None:
    dataset = glyphs(size=32, **FIXED)
    pixels = dataset.data
    for name, image in zip(named(dataset, "background"), pixels, strict=True):
        assert image[:, 0, 0].tolist() == list(COLOURS[name])
    for name, image in zip(named(dataset, "colour"), pixels, strict=True):
        distance = (image.int() - torch.tensor(COLOURS[name])[:, None, None]).abs().amax(0)
        assert distance.min() <= 60  # thin strokes may cover no pixel whole
    # The same character in the same face is the same shape, whatever its colour.
    plain = {"fonts": ["stix"], "styles": ["bold"], **FIXED}
    shapes = ink(glyphs(letters="AB", size=32, **plain))
    assert (shapes[::2] ^ shapes[:1]).float().mean() < 0.03
    assert (shapes[1::2] ^ shapes[:1]).float().mean() > 0.1


def test_labels_captions_and_attributes_agree() -> None:
    dataset = glyphs()
    assert dataset.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ123456789")
    assert dataset.num_classes == 35
    assert torch.equal(dataset.labels, dataset.attributes["character"].values)
    pattern = r"an? (\w+) (letter|digit) (\w) in (bold )?(italic )?(sans|serif|mono) on (\w+)"
    for number, caption in enumerate(dataset.captions):
        colour, kind, character, bold, italic, family, background = re.fullmatch(pattern, caption).groups()
        says = {
            "colour": colour,
            "character": character,
            "weight": "bold" if bold else "regular",
            "slant": "italic" if italic else "upright",
            "family": family,
            "background": background,
        }
        assert all(
            dataset.attributes[name].names[dataset.attributes[name].values[number]] == value
            for name, value in says.items()
        )
        assert kind == ("digit" if character.isdigit() else "letter")
        assert caption.startswith("an " if colour == "orange" else "a ")
    for name in ("colour", "family", "weight", "slant", "typeface", "background"):
        assert set(named(dataset, name)) == set(dataset.attributes[name].names), name
    coloured = glyphs(label="colour")
    assert coloured.classes == ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
    assert torch.equal(coloured.labels, dataset.attributes["colour"].values)
    assert torch.equal(coloured.data, dataset.data)


def test_a_sample_depends_on_seed_split_and_number_alone() -> None:
    few, many = glyphs(count=40), glyphs(count=90, stream=True)
    assert torch.equal(few.samples, many.samples[:40])
    assert few.captions == many.captions[:40]
    assert not torch.equal(few.data, glyphs(count=40, seed=1).data)
    assert not torch.equal(few.data, glyphs("test", test_count=40).data)


def test_pairs_that_are_held_out() -> None:
    options = {"letters": "ABCDE", "colours": ["red", "blue", "green", "pink"], "size": 8, "hold_out": 0.25}
    train, test = glyphs(count=2000, **options), glyphs("test", test_count=2000, **options)

    def pairs(dataset: fg.data.Samples, which: str) -> set[tuple[str, str]]:
        triples = zip(*(named(dataset, name) for name in ("character", "colour", "pair")), strict=True)
        return {(character, colour) for character, colour, pair in triples if pair == which}

    assert pairs(train, "held out") == set()
    assert len(pairs(test, "held out")) == 5
    assert len(pairs(train, "common")) == 15
    assert pairs(test, "common") == pairs(train, "common")
    assert not pairs(test, "held out") & pairs(train, "common")
    share = test.attributes["pair"].values.double().mean()
    assert abs(share - 0.25) < 0.05
    assert pairs(glyphs("test", test_count=2000, **options, seed=1), "held out") != pairs(test, "held out")


def test_grey() -> None:
    grey = glyphs(colours=False, size=24)
    assert grey.shape == (1, 24, 24)
    assert re.fullmatch(r"a letter A in .*(sans|serif|mono)", grey.captions[0])
    assert (grey.data[:, 0, 0, 0] < 40).all()
    assert glyphs(colours=True, size=8).shape == (3, 8, 8)


@pytest.mark.parametrize(("typeface", "style"), [(t, s) for t, (_, styles) in TYPEFACES.items() for s in styles])
def test_every_face_has_every_character(typeface: str, style: str) -> None:
    file = TYPEFACES[typeface][1][style]
    shapes = {outline(file, character)[1].round(3).tobytes() for character in CHARACTERS}
    assert len(shapes) == len(CHARACTERS)  # no character is shown as a box
    _, points = outline(file, "H")
    assert points.max(0)[1] - points.min(0)[1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size is a number of pixels, at least 1, not 0"),
        ({"count": 0}, "count must be at least 1, not 0"),
        ({"test_count": -1}, "test_count must be at least 1, not -1"),
        ({"letters": "ABÖ"}, "letters are taken from A-Z, a-z and 0-9, and 'Ö' is none of them"),
        ({"letters": "ABA"}, "letters names 'A' twice"),
        ({"letters": ""}, "letters is empty"),
        ({"letters": 123}, "'letters' of data set 'glyphs' must be a string, not 123"),
        ({"fonts": ["dejavu_sens"]}, "unknown typeface 'dejavu_sens'; did you mean 'dejavu_sans'?"),
        ({"fonts": []}, "no typeface of none comes in regular or bold or italic"),
        ({"fonts": ["computer_modern_mono"], "styles": ["bold"]}, "no typeface of computer_modern_mono comes in bold"),
        ({"styles": ["fat"]}, "unknown style 'fat'"),
        ({"colours": ["read"]}, "unknown colour 'read'; did you mean 'red'?"),
        ({"colours": []}, "colours is an empty list"),
        ({"backgrounds": ["witte"]}, "unknown colour 'witte'; did you mean 'white'?"),
        ({"colours": ["yellow"], "backgrounds": ["white"]}, "yellow does not stand out from white"),
        ({"scale": [0.5]}, "scale is a least and a greatest share of the side, [0.5, 0.75] say, not [0.5]"),
        ({"scale": [0.9, 0.5]}, "scale is a least and a greatest share"),
        ({"shift": 1.5}, "shift must lie between 0 and 1, not 1.5"),
        ({"rotation": -3.0}, "rotation must lie between 0 and 180, not -3"),
        ({"shade": float("nan")}, "shade must lie between 0 and 1, not nan"),
        ({"hold_out": 1.0}, "hold_out is a share of pairs, at least 0 and below 1, not 1"),
        ({"hold_out": 0.9}, "hold_out=0.9 cannot be had of 280 pairs of 35 characters and 8 colours"),
        ({"hold_out": 0.1, "colours": False}, "hold_out=0.1 cannot be had of 35 pairs of 35 characters and 1 colours"),
        ({"label": "size"}, "'label' of data set 'glyphs' must be one of 'character', 'colour'"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, str | Sequence], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        glyphs(**options)


def test_every_style_is_known() -> None:
    assert {style for _, files in TYPEFACES.values() for style in files} == set(STYLES)
