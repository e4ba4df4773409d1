"""Low temperatures of an SDE, against the law that they have where it is known."""

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


@pytest.mark.parametrize("option", ["score_scale", "noise_scale"])
@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_factors_that_are_none(option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{option} is a factor of at least 0"):
        fg.solvers.build("sra1", **{option: value})
