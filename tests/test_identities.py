"""Bayes' rule, diffused: what is true of every labelled mixture on every path, in 1 to 8 dimensions.

P_y is p_t(y | x), l its logarithm, s the score, u the velocity; the truth comes from autograd, finite differences,
quadrature or another route, and never from the formula restated. Those not here are beside what they are about: w = 0
and 1, affine in w, the guided score, commuting with conversions in tests/guidance/test_cfg.py; classifier guidance in
tests/guidance/test_classifier.py; Tweedie's formula and Bayes' rule in tests/fields/test_oracle.py; weights of losses
in tests/objectives/test_weighting.py; symmetry, circulation, path independence and gauge fields in tests/diagnostics/;
guided Gaussians in tests/guidance/test_runs.py.
"""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import exact_fields, generator, mixtures, path_names, seeds, states, weights
from torch import Tensor

import flowguide as fg

questions = states(max_dim=8)


def jacobian(function, x: Tensor, *rest: Tensor) -> Tensor:
    """Of a function of single samples, shape (B, D_out, D)."""
    return torch.stack([torch.func.jacrev(function)(*each) for each in zip(x, *rest, strict=True)])


def near(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Close in proportion to the largest of what is compared, sample by sample."""
    size = 1 + expected.flatten(1).abs().amax(1) if expected.ndim > 1 else 1 + expected.abs()
    error = (found - expected).flatten(1).abs().amax(1) if expected.ndim > 1 else (found - expected).abs()
    assert (error / size).max() < tolerance


def log_posterior_gradients(field: fg.MixtureField, x: Tensor, t: Tensor) -> Tensor:
    """grad log p_t(y | x) of every label by autograd of the exact classifier, shape (classes, B, D)."""
    point = x.clone().requires_grad_()
    logs = fg.fields.MixturePosterior(field.mixture, field.path)(point, t)
    return torch.stack(
        [torch.autograd.grad(logs[:, y].sum(), point, retain_graph=True)[0] for y in range(logs.shape[1])]
    )


def of_every_label(field: fg.MixtureField, x: Tensor, t: Tensor, kind: str) -> Tensor:
    labels = [torch.full((len(x),), y) for y in range(field.num_classes)]
    return torch.stack([getattr(field(x, t, y), kind) for y in labels])


@given(questions)
def test_conditional_less_unconditional_score_is_the_gradient_of_the_log_posterior(state) -> None:
    field, x, t, _ = state
    for y, gradient in enumerate(log_posterior_gradients(field, x, t)):
        label = torch.full((len(x),), y)
        near(field(x, t, label).score - field(x, t).score, gradient, 1e-8)


@given(questions)
def test_posterior_gradients_weighted_by_the_posterior_sum_to_zero(state) -> None:
    field, x, t, _ = state
    posterior, gradients = field.posterior(x, t), log_posterior_gradients(field, x, t)
    total = torch.einsum("by,ybd->bd", posterior, gradients)
    assert (total.abs() / (1 + gradients.abs().amax(0))).max() < 1e-9


@given(questions, st.sampled_from(fg.paths.KINDS))
def test_the_unconditional_prediction_is_the_posterior_mean_of_conditional_ones(state, kind: str) -> None:
    """The tower property, for score, velocity, data, noise and v alike."""
    field, x, t, _ = state
    mean = torch.einsum("by,ybd->bd", field.posterior(x, t), of_every_label(field, x, t, kind))
    near(mean, getattr(field(x, t), kind), 1e-8)


@given(questions)
def test_the_jacobian_of_the_data_prediction_is_a_posterior_covariance(state) -> None:
    """J = (alpha / sigma^2) Cov[z | x], whose Cov is that of components: of means plus the mean of covariances."""
    field, x, t, y = state
    found = jacobian(lambda p, t, y: field(p[None], t, y[None]).data[0], x, t, y)
    c = field.path.at(t, x)
    scale = (c.alpha / c.sigma**2)[..., None]
    parts = field.mixture._exact
    expected = []
    for i in range(len(x)):
        alpha, sigma = float(c.alpha[i]), float(c.sigma[i])
        means, covariances, logs = [], [], []
        for k in range(len(parts.means)):
            own = parts.eigenvectors[k] @ torch.diag(parts.eigenvalues[k]) @ parts.eigenvectors[k].mT
            eye = torch.eye(len(own), dtype=own.dtype)
            # Data and state are jointly Gaussian, given the component.
            state_covariance = alpha**2 * own + sigma**2 * eye
            gain = alpha * own @ torch.linalg.inv(state_covariance)
            means.append(parts.means[k] + gain @ (x[i] - alpha * parts.means[k]))
            covariances.append(own - alpha * gain @ own)
            law = torch.distributions.MultivariateNormal(alpha * parts.means[k], state_covariance)
            logs.append(parts.log_weights[y[i], k] + law.log_prob(x[i]))
        share = torch.stack(logs).softmax(0)
        means, covariances = torch.stack(means), torch.stack(covariances)
        off = means - share @ means
        expected.append(torch.einsum("k,kij->ij", share, covariances + off[:, :, None] * off[:, None]))
    near(found, scale * torch.stack(expected), 1e-6)
    assert torch.linalg.eigvalsh((found + found.mT) / 2).min() > -1e-9 * (1 + found.abs().max())


@given(questions)
def test_second_order_tweedie(state) -> None:
    """Cov[z | x] = (sigma^4 Hessian of log p + sigma^2 I) / alpha^2, against sigma^2 / alpha times the Jacobian."""
    field, x, t, y = state
    c = field.path.at(t, x)
    alpha, sigma = c.alpha[..., None], c.sigma[..., None]

    def log_p(point: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return field.log_prob(point[None], t, y[None])[0]

    hessian = torch.stack([torch.func.hessian(log_p)(*each) for each in zip(x, t, y, strict=True)])
    data = jacobian(lambda p, t, y: field(p[None], t, y[None]).data[0], x, t, y)
    eye = torch.eye(x.shape[1], dtype=x.dtype)
    near(alpha * data, sigma**2 * hessian + eye, 1e-8)


@given(questions, weights)
def test_the_continuity_equation_and_its_defect_under_guidance(state, w: float) -> None:
    """d_t log g + div u + u . s for g = p(x)^(1 - w) p(x | y)^w: b w (w - 1) |grad l|^2, zero at w = 0 and 1."""
    field, x, t, y = state
    t, step = t.clamp(0.05, 0.95), 1e-5
    for weight in (0.0, 1.0, w):
        rule = fg.guidance.build("cfg", field, w=weight)

        def log_g(time: Tensor) -> Tensor:
            return (1 - weight) * field.log_prob(x, time) + weight * field.log_prob(x, time, y)  # noqa: B023

        rate = (log_g(t + step) - log_g(t - step)) / (2 * step)
        velocity = jacobian(lambda p, t, y: rule(p[None], t, y[None]).velocity[0], x, t, y)  # noqa: B023
        p = rule(x, t, y)
        divergence = velocity.diagonal(dim1=1, dim2=2).sum(1)
        transport = (p.velocity * p.score).sum(1)
        c = field.path.at(t, x)
        b = (c.sigma * c.determinant / c.alpha)[:, 0]
        squares = (field(x, t, y).score - field(x, t).score).square().sum(1)
        size = 1 + rate.abs() + divergence.abs() + transport.abs() + (b * squares).abs()
        defect = rate + divergence + transport
        assert ((defect - b * weight * (weight - 1) * squares).abs() / size).max() < 1e-4


@given(questions)
def test_the_posterior_is_a_martingale(state) -> None:
    """d_t P + (u + b s) . grad P + b Laplacian P = 0: it only wanders under the SDE of g^2 = 2 b."""
    field, x, t, y = state
    t, step = t.clamp(0.05, 0.95), 1e-5
    rows = torch.arange(len(x))
    rate = (field.posterior(x, t + step) - field.posterior(x, t - step))[rows, y] / (2 * step)

    def probability(point: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return field.posterior(point[None], t)[0].gather(0, y[None])[0]

    gradient = jacobian(probability, x, t, y)
    hessian = torch.stack([torch.func.hessian(probability)(*each) for each in zip(x, t, y, strict=True)])
    c, p = field.path.at(t, x), field(x, t)
    b = (c.sigma * c.determinant / c.alpha)[:, 0]
    drift = ((p.velocity + b[:, None] * p.score) * gradient).sum(1)
    spread = b * hessian.diagonal(dim1=1, dim2=2).sum(1)
    size = 1 + rate.abs() + drift.abs() + spread.abs()
    assert ((rate + drift + spread).abs() / size).max() < 1e-4


@given(exact_fields(max_dim=1), st.floats(0.05, 0.95))
def test_expectations_over_the_law_of_the_states(field, t: float) -> None:
    """E P_y = p(y), E s = 0, E x s = -1, E zhat = E z, and the Fisher information by labels, by quadrature in 1-D."""
    c = field.path.at(torch.tensor(t, dtype=torch.float64), torch.zeros(1, 1))
    reach = float(c.alpha) * 10 + float(c.sigma) * 10
    x = torch.linspace(-reach, reach, 8001, dtype=torch.float64)[:, None]
    p, posterior = field(x, t), field.posterior(x, t)
    shares = field.log_prob(x, t).exp() * (2 * reach / 8000)

    def mean(value: Tensor) -> Tensor:
        return shares @ value

    parts = field.mixture._exact
    prior = torch.stack(
        [parts.log_weights[-1].exp()[field.mixture.labels == y].sum() for y in range(field.num_classes)]
    )
    torch.testing.assert_close(shares.sum(), torch.ones(()).double())
    torch.testing.assert_close(mean(posterior), prior, rtol=1e-6, atol=1e-6)
    scale = 1 + float(p.score.abs().max())
    assert abs(float(mean(p.score))) < 1e-6 * scale
    assert abs(float(mean(x * p.score)) + 1) < 1e-6 * scale
    torch.testing.assert_close(mean(p.data), parts.log_weights[-1].exp() @ parts.means, rtol=1e-6, atol=1e-6)
    conditional = of_every_label(field, x, t, "score")[..., 0].T
    between = (conditional - p.score).square()
    left = mean((posterior * conditional.square()).sum(1))
    right = mean(p.score[:, 0].square()) + mean((posterior * between).sum(1))
    assert abs(float(left - right)) < 1e-6 * float(left)


@given(mixtures(max_dim=8), path_names)
def test_at_the_noise_the_state_says_nothing_and_at_the_data_everything(mixture, path: str) -> None:
    """P_y is p(y) and guidance is none where alpha = 0; where sigma = 0 P_y is the Bayes classifier of the data."""
    field = fg.MixtureField(mixture, fg.paths.build(path))
    c = [field.path.at(torch.tensor(t, dtype=torch.float64), torch.zeros(1, 1)) for t in (field.t_min, field.t_max)]
    x = torch.randn(5, mixture.dim, generator=generator(0), dtype=torch.float64) * float(c[0].sigma)
    y = torch.arange(5) % mixture.num_classes
    weights = mixture._exact.log_weights[-1].exp()
    prior = torch.stack([weights[mixture.labels == label].sum() for label in range(mixture.num_classes)])
    signal = float(c[0].alpha / c[0].sigma)
    assert (field.posterior(x, field.t_min) - prior).abs().max() < 1e-9 + 100 * signal
    gap = (field(x, field.t_min, y).score - field(x, field.t_min).score) * float(c[0].sigma)
    assert gap.abs().max() < 1e-9 + 100 * signal
    z, _ = mixture.sample(5, dtype=torch.float64)
    noise = float(c[1].sigma / c[1].alpha)
    bayes = torch.zeros(5, mixture.num_classes, dtype=torch.float64)
    for k, label in enumerate(mixture.labels.tolist()):
        q, values = mixture._exact.eigenvectors[k], mixture._exact.eigenvalues[k]
        law = torch.distributions.MultivariateNormal(mixture._exact.means[k], q @ torch.diag(values) @ q.mT)
        bayes[:, label] += weights[k] * law.log_prob(z).exp()
    bayes = bayes / bayes.sum(1, keepdim=True)
    assert (field.posterior(float(c[1].alpha) * z, field.t_max) - bayes).abs().max() < 1e-9 + 1000 * noise**2


@given(mixtures(max_dim=8), path_names, path_names, st.floats(-2, 2), seeds)
def test_what_is_known_of_the_data_does_not_depend_on_the_path(
    mixture, one: str, other: str, snr: float, seed: int
) -> None:
    """zhat and P_y are functions of x / alpha and the signal-to-noise ratio alone."""
    x = 1.5 * torch.randn(5, mixture.dim, generator=generator(seed), dtype=torch.float64)
    y = torch.arange(5) % mixture.num_classes
    found = []
    for name in (one, other):
        field = fg.MixtureField(mixture, fg.paths.build(name))
        t = field.path.time_at(torch.tensor(snr))
        state = field.path.at(t, x).alpha * x
        found.append((field(state, t, y).data, field.posterior(state, t)))
    near(found[0][0], found[1][0], 1e-8)
    near(found[0][1], found[1][1], 1e-8)


@given(questions, seeds, weights)
def test_turning_space_turns_the_predictions(state, seed: int, w: float) -> None:
    field, x, t, y = state
    g = generator(seed)
    turn = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=g, dtype=torch.float64))[0]
    parts = field.mixture._exact
    covariances = parts.eigenvectors @ torch.diag_embed(parts.eigenvalues) @ parts.eigenvectors.mT
    turned = turn @ covariances @ turn.mT
    mixture = fg.oracle.GaussianMixture(
        parts.log_weights[-1].exp(), parts.means @ turn.mT, (turned + turned.mT) / 2, field.mixture.labels
    )
    there = fg.guidance.build("cfg", fg.MixtureField(mixture, field.path), w=w)(x @ turn.mT, t, y)
    here = fg.guidance.build("cfg", field, w=w)(x, t, y)
    for kind in fg.paths.KINDS:
        near(getattr(there, kind), getattr(here, kind) @ turn.mT, 1e-7)


@given(questions, weights, st.floats(0.1, 0.9))
def test_guidance_commutes_with_a_step_of_ddim(state, w: float, share: float) -> None:
    """The step of the mix is the mix of the steps, from one state."""
    field, x, _, y = state
    first, last = 0.1, 0.1 + 0.8 * share
    solver = fg.solvers.build("ddim", steps=1, t_start=first, t_end=last)
    mixed = solver.solve(fg.guidance.build("cfg", field, w=w), x, y)
    near(mixed, (1 - w) * solver.solve(field, x) + w * solver.solve(field, x, y), 1e-8)


@given(questions, st.floats(-2, 7), st.sampled_from(fg.paths.KINDS))
def test_the_weight_of_the_paper_is_one_less(state, omega: float, kind: str) -> None:
    """(1 + omega) c - omega u, as classifier-free guidance was published."""
    field, x, t, y = state
    c, u = (getattr(field(x, t, cond), kind) for cond in (y, None))
    near(getattr(fg.guidance.build("cfg", field, w=1 + omega)(x, t, y), kind), (1 + omega) * c - omega * u, 1e-9)


@given(mixtures(max_dim=1), st.sampled_from(["linear", "cosine", "vp"]), st.floats(1.1, 4), st.floats(0.3, 0.7))
def test_the_score_of_the_diffused_tilt_is_the_mix_and_the_gradient_of_a_divergence(mixture, path, w, t) -> None:
    """... of (w - 1) times Renyi's D_w(p(z | x, y) || p(z | x)), by which the mix falls short; by quadrature in 1-D."""
    field = fg.MixtureField(mixture, fg.paths.build(path))
    x = torch.tensor([[-1.0], [0.2], [1.1]], dtype=torch.float64)
    y = torch.zeros(3, dtype=torch.long)
    nodes, shares = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(1200))
    z, share = 14 * nodes[:, None], 14 * shares
    label = torch.zeros(len(z), dtype=torch.long)
    log_c, log_u = mixture.log_prob(z, label), mixture.log_prob(z)
    c = field.path.at(torch.tensor(t, dtype=torch.float64), x)
    point = x.clone().requires_grad_()
    kernel = -((point - c.alpha * z[:, 0]) ** 2) / (2 * c.sigma**2)

    def log_integral(log_f: Tensor) -> Tensor:
        return (log_f + share.log()).logsumexp(-1)

    # The law of the states whose data are the tilted density, and p(z | x, y), p(z | x) by Bayes' rule.
    diffused = log_integral(kernel + w * log_c + (1 - w) * log_u)
    of_c = kernel + log_c - log_integral(kernel + log_c)[:, None]
    of_u = kernel + log_u - log_integral(kernel + log_u)[:, None]
    divergence = log_integral(w * of_c + (1 - w) * of_u) / (w - 1)
    (left,) = torch.autograd.grad(diffused.sum(), point, retain_graph=True)
    (right,) = torch.autograd.grad((w - 1) * divergence.sum(), point)
    near(left, fg.guidance.build("cfg", field, w=w)(x, t, y).score + right, 1e-6)
