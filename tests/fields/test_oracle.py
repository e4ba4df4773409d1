"""The exact mixture against independent statements of the same law: torch.distributions, autograd, quadrature."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import exact_fields, generator, mixtures, seeds, states
from torch.distributions import MultivariateNormal

import flowguide as fg


def log_density(mixture: fg.oracle.GaussianMixture, weights, means, covariances, labels, x, y, alpha, sigma):
    """log p(x | y) of x = alpha z + sigma eps, one component after the other, by torch.distributions."""
    total = torch.zeros(len(x), dtype=x.dtype)
    norm = torch.zeros(len(x), dtype=x.dtype)
    for weight, mean, covariance, label in zip(weights, means, covariances, labels, strict=True):
        spread = alpha**2 * covariance + sigma**2 * torch.eye(x.shape[1], dtype=x.dtype)
        share = weight * ((y == label) | (y == mixture.num_classes))
        total = total + share * MultivariateNormal(alpha * mean, spread).log_prob(x).exp()
        norm = norm + share
    return (total / norm).log()


@given(seed=seeds, dim=st.integers(1, 4), alpha=st.floats(0, 1), sigma=st.floats(0, 1))
def test_log_prob(seed: int, dim: int, alpha: float, sigma: float) -> None:
    g = generator(seed)
    weights = torch.rand(4, generator=g, dtype=torch.float64) + 0.1
    means = torch.randn(4, dim, generator=g, dtype=torch.float64)
    root = torch.randn(4, dim, dim, generator=g, dtype=torch.float64)
    covariances = root @ root.mT + 0.2 * torch.eye(dim, dtype=torch.float64)
    labels = torch.tensor([0, 1, 1, 2])
    if alpha**2 + sigma**2 < 0.05:
        return
    mixture = fg.oracle.GaussianMixture(weights, means, covariances, labels)
    x = torch.randn(8, dim, generator=g, dtype=torch.float64)
    y = torch.arange(8) % 4  # 3 is the null label
    expected = log_density(mixture, weights, means, covariances, labels, x, y, alpha, sigma)
    torch.testing.assert_close(mixture.log_prob(x, y, alpha=alpha, sigma=sigma), expected, rtol=1e-10, atol=1e-10)
    unconditional = mixture.log_prob(x, alpha=alpha, sigma=sigma)
    torch.testing.assert_close(unconditional[3::4], expected[3::4], rtol=1e-10, atol=1e-10)


@given(states())
def test_score_is_the_gradient_of_log_prob(state) -> None:
    field, x, t, y = state
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(field.log_prob(x, t, y).sum(), x)
    torch.testing.assert_close(field(x, t, y).score, gradient, rtol=1e-10, atol=1e-10)


@given(states())
def test_tweedie(state) -> None:
    """E[z | x] = (x + sigma^2 score) / alpha, though neither is computed from the other."""
    field, x, t, y = state
    c, p = field.path.at(t, x), field(x, t, y)
    torch.testing.assert_close(c.alpha * p.data, x + c.sigma**2 * p.score, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(p.noise, -c.sigma * p.score)


def test_posterior_mean_by_quadrature() -> None:
    """In one dimension E[z | x] is an integral that can simply be done."""
    mixture = fg.oracle.GaussianMixture(
        torch.tensor([0.3, 0.7]), torch.tensor([[-1.0], [1.5]]), torch.tensor([[[0.2]], [[0.5]]])
    )
    z = torch.linspace(-8, 8, 20001, dtype=torch.float64)[:, None]
    prior = mixture.log_prob(z).exp()
    for x in (-2.0, 0.1, 1.3):
        likelihood = torch.exp(-((x - 0.6 * z[:, 0]) ** 2) / (2 * 0.8**2))
        expected = (prior * likelihood * z[:, 0]).sum() / (prior * likelihood).sum()
        _, data = mixture.score_and_data(torch.tensor([[x]], dtype=torch.float64), alpha=0.6, sigma=0.8)
        assert abs(data.item() - expected) < 1e-9


@given(states())
def test_continuity_equation(state) -> None:
    """d/dt log p + div u + u . score = 0: the velocity moves the density as the path says."""
    field, x, t, y = state
    step = 1e-5
    rate = (field.log_prob(x, t + step, y) - field.log_prob(x, t - step, y)) / (2 * step)

    def velocity(point: torch.Tensor, time: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return field(point[None], time, label[None]).velocity[0]

    jacobian = torch.stack([torch.func.jacrev(velocity)(*each) for each in zip(x, t, y, strict=True)])
    p = field(x, t, y)
    flow = jacobian.diagonal(dim1=1, dim2=2).sum(1) + (p.velocity * p.score).sum(1)
    torch.testing.assert_close(rate, -flow, rtol=1e-4, atol=1e-4)


@given(states())
def test_posterior_by_bayes_rule(state) -> None:
    field, x, t, _ = state
    posterior = field.posterior(x, t)
    torch.testing.assert_close(posterior.sum(1), torch.ones(len(x), dtype=x.dtype))
    prior = field.mixture.posterior(x, alpha=0.0, sigma=1.0)[0]  # without signal, x says nothing about y
    for label in range(field.num_classes):
        y = torch.full((len(x),), label)
        evidence = field.log_prob(x, t, y) + prior[label].log() - field.log_prob(x, t)
        torch.testing.assert_close(posterior[:, label], evidence.exp(), rtol=1e-9, atol=1e-12)


@given(exact_fields(max_dim=2), st.sampled_from([torch.float32, torch.float64]))
def test_exact_and_finite_at_both_ends(field, dtype) -> None:
    x = torch.randn(5, field.mixture.dim, generator=generator(0), dtype=dtype)
    for t in (field.t_min, field.t_max):
        p = field(x, t)
        for kind in fg.paths.KINDS:
            value = getattr(p, kind)
            assert value.dtype == dtype
            assert value.isfinite().all(), (t, kind)


def test_sampling() -> None:
    mixture = fg.oracle.GaussianMixture(
        weights=torch.tensor([1.0, 3.0]),
        means=torch.tensor([[-1.0, 0.0], [2.0, 1.0]]),
        covariances=torch.tensor([[[0.5, 0.3], [0.3, 0.4]], [[0.1, 0.0], [0.0, 0.9]]]),
    )
    data, labels = mixture.sample(40000, seed=0, dtype=torch.float64)
    assert abs(labels.double().mean() - 0.75) < 5 * math.sqrt(0.75 * 0.25 / 40000)
    for label, (mean, covariance) in enumerate(
        [([-1.0, 0.0], [[0.5, 0.3], [0.3, 0.4]]), ([2.0, 1.0], [[0.1, 0.0], [0.0, 0.9]])]
    ):
        own = data[labels == label]
        torch.testing.assert_close(own.mean(0), torch.tensor(mean, dtype=torch.float64), rtol=0, atol=0.05)
        torch.testing.assert_close(own.T.cov(), torch.tensor(covariance, dtype=torch.float64), rtol=0, atol=0.05)
    assert torch.equal(mixture.sample(3, seed=0, first=10, dtype=torch.float64)[0], data[10:13])
    asked = torch.tensor([0, 1, 1, 0])
    assert torch.equal(mixture.sample(4, cond=asked)[1], asked)


@given(mixtures(), st.integers(0, 1))
def test_samples_have_the_label_asked_for(mixture, label: int) -> None:
    asked = torch.full((200,), label)
    assert torch.equal(mixture.sample(200, cond=asked)[1], asked)


def eye(count: int, dim: int = 2) -> torch.Tensor:
    return torch.eye(dim).expand(count, dim, dim)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((torch.ones(2), torch.zeros(3, 2), eye(3)), r"weights must have shape \(3,\) .*, not \(2,\)"),
        ((torch.ones(2), torch.zeros(2, 2), eye(2, 3)), r"covariances must have shape \(2, 2, 2\)"),
        ((torch.ones(2), torch.zeros(2), eye(2)), r"means must have shape \(K, D\)"),
        ((torch.tensor([1.0, 0.0]), torch.zeros(2, 2), eye(2)), "weights must be positive"),
        ((torch.ones(2), torch.zeros(2, 2), -eye(2)), "symmetric and positive definite"),
        ((torch.ones(2), torch.zeros(2, 2), eye(2), torch.tensor([0.0, 1.0])), "labels must be integers"),
        ((torch.ones(2), torch.zeros(2, 2), eye(2), torch.tensor([0, 2])), "every label from 0 to 2 needs a component"),
    ],
)
def test_says_what_is_wrong_with_a_mixture(arguments, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.oracle.GaussianMixture(*arguments)


def test_says_what_is_wrong_with_a_question() -> None:
    mixture = fg.oracle.ring(3)
    with pytest.raises(ValueError, match=r"states of this mixture have shape \(B, 2\), not \(4, 3\)"):
        mixture.log_prob(torch.zeros(4, 3))
    for label in (-1, 4):
        with pytest.raises(ValueError, match=f"label {label} is not one of the 3 classes 0 to 2"):
            mixture.log_prob(torch.zeros(1, 2), torch.tensor([label]))
    with pytest.raises(ValueError, match="labels must be integers"):
        mixture.log_prob(torch.zeros(1, 2), torch.tensor([0.5]))


def seen_by(dim: int, seed: int, std: float) -> tuple[fg.observations.Observation, torch.Tensor]:
    g = generator(seed)
    rows = torch.randn(2, dim, generator=g, dtype=torch.float64)
    return fg.observations.build("matrix", rows=rows, std=std), torch.randn(2, generator=g, dtype=torch.float64)


@given(mixtures(), seeds, st.floats(0.1, 2))
def test_conditioning_is_bayes_rule(mixture, seed: int, std: float) -> None:
    """log p(z | y) - log p(z) - log p(y | z) is one number, for all z and labels: minus log p(y)."""
    see, y = seen_by(mixture.dim, seed, std)
    posterior = mixture.condition_on(see, y)
    z = torch.randn(6, mixture.dim, generator=generator(seed + 1), dtype=torch.float64)
    noise = torch.distributions.Normal(see(z), std)
    rest = posterior.log_prob(z) - mixture.log_prob(z) - noise.log_prob(y).sum(1)
    torch.testing.assert_close(rest, rest[:1].expand(6), rtol=1e-6, atol=1e-6)
    # The labels of a point are known as well as before: y says nothing of them that z does not.
    torch.testing.assert_close(posterior.posterior(z), mixture.posterior(z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("std", [0.2, 1.0])
def test_the_posterior_is_that_of_quadrature(std: float) -> None:
    """Weights of the labels, mean and covariance, and log p(y)."""
    mixture = fg.oracle.GaussianMixture(
        torch.tensor([0.2, 0.5, 0.3]),
        torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.5, -1.0]]).double(),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.25]], [[0.2, 0], [0, 0.1]]]).double(),
        torch.tensor([0, 1, 0]),
    )
    see, y = fg.observations.build("matrix", rows=[[1.0, 0.4]], std=std), torch.tensor([0.3], dtype=torch.float64)
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    density = (mixture.log_prob(z) + torch.distributions.Normal(see(z), std).log_prob(y).sum(1)).exp()
    share = density / density.sum()
    posterior = mixture.condition_on(see, y)
    parts = posterior._exact
    weights = parts.log_weights[-1].exp()
    mean = weights @ parts.means
    torch.testing.assert_close(mean, share @ z, rtol=1e-8, atol=1e-8)
    covariances = parts.eigenvectors @ torch.diag_embed(parts.eigenvalues) @ parts.eigenvectors.mT
    offsets = parts.means - mean
    covariance = torch.einsum("k,kij->ij", weights, covariances + offsets[:, :, None] * offsets[:, None])
    torch.testing.assert_close(covariance, ((z - mean).T * share) @ (z - mean), rtol=1e-8, atol=1e-8)
    labels = torch.stack([weights[posterior.labels == label].sum() for label in (0, 1)])
    torch.testing.assert_close(labels, share @ mixture.posterior(z), rtol=1e-8, atol=1e-8)
    draws = mixture.sample(200_000, seed=0, dtype=torch.float64)[0]
    likelihood = torch.distributions.Normal(see(draws), std).log_prob(y).sum(1).softmax(0)
    torch.testing.assert_close(likelihood @ draws, mean, rtol=0, atol=0.02)


def test_conditioning_says_what_is_wrong() -> None:
    mixture = fg.oracle.ring(3)
    see = fg.observations.build("matrix", rows=[[1.0, 0.0]])
    with pytest.raises(ValueError, match="without noise the posterior has no density"):
        mixture.condition_on(fg.observations.build("mask", std=0.0), torch.zeros(2))
    with pytest.raises(ValueError, match=r"observed must have the shape \(1,\), not \(2,\)"):
        mixture.condition_on(see, torch.zeros(2))
    with pytest.raises(ValueError, match="the matrix takes 3 numbers"):
        mixture.condition_on(fg.observations.build("matrix", rows=[[1.0, 0.0, 0.0]]), torch.zeros(1))
    # A label that an observation rules out keeps its place.
    far = mixture.condition_on(see, torch.tensor([40.0]))
    assert far.num_classes == 3
    assert far.log_prob(torch.zeros(1, 2)).isfinite().all()


@pytest.mark.parametrize(
    ("cond", "words"),
    [
        (torch.tensor([1]), "one condition per sample: got 1 for 4 samples"),
        (torch.zeros(4, 1, dtype=torch.long), r"labels must be integers of shape \(B,\), not int64 of shape \(4, 1\)"),
        (1, "cond is a tensor with one condition per sample"),
        ([0, 1, 2, 0], "cond is a tensor with one condition per sample"),
    ],
)
def test_there_is_one_label_per_state(cond: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.oracle.ring(3).log_prob(torch.zeros(4, 2), cond)


GIVEN = {"weights": [0.25, 0.75], "means": [[0.0, 1.0], [2.0, 0.5]], "covariances": [[[1.0, 0.2], [0.2, 2.0]]] * 2}


def test_lists_are_as_good_as_tensors() -> None:
    tensors = {name: torch.tensor(each, dtype=torch.float64) for name, each in GIVEN.items()}
    ours = fg.oracle.GaussianMixture(**GIVEN, labels=[1, 0])
    theirs = fg.oracle.GaussianMixture(**tensors, labels=torch.tensor([1, 0]))
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 2])
    assert torch.equal(ours.log_prob(x, y), theirs.log_prob(x, y))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"means": torch.tensor([[0.0, math.nan], [2.0, 0.5]])}, "means must be finite"),
        ({"means": [[0.0, math.inf], [2.0, 0.5]]}, "means must be finite"),
        ({"weights": torch.tensor([math.inf, 1.0])}, r"weights must be finite, not \[inf, 1.0\]"),
        ({"weights": [math.nan, 1.0]}, "weights must be finite"),
        ({"weights": [0.0, 1.0]}, "weights must be positive"),
        ({"covariances": torch.full((2, 2, 2), math.nan)}, "covariances must be finite"),
        ({"means": [[0.0, 1.0], [2.0]]}, "means must be numbers, and as many in every row"),
        ({"means": None}, "means must be numbers, .* not None"),
        ({"labels": [0.0, 1.0]}, "labels must be integers from 0"),
        ({"labels": "ab"}, "labels must be numbers"),
        ({"weights": [], "means": torch.zeros(0, 2), "covariances": torch.zeros(0, 2, 2)}, "K and D at least 1"),
        ({"weights": 1.0}, r"weights must have shape \(2,\)"),
    ],
)
def test_a_mixture_is_made_of_finite_numbers(change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.oracle.GaussianMixture(**{**GIVEN, **change})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fg.oracle.ring(0), "a ring has 1 component or more, not 0"),
        (lambda: fg.oracle.ring(2.5), "a ring has 1 component or more, not 2.5"),
        (lambda: fg.oracle.ring(3).sample(-1), "how many samples to draw, an integer from 0, not -1"),
        (lambda: fg.oracle.ring(3).sample(2.5), "how many samples to draw, an integer from 0, not 2.5"),
        (lambda: fg.oracle.ring(3).sample(4, cond=torch.tensor([0, 1])), "one condition per sample: got 2 for 4"),
        (lambda: fg.oracle.ring(3).sample(4, cond=1), "cond is a tensor with one condition per sample"),
    ],
)
def test_rings_and_samples_say_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_states_are_floating_point_numbers() -> None:
    """Of integers the mixture itself would have become one, with its means and spreads cut."""
    with pytest.raises(ValueError, match=r"states are floating-point tensors .* not torch.int64"):
        fg.oracle.ring(3).log_prob(torch.zeros(4, 2, dtype=torch.long))
