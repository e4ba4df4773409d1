"""What must hold of every weighting of every path: finite, of the same minimiser, and truly the weight of the data."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import generator, path_names, seeds
from torch import Tensor

import flowguide as fg
from flowguide.paths import KINDS, OUTPUTS

NAMES = fg.objectives.weightings.names()
every_weighting = pytest.mark.parametrize("name", NAMES)
every_path = pytest.mark.parametrize("path", fg.paths.names())


class Constant(fg.networks.Network):
    """A network that gives one learnt vector: as wrong as a network can be, at all times."""

    num_classes = None

    def __init__(self, dim: int = 2, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.output = torch.nn.Parameter(torch.linspace(-1, 1, dim, dtype=dtype))

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.output.expand_as(x)


class At(fg.objectives.TimeSampling):
    """The same times in every batch."""

    def __init__(self, t: Tensor) -> None:
        self.t = t

    def draw(self, count, path, t_min, t_max, *, generator=None, device=None, dtype=None) -> fg.objectives.Times:
        return fg.objectives.Times(self.t.to(dtype))


def objective(at: Tensor, name: str = "dsm", **options: Any) -> fg.objectives.Objective:
    built = fg.objectives.build(name, **options)
    built.time = At(at)
    return built


@every_path
@pytest.mark.parametrize("kind", OUTPUTS)
@every_weighting
def test_loss_and_gradient_are_finite_at_both_ends_in_float32(path: str, kind: str, name: str) -> None:
    field = fg.NetworkField(Constant(), fg.paths.build(path), kind)
    data = torch.randn(6, 2, generator=generator(0))
    for t in (field.t_min, field.t_max):
        loss = objective(torch.full((6,), t), weighting=name)(field, data=data, generator=generator(1))
        assert loss.isfinite()
        assert loss >= 0
        (gradient,) = torch.autograd.grad(loss, field.network.output)
        assert gradient.isfinite().all(), (t, gradient)


@given(path=path_names, kind=st.sampled_from(OUTPUTS), share=st.floats(0.05, 0.95), seed=seeds)
def test_flow_matching_is_score_matching_weighted_by_the_velocity(
    path: str, kind: str, share: float, seed: int
) -> None:
    field = fg.NetworkField(Constant(dtype=torch.float64), fg.paths.build(path), kind)
    data = torch.randn(5, 2, generator=generator(seed), dtype=torch.float64)
    t = torch.full((5,), field.t_min + share * (field.t_max - field.t_min))
    both = [
        objective(t.double(), **options).losses(field, data, None, generator(seed))
        for options in ({"name": "cfm"}, {"name": "dsm", "weighting": "velocity"})
    ]
    torch.testing.assert_close(both[0], both[1], rtol=1e-8, atol=1e-12)


@given(path=path_names, kind=st.sampled_from(KINDS), share=st.floats(0.05, 0.95), seed=seeds)
def test_the_errors_of_all_kinds_are_multiples_of_each_other(path: str, kind: str, share: float, seed: int) -> None:
    """|u - u_z|^2 = b^2 |s - s_z|^2 = (sigma l')^2 |e - eps|^2 = (alpha l')^2 |z_hat - z|^2, l' by differentiation."""
    built = fg.paths.build(path)
    start, end = built.interval(kind)
    t = torch.full((4,), start + share * (end - start), dtype=torch.float64)
    data, noise, value = torch.randn(3, 4, 2, generator=generator(seed), dtype=torch.float64)
    truth = built.interpolate(data, noise, t)
    guess = built.predict(kind, value, truth.x, t)
    rate = torch.func.jvp(built.half_log_snr, (t,), (torch.ones_like(t),))[1][:, None]
    alpha, sigma = built.alpha(t)[:, None], built.sigma(t)[:, None]
    score_of_the_sample = -(truth.x - alpha * data) / sigma**2

    expected = (guess.velocity - truth.velocity).square()
    for error, factor in (
        (guess.score - score_of_the_sample, sigma**2 * rate),
        (guess.noise - noise, sigma * rate),
        (guess.data - data, alpha * rate),
    ):
        torch.testing.assert_close((factor * error).square(), expected, rtol=1e-6, atol=1e-9)


WEIGHTS = {
    "none": lambda snr, c: torch.ones_like(snr),
    "snr": lambda snr, c: snr,
    "min_snr": lambda snr, c: snr.clamp(max=5.0),
    "edm": lambda snr, c: (1 / snr + 0.25) / (1 / snr * 0.25),  # (s^2 + 0.5^2) / (0.5 s)^2 at s^2 = 1 / SNR
    "sigmoid": lambda snr, c: snr / (1 + snr),
    "velocity": lambda snr, c: (c.determinant / c.sigma) ** 2,
}


