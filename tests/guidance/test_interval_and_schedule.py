"""Guidance in an interval, weights as functions of time, and rules around rules."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rules import Counting, Toy
from strategies import generator, states
from torch.testing import assert_close

import flowguide as fg


def interval(field: fg.Field, *args, **options) -> fg.guidance.Guidance:
    return fg.guidance.build("interval", field, *args, **options)


def test_one_evaluation_outside_two_inside() -> None:
    field = Counting(Toy(fg.paths.build("linear")))
    x, y = torch.randn(70, 3), torch.arange(70) % 3
    rules = {
        "a weight": interval(field, w=3.0, low=0.3, high=0.6),
        "around a rule": interval(fg.guidance.build("apg", field, w=3.0), low=0.3, high=0.6),
        "a name": interval(field, w=3.0, low=0.3, high=0.6, rule="apg"),
        "around two": interval(fg.guidance.build("rescale", field, w=3.0), low=0.3, high=0.6),
    }
    for what, rule in rules.items():
        for t, expected in ((0.1, 1), (0.3, 2), (0.5, 2), (0.6, 2), (0.61, 1), (torch.full((70,), 0.9), 1)):
            field.count = 0
            guided = rule(x, t, y)
            assert field.count == expected, (what, t)
            if expected == 1:
                assert torch.equal(guided.velocity, field(x, t, y).velocity)
    field.count = 0
    rules["a weight"](x, torch.linspace(0, 1, 70), y)  # some inside, some outside
    assert field.count == 2


@given(states(), st.sampled_from(["t", "log_snr", "sigma"]))
def test_each_sample_has_its_own_time(state, unit: str) -> None:
    field, x, t, y = state
    level = {"t": t, "log_snr": 2 * field.path.half_log_snr(t), "sigma": field.path.sigma(t) / field.path.alpha(t)}[
        unit
    ]
    low, high = sorted(level.tolist())[1], sorted(level.tolist())[3]
    if not low < high:
        return
    low, high = low - 1e-9 * abs(low), high + 1e-9 * abs(high)
    rule = interval(field, w=3.0, low=low, high=high, unit=unit)
    guided, plain, cfg = rule(x, t, y), field(x, t, y), fg.guidance.build("cfg", field, w=3.0)(x, t, y)
    inside = (level >= low) & (level <= high)
    assert inside.any()
    for kind in ("velocity", "data", "noise"):
        got, on, off = (getattr(p, kind) for p in (guided, cfg, plain))
        assert_close(got[inside], on[inside])
        assert_close(got[~inside], off[~inside])


@pytest.mark.parametrize("path", ["linear", "vp", "edm"])
def test_a_log_snr_is_the_same_place_on_every_path(path: str) -> None:
    field = Toy(fg.paths.build(path))
    for level in (-2.0, 0.5, 3.0):
        t = field.path.time_at(torch.tensor(level / 2)).float()
        by_snr = interval(field, w=2.0, low=level, unit="log_snr")
        by_sigma = interval(field, w=2.0, high=torch.tensor(-level / 2).exp().item(), unit="sigma")
        step = 1e-4 * (field.t_max - field.t_min)
        for rule in (by_snr, by_sigma):
            assert not rule.inside(t - step)
            assert rule.inside(t + step)


def test_outside_all_rules_are_off() -> None:
    field = Toy(fg.paths.build("linear"))
    auto = fg.guidance.build("autoguidance", field, weak=Toy(field.path, 0.3), w=2.0)
    apg = fg.guidance.build("apg", auto, w=3.0)
    x, y = torch.randn(6, 3), torch.arange(6) % 3
    rule = interval(apg, low=0.2, high=0.8)
    assert torch.equal(rule(x, 0.9, y).velocity, field(x, 0.9, y).velocity)
    assert torch.equal(rule(x, 0.5, y).velocity, apg(x, 0.5, y).velocity)
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 1.0])
    assert_close(rule(x, t, y).velocity[[0, 4, 5]], field(x, t, y).velocity[[0, 4, 5]])
    assert_close(rule(x, t, y).velocity[1:4], apg(x, t, y).velocity[1:4])


@given(states(), st.floats(0, 5))
def test_orders_that_do_not_matter_do_not(state, w: float) -> None:
    """Rescaling within an interval is an interval around rescaling; a schedule of an interval is an interval of one."""
    field, x, t, y = state
    bounds = {"low": 0.3, "high": 0.7}
    one = interval(fg.guidance.build("rescale", field, w=w), **bounds)
    other = fg.guidance.build("rescale", interval(field, w=w, **bounds))
    assert_close(one(x, t, y).velocity, other(x, t, y).velocity, rtol=1e-8, atol=1e-8)
    shape = {"name": "power", "exponent": 2.0}
    one = interval(fg.guidance.build("schedule", field, w=w, shape=shape), **bounds)
    other = fg.guidance.build("schedule", field, w=w, shape=shape, rule={"name": "interval", **bounds})
    assert_close(one(x, t, y).velocity, other(x, t, y).velocity, rtol=1e-8, atol=1e-8)
    # cfg within cfg: the weights multiply, in either order.
    nested = [fg.guidance.build("cfg", fg.guidance.build("cfg", field, w=a), w=b) for a, b in ((w, 2.0), (2.0, w))]
    assert_close(nested[0](x, t, y).velocity, nested[1](x, t, y).velocity, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"low": 0.6, "high": 0.3}, "low < high, not from 0.6 to 0.3"),
        ({"low": 0.5, "high": 0.5}, "low < high"),
        ({"low": -0.5, "high": 0.5}, r"within \[0, 1\]"),
        ({"high": 2.0}, r"within \[0, 1\]"),
        ({"low": -1.0, "high": 1.0, "unit": "sigma"}, r"in sigma lies within \[0, inf\]"),
        ({"low": float("nan")}, "low < high"),
        ({"unit": "steps"}, "'t', 'log_snr', 'sigma'"),
        ({"rule": {"name": "apg", "etaa": 1}}, "did you mean 'eta'"),
        ({"rule": {"eta": 1}}, "a guidance rule needs a name"),
    ],
)
def test_bad_intervals_get_a_sentence(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        interval(Toy(fg.paths.build("linear")), w=2.0, **options)


def test_schedules_go_from_their_start_to_their_end() -> None:
    t = torch.linspace(0, 1, 101, dtype=torch.float64)
    for name in fg.guidance.schedules.names():
        w = fg.guidance.schedules.build(name)(t)
        assert w.shape == t.shape
        assert w.dtype == t.dtype
        assert ((w >= -1e-12) & (w <= 1 + 1e-12)).all()
    for name in ("linear", "cosine", "power"):
        w = fg.guidance.schedules.build(name, start=1.0, end=4.0)(t)
        assert_close((w[0].item(), w[-1].item()), (1.0, 4.0))
        assert (w.diff() > 0).all()
    beta = fg.guidance.schedules.build("beta", low=1.0, high=5.0, a=2.0, b=3.0)(t)
    assert_close((beta[0].item(), beta[-1].item(), beta.max().item()), (1.0, 1.0, 5.0))
    assert t[beta.argmax()] == pytest.approx(0.4)


@given(states())
def test_a_schedule_is_the_weight_at_that_time(state) -> None:
    field, x, t, y = state
    expected = fg.guidance.build("cfg", field, w=1 + 3 * t)(x, t, y).score
    for w in ({"name": "linear", "start": 1, "end": 4}, lambda t: 1 + 3 * t):
        assert_close(fg.guidance.build("cfg", field, w=w)(x, t, y).score, expected)
    for options in ({}, {"shape": lambda t: t}, {"rule": {"name": "apg", "eta": 1.0}}):
        rule = fg.guidance.build("schedule", field, w=4.0, **options)
        assert_close(rule(x, t, y).score, expected, rtol=1e-6, atol=1e-6)
    several = fg.guidance.build("schedule", field, w=torch.linspace(1, 3, len(x), dtype=torch.float64))(x, t, y).score
    flat = fg.guidance.build("cfg", field, w=1 + torch.linspace(0, 2, len(x), dtype=torch.float64) * t)(x, t, y).score
    assert_close(several, flat)


@pytest.mark.parametrize("path", fg.paths.names())
def test_a_straight_schedule_means_the_same_on_every_path(path: str) -> None:
    """At the same noise level: that of the linear path at its own time."""
    mixture, line = fg.oracle.ring(3, std=0.5), fg.paths.build("linear")
    options = {"w": 3.0, "shape": {"name": "power", "exponent": 3.0}}
    straight = fg.guidance.build("schedule", fg.MixtureField(mixture, line), **options)
    field = fg.MixtureField(mixture, fg.paths.build(path))
    t = torch.linspace(max(field.t_min, 0.1), min(field.t_max, 0.95), 6, dtype=torch.float64)
    x, y = torch.randn(6, 2, generator=generator(0), dtype=torch.float64), torch.arange(6) % 3
    alpha, sigma = field.path.alpha(t), field.path.sigma(t)
    expected = straight(x / (alpha + sigma)[:, None], alpha / (alpha + sigma), y).data
    assert_close(fg.guidance.build("schedule", field, unit="straight", **options)(x, t, y).data, expected)
    in_t = fg.guidance.build("schedule", field, **options)(x, t, y).data
    assert torch.allclose(in_t, expected) == (path == "linear")
    with pytest.raises(ValueError, match="must be one of 't', 'straight', not 'sigma'"):
        fg.guidance.build("schedule", field, unit="sigma", **options)


@pytest.mark.parametrize(
    ("w", "words"),
    [
        (lambda t: torch.ones(3, 3), "one per sample, not weights of shape"),
        (lambda t: torch.ones(2), "w has 2 weights for 6 samples"),
        (lambda t: float("nan"), "w must be a finite number"),
        (lambda t: "much", "a guidance weight is a number, one per sample, or a schedule that gives such, not 'much'"),
        (lambda t: None, "a guidance weight is a number, .* not None"),
        (lambda t: [1.0, 2.0], "w has 2 weights for 6 samples"),
        ({"name": "power", "exponent": 0.0}, "exponent of a schedule must be positive"),
        ({"name": "beta", "a": -1.0}, "a and b of the schedule beta must be positive"),
        ({"name": "linear", "start": float("inf")}, "w must be a finite number"),
        ({}, "a schedule needs a name"),
    ],
)
def test_bad_schedules_get_a_sentence(w, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.guidance.build("cfg", Toy(fg.paths.build("linear")), w=w)(torch.randn(6, 2), 0.5, torch.arange(6) % 3)


def test_the_likelihood_of_a_nested_rule() -> None:
    field = fg.MixtureField(fg.oracle.ring(3, std=0.5), fg.paths.build("linear"))
    x, y = field.mixture.sample(4, seed=1)
    x = x.double()
    nested = interval(fg.guidance.build("apg", field, w=2.0, eta=1.0, space="v"), low=0.25, high=0.75)
    flat = interval(field, w=2.0, low=0.25, high=0.75)
    found, expected = (fg.log_likelihood(rule, x, y) for rule in (nested, flat))
    assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found, fg.log_likelihood(field, x, y), rtol=1e-2)
    plain = interval(fg.guidance.build("apg", field, w=1.0, space="v"), low=0.25, high=0.75)
    assert_close(fg.log_likelihood(plain, x, y), field.mixture.log_prob(x, y), rtol=1e-3, atol=1e-3)
