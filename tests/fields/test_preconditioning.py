"""EDM's preconditioning against table 1 of its paper, against v-prediction, and on every path up to both ends."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import generator, path_names, seeds
from torch import Tensor

import flowguide as fg

spreads = st.floats(0.05, 20)


class Recorded(fg.networks.Network):
    """Any function of (x, t), remembering what it was asked."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.asked = x, t
        return self.function(x, t)


def field(path: fg.paths.Path, sigma_data: float, function, **options) -> fg.NetworkField:
    return fg.NetworkField(Recorded(function), path, "edm", sigma_data, **options)


@given(sigma_data=spreads, share=st.floats(0, 1), seed=seeds)
def test_on_its_own_path_it_is_table_1(sigma_data: float, share: float, seed: int) -> None:
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise), with the coefficients as the paper prints them."""
    path = fg.paths.build("edm")
    x = 3 * torch.randn(4, 2, generator=generator(seed), dtype=torch.float64)
    t = torch.tensor(share, dtype=torch.float64)
    sigma = path.sigma(t)
    c_skip = sigma_data**2 / (sigma**2 + sigma_data**2)
    c_out = sigma * sigma_data / torch.sqrt(sigma_data**2 + sigma**2)
    c_in = 1 / torch.sqrt(sigma**2 + sigma_data**2)
    c_noise = torch.log(sigma) / 4
    model = field(path, sigma_data, lambda x, t: torch.sin(x) + t, clock="edm")
    data = model(x, t).data
    torch.testing.assert_close(model.network.asked, (c_in * x, c_noise), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(data, c_skip * x + c_out * (torch.sin(c_in * x) + c_noise), rtol=1e-11, atol=1e-11)


@given(name=path_names, sigma_data=spreads, share=st.floats(0.01, 0.99), seed=seeds)
def test_on_any_path_it_is_table_1_at_the_unscaled_state(name: str, sigma_data: float, share: float, seed: int) -> None:
    path = fg.paths.build(name)
    x = torch.randn(4, 2, generator=generator(seed), dtype=torch.float64)
    t = torch.full((4,), share, dtype=torch.float64)
    alpha, sigma = path.alpha(t)[:, None], path.sigma(t)[:, None]
    level = sigma / alpha
    root = torch.sqrt(level**2 + sigma_data**2)
    expected = sigma_data**2 / root**2 * (x / alpha) + level * sigma_data / root * torch.cos(x / alpha / root)
    prediction = field(path, sigma_data, lambda x, t: torch.cos(x))(x, t)
    torch.testing.assert_close(prediction.data, expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(alpha * prediction.data + sigma * prediction.noise, x, rtol=1e-10, atol=1e-10)


@given(name=path_names, sigma_data=spreads, share=st.floats(0, 1), seed=seeds)
def test_the_right_output_gives_back_data_and_noise(name: str, sigma_data: float, share: float, seed: int) -> None:
    """From t_min to t_max: the output that EDM trains for, (z - c_skip x) / c_out, is sigma z' - alpha eps, scaled."""
    path = fg.paths.build(name)
    data, noise = torch.randn(2, 4, 2, generator=generator(seed), dtype=torch.float64)
    t = torch.full((4,), path.t_min + share * (path.t_max - path.t_min), dtype=torch.float64)
    truth = path.interpolate(data, noise, t)
    c = truth.coefficients
    # Minus the v of z / sigma_data on the same path, scaled to unit variance.
    scaled = torch.atan2(c.sigma, c.alpha * sigma_data)
    output = torch.sin(scaled) * data / sigma_data - torch.cos(scaled) * noise
    guess = field(path, sigma_data, lambda x, t: output)(truth.x, t)
    for kind in ("data", "noise", "velocity", "v"):
        torch.testing.assert_close(getattr(guess, kind), getattr(truth, kind), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(guess.mean_of(0.5, -2.0), 0.5 * data - 2.0 * noise, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", fg.paths.names())
def test_finite_in_float32_at_both_ends_and_of_unit_variance(name: str) -> None:
    path = fg.paths.build(name)
    model = field(path, 0.5, lambda x, t: torch.ones_like(x))
    assert (model.t_min, model.t_max) == (path.t_min, path.t_max)
    data, noise = torch.randn(2, 20000, 1, generator=generator(0))
    for t in (path.t_min, 0.5, path.t_max):
        prediction = model(path.interpolate(0.5 * data, noise, torch.tensor(t)).x, t)
        assert abs(model.network.asked[0].std() - 1) < 0.03
        assert all(getattr(prediction, kind).isfinite().all() for kind in ("data", "noise", "velocity", "v"))


def test_solvers_take_it() -> None:
    """The optimal F of one Gaussian is 0: with it the flow takes noise to N(0, sigma_data^2), whatever the path."""
    for name in ("linear", "ddpm", "edm"):
        model = field(fg.paths.build(name), 0.7, lambda x, t: torch.zeros_like(x))
        x = fg.sample(model, (4000, 1), solver=fg.solvers.build("heun", steps=100), dtype=torch.float64)
        assert abs(x.std() / 0.7 - 1) < 0.05


def test_guidance_mixes_outputs() -> None:
    path, x = fg.paths.build("cosine"), torch.randn(5, 2, generator=generator(0), dtype=torch.float64)
    sin, cos, both = (field(path, 0.5, f)(x, 0.3) for f in (lambda x, t: x.sin(), lambda x, t: x.cos(),
                                                            lambda x, t: 3 * x.cos() - 2 * x.sin()))  # fmt: skip
    for kind in fg.paths.KINDS:
        torch.testing.assert_close(getattr(sin.lerp(cos, 3.0), kind), getattr(both, kind))


def test_the_network_is_told_the_time_that_it_knows() -> None:
    path = fg.paths.build("ddpm")
    x, t = torch.zeros(3, 2), path.time_of_timestep(torch.tensor([0, 500, 999]))
    network = Recorded(lambda x, t: x)
    fg.NetworkField(network, path, "noise", clock=path.timestep)(x, t)
    torch.testing.assert_close(network.asked[1], torch.tensor([0.0, 500.0, 999.0]), rtol=0, atol=1e-3)
    fg.NetworkField(network, path, "noise", clock="timestep")(x, t)
    torch.testing.assert_close(network.asked[1], torch.tensor([0.0, 500.0, 999.0]), rtol=0, atol=1e-3)
    fg.NetworkField(network, path, "noise")(x, t)
    assert network.asked[1] is t
    for name, infinite in (("edm", False), ("ve", False), ("vp", False), ("linear", True), ("cosine", True)):
        if infinite:
            with pytest.raises(ValueError, match=r"clock='edm' is .* infinite at an end of"):
                fg.NetworkField(network, fg.paths.build(name), "edm", clock="edm")
        else:
            fg.NetworkField(network, fg.paths.build(name), "edm", clock="edm")(x, 0.5)
            level = fg.paths.build(name).sigma(torch.tensor(0.5)) / fg.paths.build(name).alpha(torch.tensor(0.5))
            torch.testing.assert_close(network.asked[1], level.log() / 4)
    with pytest.raises(ValueError, match="clock='timestep' is for paths that have timesteps, as ddpm has"):
        fg.NetworkField(network, fg.paths.build("vp"), "noise", clock="timestep")
    with pytest.raises(ValueError, match="a clock is a function of t, 'timestep' or 'edm', not 'step'"):
        fg.NetworkField(network, path, "noise", clock="step")


def test_sigma_data_is_edms_own_unless_given() -> None:
    path, network = fg.paths.build("linear"), Recorded(torch.sin)
    assert fg.NetworkField(network, path, "edm").sigma_data == 0.5
    assert fg.NetworkField(network, path, "edm", 2.0).sigma_data == 2.0
    assert fg.NetworkField(network, path).sigma_data is None
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="sigma_data is the standard deviation of the data, positive and finite"):
            fg.NetworkField(network, path, "edm", wrong)
    with pytest.raises(ValueError, match="sigma_data is for predicts='edm'; a network that predicts v takes none"):
        fg.NetworkField(network, path, "v", 0.5)
