"""What must hold of every time sampling, and that each has the law that it states."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from strategies import generator, path_names, seeds
from torch import Tensor

import flowguide as fg

NAMES = fg.objectives.time_samplings.names()
every_sampling = pytest.mark.parametrize("name", NAMES)
every_path = pytest.mark.parametrize("path", fg.paths.names())


def draw(name: str, path: str = "linear", count: int = 4000, seed: int = 0, **options: Any) -> fg.objectives.Times:
    built = fg.paths.build(path)
    return fg.objectives.time_samplings.build(name, **options).draw(
        count, built, built.t_min, built.t_max, generator=generator(seed), dtype=torch.float64
    )


@every_sampling
@given(path=path_names, ends=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=seeds)
def test_inside_the_interval_and_fixed_by_the_generator(name: str, path: str, ends: tuple, seed: int) -> None:
    built = fg.paths.build(path)
    low, high = (built.t_min + share * (built.t_max - built.t_min) for share in sorted(ends))
    if high - low < 1e-2:
        return
    # Wide enough to have noise levels in any interval.
    options = {"std": 6.0} if name == "lognormal_sigma" else {}
    sampling = fg.objectives.time_samplings.build(name, **options)
    for dtype, slack in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        t, factor = sampling.draw(50, built, low, high, generator=generator(seed), dtype=dtype)
        assert t.shape == (50,)
        assert t.dtype == dtype
        assert ((t >= low - slack) & (t <= high + slack)).all()
        assert torch.as_tensor(factor).isfinite().all()
        assert (torch.as_tensor(factor) > 0).all()
        again = sampling.draw(50, built, low, high, generator=generator(seed), dtype=dtype)
        assert torch.equal(again.t, t)
    assert len(t.unique()) == 50, "nothing is clamped to an end"


@every_sampling
@every_path
def test_expectations_are_uniform_where_a_factor_is_given(name: str, path: str) -> None:
    """With its factors a law is uniform again; without factors it is meant to differ."""
    t, factor = draw(name, path, count=20000)
    built = fg.paths.build(path)
    assert ((t >= built.t_min) & (t <= built.t_max)).all()
    if isinstance(factor, float):
        assert factor == 1.0
        return
    share = (t - built.t_min) / (built.t_max - built.t_min)
    for function, expected in ((torch.ones_like, 1.0), (lambda s: s, 0.5), (lambda s: (20 * s).sin(), 0.0295959)):
        values = factor * function(share)
        assert abs(values.mean() - expected) < 5 * values.std() / len(t) ** 0.5


def fits(samples: Tensor, law: Any) -> bool:
    """Kolmogorov-Smirnov at the 0.1 % level."""
    return stats.kstest(samples.numpy(), law.cdf).pvalue > 1e-3


@every_sampling
@every_path
def test_no_gpu_has_to_wait_for_it(name: str, path: str) -> None:
    """On the device meta numbers cannot be looked at."""
    built, sampling = fg.paths.build(path), fg.objectives.time_samplings.build(name)
    t, _ = sampling.draw(8, built, built.t_min, built.t_max, device="meta")
    assert (t.device.type, t.shape) == ("meta", (8,))


def test_importance_is_computed_once_on_each_device() -> None:
    path, sampling = fg.paths.build("linear"), fg.objectives.time_samplings.build("importance")
    for device in (None, "meta"):
        assert sampling.shares(path, 0.0, 1.0, device) is sampling.shares(path, 0.0, 1.0, device)


def test_uniform() -> None:
    assert fits(draw("uniform", "vp").t, stats.uniform(0, 1 - 1e-5))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.5)])
def test_logit_normal(mean: float, std: float) -> None:
    t, _ = draw("logit_normal", mean=mean, std=std)
    assert fits(torch.logit(t), stats.norm(mean, std))
    assert (t.mean() > 0.6) == (mean > 0), "a positive mean is nearer the data"


@every_path
@pytest.mark.parametrize(("mean", "std"), [(-1.2, 1.2), (0.0, 4.0), (3.0, 1.0)])
def test_lognormal_sigma(path: str, mean: float, std: float) -> None:
    built = fg.paths.build(path)
    t, _ = draw("lognormal_sigma", path, mean=mean, std=std)
    low, high = (-built.half_log_snr(torch.tensor([built.t_max, built.t_min], dtype=torch.float64))).tolist()
    law = stats.truncnorm((low - mean) / std, (high - mean) / std, mean, std)
    assert fits(-built.half_log_snr(t), law)


@pytest.mark.parametrize("mean", [-16.0, 16.0])
def test_lognormal_sigma_far_out_in_a_tail(mean: float) -> None:
    """vp has sigma / alpha from 1e-3 to 150: almost all of these laws is cut off, on either side."""
    built = fg.paths.build("vp")
    t, _ = draw("lognormal_sigma", "vp", mean=mean, std=1.0)
    low, high = (-built.half_log_snr(torch.tensor([built.t_max, built.t_min], dtype=torch.float64))).tolist()
    assert fits(-built.half_log_snr(t), stats.truncnorm(low - mean, high - mean, mean, 1.0))
    with pytest.raises(ValueError, match=r"has next to no noise level on VP\(.*: there log\(sigma / alpha\) goes from"):
        draw("lognormal_sigma", "vp", mean=10 * mean, std=1.0)


@every_path
@pytest.mark.parametrize("weighting", fg.objectives.weightings.names())
def test_importance_follows_its_weighting(path: str, weighting: str) -> None:
    built = fg.paths.build(path)
    t, factor = draw("importance", path, weighting=weighting, uniform=0.1)
    assert (factor <= 10 + 1e-9).all(), "the uniform share bounds the factors"
    grid = torch.linspace(built.t_min, built.t_max, 200001, dtype=torch.float64)
    middles = (grid[1:] + grid[:-1]) / 2
    c = built.at(middles, middles)
    density = fg.objectives.weightings.build(weighting)(c) / (c.alpha**2 + c.sigma**2)
    cumulative = torch.cat([torch.zeros(1), (0.9 * density / density.sum() + 0.1 / len(middles)).cumsum(0)])

    def cdf(x: np.ndarray) -> np.ndarray:
        return np.interp(x, grid.numpy(), cumulative.numpy())

    assert stats.kstest(t.numpy(), cdf).pvalue > 1e-3


def test_importance_leaves_the_expected_loss_and_takes_noise_out_of_it() -> None:
    """The loss of flow matching on ve varies a thousandfold in time."""
    field = fg.MixtureField(fg.oracle.ring(3), fg.paths.build("ve"))
    data, labels = field.mixture.sample(40000, seed=1, dtype=torch.float64)
    losses = {
        name: fg.objectives.build("cfm", time=name).losses(field, data, labels, generator(0))
        for name in ("uniform", "importance")
    }
    means = {name: each.mean() for name, each in losses.items()}
    errors = {name: each.std() / len(data) ** 0.5 for name, each in losses.items()}
    difference = means["uniform"] - means["importance"]
    assert abs(difference) < 5 * (errors["uniform"] ** 2 + errors["importance"] ** 2) ** 0.5
    assert errors["importance"] < 0.7 * errors["uniform"]


class Negative(fg.objectives.Weighting):
    def __call__(self, c: fg.paths.Coefficients) -> Tensor:
        return -c.alpha


def test_importance_refuses_a_weighting_that_is_no_density() -> None:
    sampling = fg.objectives.time_samplings.build("importance")
    sampling.weighting = Negative()
    with pytest.raises(ValueError, match=r"the weighting Negative is negative, infinite or zero everywhere on Linear"):
        sampling.draw(3, fg.paths.build("linear"), 0.0, 1.0)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("logit_normal", {"std": 0.0}, "the time sampling logit_normal needs a positive std, not 0.0"),
        ("logit_normal", {"mean": math.nan}, "needs a finite mean, not nan"),
        ("lognormal_sigma", {"std": math.inf}, "the time sampling lognormal_sigma needs a positive std, not inf"),
        ("lognormal_sigma", {"mean": -math.inf}, "needs a finite mean, not -inf"),
        ("importance", {"uniform": 0.0}, r"needs a uniform share in \(0, 1\], not 0.0"),
        ("importance", {"weighting": "srn"}, "unknown weighting 'srn'; did you mean 'snr'"),
        ("logitnormal", {}, "unknown time sampling 'logitnormal'; did you mean 'logit_normal'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.objectives.time_samplings.build(name, **options)
    with pytest.raises(ValueError, match=words):
        fg.objectives.build("cfm", time={"name": name, **options})
