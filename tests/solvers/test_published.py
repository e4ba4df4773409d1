"""Solvers against their papers' formulas, written out plainly for the variance-preserving path."""

import math

import pytest
import torch

import flowguide as fg
from flowguide.solvers.multistep import Multistep

from .problems import Counting, Idle, exact, guided, rms, start

STEPS = {"steps": 8, "t_start": 0.1, "t_end": 0.95}


def setting(path: str = "vp"):
    field = guided(path)
    solver = fg.solvers.build("euler", **STEPS)
    x, y = start(field, 16, t=0.1)
    times = solver.times(field)
    alpha, sigma = field.path.alpha(times), field.path.sigma(times)
    return field, x, y, times, alpha, sigma, torch.log(alpha / sigma)


def solve(name: str, field, x, y, **options):
    return fg.solvers.build(name, **STEPS, **options).solve(field, x, y)


def test_ddim() -> None:
    """Song, Meng & Ermon (2020), Eq. 12: predicted data and the direction of the noise."""
    field, x, y, times, alpha, sigma, _ = setting()
    ours = solve("ddim", field, x, y)
    for n in range(8):
        noise = field(x, times[n], y).noise
        x = alpha[n + 1] * (x - sigma[n] * noise) / alpha[n] + sigma[n + 1] * noise
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


def test_order_one_is_ddim_in_all_coordinates_of_the_ratio() -> None:
    field, x, y, *_ = setting("cosine")
    ours = solve("ddim", field, x, y)
    for coordinates in ("straight", "data", "noise"):
        torch.testing.assert_close(solve("euler", field, x, y, coordinates=coordinates), ours, rtol=1e-12, atol=1e-12)
    for coordinates in ("path", "polar"):
        field, x, y, *_ = setting("linear" if coordinates == "polar" else "cosine")
        other = solve("euler", field, x, y, coordinates=coordinates)
        assert rms(other - solve("ddim", field, x, y)) > 1e-3


