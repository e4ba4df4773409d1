"""The continuous path against the discrete schedules as their papers write them, and against its own derivatives."""

import copy
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import flowguide as fg

PUBLISHED = [("linear", 1e-4, 0.02), ("scaled_linear", 0.00085, 0.012), ("cosine", None, None)]
every_schedule = pytest.mark.parametrize(("schedule", "start", "end"), PUBLISHED)
schedules = st.sampled_from([schedule for schedule, _, _ in PUBLISHED])


def textbook(schedule: str, steps: int, start: float | None, end: float | None) -> list[float]:
    """alpha bar of every timestep: the products of 1 - beta, one after the other, in plain Python."""

    def f(n: int) -> float:
        return math.cos((n / steps + 0.008) / 1.008 * math.pi / 2) ** 2

    product, products = 1.0, []
    for n in range(steps):
        share = n / (steps - 1)
        if schedule == "cosine":
            beta = min(1 - f(n + 1) / f(n), 0.999)
        elif schedule == "linear":
            beta = start + share * (end - start)
        else:
            beta = (math.sqrt(start) + share * (math.sqrt(end) - math.sqrt(start))) ** 2
        product *= 1 - beta
        products.append(product)
    return products


@every_schedule
@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_the_scales_at_the_timesteps_are_the_published_ones(schedule, start, end, steps: int) -> None:
    path = fg.paths.build("ddpm", schedule=schedule, steps=steps)
    t = path.time_of_timestep(torch.arange(steps, dtype=torch.float64))
    expected = torch.tensor(textbook(schedule, steps, start, end), dtype=torch.float64)
    torch.testing.assert_close(path.alpha(t), expected.sqrt(), rtol=1e-12, atol=0)
    # The textbook's own 1 - alpha bar rounds by 1e-16, which near the data is more than 1e-12 of it.
    torch.testing.assert_close(path.sigma(t), (1 - expected).sqrt(), rtol=1e-12, atol=1e-14)


def test_the_noise_at_the_start_is_as_published() -> None:
    start = torch.tensor(0.0, dtype=torch.float64)
    for schedule, ratio in (("linear", 157.4), ("scaled_linear", 14.61), ("cosine", 20291.0)):
        path = fg.paths.build("ddpm", schedule=schedule)
        assert math.isclose(path.sigma(start) / path.alpha(start), ratio, rel_tol=5e-4)


@given(t=st.floats(0, 1), n=st.floats(-1, 999))
def test_timesteps_and_times_are_inverse(t: float, n: float) -> None:
    path = fg.paths.build("ddpm")
    t, n = torch.tensor(t, dtype=torch.float64), torch.tensor(n, dtype=torch.float64)
    torch.testing.assert_close(path.time_of_timestep(path.timestep(t)), t, rtol=0, atol=1e-15)
    torch.testing.assert_close(path.timestep(path.time_of_timestep(n)), n, rtol=0, atol=1e-12)
    assert path.timestep(torch.tensor(0.0)) == 999
    assert path.timestep(torch.tensor(1.0)) == -1


@given(schedule=schedules, steps=st.integers(3, 60))
def test_any_schedule_rises_smoothly_from_noise_to_data(schedule: str, steps: int) -> None:
    """Monotone, of variance one, and with one slope on both sides of every knot, N small included."""
    path = fg.paths.build("ddpm", schedule=schedule, steps=steps)
    t = torch.linspace(path.t_min, path.t_max, 40 * steps, dtype=torch.float64)
    alpha, sigma = path.alpha(t), path.sigma(t)
    assert (alpha.diff() > 0).all()
    assert (sigma.diff() < 0).all()
    assert (path.alpha_dot(t) > 0).all()
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    knots = path.time_of_timestep(torch.arange(steps - 1, dtype=torch.float64))
    for derivative in (path.alpha_dot, path.sigma_dot):
        torch.testing.assert_close(derivative(knots - 1e-9), derivative(knots + 1e-9), rtol=1e-5, atol=1e-5)


