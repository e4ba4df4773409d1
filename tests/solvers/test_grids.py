"""What must hold of every registered grid, and of each."""

import math

import pytest
import torch

import flowguide as fg

from .problems import exact, start

every_grid = pytest.mark.parametrize(
    "name", [name for name in fg.solvers.grids.names() if name not in {"explicit", "optimized"}]
)


def times_of(grid: object, path: str = "linear", steps: int = 10, **options: float) -> torch.Tensor:
    return fg.solvers.build("euler", steps=steps, grid=grid, **options).times(exact(path))


@every_grid
@pytest.mark.parametrize("path", fg.paths.names())
@pytest.mark.parametrize("steps", [1, 2, 3, 50, 500])
def test_rises_from_end_to_end(name: str, path: str, steps: int) -> None:
    field = exact(path)
    times = times_of(name, path, steps)
    assert times.dtype == torch.float64
    assert len(times) == steps + 1
    assert (times.diff() > 0).all()
    assert [times[0].item(), times[-1].item()] == [field.t_min, field.t_max]
    inner = times_of(name, path, steps, t_start=0.2, t_end=0.7)
    assert [inner[0].item(), inner[-1].item()] == [0.2, 0.7]


def test_quadratic_and_cosine() -> None:
    torch.testing.assert_close((1 - times_of("quadratic")).sqrt().diff(), torch.full((10,), -0.1).double())
    angle = torch.acos(1 - 2 * times_of("cosine"))
    torch.testing.assert_close(angle.diff(), torch.full((10,), math.pi / 10).double())


@pytest.mark.parametrize("path", ["edm", "ve", "vp"])
def test_log_snr_and_karras_are_even_in_what_they_say(path: str) -> None:
    p = fg.paths.build(path)
    steps = p.half_log_snr(times_of("log_snr", path)).diff()
    torch.testing.assert_close(steps, steps.mean().expand(10), rtol=1e-6, atol=0)
    roots = torch.exp(-p.half_log_snr(times_of({"name": "karras", "rho": 5.0}, path)) / 5).diff()
    torch.testing.assert_close(roots, roots.mean().expand(10), rtol=1e-6, atol=0)


def test_karras_on_its_own_path_is_uniform() -> None:
    torch.testing.assert_close(times_of("karras", "edm"), times_of("uniform", "edm"), rtol=0, atol=1e-9)


@pytest.mark.parametrize("path", ["linear", "polynomial"])
def test_infinite_ratios_are_counted_from_the_options(path: str) -> None:
    """On the linear path sigma / alpha falls from infinity to 0: inside, steps are even between the options.

    Polynomial paths are the same on another clock, and begin where the ratio is not infinite but 10^6.
    """
    times = times_of({"name": "log_snr", "sigma_min": 0.01, "sigma_max": 50.0}, path)
    log_ratio = -fg.paths.build(path).half_log_snr(times)[1:-1]
    expected = torch.linspace(math.log(50), math.log(0.01), 10, dtype=torch.float64)[1:]
    torch.testing.assert_close(log_ratio, expected, rtol=1e-9, atol=1e-9)


def test_shifted_is_the_formula_of_sd3() -> None:
    u = 1 - torch.linspace(0, 1, 11, dtype=torch.float64)
    torch.testing.assert_close(1 - times_of({"name": "shifted", "shift": 3.0}), 3 * u / (1 + 2 * u))
    torch.testing.assert_close(times_of({"name": "shifted", "shift": 1.0}), times_of("uniform"))
    path, v = fg.paths.build("vp"), torch.linspace(1, 0, 11, dtype=torch.float64) ** 1.5
    noise = torch.sigmoid(-path.half_log_snr(times_of({"name": "shifted", "shift": 3.0, "power": 1.5}, "vp")))
    torch.testing.assert_close(noise, noise[-1] + (noise[0] - noise[-1]) * 3 * v / (1 + 2 * v), rtol=1e-6, atol=1e-9)
    assert noise[-1] > 1e-4


def test_explicit() -> None:
    assert times_of({"name": "explicit", "times": [0.0, 0.3, 0.9]}, steps=2).tolist() == [0.0, 0.3, 0.9]


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ({"name": "explicit", "times": [0.0, 0.5, 0.4, 1.0]}, "increasing times for 3 steps.*gave 4: 0, 0.5, 0.4, 1"),
        ({"name": "explicit", "times": [0.0, 0.5, 1.0]}, "4 increasing times for 3 steps.* gave 3"),
        ({"name": "explicit", "times": [-0.5, 0.5, 0.8, 1.0]}, r"in \[0, 1\]"),
        ({"name": "explicit", "times": [0.0, 0.5, 0.8, 1.2]}, r"in \[0, 1\]"),
        ({"name": "explicit", "times": [0.0, 0.5, float("nan"), 1.0]}, "increasing"),
        ({"name": "explicit"}, "needs the option 'times'"),
        ({"name": "karras", "rho": 0.0}, "rho > 0"),
        ({"name": "log_snr", "sigma_min": 2.0, "sigma_max": 1.0}, "sigma_min < sigma_max"),
        ({"name": "shifted", "shift": 0.0}, "shift > 0"),
        ("karass", "did you mean 'karras'"),
    ],
)
def test_says_what_is_wrong(grid: object, words: str) -> None:
    field = exact()
    with pytest.raises(ValueError, match=words):
        fg.solvers.build("euler", steps=3, grid=grid).solve(field, start(field)[0])
