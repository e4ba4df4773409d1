"""What must hold of every registered solver."""

import math

import pytest
import torch

import flowguide as fg

from .problems import ADAPTIVE, EVERY, WITHOUT_NOISE, Counting, Idle, exact, guided, rms, seeded, start

every_solver = pytest.mark.parametrize("name", fg.solvers.names())
every_variant = pytest.mark.parametrize(("name", "options"), EVERY)
fixed_variant = pytest.mark.parametrize(("name", "options"), [each for each in EVERY if each[0] not in ADAPTIVE])
fixed_step = pytest.mark.parametrize("name", [name for name in fg.solvers.names() if name not in ADAPTIVE])


@every_variant
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_reaches_the_data(name: str, options: dict, path: str) -> None:
    """The law of the samples is that of the class: mean and standard deviation, within what 4000 samples tell."""
    field = exact(path)
    y = torch.full((4000,), 1)
    solver = fg.solvers.build(name, steps=100, **options)
    x = fg.sample(field, (4000, 2), y, solver, seed=3, dtype=torch.float64)
    torch.testing.assert_close(x.mean(0), torch.tensor([1.0, 1.0], dtype=torch.float64), rtol=0, atol=0.05)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.6**0.5, dtype=torch.float64), rtol=0, atol=0.05)


@every_variant
@pytest.mark.parametrize("kind", [Counting, Idle])
@pytest.mark.parametrize(("path", "interval"), [("linear", (0.1, 0.9)), ("linear", (None, None)), ("vp", (None, None))])
def test_evaluations_are_as_reported_and_inside_the_interval(
    name: str, options: dict, kind: type[Counting], path: str, interval: tuple
) -> None:
    """Also where steps are taken one by one; and whether there is noise left at the end or not."""
    for steps in (1, 2, 3, 7):
        field = kind(exact(path))
        solver = fg.solvers.build(name, steps=steps, t_start=interval[0], t_end=interval[1], **options)
        if field.between_steps and solver.remembers:
            return
        (x, y), (first, last) = start(field), solver.span(field)
        promised = solver.evaluations
        solver.solve(field, x, y, **seeded(solver))
        assert len(field.times) == solver.evaluations
        assert promised is None or promised >= solver.evaluations
        assert first - 1e-12 <= min(field.times) <= max(field.times) <= last