@given(schedule=schedules, steps=st.sampled_from([10, 1000]), share=st.floats(0.001, 0.999))
def test_derivatives_of_every_schedule(schedule: str, steps: int, share: float) -> None:
    path = fg.paths.build("ddpm", schedule=schedule, steps=steps)
    t = torch.tensor([share * path.t_max], dtype=torch.float64)
    torch.testing.assert_close(path.alpha_dot(t), fg.paths.Path.alpha_dot(path, t), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(path.sigma_dot(t), fg.paths.Path.sigma_dot(path, t), rtol=1e-11, atol=1e-12)


@every_schedule
def test_float32_loses_no_digits_near_the_data(schedule, start, end) -> None:
    path = fg.paths.build("ddpm", schedule=schedule)
    t = torch.tensor([0.5, 0.9, 0.99, 0.999, 0.9999, path.t_max], dtype=torch.float32)
    for function in (path.alpha, path.sigma, path.alpha_dot, path.sigma_dot):
        torch.testing.assert_close(function(t).double(), function(t.double()), rtol=2e-6, atol=0)


def test_linear_tends_to_the_vp_sde() -> None:
    """beta of the SDE is N times the schedule's: 0.1 to 20 for N = 1000 (Song et al., 2021, appendix B)."""
    t = torch.linspace(0, 0.99, 50, dtype=torch.float64)
    difference = fg.paths.build("ddpm").half_log_snr(t) - fg.paths.build("vp").half_log_snr(t)
    assert difference.abs().max() < 0.05


def test_transforms_see_through_it() -> None:
    path = fg.paths.build("ddpm", schedule="cosine")
    t = torch.linspace(0.0105, 0.9905, 7, dtype=torch.float64)  # between knots, where there is a second derivative
    torch.testing.assert_close(torch.func.vmap(path.alpha)(t), path.alpha(t))
    torch.testing.assert_close(torch.func.vmap(torch.func.grad(path.sigma))(t), path.sigma_dot(t))
    with torch.inference_mode():  # what is kept of this call must serve the next, which wants a gradient
        path = fg.paths.build("ddpm", schedule="cosine")
        path.alpha(t)
    time = t.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(path.alpha(time).sum(), time)
    torch.testing.assert_close(gradient, path.alpha_dot(t))
    assert torch.autograd.gradcheck(path.alpha_dot, time)
    compiled = torch.compile(path.alpha, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(t.float()), path.alpha(t.float()))
    for shape in ((), (7, 1, 1, 1)):
        assert path.sigma(t[0].expand(shape) if shape == () else t.reshape(shape)).shape == shape


class NothingIsRead(TorchDispatchMode):
    """Fails where a tensor's value goes to the host, which on a GPU is a wait."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("shape", [(), (4,), (4, 1, 1, 1)])
def test_the_host_reads_nothing(shape: tuple[int, ...]) -> None:
    path = fg.paths.build("ddpm")
    with NothingIsRead():
        for function in (path.alpha, path.sigma, path.alpha_dot, path.sigma_dot):
            assert function(torch.full(shape, 0.3)).shape == shape


def test_paths_are_equal_by_their_options() -> None:
    path = fg.paths.build("ddpm")
    path.alpha(torch.tensor(0.5))  # what it keeps for speed is none of them
    assert path == fg.paths.build("ddpm", beta_start=1e-4, beta_end=0.02) == copy.deepcopy(path)
    assert hash(path) == hash(fg.paths.build("ddpm"))
    others = [{}, {"steps": 100}, {"schedule": "cosine"}, {"schedule": "scaled_linear"}, {"beta_end": 0.01}]
    assert all(fg.paths.build("ddpm", **a) != fg.paths.build("ddpm", **b) for a, b in pairwise(others))
    assert repr(path) == "DDPM(schedule='linear', steps=1000, beta_start=0.0001, beta_end=0.02)"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "cosin"}, "must be one of 'linear', 'cosine', 'scaled_linear', not 'cosin'"),
        ({"steps": 2}, "ddpm needs steps >= 3, not 2"),
        ({"beta_start": 0.0}, "ddpm needs 0 < beta_start <= beta_end < 1, not beta_start=0.0, beta_end=0.02"),
        ({"beta_start": 0.03}, "ddpm needs 0 < beta_start <= beta_end < 1, not beta_start=0.03"),
        ({"schedule": "scaled_linear", "beta_end": 1.0}, "0 < beta_start <= beta_end < 1, not beta_start=0.00085"),
        ({"beta_end": float("nan")}, "0 < beta_start <= beta_end < 1"),
        ({"schedule": "cosine", "beta_end": 0.02}, "cosine schedule has no beta_start and no beta_end"),
        ({"beta_end": 0.9}, r"leave alpha = exp\(-\d+\) at the last of 1000 steps"),
    ],
)
def test_refuses_wrong_options(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.paths.build("ddpm", **options)


def test_an_unknown_schedule_in_python() -> None:
    with pytest.raises(ValueError, match="ddpm's schedule is linear, cosine or scaled_linear, not 'sigmoid'"):
        type(fg.paths.build("ddpm"))("sigmoid")
