"""Samples of many weights from batches that they share: the same as from batches of their own, in fewer of them."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowguide as fg
from flowguide.evaluation.sweep import groups, sweep
from flowguide.training import TrainConfig, some_samples

PATH = fg.paths.build("linear")
FIELD = fg.MixtureField(fg.oracle.ring(3), PATH)
WEIGHTS = {"none": 0.0, "half": 0.5, "one": 1.0, "two": 2.0, "four": 4.0}


class TinyNetwork(fg.networks.Network):
    """Something that depends on state, time and label, row by row."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.sizes: list[int] = []

    def forward(self, x: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        self.sizes.append(len(x))
        cond = self.null(len(x)) if cond is None else cond
        return self.scale * (cond[:, None] - x) * (1 + t.reshape(-1, 1))


def config() -> TrainConfig:
    return TrainConfig({"name": "moons"}, {"name": "mlp"}, {"name": "cfm"}, {"steps": 1}, {"name": "linear"}, shape=[2])


def drawing(solver: Any, seed: int = 3) -> Any:
    """Samples of all labels in turn."""
    return lambda rule, index: some_samples(config(), rule, index, index % 3, solver, seed)


def building(field: fg.Field, name: str = "cfg", **options: Any) -> Any:
    return lambda w: fg.guidance.build(name, field, w=w, **options)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(1, 40),
    st.sampled_from(["heun", "euler_maruyama", "auto"]),
    st.sampled_from(["cfg", "apg", "interval", "rescale"]),
    st.permutations(list(WEIGHTS)),
)
def test_sharing_batches_changes_nothing(count: int, size: int, solver: str, rule: str, order: list[str]) -> None:
    solver = fg.solvers.build(solver, steps=3)
    field = fg.NetworkField(TinyNetwork(), PATH)
    field.requires_grad_(False)
    index = torch.arange(5, 5 + count)
    weights = {name: WEIGHTS[name] for name in order}
    swept = dict(sweep(weights, building(field, rule), drawing(solver), index, size))
    assert set(swept) == set(weights)
    for name, w in weights.items():
        alone = some_samples(config(), fg.guidance.build(rule, field, w=w), index, index % 3, solver, 3)
        assert swept[name].samples.shape == (count, 2)
        torch.testing.assert_close(swept[name].samples, alone, rtol=2e-5, atol=2e-6)


def test_no_batch_is_smaller_than_it_may_be() -> None:
    field = fg.NetworkField(TinyNetwork(), PATH).requires_grad_(False)
    solver = fg.solvers.build("euler", steps=2)
    draws: list[int] = []

    def draw(rule: fg.Field, index: torch.Tensor) -> torch.Tensor:
        draws.append(len(index))
        return drawing(solver)(rule, index)

    index = torch.arange(10)
    told: list[int] = []
    names = [name for name, _ in sweep(WEIGHTS, building(field), draw, index, 8, told.append)]
    # 0 and 1 need one evaluation and have batches of their own; the other three have 30 samples together.
    assert draws == [8, 2, 8, 8, 8, 6, 8, 2]
    assert told == draws
    assert names == ["none", "half", "two", "four", "one"]


def test_every_weight_costs_what_it_needs() -> None:
    field = fg.NetworkField(TinyNetwork(), PATH).requires_grad_(False)
    solver = fg.solvers.build("euler", steps=5)
    index = torch.arange(12)
    swept = dict(sweep(WEIGHTS, building(field), drawing(solver), index, 7))
    assert {name: each.evaluations for name, each in swept.items()} == {
        "none": 5, "half": 10, "one": 5, "two": 10, "four": 10,
    }  # fmt: skip
    assert sum(field.network.sizes) == 12 * (5 + 10 + 5 + 10 + 10)


def test_a_weight_is_given_out_before_the_next_one_is_drawn() -> None:
    events: list[Any] = []
    index = torch.arange(4)
    draw = drawing(fg.solvers.build("euler", steps=1))
    weights = {"two": 2.0, "three": 3.0, "four": 4.0}
    for name, _ in sweep(weights, building(FIELD), draw, index, 6, events.append):
        events.append(name)
    assert events == [6, "two", 6, "three", "four"]


@pytest.mark.parametrize(
    ("name", "options", "weights", "expected"),
    [
        ("smc", {}, {"a": 2.0, "b": 3.0}, [["a"], ["b"]]),
        ("interval", {"rule": "smc"}, {"a": 2.0, "b": 3.0}, [["a"], ["b"]]),
        ("cfg", {}, {"a": {"name": "linear", "start": 1, "end": 3}, "b": 3.0, "c": 2.0}, [["a"], ["b", "c"]]),
        ("cfg", {}, {"a": 3.0, "b": 1.0, "c": 2.0, "d": 0.0}, [["a", "c"], ["b"], ["d"]]),
        ("cfgpp", {}, {"a": 0.5, "b": 1.0}, [["a", "b"]]),
    ],
)
def test_what_cannot_share(name: str, options: Any, weights: Any, expected: Any) -> None:
    assert groups(weights, building(FIELD, name, **options)) == expected


def test_a_process_without_a_share_gives_empty_samples_of_every_weight() -> None:
    field = fg.NetworkField(TinyNetwork(), PATH).requires_grad_(False)
    nothing = torch.arange(0)
    swept = dict(sweep(WEIGHTS, building(field), drawing(fg.solvers.build("euler")), nothing, 4))
    assert {name: tuple(each.samples.shape) for name, each in swept.items()} == dict.fromkeys(WEIGHTS, (0, 2))