@pytest.mark.parametrize("name", sorted(WEIGHTS))
@given(path=path_names, kind=st.sampled_from(OUTPUTS), share=st.floats(0.05, 0.95), seed=seeds)
def test_the_loss_is_the_weight_times_the_error_of_the_data(
    name: str, path: str, kind: str, share: float, seed: int
) -> None:
    """With the weights written as in the papers, in terms of the signal-to-noise ratio."""
    field = fg.NetworkField(Constant(dtype=torch.float64), fg.paths.build(path), kind)
    data = torch.randn(5, 2, generator=generator(seed), dtype=torch.float64)
    t = torch.full((5,), field.t_min + share * (field.t_max - field.t_min), dtype=torch.float64)
    found = objective(t, weighting=name).losses(field, data, None, generator(seed))
    noise = torch.randn(data.shape, generator=generator(seed), dtype=torch.float64)
    truth = field.path.interpolate(data, noise, t)
    c = field.path.at(t, t)
    error = (field(truth.x, t).data - data).square().mean(1)
    torch.testing.assert_close(found, WEIGHTS[name]((c.alpha / c.sigma) ** 2, c) * error, rtol=1e-7, atol=1e-12)


def test_sigmoid_is_centred_at_its_bias() -> None:
    """On the error of the data: exp(b) sigmoid(log SNR - b), as Hoogeboom et al. write it."""
    path = fg.paths.build("linear")
    t = torch.linspace(0.05, 0.95, 50, dtype=torch.float64)
    c, log_snr = path.at(t, t), 2 * path.half_log_snr(t)
    for bias in (-3.0, 0.0, 2.0):
        found = fg.objectives.weightings.build("sigmoid", bias=bias)(c) / c.sigma**2
        torch.testing.assert_close(found, math.exp(bias) * torch.sigmoid(log_snr - bias))


class Perturbed(fg.Field):
    """An exact field plus a multiple of a smooth function of the state, in the data prediction or in the velocity."""

    def __init__(self, field: fg.MixtureField) -> None:
        super().__init__()
        self.field, self.path, self.num_classes = field, field.path, field.num_classes
        self.size = torch.nn.Parameter(torch.zeros((), dtype=torch.float64))

    def null(self, batch: int) -> Tensor:
        return self.field.null(batch)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        shift = self.size * torch.tanh(x / self.path.at(t, x).sigma.clamp(min=1.0))
        return self.path.predict("v", self.field(x, t, cond).v + shift, x, t)


@every_path
@every_weighting
def test_the_exact_field_is_the_minimiser_of_every_weighting(path: str, name: str) -> None:
    """The derivative of the loss along a perturbation vanishes at the exact field, within Monte-Carlo error."""
    field = Perturbed(fg.MixtureField(fg.oracle.ring(3), fg.paths.build(path)))
    data, labels = field.field.mixture.sample(20000, seed=1, dtype=torch.float64)
    built = fg.objectives.build("dsm", weighting=name)

    def losses(size: Tensor) -> Tensor:
        return torch.func.functional_call(Losses(built, field), {"field.size": size}, (data, labels))

    zero = torch.zeros((), dtype=torch.float64)
    slopes = torch.func.jvp(losses, (zero,), (zero + 1,))[1]
    assert slopes.std() > 0
    assert abs(slopes.mean()) < 5 * slopes.std() / len(data) ** 0.5
    assert losses(zero).mean() < min(losses(zero + 1).mean(), losses(zero - 1).mean())


class Losses(torch.nn.Module):
    """An objective as a function of the field's parameters."""

    def __init__(self, built: fg.objectives.Objective, field: fg.Field) -> None:
        super().__init__()
        self.built, self.field = built, field

    def forward(self, data: Tensor, labels: Tensor) -> Tensor:
        return self.built.losses(self.field, data, labels, generator(0))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("min_snr", {"gamma": 0.0}, "the weighting min_snr needs a positive gamma, not 0.0"),
        ("edm", {"sigma_data": -1.0}, "the weighting edm needs a positive sigma_data, not -1.0"),
        ("edm", {"sigma_data": math.inf}, "needs a positive sigma_data, not inf"),
        ("sigmoid", {"bias": math.nan}, "the weighting sigmoid needs a finite bias, not nan"),
        ("snrr", {}, "unknown weighting 'snrr'; did you mean 'snr'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.objectives.weightings.build(name, **options)
    with pytest.raises(ValueError, match=words):
        fg.objectives.build("dsm", weighting={"name": name, **options})