@fixed_variant
@pytest.mark.parametrize("path", ["linear", "vp"])
def test_steps_that_are_taken_one_by_one_are_those_of_a_run(name: str, options: dict, path: str) -> None:
    """Noise included; solvers whose steps build on earlier ones say so, and are refused."""
    field = exact(path)
    solver = fg.solvers.build(name, steps=6, **options)
    x, y = start(field)
    if solver.remembers:
        with pytest.raises(ValueError, match=r"acts between steps, and .* choose a solver of single steps"):
            solver.solve(Idle(field), x, y, **seeded(solver))
        return
    states = solver.trajectory(field, x, y, **seeded(solver))
    one_by_one = solver.trajectory(Idle(field), x, y, **seeded(solver))
    torch.testing.assert_close(one_by_one, states, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "steps", [10, pytest.param(20, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("name", [name for name in fg.solvers.names() if name != "langevin"])
def test_no_solver_is_worse_than_ddim_on_its_default_grid(name: str, steps: int) -> None:
    """On vp, where log-SNR is large at the end and not infinite. By a factor of 1.25 at most (edm_heun, whose grid is
    another, with ten steps); with fifty steps and an order of 2 or more they err less than half as much."""
    field, build = guided("vp"), fg.solvers.build
    x, y = start(field)
    truth = build("pec", predictor=4.0, steps=400, grid={"name": "shifted", "shift": 1.4, "power": 1.5})
    solver = build(name, steps=steps, **WITHOUT_NOISE.get(name, {}))
    end = truth.solve(field, x, y)
    error = rms(solver.solve(field, x, y, **seeded(solver)) - end)
    limit = 0.5 if steps == 50 and solver.order > 1 else 1.25
    assert error < limit * rms(build("ddim", steps=steps).solve(field, x, y) - end)


@every_variant
def test_the_trajectory_ends_where_solve_does(name: str, options: dict) -> None:
    field = exact("vp")
    x, y = start(field)
    solver = fg.solvers.build(name, steps=5, **options)
    states = solver.trajectory(field, x, y, **seeded(solver))
    assert states.shape == (6, 32, 2)
    assert torch.equal(states[0], x)
    assert torch.equal(states[-1], solver.solve(field, x, y, **seeded(solver)))
    with torch.no_grad():  # where memory is used again
        assert torch.equal(solver.trajectory(field, x, y, **seeded(solver)), states)
        assert torch.equal(solver.solve(field, x, y, **seeded(solver)), states[-1])


@every_solver
def test_the_trajectory_is_that_of_the_flow(name: str) -> None:
    """Its states are at the solver's times: each has the spread of the marginal there."""
    field = exact()
    solver = fg.solvers.build(name, steps=60)
    x = field.path.prior((3000, 2), seed=0, t=float(solver.times(field)[0]), dtype=torch.float64)
    states = solver.trajectory(field, x, torch.full((3000,), 2), **seeded(solver))
    c = field.path.at(solver.times(field), states)
    spread = torch.sqrt(c.alpha**2 * 0.5 + c.sigma**2).flatten()
    torch.testing.assert_close(states.std(1).mean(1), spread, rtol=0.06, atol=0)


@every_solver
def test_does_not_write_to_its_input(name: str) -> None:
    field = exact()
    x, y = start(field)
    before = x.clone()
    solver = fg.solvers.build(name, steps=3)
    solver.solve(field, x, y, **seeded(solver))
    with torch.no_grad():
        solver.solve(field, x, y, **seeded(solver))
    assert torch.equal(x, before)


@fixed_step
def test_a_field_may_return_its_input(name: str) -> None:
    """u = x, the very tensor, grows the state by e over unit time: on a path where that is v, noise or data as well."""
    field = exact()
    options = {"diffusion": "zero"} if "diffusion" in fg.solvers.registry.options(name) else {}
    options |= {"eta": 0.0} if "eta" in fg.solvers.registry.options(name) else {}
    field.predict = lambda x, t, cond: field.path.predict("velocity", x, x, t)
    x = torch.ones(4, 2, dtype=torch.float64)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            solver = fg.solvers.build(name, steps=200, **options)
            end = solver.solve(field, x, **seeded(solver))
        if name != "langevin":  # which adds noise in any case
            torch.testing.assert_close(end, math.e * x, rtol=2e-2, atol=0)
        assert torch.equal(x, torch.ones_like(x))


@fixed_variant
def test_a_sample_is_the_same_in_any_batch(name: str, options: dict) -> None:
    """The noise of stochastic solvers included."""
    field = exact()
    y = torch.arange(10) % 3
    solver = fg.solvers.build(name, steps=5, **options)
    whole = fg.sample(field, (10, 2), y, solver, seed=1)
    assert torch.allclose(fg.sample(field, (10, 2), y, solver, seed=1, batch_size=3), whole, rtol=1e-5, atol=1e-6)
    assert torch.allclose(fg.sample(field, (4, 2), y[6:], solver, seed=1, first=6), whole[6:], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(fg.sample(field, (10, 2), y, solver, seed=2), whole)


@fixed_variant
def test_noise_differs_between_seeds_and_steps(name: str, options: dict) -> None:
    solver = fg.solvers.build(name, steps=4, **options)
    if not solver.stochastic or "churn" in options:  # which leaves the first step and the noisiest levels alone
        return
    field = exact()
    x, y = start(field)
    one, two = (solver.trajectory(field, x, y, seed=seed) for seed in (1, 2))
    assert not torch.isclose(one[1:], two[1:]).any()
    assert not torch.isclose(one[1:].diff(dim=0)[1:], one[1:].diff(dim=0)[:-1]).any()


@pytest.mark.parametrize("method", ["dopri5", "dopri8", "bosh3", "fehlberg2", "adaptive_heun"])
def test_adaptive_solvers_keep_their_tolerance(method: str) -> None:
    field = exact()
    x, y = start(field)
    build = fg.solvers.build
    reference = build("torchdiffeq", method="dopri8", rtol=1e-12, atol=1e-12).solve(field, x, y)
    loose = build("torchdiffeq", method=method, rtol=1e-3, atol=1e-3)
    assert (loose.solve(field, x, y) - reference).abs().max() < 5e-2
    tight = build("torchdiffeq", method=method, rtol=1e-6, atol=1e-6)
    assert (tight.solve(field, x, y) - reference).abs().max() < 1e-4
    assert tight.evaluations > loose.evaluations


@every_variant
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", fg.paths.names())
def test_dtype_and_ends(name: str, options: dict, dtype: torch.dtype, path: str) -> None:
    """Over the whole interval of the path, in either precision, everything stays finite and of its dtype."""
    field = exact(path)
    for steps in (1, 2, 4):
        x = fg.sample(field, (8, 2), None, fg.solvers.build(name, steps=steps, **options), dtype=dtype)
        assert x.dtype == dtype
        assert x.isfinite().all()


@every_solver
@pytest.mark.parametrize("grid", fg.solvers.grids.names())
def test_on_every_grid(name: str, grid: str) -> None:
    """Any grid, with the steps that the solver has; a solver with a grid of its own has no such option."""
    if "grid" not in fg.solvers.registry.options(name):
        return
    options = {"explicit": {"times": [0.01, 0.3, 0.5, 0.7, 0.9, 0.96]}, "optimized": {"rounds": 1}}.get(grid, {})
    field = exact()
    solver = fg.solvers.build(name, steps=5, grid={"name": grid, **options})
    if grid == "optimized" and (solver.stochastic or name in ADAPTIVE):
        return  # refused: see test_optimized.py
    x = fg.sample(field, (8, 2), None, solver, dtype=torch.float64)
    assert x.isfinite().all()


@every_solver
def test_can_be_differentiated(name: str) -> None:
    field = exact()
    x, y = start(field, 4)
    x.requires_grad_()
    solver = fg.solvers.build(name, steps=4, t_start=0.1)  # from t = 0 a stochastic one may forget where it began
    solver.solve(field, x, y, **seeded(solver)).sum().backward()
    assert x.grad.abs().min() > 0


@pytest.mark.parametrize("name", [name for name in fg.solvers.names() if name not in {*ADAPTIVE, "torchsde"}])
def test_under_torch_func(name: str) -> None:
    """jvp, vjp and vmap go through a whole run, and agree with differences and with a loop; not through torchsde."""
    field = exact()
    solver = fg.solvers.build(name, steps=4)
    x, direction = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def run(x: torch.Tensor) -> torch.Tensor:
        return solver.solve(field, x, **seeded(solver))

    _, tangent = torch.func.jvp(run, (x,), (direction,))
    difference = (run(x + 1e-6 * direction) - run(x - 1e-6 * direction)) / 2e-6
    torch.testing.assert_close(tangent, difference, rtol=1e-5, atol=1e-7)
    cotangent = torch.func.vjp(run, x)[1](direction)[0]
    torch.testing.assert_close((cotangent * direction).sum(), (tangent * direction).sum(), rtol=1e-9, atol=1e-9)
    if not solver.stochastic:
        together = torch.func.vmap(run)(torch.stack([x, 2 * x]))
        torch.testing.assert_close(together, torch.stack([run(x), run(2 * x)]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "name", ["auto", "heun", *(pytest.param(each, marks=pytest.mark.slow) for each in ("dpmpp_2m", "pec", "sra1"))]
)
def test_under_torch_compile(name: str) -> None:
    """The whole run is traced (by the eager backend, which compiles nothing) and gives the same samples."""
    field = exact()
    solver = fg.solvers.build(name, steps=3)
    x, y = start(field, 4)
    compiled = torch.compile(lambda x: solver.solve(field, x, y, **seeded(solver)), backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), solver.solve(field, x, y, **seeded(solver)), rtol=1e-12, atol=1e-12)


def bad_field() -> fg.Field:
    """A field that becomes NaN after t = 0.5."""
    field = exact()
    honest = field.predict
    field.predict = lambda x, t, cond: honest(x * (float("nan") if t > 0.55 else 1.0), t, cond)
    return field


@fixed_step
def test_nan_is_located(name: str) -> None:
    field = bad_field()
    options = {"grid": "uniform"} if "grid" in fg.solvers.registry.options(name) else {}
    solver = fg.solvers.build(name, steps=10, **options)
    x, y = start(field)
    with pytest.raises(ValueError, match=r"infinite or NaN in step [45678] of 10, from t = 0\.[3-7]\d* to 0\.[4-8]"):
        solver.solve(field, x, y, **seeded(solver))
    with pytest.raises(ValueError, match=r"infinite or NaN in step [45678] of 10, from t = 0\.[3-7]\d* to 0\.[4-8]"):
        solver.trajectory(field, x, y, **seeded(solver))


def test_adaptive_solvers_say_what_to_try() -> None:
    field = exact()
    field.predict = lambda x, t, cond: field.path.predict("velocity", torch.sin(1e4 * t) * 1e3 + x, x, t)
    x, _ = start(field)
    with pytest.raises(ValueError, match=r"could not reach rtol=1e-13, .*no end after 2000 evaluations.*loosen them"):
        fg.solvers.build("torchdiffeq", rtol=1e-13, atol=1e-13, max_evaluations=2000).solve(field, x)
    with pytest.raises(
        ValueError, match=r"could not reach rtol=1e-05, .*underflow in dt.*look for a field that is not"
    ):
        fg.solvers.build("torchdiffeq").solve(bad_field(), x)


@every_solver
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "at least 1 step, not 0"),
        ({"steps": -3}, "at least 1 step, not -3"),
        ({"t_start": -0.1}, r"inside \[0, 1\]"),
        ({"t_end": 1.5}, r"inside \[0, 1\].*got 0 to 1.5"),
        ({"t_start": 0.6, "t_end": 0.4}, "t_start < t_end; got 0.6 to 0.4"),
        ({"t_start": float("nan")}, "inside"),
        ({"grid": "nope"}, "unknown grid 'nope'|unknown option of solver 'auto': 'grid'"),
        ({"stepps": 3}, "did you mean 'steps'"),
    ],
)
def test_says_what_is_wrong(name: str, options: dict, words: str) -> None:
    field = exact()
    x, y = start(field)
    with pytest.raises(ValueError, match=words):
        fg.solvers.build(name, **options).solve(field, x, y, seed=0)


@every_solver
def test_a_seed_is_for_solvers_that_draw_noise(name: str) -> None:
    field = exact()
    x, y = start(field)
    solver = fg.solvers.build(name, steps=2)
    with pytest.raises(ValueError, match="needs a seed" if solver.stochastic else "draws no noise: it takes no seed"):
        solver.solve(field, x, y, **({} if solver.stochastic else {"seed": 0}))


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("ddim", {"eta": 1.5}, r"eta in \[0, 1\], not 1.5"),
        ("dpmpp_2m_sde", {"eta": -1.0}, "at least 0, not -1"),
        ("stochastic_adams", {"predictor": 7}, "1 to 4 slopes"),
        ("pec", {"predictor": 0.5}, r"predictor in \[1, 5\]"),
        ("unipc", {"predictor": 5}, "must be one of 2, 3"),
        ("deis", {"order": 4}, "must be one of 1, 2, 3"),
        ("edm_heun", {"churn": -1.0}, "churn >= 0"),
        ("edm_heun", {"churn_min": 2.0, "churn_max": 1.0}, "churn_min <= churn_max"),
        ("edm_heun", {"churn_noise": 0.0}, "churn_noise > 0"),
        ("langevin", {"predictor": "dpmpp_2m"}, "without a history; dpmpp_2m has one"),
        ("langevin", {"predictor": "torchdiffeq"}, "without a history; torchdiffeq has one"),
        ("langevin", {"predictor": {"name": "pec", "predictor": 1, "corrector": 1}}, "without a history; pec has one"),
        ("langevin", {"predictor": {"name": "heun", "steps": 3}}, "give steps to langevin itself"),
        ("langevin", {"snr": 0.0}, "snr > 0"),
        ("langevin", {"corrections": 0}, "at least 1 correction"),
        ("torchdiffeq", {"rtol": 0.0}, "tolerances must be positive"),
        ("torchdiffeq", {"method": "dopri6"}, "must be one of 'dopri5'"),
        ("euler_maruyama", {"diffusion": "sigmma"}, "unknown diffusion 'sigmma'; did you mean 'sigma'"),
        ("euler_maruyama", {"diffusion": {"name": "sigma", "scale": -1.0}}, "at least 0, not -1"),
        ("euler", {"coordinates": "strait"}, "unknown coordinates 'strait'; did you mean 'straight'"),
    ],
)
def test_options_say_what_is_wrong(name: str, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fg.solvers.build(name, **options)


def test_adams_refuses_an_infinite_clock() -> None:
    field = exact()
    with pytest.raises(ValueError, match="infinite at t = 1 on Linear"):
        fg.solvers.build("ab2", coordinates="data").solve(field, start(field)[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (4,)}, "shape is"),
        ({"shape": (0, 2)}, "shape is"),
        ({"cond": torch.tensor([0])}, "one condition per sample: got 1 for 4 samples"),
        ({"cond": torch.tensor([0, 1, 2, 9])}, "label 9 is not one of the 3 classes"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"field": torch.nn.Identity()}, r"drawn from a Field, as fg.NetworkField\(.* not Identity\(\)"),
        ({"batch_size": 1.5}, "batch_size must be at least 1, an integer, not 1.5"),
        ({"shape": 4}, "shape is .* not 4"),
        ({"shape": (4.0, 2)}, r"shape is .* not \(4.0, 2\)"),
        ({"cond": 1}, "cond is a tensor with one condition per sample, .* not 1"),
        ({"cond": [0, 1, 2, 0]}, r"cond is a tensor with one condition per sample, .* not \[0, 1, 2, 0\]"),
        ({"cond": torch.tensor(1)}, r"one condition per sample: got a tensor of shape \(\) for 4"),
        ({"solver": "huen"}, "unknown solver 'huen'; did you mean 'heun'"),
        ({"solver": 3}, "a solver needs a name .* not 3"),
        ({"device": "nowhere"}, "there is no device 'nowhere' here"),
        ({"device": 1.5}, "there is no device 1.5 here"),
        ({"start": [0.0]}, r"start must have the shape \(4, 2\) of the samples, not \[0.0\]"),
        ({"dtype": torch.long}, "a floating dtype, .* not torch.int64"),
        ({"first": -1}, "first is .* an integer from 0, not -1"),
        ({"first": 1.5}, "first is .* an integer from 0, not 1.5"),
        ({"first": torch.arange(6)}, r"int64 of shape \(4,\), not int64 of shape \(6,\)"),
        ({"first": torch.arange(6), "batch_size": 2}, r"int64 of shape \(4,\), not int64 of shape \(6,\)"),
        ({"seed": -1}, "a seed must be an integer"),
        ({"shape": (4, 3)}, r"states of this mixture have shape \(B, 2\)"),
    ],
)
def test_sample_says_what_is_wrong(change: dict, words: str) -> None:
    arguments = {"field": exact(), "shape": (4, 2), "cond": torch.tensor([0, 1, 2, 0])} | change
    with pytest.raises(ValueError, match=words):
        fg.sample(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_sample_says_that_a_device_is_not_there() -> None:
    with pytest.raises(ValueError, match="there is no device 'cuda' here"):
        fg.sample(exact(), (4, 2), device="cuda")


@pytest.mark.parametrize("named", ["heun", {"name": "heun"}])
def test_a_solver_may_be_named(named: object) -> None:
    assert torch.equal(
        fg.sample(exact(), (4, 2), solver=named), fg.sample(exact(), (4, 2), None, fg.solvers.build("heun"))
    )
    three = fg.sample(exact(), (4, 2), solver={"name": "heun", "steps": 3})
    assert torch.equal(three, fg.sample(exact(), (4, 2), solver=fg.solvers.build("heun", steps=3)))


def test_states_are_floating_point() -> None:
    with pytest.raises(ValueError, match="states are floating-point tensors"):
        fg.solvers.build("euler").solve(exact(), torch.zeros(4, 2, dtype=torch.int64))


def test_a_bf16_network_with_float32_states() -> None:
    """The state keeps its precision: rounding of the slopes is all that is lost."""
    field = exact()
    honest = field.predict
    field.predict = lambda x, t, cond: field.path.predict("velocity", honest(x, t, cond).velocity.bfloat16(), x, t)
    for name in ("auto", "heun", "dpmpp_2m", "euler_maruyama"):
        solver = fg.solvers.build(name, steps=20)
        x = fg.sample(field, (64, 2), torch.arange(64) % 3, solver)
        field.predict, rounded = honest, field.predict
        exactly = fg.sample(field, (64, 2), torch.arange(64) % 3, solver)
        field.predict = rounded
        assert x.dtype == torch.float32
        assert (x - exactly).abs().median() < 0.02
