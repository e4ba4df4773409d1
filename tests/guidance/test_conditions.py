"""Rules whose options are conditions that are no labels: one for all samples, one for each, or in a user's words."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import flowguide as fg

WORDS = {"left": [1.0, 0.0], "right": [0.0, 1.0]}


def model() -> fg.NetworkField:
    """A network told embeddings of two numbers, and what these are called."""
    torch.manual_seed(0)
    options = {"channels": 1, "embedding": 2, "width": 16, "depth": 1, "heads": 2}
    network = fg.networks.build("dit", **options)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    field = fg.NetworkField(network, fg.paths.build("linear"))
    field.asks = asks
    return field.eval().requires_grad_(False)


def asks(given: Any, num: int, num_classes: int | None) -> Tensor:
    several = given if isinstance(given, list) else [given] * num
    return torch.stack([torch.tensor(WORDS[each["to"] if isinstance(each, Mapping) else each]) for each in several])


STATE = (torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(1)), torch.tensor(0.4))
Y = torch.tensor([[0.3, 0.4], [0.5, 0.1], [1.0, 1.0]])


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("negative", ["left", {"to": "left"}, torch.tensor(WORDS["left"]), ["left"] * 3])
def test_away_from_a_condition_that_is_no_label(negative: Any, batched: bool) -> None:
    field, w = model(), 2.5
    rule = fg.guidance.build("negative", field, negative=negative, w=w, batched=batched)
    away = field(*STATE, torch.tensor(WORDS["left"]).expand(3, 2)).velocity
    assert (field(*STATE, Y).velocity - away).abs().max() > 1e-3
    assert_close(rule(*STATE, Y).velocity, (1 - w) * away + w * field(*STATE, Y).velocity, rtol=1e-4, atol=1e-5)
    run = fg.solvers.build("euler", steps=3)
    assert_close(
        fg.sample(rule, STATE[0].shape, Y, run, seed=0),
        fg.sample(fg.guidance.build("negative", field, negative=asks("left", 3, None), w=w), (3, 1, 4, 4), Y, run),
        rtol=1e-4,
        atol=1e-5,
    )


def test_several_conditions_that_are_no_labels() -> None:
    field, w = model(), 1.5
    rule = fg.guidance.build("multi", field, w=w, labels=["left", {"to": "right"}], weights=[1.0, 0.5, -0.5])
    u, left, right = (
        field(*STATE, None if word is None else asks(word, 3, None)).velocity for word in (None, "left", "right")
    )
    expected = u + w * (field(*STATE, Y).velocity - u + 0.5 * (left - u) - 0.5 * (right - u))
    assert_close(rule(*STATE, Y).velocity, expected, rtol=1e-4, atol=1e-5)
    assert fg.sample(rule, (3, 1, 4, 4), Y, fg.solvers.build("euler", steps=2), batch_size=2).isfinite().all()


def test_a_rule_asks_the_field_within() -> None:
    field = model()
    inner = fg.guidance.build("cfg", field, w=2.0)
    assert_close(inner.conditions("right", 2), asks("right", 2, None))
    assert_close(fg.guidance.build("negative", inner, negative="left").negative, torch.tensor(WORDS["left"]))


@pytest.mark.parametrize(
    ("negative", "sentence"),
    [
        (3, r"conditions of shape \(2,\), one for all samples or one for each, and was given the label 3"),
        (torch.zeros(5), r"was given a tensor of shape \(5,\)"),
        (torch.zeros(2, 3), r"was given a tensor of shape \(2, 3\)"),
        (["left", "left"], "2 negative conditions for 3 samples"),
    ],
)
def test_conditions_that_the_field_does_not_take(negative: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        fg.guidance.build("negative", model(), negative=negative, w=2.0)(*STATE, Y)


def test_words_are_for_the_models_of_runs() -> None:
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    with pytest.raises(ValueError, match="what 'left' means as a condition is known to the model of a run"):
        fg.guidance.build("negative", field, negative="left")


@pytest.mark.parametrize("cond", [1, [1, 2, 0, 1], "a", torch.tensor(1), torch.tensor([1.0, 2.0, 0.0, 1.0])], ids=str)
@pytest.mark.parametrize("name", ["cfg", "multi", "negative", "interval"])
def test_what_is_no_condition_is_said_so(name: str, cond: object) -> None:
    """By the rule, by a solver and by sampling alike."""
    field, x = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear")), torch.zeros(4, 2)
    rule = fg.guidance.build(name, field, w=2.0, **({"negative": 0} if name == "negative" else {}))
    solver = fg.solvers.build("heun", steps=1)
    for call in (
        lambda: rule(x, 0.5, cond),
        lambda: solver.solve(rule, x, cond),
        lambda: fg.sample(rule, (4, 2), cond),
    ):
        with pytest.raises(ValueError, match=r"cond|labels"):
            call()
