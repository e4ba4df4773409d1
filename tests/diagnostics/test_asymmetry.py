"""Asymmetry: linear fields, exact fields, weights of the state, networks; its estimator and its cost; its errors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import Linear, Planted, StateWeighted, network, of_difference, of_posterior, toy
from planted import states as draws
from rules import Counting
from strategies import generator, path_names, seeds, states, weights
from torch import Tensor

import flowguide as fg
from flowguide.paths import KINDS


def measure(field: fg.Field, x: Tensor, t=0.5, y=None, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("asymmetry", **options)(field, x, t, y)


def linear(seed: int, dim: int) -> tuple[Linear, float]:
    """A random linear field and its asymmetry: symmetric and antisymmetric part in random proportion."""
    g = generator(seed)
    m = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    part = 0.1 + 0.9 * torch.rand((), generator=g, dtype=torch.float64)
    m = (m + m.mT) / 2 + part * (m - m.mT) / 2
    return Linear(m), float((m - m.mT).norm() / m.norm())


@given(seeds, st.integers(1, 12))
def test_linear_fields(seed: int, dim: int) -> None:
    field, expected = linear(seed, dim)
    found = measure(field, torch.randn(4, dim, dtype=torch.float64))
    assert found.value == pytest.approx(expected, rel=1e-12)
    assert found.error < 1e-12
    m = field.matrix
    # QCSBM's, as its traces.
    assert found.parts["asym"] == pytest.approx(float((m @ m.mT).trace() - (m @ m).trace()), rel=1e-9, abs=1e-12)
    assert found.parts["nasym"] == pytest.approx(found.parts["asym"] / (2 * float(m.norm() ** 2)), rel=1e-9, abs=1e-12)


def test_estimates_within_3_standard_errors_in_95_percent_of_200_linear_fields_and_without_bias() -> None:
    within, excess = 0, []
    for seed in range(200):
        dim = 3 + seed % 14
        field, exact = linear(seed, dim)
        found = measure(field, torch.zeros(16, dim, dtype=torch.float64), exact=False, probes=8, seed=seed)
        within += abs(found.value - exact) <= 3 * found.error
        a, j = field.matrix - field.matrix.mT, field.matrix
        excess.append(
            [
                float(found.parts["asymmetric"].mean() / a.norm() ** 2) - 1,
                float(found.parts["size"].mean() / j.norm() ** 2) - 1,
            ]
        )
    assert within >= 190, within
    excess = np.array(excess)
    assert (abs(excess.mean(0)) < 3 * excess.std(0) / 200**0.5).all(), excess.mean(0)


@given(seeds, st.integers(2, 6))
def test_the_variance_of_a_draw(seed: int, dim: int) -> None:
    """2 (|M|^2 - sum of M_ii^2) with M = A^T A: none in the plane."""
    field, _ = linear(seed, dim)
    found = measure(field, torch.zeros(4000, dim, dtype=torch.float64), exact=False, probes=1)
    a = field.matrix - field.matrix.mT
    m = a.mT @ a
    expected = float(2 * (m.square().sum() - m.diagonal().square().sum()))
    assert float(found.parts["asymmetric"].var()) == pytest.approx(expected, rel=0.25, abs=1e-12)


@given(states(max_dim=8), weights, st.sampled_from(["data", "noise"]))
def test_exact_fields_are_conservative_at_every_weight(state, w: float, kind: str) -> None:
    field, x, t, y = state
    assert measure(fg.guidance.build("cfg", field, w=w), x, t, y, kind=kind).value <= 1e-12


@given(states(), weights, st.sampled_from(KINDS))
def test_and_so_by_every_estimate(state, w: float, kind: str) -> None:
    field, x, t, y = state
    found = measure(fg.guidance.build("cfg", field, w=w), x, t, y, kind=kind, exact=False)
    assert found.value <= 1e-12


@given(states(), st.booleans())
def test_weights_of_the_state(state, of: bool) -> None:
    """|A|^2 = 2 (|d|^2 |grad w|^2 - (d . grad w)^2) for the score, d = s_c - s_u: zero for a weight of log p(y | x)."""
    field, x, t, y = state
    weight = (of_posterior if of else of_difference)(field)
    found = measure(StateWeighted(field, weight), x, t, y, kind="score")
    point = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(weight(point, t, y).sum(), point)
    d = field(x, t, y).score - field(x, t).score
    dot = (d * slope).sum(1)
    expected = 2 * (d.square().sum(1) * slope.square().sum(1) - dot**2)
    scale = float(found.parts["size"].max())
    torch.testing.assert_close(found.parts["asymmetric"], expected, rtol=1e-6, atol=1e-12 * scale)
    if of:
        assert found.value <= 1e-10


def test_a_weight_of_the_difference_of_scores_is_seen_and_one_of_the_posterior_is_not() -> None:
    field = toy()
    x, y = draws(field, 0.5, 64), torch.arange(64) % 3
    assert measure(StateWeighted(field, of_difference(field)), x, 0.5, y).value > 0.05
    assert measure(StateWeighted(field, of_posterior(field)), x, 0.5, y).value < 1e-12
    assert measure(fg.guidance.build("feedback", field), x, 0.5, y).value < 1e-12


@given(st.floats(-3, 3), path_names)
def test_a_planted_rotation(c: float, path: str) -> None:
    """The score turned by a right angle is seen, for a gauge field as it is: J = H + c R90 H with H symmetric."""
    field = toy(path)
    x = draws(field, 0.5, 8)
    found = measure(Planted(field, c, score=True), x, 0.5, kind="score")

    def score(point: Tensor) -> Tensor:
        return field(point[None], 0.5).score[0]

    h = torch.func.vmap(torch.func.jacrev(score))(x)
    r = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    # R90 H - (R90 H)^T = tr(H) R90.
    expected = 2 * c**2 * h.diagonal(dim1=1, dim2=2).sum(1) ** 2
    torch.testing.assert_close(found.parts["asymmetric"], expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.parts["size"], (h + c * r @ h).square().sum((1, 2)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("guided", [False, True])
def test_costs_at_most_four_evaluations_per_probe(probes: int, guided: bool) -> None:
    """It takes one for all probes, of twice the samples where guided."""
    counting = Counting(toy())
    field = fg.guidance.build("cfg", counting, w=3.0) if guided else counting
    x, y = draws(toy(), 0.5, 5), torch.ones(5, dtype=torch.long)
    measure(field, x, 0.5, y, exact=False, probes=probes)
    assert counting.count == (2 if guided else 1)
    assert counting.count <= 4 * probes


def test_parts_of_a_batch_give_what_the_whole_gives() -> None:
    field, x, y = network(), torch.randn(7, 2, dtype=torch.float64), torch.arange(7) % 3
    for exact in (True, False):
        whole, parts = (measure(field, x, torch.linspace(0.2, 0.8, 7), y, exact=exact, chunk=c) for c in (None, 3))
        torch.testing.assert_close(whole.per_sample, parts.per_sample)
        assert whole.value == pytest.approx(parts.value, rel=1e-12)


def test_a_guided_network_of_images() -> None:
    """Through convolutions, group norm and attention: the estimate agrees with the Jacobian in full."""
    field = fg.guidance.build("cfg", network(images=True), w=3.0)
    x, y = torch.randn(6, 1, 8, 8, generator=generator(0), dtype=torch.float64), torch.arange(6) % 3
    exact, estimate = (measure(field, x, 0.5, y, exact=e, probes=32) for e in (True, False))
    assert exact.value > 0.01
    assert ((estimate.per_sample - exact.per_sample).abs() < 0.3 * exact.per_sample).all()
    assert abs(estimate.value - exact.value) < 0.1 * exact.value


def test_a_gradient_of_a_network_is_conservative() -> None:
    """A field that takes a gradient itself."""
    torch.manual_seed(0)
    energy = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).double()

    class Energy(Linear):
        def predict(self, x, t, cond):
            x = x if x.requires_grad else x.detach().requires_grad_()
            (score,) = torch.autograd.grad(energy(x).sum(), x, create_graph=True)
            return self.path.predict("score", score, x, t)

    for exact in (True, False):
        found = measure(Energy(torch.eye(5)), torch.randn(4, 5, dtype=torch.float64), kind="score", exact=exact)
        assert float(found.parts["size"].min()) > 1e-6
        assert found.value < 1e-12


def test_nothing_that_varies_has_no_asymmetry() -> None:
    """Where alpha is 0 the data prediction is the same everywhere."""
    assert measure(toy(), torch.randn(3, 2, dtype=torch.float64), 0.0).value == 0


class Broken(Linear):
    def __init__(self, operation) -> None:
        super().__init__(torch.eye(2, dtype=torch.float64))
        self.operation = operation

    def predict(self, x, t, cond):
        return self.path.predict("data", self.operation(x), x, t)


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (
            lambda x: torch.from_numpy(x.numpy()),
            r"in x because of the operation numpy torch has no derivative: Can't call",
        ),
        (lambda x: x.detach() ** 2, "its prediction is cut off from it, by an operation such as detach"),
        (lambda x: torch.special.zeta(x.abs() + 2, 1 + x.abs()), "because of the operation zeta"),
    ],
)
def test_says_which_operation_has_no_derivative(exact: bool, operation, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        measure(Broken(operation), torch.ones(2, 2, dtype=torch.float64), exact=exact)


def test_other_errors_of_a_field_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        measure(Linear(torch.eye(3)), torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "dta"}, "unknown kind of prediction 'dta'; did you mean 'data'?"),
        ({"probes": 0}, "probes must be at least 1, not 0"),
        ({"chunk": 0}, "chunk must be at least 1, not 0"),
    ],
)
def test_bad_options(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        fg.diagnostics.build("asymmetry", **options)


def test_says_what_the_exact_mode_would_take() -> None:
    with pytest.raises(
        ValueError, match=r"would take 3.0 GiB for the Jacobian of one sample in 20000 dim.*exact=False"
    ):
        measure(toy(), torch.zeros(1, 20000), exact=True)
