"""Rules guided by an observation: exact where they should be, what their papers say elsewhere; runs; errors."""

import math
from itertools import pairwise

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from strategies import generator, path_names, seeds, states
from torch import Tensor
from torch.testing import assert_close

import flowguide as fg
from flowguide.paths import KINDS

INVERSE = ["dps", "pigdm", "reconstruction"]


def sees(dim: int, std: float = 0.4) -> fg.observations.Observation:
    """Two combinations of all entries."""
    rows = torch.randn(2, dim, generator=generator(dim), dtype=torch.float64)
    return fg.observations.build("matrix", rows=rows, std=std)


def toy(path: str = "linear") -> fg.MixtureField:
    """Three Gaussians in the plane, of which the first coordinate tells little apart."""
    mixture = fg.oracle.GaussianMixture(
        torch.tensor([0.3, 0.3, 0.4]),
        torch.tensor([[-1.2, -0.8], [0.9, 1.1], [1.0, -1.0]]).double(),
        torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.15, -0.05], [-0.05, 0.25]], [[0.2, 0], [0, 0.1]]]).double(),
    )
    return fg.MixtureField(mixture, fg.paths.build(path))


def sliced(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-1 distance of as many points in the plane, over 64 directions."""
    angle = torch.arange(64, dtype=torch.float64) * torch.pi / 64
    a, b = ((points @ torch.stack([angle.cos(), angle.sin()])).sort(0).values for points in (a, b))
    return (a - b).abs().mean().item()


def guided(name: str, field: fg.Field, see: fg.observations.Observation, y, **options) -> fg.guidance.Guidance:
    return fg.guidance.build(name, field, observation=see, observed=y, **options)


@given(seeds, path_names, st.floats(0.3, 3), st.floats(0.05, 2))
def test_pigdm_is_exact_for_a_round_gaussian(seed: int, path: str, tau: float, std: float) -> None:
    g = generator(seed)
    dim = 3
    mean = torch.randn(1, dim, generator=g, dtype=torch.float64)
    prior = fg.oracle.GaussianMixture(torch.ones(1), mean, tau**2 * torch.eye(dim, dtype=torch.float64)[None])
    field, see = fg.MixtureField(prior, fg.paths.build(path)), sees(dim, std)
    y = torch.randn(2, generator=g, dtype=torch.float64)
    exact = fg.MixtureField(prior.condition_on(see, y), field.path)
    x, t = torch.randn(6, dim, generator=g, dtype=torch.float64), torch.linspace(0.02, 0.98, 6, dtype=torch.float64)
    found = guided("pigdm", field, see, y, data_std=tau)(x, t)
    for kind in KINDS:
        assert_close(getattr(found, kind), getattr(exact(x, t), kind), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", INVERSE)
@given(states(), st.floats(-1, 4))
def test_adds_the_gradient_of_what_its_paper_says(name: str, state, w: float) -> None:
    """By central differences, with the covariance kept at its value."""
    field, x, t, cond = state
    c, see = field.path.at(t, x), sees(x.shape[1])
    y = torch.tensor([0.3, -0.8], dtype=torch.float64)
    found = guided(name, field, see, y, w=w)(x, t, cond)
    matrix, one = see.matrix(x.shape[1:]), torch.eye(2, dtype=torch.float64)
    ratio = (c.sigma / c.alpha).reshape(-1, 1, 1) ** 2
    spread = (c.sigma**2 / (c.alpha**2 + c.sigma**2)).reshape(-1, 1, 1)
    variance = {
        "dps": 0.4**2 * one,
        "reconstruction": ratio * one,
        "pigdm": 0.4**2 * one + spread * matrix @ matrix.T,
    }[name]

    def log_prob(x: Tensor) -> Tensor:
        residual = y - field(x, t, cond).data @ matrix.T
        return -0.5 * (residual * torch.linalg.solve(variance.expand(len(x), 2, 2), residual)).sum(1)

    h = 1e-5
    steps = h * torch.eye(x.shape[1], dtype=torch.float64)
    slope = torch.stack([(log_prob(x + step) - log_prob(x - step)) / (2 * h) for step in steps], dim=1)
    expected = field(x, t, cond).score + w * slope
    assert ((found.score - expected).abs() / (1 + slope.abs().amax())).max() < 1e-5
    if name == "reconstruction":  # as the paper writes it
        squares = -2 * slope * ratio[..., 0]
        moved = field(x, t, cond).data - w * c.alpha / 2 * squares
        assert ((found.data - moved).abs() / (1 + moved.abs().amax() + squares.abs().amax())).max() < 1e-5


@pytest.mark.parametrize("name", INVERSE)
@given(states())
def test_w_0_is_the_fields_own_prediction(name: str, state) -> None:
    field, x, t, y = state
    see = sees(x.shape[1])
    assert torch.equal(guided(name, field, see, 0.3, w=0.0)(x, t, y).velocity, field(x, t, y).velocity)
    weights = torch.zeros(len(x), dtype=torch.float64)
    assert_close(guided(name, field, see, 0.3, w=weights)(x, t, y).velocity, field(x, t, y).velocity)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("name", [*INVERSE, "repaint"])
def test_an_observation_per_sample_goes_with_the_sample(name: str, eta: float) -> None:
    """In one batch or in many, and in a run that starts at another sample."""
    field, see = toy(), fg.observations.build("mask", std=0.2)
    y = see.observe(torch.randn(7, 2, generator=generator(0)), seed=3)
    options = {"resamples": 2} if name == "repaint" else {}
    rule, solver = guided(name, field, see, y, **options), fg.solvers.build("ddim", eta=eta, steps=5)
    together = fg.sample(rule, (7, 2), None, solver, seed=2)
    assert_close(fg.sample(rule, (7, 2), None, solver, seed=2, batch_size=3), together)
    assert_close(fg.sample(rule, (2, 2), None, solver, seed=2, first=4), together[4:6])
    alone = fg.sample(guided(name, field, see, y[5], **options), (1, 2), None, solver, seed=2, first=5)
    assert_close(alone, together[5:6])


@pytest.mark.parametrize("name", INVERSE)
def test_goes_through_the_transforms_of_functions(name: str) -> None:
    field, see = toy("vp"), sees(2)
    rule = guided(name, field, see, 0.3)
    x = torch.randn(4, 2, generator=generator(0), dtype=torch.float64)

    def score(x: Tensor) -> Tensor:
        return rule(x[None], torch.tensor(0.6, dtype=torch.float64)).score[0]

    with torch.no_grad():
        plain = rule(x, 0.6).score
        assert_close(torch.vmap(score)(x), plain)
        forward, backward = (torch.vmap(f(score))(x) for f in (torch.func.jacfwd, torch.func.jacrev))
    assert_close(forward, backward)
    assert_close(torch.autograd.functional.jacobian(score, x[0]), forward[0])
    assert_close(rule(x, 0.6).score, plain)
    assert not plain.requires_grad


@pytest.mark.parametrize("predicts", ["velocity", "noise", "data", "edm"])
@pytest.mark.parametrize("name", INVERSE)
def test_networks_and_ends(name: str, predicts: str) -> None:
    torch.manual_seed(0)
    network = fg.networks.build("mlp", dim=4, num_classes=3, width=16)
    field = fg.NetworkField(network, fg.paths.build("linear"), predicts)
    rule = guided(name, field, sees(4), 0.3)
    x = torch.randn(5, 4)
    for t in (rule.t_min, rule.t_max):
        with torch.no_grad():
            assert rule(x, t, torch.tensor([0, 1, 2, 3, 0])).velocity.isfinite().all()
    trained = rule(x, 0.5).velocity.square().sum()
    trained.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("network", ["dit", "unet"])
def test_attention_can_be_differentiated(network: str) -> None:
    options = {
        "dit": {"width": 16, "depth": 1, "heads": 2, "patch": 2},
        "unet": {"width": 8, "head_width": 8},
    }[network]
    built = fg.networks.registry.get(network)
    model = fg.networks.build(network, **{**built.options_for((1, 4, 4), 3), **options})
    field = fg.NetworkField(model, fg.paths.build("linear"))
    rule = guided("dps", field, fg.observations.build("downsample"), 0.3)
    samples = fg.sample(rule, (2, 1, 4, 4), torch.tensor([0, 1]), fg.solvers.build("euler", steps=2))
    assert samples.isfinite().all()


@pytest.mark.parametrize("w", [0.3, 2.0])
def test_normalised_dps_is_algorithm_1(w: float) -> None:
    """Written in alpha-bar, with the steps of DDIM; and with those of DDPM the first step differs by the same move."""
    field, see, y = toy("vp"), sees(2), torch.tensor([0.3, -0.8], dtype=torch.float64)
    rule = guided("dps", field, see, y, w=w, step="normalised")
    solver = fg.solvers.build("ddim", steps=6, t_start=0.1, t_end=0.9)
    times = solver.times(field)
    x = start = torch.randn(12, 2, generator=generator(0), dtype=torch.float64)
    moves = []
    for t, s in pairwise(times):
        bar, bar_before = field.path.alpha(t) ** 2, field.path.alpha(s) ** 2
        state = x.clone().requires_grad_()
        noise = field(state, t).noise
        data = (state - torch.sqrt(1 - bar) * noise) / torch.sqrt(bar)
        norm = (y - see(data)).square().sum(1)
        (gradient,) = torch.autograd.grad(norm.sum(), state)
        moves.append(-w / norm.detach().sqrt()[:, None] * gradient)
        x = torch.sqrt(bar_before) * data.detach() + torch.sqrt(1 - bar_before) * noise.detach() + moves[-1]
    assert_close(solver.solve(rule, start), x)
    ddpm = fg.solvers.build("ddim", eta=1.0, steps=6, t_start=0.1, t_end=0.9)
    first = ddpm.trajectory(rule, start, seed=1)[1] - ddpm.trajectory(field, start, seed=1)[1]
    assert_close(first, moves[0])
    assert torch.equal(rule(start, 0.5).velocity, field(start, 0.5).velocity)  # no step, no move


def test_repaint_keeps_what_is_seen_without_noise() -> None:
    see = fg.observations.build("mask", hidden="top", std=0.0)
    y = torch.tensor([float("nan"), 0.7])
    for solver in ("euler", "heun", "ddim"):
        rule = guided("repaint", toy(), see, y, resamples=3, jump=2)
        samples = fg.sample(rule, (5, 2), None, fg.solvers.build(solver, steps=6))
        assert_close(samples[:, 1], torch.full((5,), 0.7))


def test_repaint_goes_back_by_the_law_of_the_path() -> None:
    """Nothing is put in, and of data that are one point the steps of DDPM are exact, however long."""
    mean, variance = torch.tensor([[0.5, -1.0]], dtype=torch.float64), 1e-8 * torch.eye(2, dtype=torch.float64)
    field = fg.MixtureField(fg.oracle.GaussianMixture(torch.ones(1), mean, variance[None]), toy().path)
    see = fg.observations.build("mask", keep=torch.zeros(2), std=0.0)
    rule, x = guided("repaint", field, see, 0.0, resamples=4, jump=3), field.path.prior((4000, 2), dtype=torch.float64)
    states = fg.solvers.build("ddim", eta=1.0, steps=9).trajectory(rule, x, seed=0)
    for n in (3, 6):
        alpha, sigma = n / 9, 1 - n / 9
        assert_close(states[n].mean(0), alpha * mean[0], rtol=0, atol=0.05 * sigma)
        assert_close(states[n].T.cov(), sigma**2 * torch.eye(2).double(), rtol=0, atol=0.08 * sigma**2)


# Bounds on the distance from the posterior given the first coordinate, y = 0.8 and s = 0.2, in multiples of 0.018, that
# of as many exact samples; the prior is 26 away.
DISTANCES = [
    ("exact", {}, 2.5),
    ("pigdm", {}, 6),
    ("dps", {}, 8),
    ("dps", {"step": "normalised", "w": 0.03}, 5),
    ("reconstruction", {}, 11),
    ("repaint", {"resamples": 1}, 11),
    ("repaint", {"resamples": 10}, 6.5),
]


@pytest.mark.parametrize(("name", "options", "bound"), DISTANCES)
def test_samples_are_near_the_exact_posterior(name: str, options: dict, bound: float) -> None:
    field, y = toy(), torch.tensor([0.8], dtype=torch.float64)
    posterior = field.mixture.condition_on(fg.observations.build("matrix", rows=[[1.0, 0.0]], std=0.2), y)
    truth = posterior.sample(2000, seed=1, dtype=torch.float64)[0]
    see = fg.observations.build("mask", std=0.2)
    rule = (
        fg.MixtureField(posterior, field.path)
        if name == "exact"
        else guided(name, field, see, torch.tensor([0.8, math.nan]), **options)
    )
    solver = fg.solvers.build("ddim", eta=1.0, steps=60)
    samples = fg.sample(rule, (2000, 2), None, solver, seed=5, dtype=torch.float64)
    assert sliced(samples, truth) < bound * 0.018


def test_observations_from_files(tmp_path) -> None:
    y = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    numpy.save(tmp_path / "y.npy", y.numpy())
    save_file({"observed": y, "labels": torch.zeros(2)}, tmp_path / "y.safetensors")
    x = torch.randn(2, 2)
    expected = guided("dps", toy(), "mask", y)(x, 0.5).velocity
    for given_ in (str(tmp_path / "y.npy"), str(tmp_path / "y.safetensors"), y.tolist()):
        assert torch.equal(guided("dps", toy(), "mask", given_)(x, 0.5).velocity, expected)
    save_file({"a": y, "b": y + 1}, tmp_path / "two.safetensors")
    (tmp_path / "bad.npy").write_text("no numbers")
    numpy.save(tmp_path / "code.npy", numpy.array([print]), allow_pickle=True)
    for file, words in (
        ("two.safetensors", "holds a, b: name the observation 'observed'"),
        ("bad.npy", "bad.npy cannot be read"),
        ("code.npy", "code.npy cannot be read"),
        ("none.npy", "names the file .*none.npy, and there is none"),
        ("y.txt", "from a file .npy or .safetensors, not from"),
    ):
        with pytest.raises(ValueError, match=words):
            guided("dps", toy(), "mask", str(tmp_path / file))


def field_of_images() -> fg.NetworkField:
    return fg.NetworkField(fg.networks.build("unet", channels=1, width=8, head_width=8), fg.paths.build("linear"))


x = torch.zeros(3, 2)
images = torch.zeros(1, 1, 8, 8)


@pytest.mark.parametrize("name", ["dps", "pigdm", "reconstruction", "repaint"])
def test_bytes_are_not_in_the_units_of_data(name: str, tmp_path) -> None:
    """Neither as a tensor nor as an array or from a file; integers may be data all the same."""
    image = torch.full((1, 8, 8), 200, dtype=torch.uint8)
    numpy.save(tmp_path / "image.npy", image.numpy())
    save_file({"observed": image}, tmp_path / "image.safetensors")
    for given_ in (image, image.numpy(), str(tmp_path / "image.npy"), str(tmp_path / "image.safetensors")):
        with pytest.raises(ValueError, match=r"observed is in the data's units, .* give x / 127\.5 - 1"):
            guided(name, field_of_images(), "mask", given_)
    for given_ in (image / 127.5 - 1, image.long(), 1, [1, 0]):
        guided(name, field_of_images(), "mask", given_)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fg.guidance.build("dps", toy()), "guidance rule 'dps' needs the option 'observation'"),
        (lambda: fg.guidance.build("pigdm", toy(), observation="mask"), "needs the option 'observed'"),
        (lambda: fg.guidance.build("repaint", toy(), observation=None, observed=0.0), "give one, observation=..."),
        (lambda: guided("dps", toy(), "maks", 0.0), "unknown observation 'maks'; did you mean 'mask'"),
        (lambda: guided("dps", toy(), {"name": "mask", "std": -1}, 0.0), "std is .* at least 0, not -1"),
        (lambda: guided("dps", toy(), {"name": "mask", "std": 0}, 0.0), "give std > 0, or step=normalised"),
        (lambda: guided("dps", toy(), "mask", 0.0, step="long"), "must be one of 'gaussian', 'normalised'"),
        (lambda: guided("dps", toy(), "mask", [[1.0], [1.0, 2.0]]), "observed must be numbers"),
        (lambda: guided("dps", toy(), "downsample", 0.0), r"downsample takes images .* not samples of shape \(2,\)"),
        (lambda: guided("dps", toy(), {"name": "mask", "keep": torch.ones(3)}, 0.0), r"mask has the shape \(3,\)"),
        (lambda: guided("dps", field_of_images(), "downsample", torch.zeros(1, 2, 2))(images, 0.5),
         r"dps was given an observation of shape \(1, 2, 2\), and downsample sees .*\(1, 8, 8\) as \(1, 4, 4\)"),
        (lambda: guided("repaint", field_of_images(), "mask", torch.zeros(1, 4, 4))(images, 0.5), "repaint was given"),
        (lambda: guided("dps", toy(), "mask", torch.zeros(2, 2))(x, 0.5), "given 2 observations .* samples 0 to 2"),
        (lambda: guided("pigdm", toy(), "mask", 0.0, data_std=0.0), "data_std is .* above 0"),
        (lambda: guided("repaint", toy(), "downsample", 0.0), "downsample takes images"),
        (lambda: guided("repaint", toy(), {"name": "matrix", "rows": [[1.0, 0.0]]}, 0.0), "needs the observation 'mas"),
        (lambda: guided("repaint", toy(), "mask", 0.0, resamples=0), "resamples and jump are at least 1, not 0 and 1"),
        (lambda: fg.sample(guided("repaint", toy(), "mask", 0.0), (2, 2)), "choose a solver of single steps"),
    ],
)  # fmt: skip
def test_says_what_is_wrong(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