def test_ddpm_is_ddim_with_eta_one() -> None:
    """Ho, Jain & Abbeel (2020), Eq. 7: the mean and variance of the posterior given data and the noisier state."""
    field, x, y, times, alpha, sigma, _ = setting()
    noise = fg.solvers.wiener.Wiener(seed=3)
    ours = fg.solvers.build("ddim", eta=1.0, **STEPS).solve(field, x, y, seed=3)
    for n in range(8):
        kept = (alpha[n] / alpha[n + 1]) ** 2  # 1 - beta of this step
        data = field(x, times[n], y).data
        mean = alpha[n + 1] * (1 - kept) / sigma[n] ** 2 * data
        mean = mean + kept.sqrt() * sigma[n + 1] ** 2 / sigma[n] ** 2 * x
        variance = sigma[n + 1] ** 2 / sigma[n] ** 2 * (1 - kept)
        x = mean + variance.sqrt() * noise(n, x)
    torch.testing.assert_close(ours, x, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_dpmpp_2m(eta: float) -> None:
    """Lu et al. (2022), algorithm 2, and its SDE variant."""
    field, x, y, times, alpha, sigma, lam = setting()
    solver = fg.solvers.build("dpmpp_2m_sde", eta=eta, **STEPS)
    ours = solver.solve(field, x, y, **({"seed": 3} if eta else {}))
    if eta == 0:
        assert torch.equal(ours, solve("dpmpp_2m", field, x, y))
    noise, old = fg.solvers.wiener.Wiener(seed=3), None
    for n in range(8):
        data, h = field(x, times[n], y).data, lam[n + 1] - lam[n]
        extrapolated = data
        if old is not None:
            extrapolated = data + (data - old) * h / (2 * (lam[n] - lam[n - 1]))
        x = (
            sigma[n + 1] / sigma[n] * torch.exp(-eta * h) * x
            - alpha[n + 1] * torch.expm1(-(1 + eta) * h) * extrapolated
            + sigma[n + 1] * torch.sqrt(-torch.expm1(-2 * eta * h)) * noise(n, x)
        )
        old = data
    torch.testing.assert_close(ours, x, rtol=1e-12, atol=1e-12)


def test_unipc() -> None:
    """Zhao et al. (2023), UniPC-2 with B(h) = e^h - 1 in data prediction; the last step is not corrected."""
    field, x, y, times, alpha, sigma, lam = setting()
    ours = solve("unipc", field, x, y)
    data = [field(x, times[0], y).data]
    for n in range(8):
        h, share = lam[n + 1] - lam[n], -torch.expm1(lam[n] - lam[n + 1])
        base = sigma[n + 1] / sigma[n] * x
        if n == 0:
            x = base + alpha[1] * share * data[0]
            data.append(field(x, times[1], y).data)
            x = base + alpha[1] * share * (data[0] + (data[1] - data[0]) / 2)
            continue
        r = (lam[n] - lam[n - 1]) / h
        difference = (data[n] - data[n - 1]) / r
        x = base + alpha[n + 1] * share * (data[n] + difference / 2)
        if n == 7:
            break
        data.append(field(x, times[n + 1], y).data)
        b1 = 1 / share - 1 / h
        b2 = 2 / h**2 - 2 / (h * share) + 1 / share
        rho1, rho2 = (b1 - b2) / (1 + r), (b2 + r * b1) / (1 + r)
        x = base + alpha[n + 1] * share * (data[n] + rho1 * difference + rho2 * (data[n + 1] - data[n]))
    torch.testing.assert_close(ours, x, rtol=1e-11, atol=1e-11)


def test_edm_heun() -> None:
    """Karras et al. (2022), algorithm 2, in its own state y = x / alpha and level sigma / alpha, churn included."""
    field, x, y, _, alpha, sigma, _ = setting()
    level, churn = sigma / alpha, 4.0
    ours = fg.solvers.build("edm_heun", churn=churn, churn_max=5.0, grid="uniform", **STEPS).solve(field, x, y, seed=3)
    noise, state = fg.solvers.wiener.Wiener(seed=3), x / alpha[0]

    def slope(state, level):
        t = field.path.time_at(-level.log())
        return field(state * field.path.alpha(t), t, y).noise

    for n in range(8):
        gamma = min(churn / 8, math.sqrt(2) - 1) if level[n] <= 5 else 0.0
        raised = level[n] * (1 + gamma)
        if gamma:
            state = state + torch.sqrt(raised**2 - level[n] ** 2) * noise(n, x)
        first = slope(state, raised)
        euler = state + (level[n + 1] - raised) * first
        state = state + (level[n + 1] - raised) / 2 * (first + slope(euler, level[n + 1]))
    torch.testing.assert_close(ours, alpha[-1] * state, rtol=1e-9, atol=1e-9)


def test_the_last_step_of_edm_heun_is_eulers_where_no_noise_is_left() -> None:
    """Algorithm 2: "if t_{i+1} != 0"; and elsewhere Heun's."""
    for path, spared in (("linear", 1), ("cosine", 1), ("edm", 0), ("vp", 0)):
        field = Counting(exact(path))
        x, y = start(field)
        solver = fg.solvers.build("edm_heun", steps=5)
        states, times = solver.trajectory(field, x, y), solver.times(field)
        assert len(field.times) == solver.evaluations == 10 - spared
        last = fg.solvers.build("euler" if spared else "heun", steps=1, t_start=float(times[-2]), coordinates="noise")
        torch.testing.assert_close(last.solve(field, states[-2], y), states[-1], rtol=1e-9, atol=1e-9)


_CHURNED = [{}, {"grid": "uniform"}, {"churn_noise": 1.01, "churn_min": 0.05, "churn_max": 50.0}]
_QUICK = [("linear", _CHURNED[0]), ("vp", _CHURNED[1]), ("edm", _CHURNED[2])]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        pytest.param(path, options, marks=() if (path, options) in _QUICK else pytest.mark.slow)
        for path in fg.paths.names()
        for options in _CHURNED
    ],
)
def test_churn_keeps_the_law_on_every_path(path: str, options: dict) -> None:
    """Also on those that begin without any signal, whose noise level is infinite there; taken one by one too."""
    field = exact(path)
    y = torch.full((4000,), 1)
    for each in (field, Idle(field)):
        x = fg.sample(each, (4000, 2), y, fg.solvers.build("edm_heun", steps=120, churn=20.0, **options), seed=3)
        torch.testing.assert_close(x.mean(0), torch.ones(2), rtol=0, atol=0.06)
        torch.testing.assert_close(x.std(0), torch.full((2,), 0.6**0.5), rtol=0, atol=0.06)


