"""Likelihoods under exact fields against the closed form, and under guided ones against their normalisation."""

import pytest
import torch

import flowguide as fg

TIGHT = {"rtol": 1e-8, "atol": 1e-8}


def mixture(dim: int = 2) -> fg.oracle.GaussianMixture:
    g = torch.Generator().manual_seed(0)
    return fg.oracle.GaussianMixture(
        weights=torch.tensor([0.3, 0.3, 0.4]),
        means=torch.randn(3, dim, generator=g),
        covariances=torch.tensor([0.2, 0.3, 0.4])[:, None, None] * torch.eye(dim),
    )


@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("labelled", [False, True])
def test_exact_fields_have_their_density(path: str, labelled: bool) -> None:
    field = fg.MixtureField(mixture(), fg.paths.build(path))
    x, y = field.mixture.sample(12, seed=1, dtype=torch.float64)
    cond = y if labelled else None
    # From the exact law of the states at t_min to that at t_max, which is all that the flow is to get right.
    flow = fg.log_likelihood(field, x, cond, prior=lambda state: field.log_prob(state, field.t_min, cond), **TIGHT)
    torch.testing.assert_close(flow, field.log_prob(x, field.t_max, cond), rtol=0, atol=1e-6)
    # From noise alone: exact where the path begins without signal, and nearly so elsewhere.
    signal = float(field.path.alpha(torch.tensor(field.t_min)) / field.path.sigma(torch.tensor(field.t_min)))
    error = (fg.log_likelihood(field, x, cond, **TIGHT) - field.mixture.log_prob(x, cond)).abs().max()
    assert error < 1e-4 + 5 * signal


@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("labelled", [False, True])
def test_within_1e4_nats_of_the_closed_form_on_every_path(path: str, labelled: bool) -> None:
    """Where signal is left at the start, with the prior that the field's own prediction there amounts to."""
    field = fg.MixtureField(mixture(), fg.paths.build(path))
    x, y = field.mixture.sample(40, seed=1, dtype=torch.float64)
    cond = y if labelled else None
    flow = fg.log_likelihood(field, x, cond, prior=fg.likelihood.matched_prior(field, cond), **TIGHT)
    torch.testing.assert_close(flow, field.mixture.log_prob(x, cond), rtol=0, atol=1e-4)


@pytest.mark.parametrize("dim", [1, 2, 6])
def test_the_matched_prior_is_good_to_third_order_in_the_signal(dim: int) -> None:
    """At most an eighth of the error for half the signal, against the exact law of the states."""
    errors = []
    for t in (0.04, 0.02):
        later = type("Later", (fg.MixtureField,), {"t_min": t})(mixture(dim), fg.paths.build("linear"))
        x = torch.randn(200, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        error = fg.likelihood.matched_prior(later)(x) - later.log_prob(x, t)
        errors.append(float(error.square().mean().sqrt()))
    assert errors[0] < 1e-3
    assert errors[0] / errors[1] > 6.5


@pytest.mark.parametrize("path", ["linear", "vp"])
@pytest.mark.parametrize("w", [None, 1.0, 2.0])
def test_densities_integrate_to_one(path: str, w: float | None) -> None:
    field = fg.MixtureField(mixture(), fg.paths.build(path))
    field = field if w is None else fg.guidance.build("cfg", field, w=w)
    line = torch.linspace(-5, 5, 91, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    logp = fg.log_likelihood(field, grid, torch.full((len(grid),), 1), rtol=1e-6, atol=1e-6)
    assert abs(logp.exp().sum() * (line[1] - line[0]) ** 2 - 1) < 1e-3


def test_guided_gaussians_have_the_closed_form_variance() -> None:
    """N(0, 2) guided towards N(0, 1) by the ODE at weight w is N(0, 2^(1 - w)), not the tilt N(0, 2 / (w + 1))."""
    pair = fg.oracle.GaussianMixture(
        torch.ones(2) / 2, torch.zeros(2, 1), torch.tensor([[[1.0]], [[1.0]]]), labels=torch.tensor([0, 1])
    )

    class Two(fg.MixtureField):
        """Unconditional N(0, 2), conditional N(0, 1)."""

        def predict(self, x, t, cond):
            wide = cond is None
            c = self.path.at(t, x)
            score, data = self.mixture.score_and_data(x / (2**0.5 if wide else 1), None, alpha=c.alpha,
                                                      sigma=c.sigma / (2**0.5 if wide else 1))  # fmt: skip
            scale = 2**0.5 if wide else 1
            return fg.paths.Prediction(c, x, score=score / scale, data=data * scale)

    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    for w in (2.0, 3.0):
        field = fg.guidance.build("cfg", Two(pair, fg.paths.build("linear")), w=w)
        logp = fg.log_likelihood(field, x, torch.zeros(5, dtype=torch.long), **TIGHT)
        expected = torch.distributions.Normal(0.0, 2 ** ((1 - w) / 2)).log_prob(x[:, 0])
        torch.testing.assert_close(logp, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_hutchinson_is_unbiased() -> None:
    """The mean over many probes is the exact value, within what the probes' spread allows."""
    field = fg.MixtureField(mixture(6), fg.paths.build("linear"))
    x, _ = field.mixture.sample(4, seed=1, dtype=torch.float64)
    exact = fg.log_likelihood(field, x, **TIGHT)
    loose = {"exact": False, "rtol": 1e-6, "atol": 1e-6}
    single = torch.stack([fg.log_likelihood(field, x, seed=s, **loose) for s in range(60)])
    assert ((single.mean(0) - exact).abs() < 4 * single.std(0) / 60**0.5 + 1e-5).all()
    several = fg.log_likelihood(field, x, probes=60, seed=7, **loose)
    assert ((several - exact).abs() < 5 * single.std(0) / 60**0.5 + 1e-5).all()
    assert torch.equal(fg.log_likelihood(field, x, seed=3, **loose), fg.log_likelihood(field, x, seed=3, **loose))


def test_images_under_a_network() -> None:
    torch.manual_seed(0)
    network = fg.networks.build("unet", channels=1, num_classes=2, width=8, multipliers=[1, 2], blocks=1, attention=[1],
                                head_width=8)  # fmt: skip
    torch.nn.init.normal_(network.leave[2].weight, std=0.02)
    field = fg.NetworkField(network, fg.paths.build("linear"))
    x = torch.randn(3, 1, 8, 8)
    logp = fg.log_likelihood(field, x, torch.tensor([0, 1, 2]))
    assert logp.shape == (3,)
    assert logp.isfinite().all()
    assert all(p.grad is None for p in network.parameters())
    with torch.no_grad():
        torch.testing.assert_close(fg.log_likelihood(field, x, torch.tensor([0, 1, 2])), logp)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"x": torch.zeros(3)}, "data are floating-point tensors of shape"),
        ({"x": torch.zeros(3, 2, dtype=torch.long)}, "data are floating-point tensors"),
        ({"x": torch.zeros(0, 2), "cond": torch.zeros(0, dtype=torch.long)}, r"not a tensor of shape \(0, 2\)"),
        ({"probes": 0}, "probes must be at least 1"),
        ({"probes": 1.5}, "probes must be at least 1, an integer, not 1.5"),
        ({"rtol": 0.0}, "tolerances must be positive"),
        ({"cond": torch.tensor([0])}, "one condition per sample: got 1 for 3"),
        ({"cond": torch.tensor([0, 1, 9])}, "label 9 is not one of the 3 classes"),
    ],
)
def test_says_what_is_wrong(change: dict, words: str) -> None:
    arguments = {"x": torch.zeros(3, 2), **change}
    with pytest.raises(ValueError, match=words):
        fg.log_likelihood(fg.MixtureField(mixture(), fg.paths.build("linear")), **arguments)


