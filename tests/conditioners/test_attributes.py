"""Attributes: one-hot, any of them left open."""

import pytest
import torch
from torch.testing import assert_close

from flowguide import conditioners, data

GLYPHS = {"size": 16, "letters": "AB", "colours": ["red", "cyan"], "backgrounds": ["black"], "count": 400}


def glyphs(split: str = "train") -> data.Dataset:
    return data.build("glyphs", split=split, **GLYPHS, test_count=8)


def ask(given: object, names: list[str] | None, num: int = 1) -> torch.Tensor:
    return conditioners.build("attributes", names=names).ask(given, conditioners.Asked(num, None, glyphs))


def test_one_hot_in_the_order_of_the_names() -> None:
    names = ["colour", "character"]
    assert ask({"character": "B", "colour": "red"}, names).tolist() == [[1, 0, 0, 1]]
    assert ask({"character": "A"}, names).tolist() == [[0, 0, 1, 0]]
    assert ask({}, names, 2).tolist() == [[0, 0, 0, 0]] * 2
    assert ask([{"colour": "cyan"}, {"character": "B"}], names, 2).tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]


def test_what_is_told_is_what_a_sample_is_but_for_what_is_left_out() -> None:
    dataset, share = glyphs(), 0.25
    prepared, tell = conditioners.build("attributes", names=["character", "colour"], dropout=share).prepare(dataset)
    images, rows = prepared.batch(torch.arange(400))
    told = tell(images, rows, torch.Generator().manual_seed(0)).reshape(400, 2, 2)
    truth = torch.stack([torch.eye(2)[dataset.attributes[name].values] for name in ("character", "colour")], 1)
    there = told.sum(2) > 0
    assert_close(told[there], truth[there])
    assert abs(float((~there).float().mean()) - share) < 0.05
    both = (~there).all(1).float().mean()
    assert abs(float(both) - share**2) < 0.04, "each by itself"
    _, whole = conditioners.build("attributes", names=["character", "colour"], dropout=0).prepare(dataset)
    assert_close(whole(images, rows, torch.Generator()).reshape(400, 2, 2), truth)


def test_attributes_in_which_no_samples_differ_are_left_out() -> None:
    layout = conditioners.build("attributes").layout(glyphs())
    assert "pair" not in layout.names
    assert "background" not in layout.names
    assert {"character", "colour", "family"} <= set(layout.names)


def test_the_default_is_the_test_split_in_turn() -> None:
    test = glyphs("test")
    colours = ask(None, ["colour"], 11).argmax(1)
    assert colours.tolist() == [int(test.attributes["colour"].values[row % 8]) for row in range(11)]


@pytest.mark.parametrize(
    ("given", "names", "sentence"),
    [
        ({"colour": "rad"}, None, "unknown colour 'rad'; did you mean 'red'"),
        ({"color": "red"}, None, "unknown attribute 'color'; did you mean 'colour'"),
        ("a red A", ["colour"], "told attributes: cond={colour: red}, not 'a red A'"),
        ([{}, {}], None, "cond lists 2 groups of attributes for num=1 samples"),
        ({}, ["colr"], "unknown attribute of glyphs .train. 'colr'; did you mean 'colour'"),
        ({}, [], "names lists attributes"),
        ({}, ["pair", "pair"], "each once"),
    ],
)
def test_mistakes(given: object, names: list[str] | None, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(given, names)


def test_data_without_attributes() -> None:
    with pytest.raises(ValueError, match=r"and moons .* has none"):
        conditioners.build("attributes").prepare(data.build("moons", count=4))
    with pytest.raises(ValueError, match="dropout is a probability"):
        conditioners.build("attributes", dropout=1)
