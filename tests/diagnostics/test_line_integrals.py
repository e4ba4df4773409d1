"""Circulation and path dependence: Green's theorem, linear fields, exact fields, weights of the state; errors."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import Linear, Planted, StateWeighted, network, of_difference, of_posterior, toy
from planted import states as draws
from strategies import generator, seeds, states, weights
from torch import Tensor

import flowguide as fg


def circulation(field: fg.Field, x: Tensor, t=0.5, y=None, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("circulation", **options)(field, x, t, y)


def paths(field: fg.Field, x: Tensor, t, y, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("path_dependence", **options)(field, x, t, y)


def flux_of_curl(function, centre: Tensor, radius: float) -> float:
    """The integral of the curl over a disc, by Gauss in the radius, the trapezoidal rule in the angle and autograd."""
    nodes, shares = np.polynomial.legendre.leggauss(24)
    r = torch.from_numpy((nodes + 1) / 2 * radius)
    share = torch.from_numpy(shares / 2 * radius) * r
    angle = torch.arange(48, dtype=torch.float64) * (2 * math.pi / 48)
    points = centre + r[:, None, None] * torch.stack([angle.cos(), angle.sin()], -1)
    jacobian = torch.func.vmap(torch.func.jacrev(lambda p: function(p[None])[0]))(points.reshape(-1, 2))
    curl = (jacobian[:, 1, 0] - jacobian[:, 0, 1]).reshape(len(r), 48)
    return float((share[:, None] * curl).sum().detach() * 2 * math.pi / 48)


@pytest.mark.parametrize("kind", ["score", "data"])
@pytest.mark.parametrize("radius", [0.1, 0.6])
def test_circulation_is_the_flux_of_the_curl(kind: str, radius: float) -> None:
    exact, y = toy(std=0.8), torch.tensor([1])
    for field in (StateWeighted(exact, of_difference(exact)), network(), fg.guidance.build("cfg", network(), w=3.0)):
        x = draws(exact, 0.4, 3)
        found = circulation(field, x, 0.4, y.expand(3), kind=kind, radius=radius, points=128)
        for i in range(3):
            expected = flux_of_curl(lambda p: getattr(field(p, 0.4, y.expand(len(p))), kind), x[i], radius)  # noqa: B023
            assert abs(float(found.parts["circulation"][i, 0, 0]) - expected) < 1e-9 + 1e-7 * abs(expected)


@given(seeds, st.integers(2, 7), st.lists(st.floats(0.1, 2), min_size=1, max_size=3))
def test_circulation_of_linear_fields(seed: int, dim: int, radii: list[float]) -> None:
    """Of M x around a circle of radius r in the plane of a and b: pi r^2 (b . M a - a . M b), at most pi r^2 |A|_2."""
    m = torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64)
    x = torch.randn(3, dim, generator=generator(seed + 1), dtype=torch.float64)
    found = circulation(Linear(m), x, kind="data", radius=radii, planes=3, points=8)
    assert found.parts["circulation"].shape == (3, len(radii), 1 if dim == 2 else 3)
    scaled = found.parts["circulation"] / (math.pi * torch.tensor(radii, dtype=torch.float64)[:, None] ** 2)
    torch.testing.assert_close(scaled, scaled[:, :1].expand_as(scaled), rtol=1e-9, atol=1e-9)
    a = m - m.mT
    assert (scaled.abs() <= torch.linalg.matrix_norm(a, 2) + 1e-9).all()
    if dim == 2:
        torch.testing.assert_close(scaled, (m[1, 0] - m[0, 1]).expand_as(scaled))
    symmetric = circulation(Linear(m + m.mT), x, kind="data", radius=radii, points=8)
    assert symmetric.value < 1e-12 * (1 + max(radii)) ** 2 * (1 + x.norm()) * dim


def test_the_mean_square_over_planes_is_that_of_the_rotation() -> None:
    """Over random planes the mean of (b . A a)^2 is |A|_F^2 / (D (D - 1))."""
    m = torch.randn(5, 5, generator=generator(0), dtype=torch.float64)
    found = circulation(
        Linear(m), torch.zeros(500, 5, dtype=torch.float64), kind="data", radius=1.0, planes=8, points=3
    )
    expected = math.pi * float((m - m.mT).norm()) / math.sqrt(5 * 4)
    assert abs(found.value - expected) < 4 * found.error


@settings(max_examples=10)
@given(states(), weights)
def test_exact_fields_have_no_circulation(state, w: float) -> None:
    field, x, t, y = state
    if field.mixture.dim > 1:
        t = t.clamp(0.2, 0.8)
        guided = fg.guidance.build("cfg", field, w=w)
        assert circulation(guided, x, t, y, radius=0.2, points=256).parts["relative"] < 1e-8


def test_weights_of_the_state_have_circulation_unless_they_are_of_the_posterior() -> None:
    field = toy(std=0.8)
    x, y = draws(field, 0.4, 32), torch.arange(32) % 3
    assert circulation(StateWeighted(field, of_difference(field)), x, 0.4, y).value > 0.05
    assert circulation(StateWeighted(field, of_posterior(field)), x, 0.4, y, points=256).value < 1e-10


@settings(max_examples=10)
@given(states(max_dim=4), weights)
def test_the_classifier_of_exact_fields_does_not_depend_on_the_path(state, w: float) -> None:
    """And is the true posterior, to the power w where it is guided; the truth from the posterior's own function."""
    options = {"paths": 3, "points": 96, "bend": 0.3}
    field, x, t, y = state
    t = t.clamp(0.1, 0.5)
    found = paths(field, x, t, y, **options)
    assert found.value < 1e-4
    rows = torch.arange(len(x))
    true = field.posterior(x, t)[rows, y].log() - field.posterior(torch.zeros_like(x), t)[rows, y].log()
    for path in range(3):
        torch.testing.assert_close(found.parts["log_ratio"][:, path], true, rtol=1e-3, atol=1e-3)
    assert found.parts["error"].abs().max() < 1e-4
    guided = paths(fg.guidance.build("cfg", field, w=w), x, t, y, **options)
    torch.testing.assert_close(guided.parts["log_ratio"], w * found.parts["log_ratio"], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(guided.parts["true"], w * found.parts["true"], rtol=1e-9, atol=1e-9)


def test_paths_of_a_rotation_enclose_an_area() -> None:
    """Two paths differ by the curl times the area between them, here found by the shoelace formula."""
    from flowguide.diagnostics.path_dependence import _on_path

    class Half(Linear):
        """The score M x under the condition, and zero under none."""

        def null(self, batch):
            return torch.full((batch,), 1)

        def predict(self, x, t, cond):
            return self.path.predict("score", x @ self.matrix.T if cond is not None else 0 * x, x, t)

    m = torch.tensor([[0.3, -1.0], [1.5, 0.2]], dtype=torch.float64)
    x, y = torch.randn(5, 2, generator=generator(0), dtype=torch.float64), torch.zeros(5, dtype=torch.long)
    diagnostic = fg.diagnostics.build("path_dependence", paths=3)
    found = diagnostic(Half(m), x, 0.5, y)
    for path in (1, 2):
        bends = diagnostic._bends(x, path, 0)
        places = torch.stack([_on_path(0 * x, x, bends, tau)[0] for tau in torch.linspace(0, 1, 4001).tolist()])
        area = (places[:-1, :, 0] * places[1:, :, 1] - places[1:, :, 0] * places[:-1, :, 1]).sum(0) / 2
        expected = (m[1, 0] - m[0, 1]) * area
        between = found.parts["log_ratio"][:, path] - found.parts["log_ratio"][:, 0]
        torch.testing.assert_close(between, expected, rtol=1e-5, atol=1e-5)


def test_a_rule_that_is_no_gradient_has_no_classifier() -> None:
    field = toy(std=0.8)
    x, y = draws(field, 0.4, 16), torch.arange(16) % 3
    assert paths(StateWeighted(field, of_difference(field)), x, 0.4, y).value > 0.05
    assert paths(StateWeighted(field, of_posterior(field)), x, 0.4, y, points=128).value < 1e-6
    # A gauge field that is the same under every condition is in the difference of scores no more.
    assert paths(Planted(field, 1.0, of="x", score=True), x, 0.4, y).value < 1e-5


def test_an_anchor_and_a_power_may_be_given() -> None:
    field = toy(std=0.8)
    x, y = draws(field, 0.4, 4), torch.arange(4) % 3
    found = paths(field, x, 0.4, y, anchor=torch.tensor([1.0, 1.0]), w=2.0)
    there = field.posterior(torch.ones_like(x), 0.4)[torch.arange(4), y].log()
    here = field.posterior(x, 0.4)[torch.arange(4), y].log()
    torch.testing.assert_close(found.parts["true"], 2 * (here - there))
    torch.testing.assert_close(found.parts["log_ratio"][:, 0], here - there, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: circulation(Linear(torch.eye(1)), torch.zeros(2, 1)), "needs a plane .* 1 dimension, not 2"),
        (lambda: circulation(toy(), torch.zeros(2, 2), radius=0.0), "positive and finite: 0.0"),
        (lambda: circulation(toy(), torch.zeros(2, 2), radius=[]), "positive and finite"),
        (lambda: circulation(toy(), torch.zeros(2, 2), points=2), "points must be at least 3, not 2"),
        (lambda: circulation(toy(), torch.zeros(2, 2), planes=0), "planes must be at least 1, not 0"),
        (lambda: circulation(toy(), torch.zeros(2, 2), kind="scores"), "'scores'; did you mean 'score'"),
        (lambda: paths(toy(), torch.zeros(2, 2), 0.5, None), r"needs the conditions y, one per sample; got None"),
        (lambda: paths(toy(), torch.zeros(2, 2), 0.5, torch.ones(2).long(), paths=1), "paths must be at least 2, not"),
        (lambda: paths(toy(), torch.zeros(2, 2), 0.5, torch.zeros(2).long(), bend=0.0), "bend is a share .* not 0.0"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(ask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask()
