"""The tilted density against closed forms and quadrature, and the distances of samples from it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from planted import Planted, network, toy, turned
from strategies import generator, mixtures, seeds
from torch import Tensor
from torch.distributions import MultivariateNormal

import flowguide as fg
from flowguide import distances
from flowguide.diagnostics import TiltedMixture
from flowguide.distances import mmd2, sliced


def gaussian(mean: Tensor, covariance: Tensor) -> fg.oracle.GaussianMixture:
    return fg.oracle.GaussianMixture(torch.ones(1), mean[None], covariance[None])


def number(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


def line(w: float) -> TiltedMixture:
    """p = N(0, 1), p(. | y) = N(1, 1/4)."""
    return TiltedMixture(gaussian(number(1.0), number(0.25)[None]), w, gaussian(number(0.0), number(1.0)[None]))


def test_two_gaussians_tilt_to_a_gaussian() -> None:
    """N(0, 1) and N(1, 1/4) at w = 3: precision 10, mean 1.2."""
    mean, covariance = line(3.0).moments(0)
    assert float(mean) == pytest.approx(1.2, abs=1e-6)
    assert float(covariance.sqrt()) == pytest.approx(0.1**0.5, abs=1e-5)
    drawn = line(3.0).sample(20000, 0).x
    assert float(drawn.mean()) == pytest.approx(1.2, abs=4 * 0.316 / 20000**0.5)
    assert float(drawn.std()) == pytest.approx(0.1**0.5, rel=0.02)


@pytest.mark.parametrize("dim", [1, 2, 3, 5])
@pytest.mark.parametrize("w", [0.5, 1.0, 2.0, 3.0])
def test_gaussians_of_any_dimension(dim: int, w: float) -> None:
    g = generator(dim)
    root = torch.randn(dim, dim, generator=g, dtype=torch.float64)
    wide = root @ root.mT * 0.2 + torch.eye(dim, dtype=torch.float64)
    narrow = torch.linalg.inv(torch.linalg.inv(wide) + torch.eye(dim, dtype=torch.float64))  # seen through noise
    a, b = 0.3 * torch.randn(2, dim, generator=g, dtype=torch.float64)
    tilted = TiltedMixture(gaussian(b, narrow), w, gaussian(a, wide))
    p, q = torch.linalg.inv(wide), torch.linalg.inv(narrow)
    covariance = torch.linalg.inv((1 - w) * p + w * q)
    mean = covariance @ ((1 - w) * p @ a + w * q @ b)
    found_mean, found_covariance = tilted.moments(0, count=200_000)
    tolerance = 1e-4 if dim <= 2 else 0.03
    torch.testing.assert_close(found_mean, mean, rtol=0, atol=tolerance)
    torch.testing.assert_close(found_covariance, covariance, rtol=0, atol=tolerance)
    x = torch.randn(4, dim, generator=g, dtype=torch.float64)
    expected = MultivariateNormal(mean, covariance).log_prob(x)
    torch.testing.assert_close(tilted.log_prob(x, 0), expected, rtol=0, atol=1e-4 if dim <= 2 else 0.03)
    drawn = tilted.sample(4000, 0)
    spread = covariance.diagonal().sqrt()
    assert ((drawn.x.mean(0) - mean).abs() < 6 * spread / min(4000, drawn.effective / 4) ** 0.5).all()
    assert drawn.effective > 1000


@given(mixtures(max_dim=3), st.floats(1, 4), st.floats(0, 1))
def test_bayes_rule_and_the_bound_of_the_weights(mixture, w: float, alpha: float) -> None:
    """p(x | y)^w p(x)^(1 - w) = p(x) p(y | x)^w / p(y)^w; and p(x | y) <= p(x) / p(y)."""
    sigma = math.sqrt(1 - alpha**2)
    tilted = TiltedMixture(mixture, w, alpha=alpha, sigma=sigma)
    x = 2 * torch.randn(20, mixture.dim, generator=generator(0), dtype=torch.float64)
    prior = mixture.posterior(x[:1], alpha=0.0, sigma=1.0)[0]  # without signal, x says nothing about y
    scales = {"alpha": alpha, "sigma": sigma}
    for label in range(mixture.num_classes):
        expected = mixture.log_prob(x, **scales) + w * (
            mixture.log_posterior(x, **scales)[:, label] - prior[label].log()
        )
        torch.testing.assert_close(tilted.log_density(x, label), expected, rtol=1e-8, atol=1e-8)
        assert (tilted.log_ratio(x, label) <= -prior[label].log() + 1e-9).all()
    torch.testing.assert_close(tilted.log_density(x, None), mixture.log_prob(x, **scales))


@given(mixtures(max_dim=2), st.floats(0, 4), seeds)
def test_the_grid_agrees_with_importance_samples(mixture, w: float, seed: int) -> None:
    """Two routes to the normaliser and the mean."""
    tilted = TiltedMixture(mixture, w)
    x, log_weights = tilted._proposals(20000, 0, seed % 2**32)
    weights = log_weights.exp()
    error = float(weights.std()) / 20000**0.5
    assert abs(math.exp(tilted.log_normaliser(0)) - float(weights.mean())) < 5 * error + 1e-4
    shares = weights / weights.sum()
    mean, covariance = tilted.moments(0)
    effective = float(1 / shares.square().sum())
    assert ((mean - shares @ x).abs() < 6 * covariance.diagonal().sqrt() / effective**0.5 + 1e-3).all()


def test_samples_depend_on_the_seed_and_the_index() -> None:
    tilted = TiltedMixture(fg.oracle.ring(3), 2.0)
    few, many = tilted.sample(5, 1, seed=3).x, tilted.sample(50, 1, seed=3).x
    assert torch.equal(few, many[:5])
    assert not torch.equal(few, tilted.sample(5, 1, seed=4).x)


def test_sliced_wasserstein_by_hand() -> None:
    """In one direction it is the distance of sorted samples, and of Gaussians of means and deviations."""
    a, b = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [1.0], [2.0], [5.0]])
    # 0 is carried to 1 and 1, 2 to 2 and 5.
    assert sliced(a, b) == pytest.approx(math.sqrt((1 + 1 + 0 + 9) / 4))


def test_mmd_of_gaussians_has_its_closed_form() -> None:
    """E k(x, x') for x ~ N(0, s^2), x' ~ N(m, r^2) and h is h / v exp(-m^2 / 2 v^2), v^2 = h^2 + s^2 + r^2."""
    g = generator(0)
    x, y = (
        torch.randn(3000, 1, generator=g, dtype=torch.float64),
        0.5 + 1.5 * torch.randn(3000, 1, generator=g).double(),
    )

    def mean(m: float, s: float, r: float) -> float:
        v = 1 + s**2 + r**2
        return math.exp(-(m**2) / (2 * v)) / math.sqrt(v)

    expected = mean(0, 1, 1) + mean(0, 1.5, 1.5) - 2 * mean(0.5, 1, 1.5)
    assert mmd2(x, y, distances.gaussian(1.0))[0] == pytest.approx(expected, abs=0.01)
    assert abs(mmd2(x[:1500], x[1500:], distances.gaussian(1.0))[0]) < 0.003


def error(field: fg.Field, x: Tensor, y=None, t: float = 1.0, **options) -> fg.diagnostics.Finding:
    return fg.diagnostics.build("tilt_error", **options)(field, x, t, y)


def test_guided_gaussians_are_as_far_as_their_closed_form_says() -> None:
    """The flow guided at w from N(0, S0) towards N(0, S1) draws N(0, S0^(1 - w) S1^w), and not the tilt."""
    wide, narrow, w = 1.0, 0.25, 2.0
    narrow_law = gaussian(number(0.0), number(narrow)[None])
    drawn = math.sqrt(wide ** (1 - w) * narrow**w) * torch.randn(8000, 1, generator=generator(0), dtype=torch.float64)
    target = 1 / ((1 - w) / wide + w / narrow)
    expected = abs(math.sqrt(wide ** (1 - w) * narrow**w) - math.sqrt(target))
    field = fg.MixtureField(narrow_law, fg.paths.build("linear"))
    options = {"reference": gaussian(number(0.0), number(wide)[None]), "w": w, "projections": 1}
    found = error(field, drawn, torch.zeros(8000, dtype=torch.long), **options)
    assert abs(found.value - expected) < 4 * found.error + 0.003
    assert found.value > 5 * found.parts["floor"]
    exact = math.sqrt(target) * torch.randn(8000, 1, generator=generator(1), dtype=torch.float64)
    found = error(field, exact, torch.zeros(8000, dtype=torch.long), **options)
    assert found.value < 3 * found.parts["floor"]
    assert abs(found.parts["mmd2"]) < 5e-3


def test_samples_of_the_target_are_at_the_floor_and_those_of_another_weight_are_not() -> None:
    field = toy(std=0.8)
    y = torch.arange(1500) % 3
    law = TiltedMixture(field.mixture, 2.0)
    x = torch.empty(1500, 2, dtype=torch.float64)
    for label in range(3):
        x[y == label] = law.sample(500, label, seed=50 + label).x
    right, wrong = (error(field, x, y, w=w) for w in (2.0, 0.0))
    assert right.value < 2 * right.parts["floor"]
    assert right.parts["kl"] < 2 * right.parts["kl_floor"]
    assert wrong.value > 5 * wrong.parts["floor"]
    assert wrong.parts["kl"] > 2 * wrong.parts["kl_floor"]
    assert right.parts["mean_error"] < 0.15
    assert right.parts["covariance_error"] < 0.15
    assert right.parts["target_mean"].shape == (3, 2)


@pytest.mark.slow
def test_the_standard_error_is_the_spread_over_sets_of_samples() -> None:
    field, law = toy(std=0.8), TiltedMixture(toy(std=0.8).mixture, 1.0)
    y = torch.zeros(300, dtype=torch.long)
    found = [error(field, law.sample(300, 0, seed=s).x, y, w=3.0) for s in range(16)]
    spread = torch.tensor([each.value for each in found]).std()
    mean = torch.tensor([each.error for each in found]).square().mean().sqrt()
    assert 0.5 < float(mean / spread) < 2


def sample(field: fg.Field, count: int, y: Tensor | None = None) -> Tensor:
    return fg.sample(field, (count, 2), y, fg.solvers.build("heun", steps=60, t_end=0.98), dtype=torch.float64, seed=1)


def test_a_planted_gauge_field_draws_the_same_law() -> None:
    """Seen by asymmetry, it has no effect on what is sampled; a turned state of the same size has."""
    exact = toy()
    turns = {"score": Planted(exact, 1.0), "x": Planted(exact, 1.0, of="x")}
    found = {of: error(field, sample(field, 1500), t=0.98, mixture=exact.mixture, w=1.0) for of, field in turns.items()}
    plain = error(exact, sample(exact, 1500), t=0.98)
    for of in turns:
        x = sample(exact, 50)
        assert fg.diagnostics.build("asymmetry", kind="velocity")(turns[of], x, 0.5).value > 0.2
    assert found["score"].value < 2 * plain.parts["floor"]
    assert found["score"].parts["kl"] < 1.5 * plain.parts["kl_floor"]
    assert found["x"].value > 4 * plain.parts["floor"]
    assert found["x"].parts["kl"] > 3 * plain.parts["kl_floor"]
    # The two ways round: the gauge field has carried each sample elsewhere.
    assert float((sample(turns["score"], 50) - sample(exact, 50)).norm(dim=1).mean()) > 0.1
    assert turned(torch.tensor([[1.0, 0.0]])).tolist() == [[0.0, 1.0]]


def test_guidance_is_not_a_sampler_of_the_tilted_density() -> None:
    field = fg.guidance.build("cfg", toy(std=0.8), w=3.0)
    y = torch.zeros(1500, dtype=torch.long)
    found = error(field, sample(field, 1500, y), y, t=0.98)
    assert found.value > 2 * found.parts["floor"]
    conditional = fg.guidance.build("cfg", toy(std=0.8), w=1.0)
    found = error(conditional, sample(conditional, 1500, y), y, t=0.98)
    assert found.value < 2 * found.parts["floor"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: error(toy(), torch.zeros(3, 3)), r"the target has samples of shape \(B, 2\), not \(3, 3\)"),
        (lambda: error(toy(), torch.zeros(2, 2), t=torch.tensor([0.5, 1.0])), "samples of one time: got times"),
        (lambda: error(fg.guidance.build("cfg", toy(), w=[1.0, 2.0]), torch.zeros(2, 2)), "give w, that of the target"),
        (lambda: error(toy(), torch.zeros(2, 2), projections=0), "projections must be at least 1, not 0"),
        (lambda: TiltedMixture(fg.oracle.ring(3), 2.0, gaussian(number(0.0), number(1.0)[None])), "has 1 dimensions"),
        (lambda: TiltedMixture(gaussian(torch.zeros(3), torch.eye(3)), 2.0).cells(0), "1 or 2 dimensions, not of 3"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(ask, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ask()


def test_a_network_has_no_law_of_the_data() -> None:
    with pytest.raises(ValueError, match=r"tilt_error needs the law of the data.*NetworkField has none"):
        error(network(), torch.zeros(2, 2, dtype=torch.float64))


@pytest.mark.parametrize(
    ("name", "options", "power"),
    [
        ("cfg", {"w": 3.0}, 3.0),
        ("smc", {"w": 3.0}, 3.0),
        ("characteristic", {"w": 3.0}, 3.0),
        ("predictor_corrector", {"w": 3.0}, 3.0),
        ("multi", {"w": 2.0, "weights": [1.5]}, 3.0),
        ("multi", {"w": 2.0, "labels": [1]}, None),
        ("cfg", {"w": [1.0, 2.0]}, None),
        ("cfg", {"w": lambda t: 3 * t}, None),
        ("interval", {"w": 3.0, "low": 0.5}, None),
        ("rescale", {"w": 3.0}, None),
        ("schedule", {"w": 3.0}, None),
        ("cfgpp", {"w": 0.6}, None),
        ("feedback", {}, None),
        ("negative", {"w": 3.0, "negative": 1}, None),
    ],
)
def test_the_target_is_what_the_rule_means_to_sample_or_has_to_be_given(
    name: str, options: dict, power: float | None
) -> None:
    field = toy()
    rule = fg.guidance.build(name, field, **options)
    x, y = torch.randn(8, 2, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
    assert rule.power == power
    assert fg.guidance.build("cfg", rule, w=2.0).power == (None if power is None else 2 * power)
    diagnostic = fg.diagnostics.build("tilt_error")
    if power is None:
        with pytest.raises(ValueError, match=r"states no power of p\(y \| x\) .* give w, that of the target"):
            diagnostic.target(rule, x, torch.tensor(0.5))
        found = fg.diagnostics.build("path_dependence", paths=2, points=4)
        if name not in ("feedback", "cfgpp") and "w" in options and isinstance(options["w"], float):
            assert "true" not in found(rule, x, torch.tensor(0.7, dtype=torch.float64), y).parts
        power = 2.5
        diagnostic = fg.diagnostics.build("tilt_error", w=power)
    assert diagnostic.target(rule, x, torch.tensor(0.5)).w == power


@pytest.mark.parametrize(("base", "power"), [("unconditional", 2.0), ("conditional", 3.0)])
def test_the_target_of_classifier_guidance(base: str, power: float) -> None:
    field = toy()
    classifier = fg.fields.MixturePosterior(field.mixture, field.path)
    rule = fg.guidance.build("classifier", field, classifier=classifier, w=2.0, base=base)
    assert fg.diagnostics.build("tilt_error").target(rule, torch.zeros(1, 2), torch.tensor(0.5)).w == power
    assert field.power == 1.0
