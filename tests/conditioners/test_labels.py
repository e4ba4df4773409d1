"""Labels, by number and by name."""

import pytest

from flowguide import conditioners, data


def ask(given: object, num: int = 3) -> list[int]:
    glyphs = {"size": 16, "count": 4, "letters": "ABC"}
    asked = conditioners.Asked(num, 3, lambda split: data.build("glyphs", split=split, **glyphs))
    return conditioners.build("label").ask(given, asked).tolist()


def test_by_number_by_name_and_in_turn() -> None:
    assert ask(None, 5) == [0, 1, 2, 0, 1]
    assert ask(2) == [2, 2, 2]
    assert ask("B") == [1, 1, 1]
    assert ask(["C", 0, "A"]) == [2, 0, 0]


def test_names_are_not_looked_up_for_numbers() -> None:
    asked = conditioners.Asked(1, 3, lambda split: pytest.fail("the data set was built"))
    assert conditioners.build("label").ask([1], asked).tolist() == [1]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("D", "unknown class of glyphs .train. 'D'"),
        (3, "cond must be a label from 0 to 2, or a list of them, not 3"),
        (True, "not True"),
        ({"character": "A"}, "cond must be a label"),
        ([0, 1], "cond lists 2 labels for num=3 samples"),
    ],
)
def test_mistakes(given: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        ask(given)


def test_classes_without_names() -> None:
    asked = conditioners.Asked(1, 10, lambda split: data.build("moons", count=4))
    with pytest.raises(ValueError, match="have no names: give its number"):
        conditioners.build("label").ask("seven", asked)
