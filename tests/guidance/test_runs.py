"""Rules that take part in a run: particles, renoising, corrections, momentum, random conditions."""

import itertools
import math

import pytest
import torch
from rules import Counting
from torch import Tensor

import flowguide as fg
from flowguide.guidance.smc import systematic


class Two(fg.Field):
    """A Gaussian without a condition and another one with it: no mixture has both for its own."""

    num_classes = 1

    def __init__(self, path: str, mean: float = 1.0, variance: float = 0.25) -> None:
        super().__init__()
        self.path = fg.paths.build(path)
        self.free, self.given = (
            fg.MixtureField(
                fg.oracle.GaussianMixture(torch.ones(1), torch.tensor([[m]]), torch.tensor([[[v]]])), self.path
            )
            for m, v in ((0.0, 1.0), (mean, variance))
        )

    def null(self, batch: int) -> Tensor:
        return torch.full((batch,), 1)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> fg.paths.Prediction:
        free = self.free(x, t)
        return free if cond is None else self.given(x, t).where(cond == 0, free)


def ring(path: str = "linear") -> fg.MixtureField:
    return fg.MixtureField(fg.oracle.ring(3, std=0.5), fg.paths.build(path))


def sde(steps: int, scale: float = 1.6, grid: str = "shifted") -> fg.solvers.Solver:
    diffusion = {"name": "matched", "scale": scale}
    return fg.solvers.build("euler_maruyama", diffusion=diffusion, steps=steps, grid=grid)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_smc_samples_the_tilted_gaussian_and_cfg_does_not(path: str) -> None:
    """N(0, 1) tilted three times towards N(1, 1/4): mean 1.2, standard deviation 0.316; means over three seeds."""
    field, y = Two(path), torch.zeros(4096, dtype=torch.long)
    moments = {}
    for name in ("smc", "cfg"):
        rule = fg.guidance.build(name, field, w=3.0)
        runs = [fg.sample(rule, (4096, 1), y, sde(600), seed=seed, dtype=torch.float64) for seed in range(3)]
        moments[name] = [
            float(torch.stack(each).mean()) for each in ([x.mean() for x in runs], [x.std() for x in runs])
        ]
        if name == "smc":
            assert 0.4 < min(rule.report) <= max(rule.report) <= 1 + 1e-9
    assert moments["smc"] == pytest.approx([1.2, 10**-0.5], rel=0.02)
    assert moments["cfg"] != pytest.approx([1.2, 10**-0.5], rel=0.05)


@pytest.mark.slow
def test_smc_samples_the_tilted_mixture() -> None:
    """Mean and deviation of p(x) p(y | x)^w by integration on a line, within 2 %."""
    mixture = fg.oracle.GaussianMixture(
        torch.tensor([0.4, 0.3, 0.3]), torch.tensor([[-1.0], [0.4], [1.2]]), torch.full((3, 1, 1), 0.2),
        labels=torch.tensor([0, 0, 1]),
    )  # fmt: skip
    field, w = fg.MixtureField(mixture, fg.paths.build("linear")), 3.0
    line = torch.linspace(-6, 8, 20001, dtype=torch.float64)[:, None]
    label = torch.ones(len(line), dtype=torch.long)
    density = torch.exp((1 - w) * mixture.log_prob(line) + w * mixture.log_prob(line, label))
    density = density / density.sum()
    mean = float((density * line[:, 0]).sum())
    std = math.sqrt(float((density * (line[:, 0] - mean) ** 2).sum()))
    rule = fg.guidance.build("smc", field, w=w)
    y = torch.ones(4096, dtype=torch.long)
    runs = [fg.sample(rule, (4096, 1), y, sde(600), seed=seed, dtype=torch.float64) for seed in range(3)]
    measured = [float(torch.stack(each).mean()) for each in ([x.mean() for x in runs], [x.std() for x in runs])]
    assert measured == pytest.approx([mean, std], rel=0.02)


