"""Helmholtz's split and the gauge: planted gauge fields, exact fields, fields that do change the density; errors."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import Linear, Planted, StateWeighted, network, of_difference, of_posterior, states, toy, turned
from strategies import mixtures, path_names, weights
from strategies import states as questions
from torch import Tensor

import flowguide as fg


def helmholtz(field: fg.Field, x: Tensor, t=0.5, y=None, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("helmholtz", **options)(field, x, t, y)


def gauge(field: fg.Field, x: Tensor, t=0.5, y=None, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("gauge", **options)(field, x, t, y)


@pytest.mark.parametrize("c", [0.1, 0.5, 1.0, 3.0])
def test_the_share_of_a_planted_rotation(c: float) -> None:
    """c^2 / (1 + c^2) of s + c R90 s, to second order in the width of the cells."""
    exact, expected = toy(), c**2 / (1 + c**2)
    field, x = Planted(exact, c, score=True), states(exact, 0.5, 1000)
    errors = []
    for cells in (32, 64):
        found = helmholtz(field, x, density=exact.log_prob, box=[-4, 4, -4, 4], cells=cells)
        errors.append(abs(found.value - expected))
        total, *parts = found.parts["energies"]
        assert total == pytest.approx(sum(parts), rel=1e-9)
        both = found.parts["gradient"] + found.parts["rotational"]
        torch.testing.assert_close(both, found.parts["field"], rtol=1e-9, atol=1e-9)
    assert errors[1] < 2e-3 * expected
    assert errors[0] > 2 * errors[1]
    # Where there is density the parts are the planted ones.
    s = exact(found.parts["centres"].reshape(-1, 2), 0.5).score.reshape(64, 64, 2)
    planted = c * turned(s.reshape(-1, 2)).reshape(64, 64, 2)
    there = found.parts["weight"] > 0.05
    size = float(s[there].square().mean().sqrt())
    assert float((found.parts["rotational"] - planted)[there].square().mean().sqrt()) < 0.05 * c * size


@given(mixtures(), weights, path_names)
def test_a_gradient_has_no_rotation_and_its_potential_is_the_log_of_the_density(mixture, w: float, path: str) -> None:
    if mixture.dim != 2:
        return
    field = fg.MixtureField(mixture, fg.paths.build(path))
    guided, y = fg.guidance.build("cfg", field, w=w), torch.zeros(1, dtype=torch.long)
    for weighting in ("density", "uniform"):
        found = helmholtz(
            guided, torch.zeros(1, 2, dtype=torch.float64), 0.5, y, weighting=weighting, box=[-3, 3, -3, 3]
        )
        assert found.value < 1e-8
        assert found.parts["weighting"] == weighting
    corners = torch.linspace(-3, 3, 65, dtype=torch.float64)
    points = torch.cartesian_prod(corners, corners)
    log_p = (1 - w) * field.log_prob(points, 0.5) + w * field.log_prob(points, 0.5, y.expand(len(points)))
    off = found.parts["potential"].flatten() - log_p
    assert float(off.std()) < 1e-3 * (1 + float(log_p.std()))


def test_curl_is_that_of_autograd() -> None:
    field, y = network(), torch.tensor([1])
    found = helmholtz(field, torch.zeros(1, 2, dtype=torch.float64), 0.5, y, box=[-2, 2, -1, 1], cells=48)
    assert found.parts["weighting"] == "uniform"
    points = found.parts["centres"][::8, ::8].reshape(-1, 2)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: field(p[None], 0.5, y).score[0]))(points)
    expected = (jacobian[:, 1, 0] - jacobian[:, 0, 1]).reshape(6, 6)
    torch.testing.assert_close(found.parts["curl"][::8, ::8], expected, rtol=0.02, atol=0.02)


def test_weights_of_the_state_rotate_unless_they_are_of_the_posterior() -> None:
    field = toy(std=0.8)
    x, y = states(field, 0.4, 50), torch.ones(50, dtype=torch.long)
    assert helmholtz(StateWeighted(field, of_difference(field)), x, 0.4, y).value > 1e-5
    assert helmholtz(StateWeighted(field, of_posterior(field)), x, 0.4, y).value < 1e-10


@given(st.floats(-3, 3), path_names)
def test_a_planted_gauge_field_has_no_effect_on_the_density(c: float, path: str) -> None:
    """However asymmetric it is: that alone is no error. A turned state is as asymmetric, and has an effect."""
    exact = toy(path, std=0.7)
    t = exact.path.time_at(torch.tensor(0.7)).item()  # a signal of twice the noise
    x = states(exact, t, 200)
    found = gauge(Planted(exact, c), x, t, reference=exact, margin=0.7)
    assert found.value < 1e-12 * (1 + found.parts["difference"])
    assert found.parts["share"] > 0.999
    if abs(c) > 0.5:
        assert fg.diagnostics.build("asymmetry", kind="score")(Planted(exact, c, score=True), x, t).value > 0.3
        turned_state = gauge(Planted(exact, c, of="x"), x, t, reference=exact, margin=0.7)
        assert turned_state.value > 0.2 * abs(c)
        assert turned_state.value > 8 * turned_state.error
        assert turned_state.parts["share"] < 0.95


def test_a_turned_state_is_gauge_where_the_density_is_round() -> None:
    round_one = fg.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 2), torch.eye(2)[None] * 0.3)
    exact = fg.MixtureField(round_one, fg.paths.build("linear"))
    found = gauge(Planted(exact, 2.0, of="x"), states(exact, 0.5, 20), reference=exact)
    assert found.value < 1e-12


@given(questions(max_dim=8), weights)
def test_the_effect_is_the_change_of_the_rate_of_the_density(state, w: float) -> None:
    """Of guidance: (w - 1) (div d + d . s_c) for the difference of velocities d = u_c - u_u, here by autograd."""
    field, x, t, y = state
    found = gauge(fg.guidance.build("cfg", field, w=w), x, t, y)

    def difference(point, time, label):
        return (field(point[None], time, label[None]).velocity - field(point[None], time).velocity)[0]

    jacobian = torch.stack([torch.func.jacrev(difference)(*each) for each in zip(x, t, y, strict=True)])
    d = field(x, t, y).velocity - field(x, t).velocity
    effect = (w - 1) * (jacobian.diagonal(dim1=1, dim2=2).sum(1) + (d * field(x, t, y).score).sum(1))
    scale = 1 + effect.abs().max()
    assert ((found.parts["effect"] - effect).abs() / scale).max() < 1e-9
    if w == 1:
        assert found.value == 0


def test_estimates_of_the_effect_have_no_bias() -> None:
    field, exact = Linear(torch.randn(6, 6, dtype=torch.float64), "velocity"), Linear(torch.eye(6).double(), "velocity")
    x = torch.randn(5, 6, dtype=torch.float64)
    truth = gauge(field, x, reference=exact)
    estimates = [gauge(field, x, reference=exact, exact=False, probes=2, seed=s) for s in range(300)]
    effects = torch.stack([found.parts["effect"] for found in estimates])
    assert ((effects.mean(0) - truth.parts["effect"]).abs() < 4 * effects.std(0) / 300**0.5).all()
    squares = torch.tensor([found.value**2 for found in estimates], dtype=torch.float64)
    assert abs(float(squares.mean()) - truth.value**2) < 4 * float(squares.std()) / 300**0.5


def test_a_field_is_its_own_gauge() -> None:
    found = gauge(toy(), states(toy(), 0.5, 8))
    assert (found.value, found.parts["share"]) == (0, 1)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: helmholtz(network(images=True), torch.zeros(2, 1, 8, 8)), r"shape \(B, 2\), not \(2, 1, 8, 8\)"),
        (lambda: helmholtz(toy(), torch.zeros(2, 2), torch.tensor([0.2, 0.3])), "one grid, at one time: got times"),
        (lambda: helmholtz(toy(), torch.zeros(2, 2), 0.5, torch.tensor([0, 1])), "one condition: the samples have"),
        (lambda: helmholtz(network(), torch.zeros(2, 2), weighting="density"), "NetworkField knows none: give density"),
        (lambda: helmholtz(toy(), torch.zeros(2, 2), box=[1, 0, 0, 1]), "along the first axis and the second, not"),
        (lambda: helmholtz(toy(), torch.zeros(2, 2), cells=3), "cells must be at least 4, not 3"),
        (lambda: helmholtz(toy(), torch.zeros(2, 2), kind="velocty"), "'velocty'; did you mean 'velocity'"),
        (lambda: gauge(network(), torch.zeros(2, 2)), "NetworkField.: give reference, a MixtureField say"),
        (lambda: gauge(toy(), torch.zeros(2, 2), probes=0), "probes must be at least 2, not 0"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(ask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask()
