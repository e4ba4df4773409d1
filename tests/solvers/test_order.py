"""Every solver converges with the order that it declares."""

import math

import pytest
import torch

import flowguide as fg

from .problems import ADAPTIVE, INSIDE, WITHOUT_NOISE, Brownian, Idle, guided, reference, rms, seeded, start

# Their last slopes are still steeper than what they promise: the first step's share of the error is small.
AT_LEAST = {"auto"}
DETERMINISTIC = [name for name in fg.solvers.names() if name not in ADAPTIVE | {"langevin", "torchsde"}]


def slope(name: str, options: dict, path: str, dim: int, w: float, finest: int) -> tuple[float, list[float]]:
    """That between the two finest grids whose error is still well above the reference's."""
    field = guided(path, dim, w)
    errors = []
    for steps in (64, 128, 256, 512)[: finest // 128]:
        solver = fg.solvers.build(name, steps=steps, **INSIDE, **options)
        x = solver.solve(field, *start(field, 12, dim, 0.05), **seeded(solver))
        errors.append(rms(x - reference(path, dim, w)))
    above = [error for error in errors if error > 3e-11]
    return math.log2(above[-2] / above[-1]), errors


def check(name: str, path: str, dim: int = 2, w: float = 2.0, **options: object) -> None:
    """Most have arrived at their order at 256 steps, some at 512."""
    options = WITHOUT_NOISE.get(name, {}) | options
    order = fg.solvers.build(name, steps=64, **options).order
    for finest in (384, 512):
        measured, errors = slope(name, options, path, dim, w, finest)
        if order - 0.15 < measured and (measured < order + 0.15 or name in AT_LEAST):
            return
    raise AssertionError(f"order {order} is declared, {measured:.2f} measured: {errors}")


# Of the kinds of path one each is of the fast suite: straight, curved, and of data that keep their scale.
_FAST_PATHS = {"linear", "vp", "edm"}
PATHS = [path if path in _FAST_PATHS else pytest.param(path, marks=pytest.mark.slow) for path in fg.paths.names()]


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("path", PATHS)
def test_on_every_path(name: str, path: str) -> None:
    check(name, path)


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_where_steps_are_taken_one_by_one(name: str) -> None:
    """For a field that acts between them, they are of the same order: on few, as a step by itself is slow to plan."""
    options = WITHOUT_NOISE.get(name, {})
    if not fg.solvers.build(name, **options).remembers:
        field, errors = Idle(guided("linear")), []
        for steps in (40, 80):
            solver = fg.solvers.build(name, steps=steps, **INSIDE, **options)
            errors.append(rms(solver.solve(field, *start(field, 12, 2, 0.05), **seeded(solver)) - reference("linear")))
        assert math.log2(errors[0] / errors[1]) == pytest.approx(solver.order, abs=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("path", ["linear", "vp"])
@pytest.mark.parametrize(("dim", "w"), [(2, 1.0), (2, 4.0), (64, 1.0), (64, 2.0), (64, 4.0)])
def test_at_every_weight_and_in_64_dimensions(name: str, path: str, dim: int, w: float) -> None:
    check(name, path, dim, w)


@pytest.mark.parametrize("coordinates", ["path", "straight", "polar", "data", "noise"])
@pytest.mark.parametrize("name", ["midpoint", "rk3", "ab3", "pec"])
def test_in_all_coordinates(name: str, coordinates: str) -> None:
    check(name, "edm", coordinates=coordinates)


@pytest.mark.parametrize("method", ["euler", "midpoint", "heun2", "heun3", "rk4", "explicit_adams", "implicit_adams"])
def test_of_torchdiffeq(method: str) -> None:
    check("torchdiffeq", "vp", method=method)


@pytest.mark.parametrize(
    ("name", "options"),
    [("pec", {"predictor": 1}), ("unipc", {"predictor": 2}), ("deis", {"order": 1}), ("deis", {"order": 2})],
)
def test_of_options(name: str, options: dict) -> None:
    check(name, "vp", **options)


@pytest.mark.parametrize("predictor", [1, pytest.param(2, marks=pytest.mark.slow), 3, 4])
@pytest.mark.parametrize("corrector", [1, 2, pytest.param(3, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize(("name", "options"), [("pec", {}), ("stochastic_adams", {"eta": 0.0})])
def test_of_a_predictor_and_a_corrector(name: str, options: dict, predictor: int, corrector: int) -> None:
    """Neither helps beyond the other: with one slope in either the order is 2. With more they may do better than 3.

    Errors of the two may cancel at some number of steps: slopes are good to a half.
    """
    options = options | {"predictor": predictor, "corrector": corrector}
    order = fg.solvers.build(name, **options).order
    measured, errors = slope(name, options, "linear", 2, 2.0, 512)
    assert order - 0.5 < measured, errors
    assert measured < order + 0.5 or min(predictor, corrector) > 1, errors


@pytest.mark.parametrize("path", ["linear", "vp"])
@pytest.mark.parametrize("predictor", [3, 4, 5])
def test_more_slopes_than_the_first_step_supports(path: str, predictor: int) -> None:
    """They converge with order 3 at least; and at 128 steps are far better than two slopes."""
    measured, errors = slope("pec", {"predictor": predictor}, path, 2, 2.0, 384)
    assert measured > 3 - 0.15
    assert errors[1] < 0.2 * slope("pec", {"predictor": 2}, path, 2, 2.0, 384)[1][1]


def test_the_published_3m_has_order_two_and_ours_three() -> None:
    """What the docstring of dpmpp_3m says: with half the weight on the second difference the third order is lost."""

    class Published(fg.solvers.registry.get("dpmpp_3m")):
        def shares(self, path, nodes, begin, end):
            exact = super().shares(path, nodes, begin, end)
            if nodes.shape[1] < 3:
                return exact
            two = super().shares(path, nodes[:, :2], begin, end)
            # The quadratic is the line plus a second difference; of which half stays, with its derivative term.
            r0, r1 = nodes[:, 0] - nodes[:, 1], nodes[:, 1] - nodes[:, 2]
            h = end - begin
            phi3 = ((torch.exp(-h) - 1 + h) / h**2 - 0.5) / (1 - torch.exp(-h))
            second = torch.stack([1 / r0, -1 / r0 - 1 / r1, 1 / r1], 1) / (r0 + r1)[:, None] * (h**2)[:, None]
            full = exact - torch.cat([two, torch.zeros_like(two[:, :1])], 1)
            assert (full.abs().sum(1) > 0).all()
            return exact + phi3[:, None] * second  # exact has -2 phi3 of it

    errors = {}
    for cls in (Published, fg.solvers.registry.get("dpmpp_3m")):
        field = guided("vp")
        x, y = start(field, 12, t=0.05)
        errors[cls] = [rms(cls(steps=n, **INSIDE).solve(field, x, y) - reference("vp")) for n in (256, 512)]
    slopes = [math.log2(coarse / fine) for coarse, fine in errors.values()]
    assert abs(slopes[0] - 2) < 0.15
    assert abs(slopes[1] - 3) < 0.15


def in_time(path: fg.paths.Path, times: torch.Tensor) -> torch.Tensor:
    return times


def in_log_snr(path: fg.paths.Path, times: torch.Tensor) -> torch.Tensor:
    """The variance of the noise of the SDE with eta = 1, in the coordinates in which it has independent increments."""
    return torch.exp(2 * path.half_log_snr(times))


STRONG = {
    "euler_maruyama": (in_time, {"diffusion": {"name": "sigma", "scale": 2.0}}),
    "stochastic_heun": (in_time, {"diffusion": {"name": "sigma", "scale": 2.0}}),
    "sra1": (in_time, {"diffusion": {"name": "bump", "scale": 2.0}}),
    "torchsde": (in_time, {"diffusion": {"name": "sigma", "scale": 2.0}}),
    "ddim": (in_log_snr, {"eta": 1.0}),
    "dpmpp_2m_sde": (in_log_snr, {"eta": 1.0}),
    "stochastic_adams": (in_log_snr, {"eta": 1.0}),
}


def strong_slope(name: str, options: dict, clock, path: str = "linear") -> tuple[float, list[float]]:
    """Of the error along one Brownian path, over some hundred samples, against a grid 8 times as fine."""
    field = guided(path, w=1.0)
    x, y = start(field, 500, t=0.1)
    fine = 1024

    def end(steps: int) -> torch.Tensor:
        solver = fg.solvers.build(name, steps=steps, t_start=0.1, t_end=0.9, **options)
        times = torch.linspace(0.1, 0.9, fine + 1, dtype=torch.float64)
        noise = Brownian(clock(field.path, times), steps, x.shape)
        return [state.clone() for state in solver.states(field, x, y, solver.times(field), noise)][-1]

    truth = end(fine)
    errors = [rms(end(steps) - truth) for steps in (16, 32, 64, 128)]
    return math.log2(errors[0] / errors[-1]) / 3, errors


@pytest.mark.parametrize("name", sorted(STRONG))
def test_strong_order(name: str) -> None:
    clock, options = STRONG[name]
    measured, errors = strong_slope(name, options, clock)
    assert abs(measured - fg.solvers.build(name, **options).strong_order) < 0.25, errors


@pytest.mark.parametrize(("predictor", "corrector"), [(1, 0), (2, 0), (3, 0), (4, 0), (1, 1), (3, 3), (4, 4)])
def test_strong_order_of_stochastic_adams(predictor: int, corrector: int) -> None:
    """With any slopes, and more at first with many; it starts without Runge-Kutta steps, which would draw no noise."""
    options = {"eta": 1.0, "predictor": predictor, "corrector": corrector}
    measured, errors = strong_slope("stochastic_adams", options, in_log_snr)
    solver = fg.solvers.build("stochastic_adams", steps=16, **options)
    assert measured > solver.strong_order - 0.25, errors
    assert solver.evaluations == 16


_OF_TORCHSDE = ["srk", "heun", "midpoint", "reversible_heun", "euler_heun"]


@pytest.mark.parametrize("method", ["milstein", *(pytest.param(each, marks=pytest.mark.slow) for each in _OF_TORCHSDE)])
def test_methods_of_torchsde(method: str) -> None:
    """All converge along one path; srk with its order of 1.5 or better, here where the noise is mild."""
    measured, errors = strong_slope("torchsde", {"method": method, "diffusion": "sigma"}, in_time)
    assert measured > fg.solvers.build("torchsde", method=method).strong_order - 0.25, errors


def test_every_stochastic_solver_has_its_strong_order_measured() -> None:
    stochastic = {name for name in fg.solvers.names() if fg.solvers.registry.get(name).strong_order}
    set_by_an_option = {"ddim", "dpmpp_2m_sde", "edm_heun", "stochastic_adams", "torchsde"}
    assert stochastic | set_by_an_option == set(STRONG) | {"langevin", "edm_heun"}
