"""Diffusions, and low temperatures of an SDE, against the law that they have where it is known."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flowguide as fg


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(["euler_maruyama", "stochastic_heun", "sra1"]),
    st.floats(0.5, 2.0),
    st.floats(0.3, 1.5),
)
def test_scaled_score_and_noise_are_an_ornstein_uhlenbeck_process(name: str, score: float, noise: float) -> None:
    """Of N(0, 1) data on the path vp every marginal is N(0, 1): u = 0, s = -x, and the variance v of
    dX = -lambda g^2 / 2 X dt + tau g dW obeys v' = g^2 (tau^2 - lambda v)."""
    path = fg.paths.build("vp")
    one = fg.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), torch.eye(1)[None])
    field = fg.MixtureField(one, path)
    options = {"diffusion": {"name": "constant", "scale": 1.0}, "steps": 40, "score_scale": score, "noise_scale": noise}
    solver = fg.solvers.build(name, **options)
    samples = fg.sample(field, (20000, 1), solver=solver, seed=0, dtype=torch.float64)
    start, end = solver.span(field)
    begun = float(path.sigma(torch.tensor(start, dtype=torch.float64))) ** 2
    last = noise**2 / score
    expected = last + (begun - last) * math.exp(-score * (end - start))
    assert float(samples.var()) == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize(("score", "noise"), [(2.0, 1.0), (1.0, 0.5)])
def test_of_torchsde_too(score: float, noise: float) -> None:
    """It takes the factors of its diffusion: the same steps as euler_maruyama, from the same noise."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("vp"))
    options = {"steps": 5, "score_scale": score, "noise_scale": noise}
    ours, theirs, plain = (
        fg.sample(field, (50, 2), None, fg.solvers.build(name, **given), dtype=torch.float64)
        for name, given in (("euler_maruyama", options), ("torchsde", options), ("torchsde", {"steps": 5}))
    )
    torch.testing.assert_close(theirs, ours, rtol=1e-9, atol=1e-9)
    assert (theirs - plain).abs().max() > 0.1


def test_a_diffusion_that_ends_at_the_data_leaves_no_noise_behind() -> None:
    """Whatever is 0 at an end is exactly 0 there, and the run goes to that end: data far narrower than any margin."""
    path = fg.paths.build("linear")
    for name, ends in {"bump": (0, 1), "sigma": (1,), "linear": (1,), "decreasing": (1,), "zero": (0, 1)}.items():
        diffusion = fg.solvers.diffusions.build(name)
        assert diffusion.interval(path) == (0, 1), name
        assert (diffusion(path, torch.tensor(ends, dtype=torch.float64)) == 0).all(), name
    t = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
    torch.testing.assert_close(fg.solvers.diffusions.build("bump")(path, t), torch.sin(math.pi * t) ** 2)
    narrow = fg.oracle.GaussianMixture(torch.ones(1), torch.zeros(1, 1), 1e-8 * torch.eye(1)[None])
    solver = fg.solvers.build("euler_maruyama", diffusion="bump", steps=200)
    x = fg.sample(fg.MixtureField(narrow, path), (4000, 1), solver=solver, dtype=torch.float64)
    assert float(x.std()) < 2e-4


def test_what_of_sit_is_here() -> None:
    """Its code calls g^2 / 2 the diffusion: "SBDM" and "decreasing" there are ours, the latter with scale sqrt 2."""
    path, t = fg.paths.build("linear"), torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    decreasing = fg.solvers.diffusions.build("decreasing", scale=math.sqrt(2))(path, t)
    torch.testing.assert_close(decreasing**2 / 2, (torch.cos(math.pi * t) + 1) ** 2 / 4)
    matched = fg.solvers.diffusions.build("matched")(path, t)
    torch.testing.assert_close(matched**2 / 2, (1 - t) ** 2 / t + (1 - t))


def test_a_diffusion_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fg.solvers.diffusions, "_components", dict(fg.solvers.diffusions._components))

    @fg.solvers.diffusions.register("mine")
    class Mine(fg.solvers.Diffusion):
        def shape(self, path, t):
            return 2 * path.sigma(t)

    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("linear"))
    mine, twice = (
        fg.sample(field, (4, 2), solver=fg.solvers.build("sra1", steps=3, diffusion=diffusion))
        for diffusion in ("mine", {"name": "sigma", "scale": 2.0})
    )
    assert torch.equal(mine, twice)


@pytest.mark.parametrize("option", ["score_scale", "noise_scale"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_factors_that_are_none(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} is a factor of at least 0"):
        fg.solvers.build("sra1", **{option: value})