def test_smc_at_w_1_never_resamples_and_populations_do_not_mix() -> None:
    field, y = ring(), torch.arange(300) % 3
    rule = fg.guidance.build("smc", field, w=1.0)
    x = fg.sample(rule, (300, 2), y, sde(10), seed=1, dtype=torch.float64)
    assert torch.equal(x, fg.sample(field, (300, 2), y, sde(10), seed=1, dtype=torch.float64))
    rule = fg.guidance.build("smc", field, w=3.0)
    x = fg.sample(rule, (300, 2), y, sde(30), seed=1, dtype=torch.float64)
    assert (field.posterior(x, 1.0).argmax(1) == y).all()
    assert len(rule.report) == 30
    again = fg.sample(rule, (300, 2), y, sde(30), seed=1, dtype=torch.float64)
    assert torch.equal(x, again)


def test_systematic_resampling_draws_each_as_often_as_it_weighs() -> None:
    weights = torch.tensor([0.1, 0.5, 0.0, 0.4]).double()
    counts = torch.zeros(4)
    for u in (torch.arange(200) + 0.5) / 200:
        index = systematic(weights, float(u))
        assert (torch.bincount(index, minlength=4) - 4 * weights).abs().max() < 1
        counts += torch.bincount(index, minlength=4)
    torch.testing.assert_close(counts / counts.sum(), weights.float(), rtol=0, atol=0.01)