@pytest.mark.parametrize(
    ("rule", "does"),
    [
        (("repaint", {"observation": "mask", "observed": 0.5}), "repaint acts between the steps of a solver"),
        (("predictor_corrector", {"w": 5.0}), "predictor_corrector acts between the steps"),
        (("smc", {"w": 2.0}), "smc acts between the steps"),
        (("feedback", {"track": True}), "feedback acts between the steps"),
        (("independent_condition", {"w": 2.0}), "independent_condition draws random numbers"),
    ],
)
@pytest.mark.parametrize("around", [False, True])
def test_what_is_no_flow_has_no_likelihood(rule: tuple[str, dict], does: str, around: bool) -> None:
    """Not the field's own, as if the rule did nothing; around: nor where another rule is made of it."""
    name, options = rule
    guided = fg.guidance.build(name, fg.MixtureField(mixture(), fg.paths.build("linear")), **options)
    if around:
        guided, does = fg.guidance.build("dynamic_threshold", guided), does.split(maxsplit=1)[1]
    with pytest.raises(ValueError, match=does):
        fg.log_likelihood(guided, torch.zeros(3, 2), torch.tensor([0, 1, 2]))


@pytest.mark.parametrize("kind", ["mixture", "cfg", "network"])
def test_within_inference_mode(kind: str) -> None:
    """Whatever else was made in it: data, conditions, a mixture, and what it keeps."""
    torch.manual_seed(0)
    network = fg.networks.build("mlp", dim=2, num_classes=3, width=16)
    torch.nn.init.normal_(network.leave[1].weight, std=0.1)
    path, options = fg.paths.build("vp"), {"dtype": torch.float32 if kind == "network" else torch.float64}

    def found() -> tuple[torch.Tensor, torch.Tensor]:
        field = fg.NetworkField(network, path) if kind == "network" else fg.MixtureField(mixture(), path)
        field = fg.guidance.build("cfg", field, w=2.0) if kind == "cfg" else field
        y = torch.tensor([0, 1, 2])
        x = fg.sample(field, (3, 2), y, seed=0, **options)
        return x, fg.log_likelihood(field, x, cond=y, prior=fg.likelihood.matched_prior(field, y))

    with torch.inference_mode():
        x, logp = found()
    outside, expected = found()
    assert torch.equal(x, outside)
    assert not logp.requires_grad
    torch.testing.assert_close(logp, expected)


def test_what_a_mixture_keeps_is_not_of_inference_mode() -> None:
    field, x = fg.MixtureField(mixture(), fg.paths.build("linear")), torch.zeros(3, 2)
    with torch.inference_mode():
        fg.sample(field, (3, 2))
    assert fg.log_likelihood(field, x).isfinite().all()


def test_weights_that_were_made_in_inference_mode_have_no_derivatives() -> None:
    with torch.inference_mode():
        field = fg.NetworkField(fg.networks.build("mlp", dim=2), fg.paths.build("linear"))
        with pytest.raises(ValueError, match="its weights were made in torch"):
            fg.log_likelihood(field, torch.zeros(3, 2))
