import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from flowguide.registry import Registry


@pytest.fixture
def things() -> Registry:
    registry = Registry("thing", given=("field",))

    @registry.register("plain")
    class Plain:
        """A plain thing.

        More about it.
        """

        def __init__(
            self,
            field: object = None,
            size: int = 3,
            scale: float = 1.0,
            mode: Literal["fast", "slow"] = "fast",
            parts: Sequence[int] = (1, 2),
            extra: Mapping[str, int] | None = None,
            on: bool = False,
        ) -> None:
            self.given = (field, size, scale, mode, parts, extra, on)

    @registry.register("needy")
    def needy(dim: int, *, path: str | None = None) -> tuple[int, str | None]:
        return dim, path

    return registry


def test_builds_by_name_with_options(things: Registry) -> None:
    assert things.build("plain", "f", size=5, scale=2, parts=[4], on=True).given == (
        "f",
        5,
        2.0,
        "fast",
        [4],
        None,
        True,
    )
    assert things.build_from({"name": "needy", "dim": 2}, path="p") == (2, "p")
    assert things.names() == ["needy", "plain"]


def test_describes(things: Registry) -> None:
    assert things.describe("plain") == "A plain thing."
    assert "field" not in things.options("plain")
    assert things.defaults("needy") == {"name": "needy", "dim": None, "path": None}


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("plan", {}, ["unknown thing 'plan'", "did you mean 'plain'", "needy, plain"]),
        (3, {}, ["unknown thing 3"]),
        ("plain", {"sise": 1}, ["'sise'", "did you mean 'size'", "scale"]),
        ("plain", {"size": "x"}, ["'size' of thing 'plain' must be an integer, not 'x'"]),
        ("plain", {"size": 1.5}, ["must be an integer, not 1.5"]),
        ("plain", {"size": True}, ["must be an integer, not True"]),
        ("plain", {"size": math.nan}, ["must be an integer, not nan"]),
        ("plain", {"scale": "1"}, ["must be a number, not '1'"]),
        ("plain", {"mode": "slo"}, ["one of 'fast', 'slow', not 'slo'"]),
        ("plain", {"parts": 3}, ["a list, each entry an integer, not 3"]),
        ("plain", {"parts": [1, "x"]}, ["a list, each entry an integer"]),
        ("plain", {"extra": 3}, ["a group of settings or null, not 3"]),
        ("plain", {"on": 1}, ["true or false, not 1"]),
        ("needy", {}, ["thing 'needy' needs the option 'dim' (an integer)"]),
        ("needy", {"dim": None}, ["must be an integer, not None"]),
    ],
)
def test_says_what_is_wrong(things: Registry, name: str, options: dict, words: list[str]) -> None:
    with pytest.raises(ValueError, match=re.escape(words[0])) as error:
        things.build(name, **options)
    for word in words:
        assert word in str(error.value)


def test_integral_floats_are_integers(things: Registry) -> None:
    assert things.build("needy", dim=1e4) == (10000, None)


def test_a_name_is_taken_once(things: Registry) -> None:
    with pytest.raises(ValueError, match=r"'plain' is registered already, by .*Plain"):
        things.register("plain")(object)
    things.register("plain", replace=True)(dict)
    assert things.get("plain") is dict


def test_too_many_arguments(things: Registry) -> None:
    with pytest.raises(ValueError, match="takes 1 positional arguments at most, not 2"):
        things.build("needy", 1, 2)


def test_a_choice_is_a_name_or_a_node(things: Registry) -> None:
    assert things.choose({"name": "needy", "dim": 3}) == things.build("needy", dim=3)
    assert type(things.choose("plain")) is type(things.build("plain"))
    with pytest.raises(ValueError, match="unknown thing 'plan'"):
        things.choose("plan")


def test_a_node_needs_a_name(things: Registry) -> None:
    with pytest.raises(ValueError, match="a thing needs a name"):
        things.build_from({"dim": 3})
