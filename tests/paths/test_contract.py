"""What must hold of every registered path."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import flowguide as fg
from flowguide.paths import KINDS

NAMES = fg.paths.names()
every_path = pytest.mark.parametrize("name", NAMES)


def inside(path: fg.paths.Path, count: int = 101) -> torch.Tensor:
    return torch.linspace(path.t_min, path.t_max, count, dtype=torch.float64)


@every_path
def test_from_noise_to_data(name: str) -> None:
    path = fg.paths.build(name)
    t = inside(path)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert alpha.isfinite().all()
    assert sigma.isfinite().all()
    assert (alpha.diff() >= 0).all()
    assert (sigma.diff() <= 0).all()
    assert alpha[0] / sigma[0] < 0.02, "at t_min there is next to no signal"
    assert sigma[-1] / alpha[-1] < 0.01, "at t_max there is next to no noise"


@every_path
def test_derivatives(name: str) -> None:
    path = fg.paths.build(name)
    step = 1e-6
    t = 0.01 + 0.98 * inside(path)
    for value, derivative in ((path.alpha, path.alpha_dot), (path.sigma, path.sigma_dot)):
        difference = (value(t + step) - value(t - step)) / (2 * step)
        torch.testing.assert_close(derivative(t), difference, rtol=1e-7, atol=1e-8)
    # Closed forms agree with forward-mode differentiation, which is what a path without them gets.
    for derivative, default in ((path.alpha_dot, fg.paths.Path.alpha_dot), (path.sigma_dot, fg.paths.Path.sigma_dot)):
        torch.testing.assert_close(derivative(t), default(path, t), rtol=1e-11, atol=1e-12)


@every_path
def test_a_velocity_always_tells_data_from_noise(name: str) -> None:
    path = fg.paths.build(name)
    t = inside(path)
    assert (path.alpha_dot(t) * path.sigma(t) - path.alpha(t) * path.sigma_dot(t) > 0).all()


@given(
    name=st.sampled_from(NAMES),
    kind=st.sampled_from(KINDS),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trips(name: str, kind: str, share: float, seed: int) -> None:
    """Any kind gives back all that is true of the state, as exactly as float64 and the conditioning allow."""
    path = fg.paths.build(name)
    start, end = path.interval(kind)
    g = torch.Generator().manual_seed(seed)
    data, noise = torch.randn(2, 5, 3, generator=g, dtype=torch.float64)
    t = torch.full((5,), start + share * (end - start), dtype=torch.float64)
    truth = path.interpolate(data, noise, t)
    if kind == "score" and not truth.score.isfinite().all():
        return  # at sigma = 0 a single point has no score
    guess = path.predict(kind, getattr(truth, kind), truth.x, t)
    for other in KINDS:
        wanted = getattr(truth, other)
        # What divides by alpha or sigma amplifies rounding by its inverse, and nothing by more.
        amplification = 1 / max(float(path.sigma(t[0])), 1e-16) if other in ("noise", "score") else 1.0
        if kind in ("noise", "score"):
            amplification /= max(float(path.alpha(t[0])), 1e-16)
        if other == "score":
            amplification *= amplification
        error = ((getattr(guess, other) - wanted).abs() / (1 + wanted.abs())).max()
        assert error < max(1e-10, 1e-14 * amplification), (other, float(error))


@every_path
def test_round_trips_to_1e10_away_from_the_ends(name: str) -> None:
    path = fg.paths.build(name)
    data, noise = torch.randn(2, 99, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    truth = path.interpolate(data, noise, t)
    for kind in KINDS:
        guess = path.predict(kind, getattr(truth, kind), truth.x, t)
        for other in KINDS:
            torch.testing.assert_close(getattr(guess, other), getattr(truth, other), rtol=1e-10, atol=1e-10)


@every_path
@pytest.mark.parametrize("kind", KINDS)
def test_finite_in_float32_at_the_ends(name: str, kind: str) -> None:
    path = fg.paths.build(name)
    x, value = torch.randn(2, 4, 2, generator=torch.Generator().manual_seed(0))
    for t in (*path.interval(kind), 0.5):
        prediction = path.predict(kind, value, x, torch.tensor(t, dtype=torch.float32))
        for other in KINDS:
            if other == "score" and kind != "score" and float(path.sigma(torch.tensor(t))) == 0:
                continue  # infinite in exact arithmetic, or 0/0
            assert getattr(prediction, other).isfinite().all(), (t, other)


@every_path
def test_velocity_is_the_derivative_of_the_state(name: str) -> None:
    path = fg.paths.build(name)
    data, noise = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 50, dtype=torch.float64)
    before, after = (path.interpolate(data, noise, t + step).x for step in (-1e-6, 1e-6))
    torch.testing.assert_close(path.interpolate(data, noise, t).velocity, (after - before) / 2e-6, rtol=1e-6, atol=1e-7)


@every_path
def test_times_may_differ_between_samples(name: str) -> None:
    path = fg.paths.build(name)
    x, value = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    together = path.predict("velocity", value, x, t)
    for i in range(3):
        alone = path.predict("velocity", value[i : i + 1], x[i : i + 1], t[i])
        for kind in KINDS:
            torch.testing.assert_close(getattr(together, kind)[i : i + 1], getattr(alone, kind), rtol=1e-13, atol=0)


@every_path
def test_any_combination_of_data_and_noise_can_be_known_and_asked_for(name: str) -> None:
    path = fg.paths.build(name)
    data, noise = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.linspace(path.t_min, path.t_max, 6, dtype=torch.float64)
    truth = path.interpolate(data, noise, t)
    c = truth.coefficients
    # 0.3 z - 2 eps tells data from noise at every time, since its determinant -2 alpha - 0.3 sigma never vanishes.
    guess = fg.paths.Prediction(c, truth.x, row=(0.3 * data - 2 * noise, 0.3, -2.0))
    for kind in ("data", "noise", "velocity", "v"):
        torch.testing.assert_close(getattr(guess, kind), getattr(truth, kind), rtol=1e-11, atol=1e-11)
    for known in (guess, path.predict("velocity", truth.velocity, truth.x, t), truth):
        torch.testing.assert_close(known.mean_of(1.0, -1.0), data - noise, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(known.mean_of(c.alpha, c.sigma), truth.x, rtol=1e-11, atol=1e-11)


@every_path
def test_time_at_inverts_the_log_snr(name: str) -> None:
    path = fg.paths.build(name)
    t = inside(path)
    torch.testing.assert_close(path.time_at(path.half_log_snr(t)), t, rtol=0, atol=1e-9)
    ends = path.half_log_snr(t[[0, -1]])
    assert path.time_at(ends).tolist() == [path.t_min, path.t_max]
    if ends.isfinite().all():
        with pytest.raises(ValueError, match=r"goes from .* and is never"):
            path.time_at(ends[1:] + 1)
    with pytest.raises(ValueError, match="is never nan"):
        path.time_at(torch.tensor([math.nan]))


@every_path
def test_prior(name: str) -> None:
    path = fg.paths.build(name)
    x = path.prior((4000, 2), seed=0, dtype=torch.float64)
    sigma = float(path.sigma(torch.tensor(path.t_min, dtype=torch.float64)))
    assert abs(x.std() / sigma - 1) < 0.04
    assert torch.equal(x[5:9], path.prior((4, 2), seed=0, first=5, dtype=torch.float64))


@every_path
def test_equality_is_by_value(name: str) -> None:
    path = fg.paths.build(name)
    assert path == fg.paths.build(name)
    assert hash(path) == hash(fg.paths.build(name))
    assert all(path != fg.paths.build(other) for other in NAMES if other != name)


def test_options_tell_paths_apart() -> None:
    assert fg.paths.build("vp") != fg.paths.build("vp", beta_max=10.0)
    assert repr(fg.paths.build("vp")) == "VP(beta_min=0.1, beta_max=20.0)"


def test_a_path_needs_only_alpha_and_sigma() -> None:
    class Squares(fg.paths.Path):
        def alpha(self, t):
            return t**2

        def sigma(self, t):
            return (1 - t) ** 2

    t = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(Squares().alpha_dot(t), 2 * t)
    torch.testing.assert_close(Squares().sigma_dot(t), -2 * (1 - t))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("vp", {"beta_min": 0.0}, "vp needs 0 < beta_min <= beta_max"),
        ("vp", {"beta_min": 3.0, "beta_max": 2.0}, "vp needs 0 < beta_min <= beta_max, not beta_min=3.0, beta_max=2.0"),
        ("subvp", {"beta_max": float("inf")}, "subvp needs 0 < beta_min <= beta_max"),
        ("ve", {"sigma_min": 0.0}, "ve needs 0 < sigma_min < sigma_max"),
        ("edm", {"sigma_max": 0.001}, "edm needs 0 < sigma_min < sigma_max"),
        ("edm", {"rho": 0.5}, "edm needs rho >= 1, not 0.5"),
        ("polynomial", {"n": 0.5}, "polynomial needs n >= 1, not 0.5"),
    ],
)
def test_paths_refuse_wrong_options(name: str, options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.paths.build(name, **options)


def test_paths_are_what_they_are_called() -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    at = {name: (fg.paths.build(name).alpha(t), fg.paths.build(name).sigma(t)) for name in NAMES}
    for name in ("cosine", "vp"):
        alpha, sigma = at[name]
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    alpha, sigma = at["subvp"]
    torch.testing.assert_close(sigma, 1 - alpha**2)
    straight = fg.paths.build("polynomial", n=1.0)
    torch.testing.assert_close(at["linear"], (straight.alpha(t), straight.sigma(t)))
    ratio = at["ve"][1].log().diff()
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    # EDM's steps: equation 5 of the paper, at steps i = 0 to n - 1.
    i = torch.arange(18, dtype=torch.float64)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(fg.paths.build("edm").sigma(i / 17), expected)


def test_a_prediction_is_of_known_kinds() -> None:
    path = fg.paths.build("linear")
    x = torch.zeros(2, 2)
    with pytest.raises(ValueError, match="made of one or more of velocity, score, noise, data, v"):
        path.predict("x0", x, x, torch.tensor(0.5))


@pytest.mark.parametrize(
    ("name", "options"), [*((name, {}) for name in NAMES), *(("polynomial", {"n": n}) for n in (3.0, 5.0))]
)
def test_in_its_interval_a_prediction_tells_the_rest_in_float32(name: str, options: dict) -> None:
    """To within a thousand roundings: noise tells the data, and data the noise."""
    path = fg.paths.build(name, **options)
    g = torch.Generator().manual_seed(0)
    data, noise = torch.randn(2, 256, generator=g)
    for kind, other in (("noise", "data"), ("data", "noise")):
        for t in path.interval(kind):
            truth = path.interpolate(data, noise, torch.tensor(t))
            found = getattr(path.predict(kind, getattr(truth, kind), truth.x, torch.tensor(t)), other)
            assert (found - getattr(truth, other)).abs().max() < 1.5e-3, (kind, t)


def test_a_path_that_stands_still_is_named() -> None:
    class Still(fg.paths.Path):
        def alpha(self, t: torch.Tensor) -> torch.Tensor:
            return t**2

        def sigma(self, t: torch.Tensor) -> torch.Tensor:
            return (1 - t) ** 2

    field = fg.MixtureField(fg.oracle.ring(3), Still())
    with pytest.raises(ValueError, match=r"Still\(\) does not turn from noise to data at t = 0: .* is 0 there"):
        fg.sample(field, (2, 2))


def test_paths_are_equal_if_their_options_are_whatever_those_are() -> None:
    class Tabled(fg.paths.Path):
        def __init__(self, table: object) -> None:
            self.table = table

        def alpha(self, t: torch.Tensor) -> torch.Tensor:
            return t

        def sigma(self, t: torch.Tensor) -> torch.Tensor:
            return 1 - t

    for one, other in (([1.0, 2.0], [1.0, 3.0]), (torch.ones(2, 2), torch.zeros(2, 2)), ({"a": [1]}, {"a": [2]})):
        assert Tabled(one) == Tabled(type(one)(one) if not isinstance(one, torch.Tensor) else one.clone())
        assert hash(Tabled(one)) == hash(Tabled(one))
        assert Tabled(one) != Tabled(other)
    assert fg.paths.build("linear") != 3