@pytest.mark.parametrize("w", [0.0, 0.3, 0.6, 1.0])
def test_cfgpp_with_ddim_is_its_papers_step(w: float) -> None:
    field, y = ring("vp"), torch.arange(6) % 3
    solver = fg.solvers.build("ddim", steps=7)
    x = field.path.prior((6, 2), seed=0, dtype=torch.float64)
    ours = solver.solve(fg.guidance.build("cfgpp", field, w=w), x, y)
    times = solver.times(field)
    for t, s in itertools.pairwise(times):
        u, c = field(x, t), field(x, t, y)
        x = field.path.alpha(s) * torch.lerp(u.data, c.data, w) + field.path.sigma(s) * u.noise
    torch.testing.assert_close(ours, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("w", [0.0, 1.0, 2.5, [1.0, 2.0, 3.0, 0.5, 1.0, 4.0]])
@pytest.mark.parametrize("batched", [True, False])
def test_rectified_cfgpp_with_euler_is_its_papers_algorithm(w, batched: bool) -> None:
    field, y = ring(), torch.arange(6) % 3
    w = torch.tensor(w, dtype=torch.float64) if isinstance(w, list) else w
    x = field.path.prior((6, 2), seed=0, dtype=torch.float64)
    solver = fg.solvers.build("euler", steps=7)
    rule = fg.guidance.build("rectified_cfgpp", field, w=w, batched=batched)
    ours = solver.solve(rule, x, y)
    more = w[:, None] - 1 if isinstance(w, torch.Tensor) else w - 1
    for t, s in itertools.pairwise(solver.times(field)):
        c = field(x, t, y).velocity
        half, middle = x + (s - t) / 2 * c, (t + s) / 2
        x = x + (s - t) * (c + more * (field(half, middle, y).velocity - field(half, middle).velocity))
    torch.testing.assert_close(ours, x, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ["linear", "vp"])
def test_rectified_cfgpp_is_cfg_outside_a_run_and_for_short_steps(path: str) -> None:
    field, y = ring(path), torch.arange(6) % 3
    x = field.path.prior((6, 2), seed=0, dtype=torch.float64)
    ours, cfg = (fg.guidance.build(name, field, w=2.0) for name in ("rectified_cfgpp", "cfg"))
    torch.testing.assert_close(ours(x, 0.4, y).velocity, cfg(x, 0.4, y).velocity)
    gaps = []
    for steps in (20, 80):
        solver = fg.solvers.build("heun", steps=steps)
        gaps.append(float((solver.solve(ours, x, y) - solver.solve(cfg, x, y)).abs().max()))
    assert gaps[1] < gaps[0] / 3
    for name, evaluations in (("euler", 3 * 4), ("heun", 6 * 3 + 2 * 1)):  # at the end there is nothing ahead
        counting = Counting(field)
        rule = fg.guidance.build("rectified_cfgpp", counting, w=2.0)
        fg.solvers.build(name, steps=4 if name == "euler" else 3).solve(rule, x, y)
        assert evaluations - 2 <= counting.count <= evaluations


def tracked(field: fg.Field, solver: fg.solvers.Solver, pi: float = 0.99) -> Tensor:
    """How far the tracker of ``feedback`` is from the exact log-ratio, in nats, at the state before the last."""
    rule = fg.guidance.build("feedback", field, pi=pi, track=True, w_max=1.5, ceiling=math.inf)
    y, seed = torch.arange(300) % 3, {"seed": 0} if solver.stochastic else {}
    states = solver.trajectory(rule, field.path.prior((300, 2), 0, dtype=torch.float64), y, **seed)
    assert len(rule.report) == solver.steps - 1
    x, t = states[-2], solver.times(field)[-2]
    log_ratio = math.log(1 - pi) - torch.log(1 - 1 / rule.report[-1])
    return log_ratio - (field.log_prob(x, t, y) - field.log_prob(x, t))


@pytest.mark.parametrize("path", ["linear", pytest.param("vp", marks=pytest.mark.slow)])
def test_the_tracker_of_feedback_finds_the_likelihood_ratio(path: str) -> None:
    """With DDPM's noise the error falls with the root of the steps; without any it does not fall."""
    for name, options in (("ddim", {"eta": 1.0}), ("euler_maruyama", {"diffusion": {"name": "matched"}})):
        errors = [
            float(tracked(ring(path), fg.solvers.build(name, steps=steps, t_end=0.8, **options)).square().mean().sqrt())
            for steps in (50, 800)
        ]
        assert errors[1] < 0.15
        assert errors[1] < errors[0] / 2.5
    assert float(tracked(ring(path), fg.solvers.build("heun", steps=100, t_end=0.8)).mean()) < -0.5


def test_feedback_of_a_network_runs_and_forgets() -> None:
    torch.manual_seed(0)
    network = fg.networks.build("mlp", dim=2, num_classes=3, width=16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    rule = fg.guidance.build("feedback", fg.NetworkField(network, fg.paths.build("linear")), pi=0.8, offset=-1.0)
    y, solver = torch.arange(30) % 3, fg.solvers.build("ddim", eta=1.0, steps=6)
    whole = fg.sample(rule, (30, 2), y, solver, seed=4)
    assert all((w >= 1).all() and (w <= 10).all() and w.std() > 0 for w in rule.report)
    assert torch.equal(whole, fg.sample(rule, (30, 2), y, solver, seed=4)), "no state survives a run"
    torch.testing.assert_close(fg.sample(rule, (30, 2), y, solver, seed=4, batch_size=7), whole)
    torch.testing.assert_close(rule.weight(whole, torch.tensor(0.5), y), torch.full((30,), 1.25))
    with pytest.raises(ValueError, match="FeedbackGuidance acts between steps, and Auto builds its steps on earlier"):
        fg.sample(rule, (30, 2), y, seed=4)


def test_predictor_corrector_leaves_the_conditional_law_at_w_1_and_sharpens_beyond() -> None:
    field, y = Two("linear"), torch.zeros(4000, dtype=torch.long)
    solver = fg.solvers.build("heun", steps=40)
    stds = {}
    for w in (1.0, 3.0):
        rule = fg.guidance.build("predictor_corrector", field, w=w, corrections=3, snr=0.3)
        x = fg.sample(rule, (4000, 1), y, solver, seed=0, dtype=torch.float64)
        stds[w] = float(x.std())
        if w == 1:
            assert float(x.mean()) == pytest.approx(1.0, abs=0.03)
    assert stds[1.0] == pytest.approx(0.5, rel=0.04)
    assert stds[3.0] < 0.42
    plain = fg.sample(field, (4000, 1), y, solver, seed=0, dtype=torch.float64)
    assert not torch.allclose(plain, fg.sample(rule, (4000, 1), y, solver, seed=0, dtype=torch.float64))


def test_momentum_of_apg_is_that_of_the_run_before_none() -> None:
    field, y = ring(), torch.arange(6) % 3
    x = field.path.prior((6, 2), seed=0, dtype=torch.float64)
    solver = fg.solvers.build("euler", steps=5, t_end=0.9)
    rule = fg.guidance.build("apg", field, w=3.0, eta=1.0, momentum=-0.5)
    ours = solver.solve(rule, x, y)
    assert torch.equal(ours, solver.solve(rule, x, y)), "no state survives a run"
    times, before = solver.times(field), torch.zeros_like(x)
    for t, s in itertools.pairwise(times):
        u, c = field(x, t), field(x, t, y)
        before = c.data - u.data - 0.5 * before
        x = x + (s - t) * field.path.predict("data", c.data + 2 * before, x, t).velocity
    torch.testing.assert_close(ours, x, rtol=1e-9, atol=1e-9)
    nested = fg.guidance.build("interval", rule, low=0.0, high=1.0)
    torch.testing.assert_close(solver.solve(nested, field.path.prior((6, 2), seed=0, dtype=torch.float64), y), ours)


def test_independent_conditions_are_the_samples_own() -> None:
    """The same label for a sample in any batch, another in another evaluation, all of them in turn."""
    seen = []
    field = ring()
    honest = field.predict
    field.predict = lambda x, t, cond: seen.append(cond) or honest(x, t, cond)
    rule = fg.guidance.build("independent_condition", field, w=2.0)
    y, solver = torch.zeros(60, dtype=torch.long), fg.solvers.build("euler", steps=3)
    whole = fg.sample(rule, (60, 2), y, solver, seed=4)
    drawn = seen[::2]
    assert len(drawn) == 3
    assert all(set(labels.tolist()) == {0, 1, 2} for labels in drawn)
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(fg.sample(rule, (60, 2), y, solver, seed=4, batch_size=7), whole)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("smc", {"threshold": 1.5}, r"in \[0, 1\], not 1.5"),
        ("predictor_corrector", {"snr": 0.0}, "snr > 0"),
        ("predictor_corrector", {"corrections": 0}, "at least 1 correction"),
        ("apg", {"momentum": 1.0}, r"momentum is in \(-1, 1\)"),
    ],
)
def test_options_say_what_is_wrong(name: str, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.guidance.build(name, ring(), **options)


def test_smc_says_what_it_needs() -> None:
    y = torch.zeros(8, dtype=torch.long)
    with pytest.raises(ValueError, match="choose a solver of single steps"):
        fg.sample(fg.guidance.build("smc", ring(), w=2.0), (8, 2), y)
    with pytest.raises(ValueError, match="one number for w in a run"):
        fg.sample(fg.guidance.build("smc", ring(), w=torch.ones(8)), (8, 2), y, sde(3))
    with pytest.raises(ValueError, match="needs a seed"):
        fg.solvers.build("heun").solve(fg.guidance.build("smc", ring(), w=2.0), torch.zeros(8, 2), y)


@pytest.mark.parametrize("eta", [0.0, 1.0, *(pytest.param(each, marks=pytest.mark.slow) for each in (0.5, 2.0))])
def test_the_guided_sde_of_any_strength_has_its_closed_form(eta: float) -> None:
    """Where cfg ends between N(0, S0) and N(m1, S1), g^2 being eta times that of the forward process.

    With G = (S0 + tau)^(1 - w) (S1 + tau)^w the mean is (1 + eta) / 2 times the integral over tau of
    (G(0) / G)^((1 + eta) / 2) c, the variance eta times that of (G(0) / G)^(1 + eta), and S0^(1 - w) S1^w for eta = 0.
    """
    field, w, s1 = Two("cosine"), 3.0, 0.25
    tau = torch.logspace(-8, 8, 200_001, dtype=torch.float64)
    relative = (1 + tau) ** (w - 1) * (1 + tau / s1) ** -w
    mean = (1 + eta) / 2 * torch.trapezoid(relative ** ((1 + eta) / 2) * w / (s1 + tau), tau)
    variance = eta * torch.trapezoid(relative ** (1 + eta), tau) if eta else torch.tensor(s1**w)
    solver = fg.solvers.build("auto", steps=60) if eta == 0 else sde(400, scale=eta**0.5)
    rule, y = fg.guidance.build("cfg", field, w=w), torch.zeros(20_000, dtype=torch.long)
    x = fg.sample(rule, (20_000, 1), y, solver, seed=0, dtype=torch.float64)
    assert float(x.mean()) == pytest.approx(float(mean), rel=0.02)
    assert float(x.std()) == pytest.approx(float(variance) ** 0.5, rel=0.03)