def test_without_noise_the_stochastic_ones_are_those_of_the_ode() -> None:
    field, x, y, *_ = setting()
    for stochastic, plain in (("euler_maruyama", "euler"), ("stochastic_heun", "heun")):
        free = fg.solvers.build(stochastic, diffusion="zero", **STEPS).solve(field, x, y, seed=0)
        torch.testing.assert_close(free, solve(plain, field, x, y), rtol=1e-13, atol=1e-13)
    calm = fg.solvers.build("stochastic_adams", eta=0.0, predictor=3, corrector=0, **STEPS)
    torch.testing.assert_close(calm.solve(field, x, y), solve("dpmpp_3m", field, x, y), rtol=1e-13, atol=1e-13)


def test_straight_coordinates_make_paths_equal() -> None:
    """From the same ratio of noise to signal to the same, auto draws the same data on every path."""
    data = []
    for name in fg.paths.names():
        field = guided(name)
        ends = field.path.time_at(torch.tensor([-2.0, 4.0])).tolist()
        solver = fg.solvers.build("auto", steps=12, t_start=ends[0], t_end=ends[1])
        x = torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        scale = [float(field.path.alpha(t) + field.path.sigma(t)) for t in torch.tensor(ends, dtype=torch.float64)]
        data.append(solver.solve(field, x * scale[0], torch.arange(8) % 4) / scale[1])
    for other in data[1:]:
        torch.testing.assert_close(other, data[0], rtol=1e-8, atol=1e-8)


def test_adams_weights_are_the_classical_ones() -> None:
    """On equal steps; and on unequal ones they integrate every polynomial of their degree."""
    weights = fg.solvers.registry.get("ab4").__mro__[1]().shares
    even = torch.arange(5, dtype=torch.float64) / 3
    classical = {2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
    for order, expected in classical.items():
        nodes = even[:order].flip(0)[None]
        shares = weights(None, nodes, nodes[:, 0], even[order : order + 1])
        assert shares[0].tolist() == pytest.approx(expected, rel=1e-12)
    uneven = torch.tensor([0.1, 0.35, 0.4, 0.9, 1.0], dtype=torch.float64)
    moulton = weights(None, uneven[1:].flip(0)[None], uneven[3:4], uneven[4:])  # the end of the step is a node
    for power in range(4):
        integral = (uneven[4] ** (power + 1) - uneven[3] ** (power + 1)) / (power + 1)
        torch.testing.assert_close(0.1 * (moulton[0] * uneven[1:].flip(0) ** power).sum(), integral)


def test_a_fractional_predictor_changes_order_on_the_way() -> None:
    field = exact()
    solver = fg.solvers.build("pec", predictor=2.3, steps=10)
    counts = [len(step.predictor) for step in solver.plan(field.path, solver.times(field))]
    assert counts == [1, 2, 3, 2, 2, 2, 2, 2, 2, 2]
    assert isinstance(solver, Multistep)


def test_langevin_keeps_the_marginal() -> None:
    """At the level of the noise where its predictor leaves it, corrections change samples and not their law."""
    field = exact()
    x, y = start(field, 4000)
    y = torch.full_like(y, 1)
    options = {"steps": 30, "t_end": 0.6, "predictor": {"name": "rk4"}, "snr": 0.3}
    one, five = (fg.solvers.build("langevin", corrections=m, **options).solve(field, x, y, seed=1) for m in (1, 5))
    assert rms(one - five) > 0.1
    c = field.path.at(torch.tensor(0.6, dtype=torch.float64), x)
    for states in (one, five):
        torch.testing.assert_close(states.mean(0), c.alpha.expand(2), rtol=0, atol=0.05)
        spread = torch.sqrt(c.alpha**2 * 0.6 + c.sigma**2).expand(2)
        torch.testing.assert_close(states.std(0), spread, rtol=0.05, atol=0)
