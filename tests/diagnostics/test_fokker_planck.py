"""The score's Fokker-Planck equation: zero for exact scores, and the closed form of guidance."""

import pytest
import torch
from hypothesis import given
from planted import Linear, network, toy
from strategies import states, weights
from torch import Tensor

import flowguide as fg


def measure(field: fg.Field, x: Tensor, t, y=None, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("fokker_planck", **options)(field, x, t, y)


@given(states(max_dim=8))
def test_exact_scores_have_no_residual(state) -> None:
    field, x, t, y = state
    for w in (0.0, 1.0):
        assert measure(fg.guidance.build("cfg", field, w=w), x, t, y).value <= 1e-10
    assert measure(field, x, t, y).value <= 1e-10


@given(states(), weights)
def test_the_residual_of_guidance_has_its_closed_form(state, w: float) -> None:
    """b w (w - 1) grad |s_c - s_u|^2, with b = (alpha_dot / alpha) sigma^2 - sigma sigma_dot."""
    field, x, t, y = state
    found = measure(fg.guidance.build("cfg", field, w=w), x, t, y)
    c = field.path.at(t, x)
    b = c.alpha_dot / c.alpha * c.sigma**2 - c.sigma * c.sigma_dot
    point = x.clone().requires_grad_()
    squares = (field(point, t, y).score - field(point, t).score).square().sum(1)
    (gradient,) = torch.autograd.grad(squares.sum(), point)
    expected = b * w * (w - 1) * gradient
    size = 1 + expected.abs().max() + found.parts["rate"].abs().max()
    assert ((found.parts["residual"] - expected).abs() / size).max() < 1e-9


def test_guidance_is_seen_at_every_weight_but_0_and_1() -> None:
    field = toy(std=0.8)
    x, y = torch.randn(40, 2, dtype=torch.float64), torch.arange(40) % 3
    for w in (-1.0, 0.5, 2.0, 4.0):
        assert measure(fg.guidance.build("cfg", field, w=w), x, 0.5, y).value > 0.02
        per_sample = fg.guidance.build("cfg", field, w=torch.full((40,), w, dtype=torch.float64))
        assert measure(per_sample, x, 0.5, y).value > 0.02


@given(states(max_dim=6))
def test_the_rate_of_the_score_is_that_of_finite_differences(state) -> None:
    field, x, t, y = state
    t, step = t.clamp(0.1, 0.9), 1e-5
    found = measure(field, x, t, y).parts["rate"]
    expected = (field(x, t + step, y).score - field(x, t - step, y).score) / (2 * step)
    assert ((found - expected).abs() / (1 + expected.abs().max())).max() < 1e-4


def test_estimates_agree_with_the_exact_residual_and_have_no_bias() -> None:
    field = fg.guidance.build("cfg", network(images=True), w=2.0)
    x, y = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64), torch.arange(4) % 3
    exact = measure(field, x, 0.5, y)
    assert exact.value > 0.01
    estimates = [measure(field, x, 0.5, y, exact=False, probes=2, seed=s) for s in range(40)]
    mean = torch.stack([found.parts["residual"] for found in estimates])
    error = mean.std(0) / 40**0.5
    assert ((mean.mean(0) - exact.parts["residual"]).abs() < 5 * error + 1e-12).all()
    # The squares too: an average over probes would be too large by their variance.
    squares = torch.tensor([found.value**2 for found in estimates], dtype=torch.float64)
    assert abs(float(squares.mean()) - exact.value**2) < 4 * float(squares.std()) / 40**0.5


def test_a_divergence_that_is_constant() -> None:
    """Of a linear field the residual is d_t s + grad(u . s), and nothing is differentiated that does not vary."""
    field = Linear(torch.randn(3, 3, dtype=torch.float64))
    x = torch.randn(4, 3, dtype=torch.float64)
    found = measure(field, x, 0.5)
    point = x.clone().requires_grad_()
    p = field(point, 0.5)
    (transport,) = torch.autograd.grad((p.velocity * p.score).sum(), point)
    torch.testing.assert_close(found.parts["residual"], found.parts["rate"] + transport)


def test_parts_of_a_batch_give_what_the_whole_gives() -> None:
    field, x, y = network(), torch.randn(7, 2, dtype=torch.float64), torch.arange(7) % 3
    for exact in (True, False):
        whole, parts = (measure(field, x, 0.5, y, exact=exact, chunk=c) for c in (None, 3))
        torch.testing.assert_close(whole.per_sample, parts.per_sample)


class Frozen(Linear):
    def predict(self, x, t, cond):
        return self.path.predict("score", x @ self.matrix.T, x, t)


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: measure(toy(), torch.zeros(2, 2), 0.5, probes=0), "probes must be at least 2, not 0"),
        (
            lambda: measure(toy(), torch.zeros(1, 20000), 0.5, exact=True),
            "fokker_planck in exact mode would take 3.0 GiB",
        ),
        (
            lambda: measure(Frozen(torch.eye(2)), torch.zeros(2, 2), 0.5),
            "cannot be differentiated in t: its prediction is",
        ),
    ],
)
def test_says_what_is_wrong(ask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask()
