"""What must hold of every registered solver."""

import functools
import math

import pytest
import torch

import flowguide as fg
from flowguide.solvers.adams_bashforth import weights

ADAPTIVE = {"dopri5"}
every_solver = pytest.mark.parametrize("name", fg.solvers.names())
fixed_step = pytest.mark.parametrize("name", [name for name in fg.solvers.names() if name not in ADAPTIVE])


class Counting(fg.Field):
    """A field that counts its evaluations and remembers their times."""

    def __init__(self, field: fg.Field) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.times = field, field.path, field.num_classes, []

    def null(self, batch: int):
        return self.field.null(batch)

    def predict(self, x, t, cond):
        self.times.append(t.item())
        return self.field(x, t, cond)


def exact(path: str = "linear") -> fg.MixtureField:
    mixture = fg.oracle.GaussianMixture(
        weights=torch.tensor([0.2, 0.5, 0.3]),
        means=torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.5, -1.5]]),
        covariances=torch.tensor([0.4, 0.6, 0.5])[:, None, None] * torch.eye(2),
    )
    return fg.MixtureField(mixture, fg.paths.build(path))


def bumpy(path: str) -> fg.MixtureField:
    """Two Gaussians per class: on a single one, whose flow is linear, some methods are better than their order."""
    mixture = fg.oracle.GaussianMixture(
        weights=torch.tensor([0.2, 0.3, 0.2, 0.1, 0.1, 0.1]),
        means=torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.5, -1.5], [0.3, 1.2], [-0.7, -0.4], [1.2, -0.2]]),
        covariances=torch.tensor([0.4, 0.6, 0.5, 0.5, 0.7, 0.4])[:, None, None] * torch.eye(2),
        labels=torch.tensor([0, 1, 2, 0, 1, 2]),
    )
    return fg.MixtureField(mixture, fg.paths.build(path))


def start(field: fg.Field, count: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    return field.path.prior((count, 2), seed=0, dtype=torch.float64), torch.arange(count) % 3


@functools.cache
def reference(path: str, w: float) -> torch.Tensor:
    """Good to about 1e-12."""
    field = fg.guidance.build("cfg", bumpy(path), w=w)
    return fg.solvers.build("dopri5", rtol=1e-13, atol=1e-13, t_end=0.95).solve(field, *start(field, 12))


@fixed_step
@pytest.mark.parametrize("path", fg.paths.names())
def test_order_of_convergence(name: str, path: str) -> None:
    """The slope between the two finest grids whose error is still well above the reference's."""
    w = 2.0
    field = fg.guidance.build("cfg", bumpy(path), w=w)
    errors = []
    for steps in (64, 128, 256, 512):
        x = fg.solvers.build(name, steps=steps, t_end=0.95).solve(field, *start(field, 12))
        errors.append(float((x - reference(path, w)).square().mean().sqrt()))
    above = [error for error in errors if error > 3e-11]
    slope = math.log2(above[-2] / above[-1])
    assert abs(slope - fg.solvers.registry.get(name).order) < 0.15, errors


@every_solver
def test_reaches_the_data(name: str) -> None:
    """The law of the samples is that of the class: mean and standard deviation, within what 4000 samples tell."""
    field = exact()
    y = torch.full((4000,), 1)
    solver = fg.solvers.build(name, steps=100)
    x = fg.sample(field, (4000, 2), y, solver, seed=3, dtype=torch.float64)
    torch.testing.assert_close(x.mean(0), torch.tensor([1.0, 1.0], dtype=torch.float64), rtol=0, atol=0.05)
    torch.testing.assert_close(x.std(0), torch.full((2,), 0.6**0.5, dtype=torch.float64), rtol=0, atol=0.05)


@every_solver
def test_evaluations_are_as_reported_and_inside_the_interval(name: str) -> None:
    field = Counting(exact())
    x, y = start(field)
    solver = fg.solvers.build(name, steps=7, t_start=0.1, t_end=0.9)
    solver.solve(field, x, y)
    assert len(field.times) == solver.evaluations
    assert 0.1 <= min(field.times) <= max(field.times) <= 0.9


@every_solver
def test_the_trajectory_ends_where_solve_does(name: str) -> None:
    field = exact("vp")
    x, y = start(field)
    solver = fg.solvers.build(name, steps=5)
    states = solver.trajectory(field, x, y)
    assert states.shape == (6, 32, 2)
    assert torch.equal(states[0], x)
    assert torch.equal(states[-1], solver.solve(field, x, y))
    with torch.no_grad():  # where memory is used again
        assert torch.equal(solver.trajectory(field, x, y), states)
        assert torch.equal(solver.solve(field, x, y), states[-1])


@every_solver
def test_does_not_write_to_its_input(name: str) -> None:
    field = exact()
    x, y = start(field)
    before = x.clone()
    fg.solvers.build(name, steps=3).solve(field, x, y)
    with torch.no_grad():
        fg.solvers.build(name, steps=3).solve(field, x, y)
    assert torch.equal(x, before)


@fixed_step
def test_a_field_may_return_its_input(name: str) -> None:
    """u = x, the very tensor, grows the state by e over unit time."""
    field = exact()
    field.predict = lambda x, t, cond: field.path.predict("velocity", x, x, t)
    x = torch.ones(4, 2, dtype=torch.float64)
    for context in (torch.no_grad(), torch.enable_grad()):
        with context:
            end = fg.solvers.build(name, steps=200).solve(field, x)
        torch.testing.assert_close(end, math.e * x, rtol=5e-3, atol=0)
        assert torch.equal(x, torch.ones_like(x))


@fixed_step
def test_a_sample_is_the_same_in_any_batch(name: str) -> None:
    field = exact()
    y = torch.arange(10) % 3
    solver = fg.solvers.build(name, steps=5)
    whole = fg.sample(field, (10, 2), y, solver, seed=1)
    assert torch.allclose(fg.sample(field, (10, 2), y, solver, seed=1, batch_size=3), whole, rtol=1e-5, atol=1e-6)
    assert torch.allclose(fg.sample(field, (4, 2), y[6:], solver, seed=1, first=6), whole[6:], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(fg.sample(field, (10, 2), y, solver, seed=2), whole)


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_adaptive_solvers_keep_their_tolerance(name: str) -> None:
    field = exact()
    x, y = start(field)
    reference = fg.solvers.build(name, rtol=1e-12, atol=1e-12).solve(field, x, y)
    loose = fg.solvers.build(name, rtol=1e-4, atol=1e-4)
    assert (loose.solve(field, x, y) - reference).abs().max() < 1e-2
    tight = fg.solvers.build(name, rtol=1e-8, atol=1e-8)
    assert (tight.solve(field, x, y) - reference).abs().max() < 1e-6
    assert tight.evaluations > loose.evaluations


@every_solver
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("path", fg.paths.names())
def test_dtype_and_ends(name: str, dtype: torch.dtype, path: str) -> None:
    """Over the whole interval of the path, in either precision, everything stays finite and of its dtype."""
    field = exact(path)
    x = fg.sample(field, (8, 2), None, fg.solvers.build(name, steps=4), dtype=dtype)
    assert x.dtype == dtype
    assert x.isfinite().all()


@every_solver
def test_can_be_differentiated(name: str) -> None:
    field = exact()
    x, y = start(field, 4)
    x.requires_grad_()
    fg.solvers.build(name, steps=4).solve(field, x, y).sum().backward()
    assert x.grad.abs().min() > 0


def bad_field() -> fg.Field:
    """A field that becomes NaN after t = 0.5."""
    field = exact()
    honest = field.predict
    field.predict = lambda x, t, cond: honest(x * (float("nan") if t > 0.55 else 1.0), t, cond)
    return field


@fixed_step
def test_nan_is_located(name: str) -> None:
    field = bad_field()
    x, y = start(field)
    solver = fg.solvers.build(name, steps=10)
    for run in (solver.solve, solver.trajectory):
        with pytest.raises(ValueError, match=r"infinite or NaN in step [678] of 10, from t = 0\.[567] to 0\.[678]"):
            run(field, x, y)


def test_dopri5_says_what_to_try() -> None:
    field = exact()
    field.predict = lambda x, t, cond: field.path.predict("velocity", torch.sin(1e4 * t) * 1e3 + x, x, t)
    x, _ = start(field)
    with pytest.raises(ValueError, match=r"could not reach rtol=1e-13, .*no end after 2000 evaluations.*loosen them"):
        fg.solvers.build("dopri5", rtol=1e-13, atol=1e-13, max_evaluations=2000).solve(field, x)
    with pytest.raises(
        ValueError, match=r"could not reach rtol=1e-05, .*underflow in dt.*look for a field that is not"
    ):
        fg.solvers.build("dopri5").solve(bad_field(), x)


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
        ({"grid": "nope"}, "unknown grid 'nope'"),
        ({"stepps": 3}, "did you mean 'steps'"),
    ],
)
def test_says_what_is_wrong(name: str, options: dict, words: str) -> None:
    field = exact()
    x, y = start(field)
    with pytest.raises(ValueError, match=words):
        fg.solvers.build(name, **options).solve(field, x, y)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"shape": (4,)}, "shape is"),
        ({"shape": (0, 2)}, "shape is"),
        ({"cond": torch.tensor([0])}, "one condition per sample: got 1 for 4 samples"),
        ({"cond": torch.tensor([0, 1, 2, 9])}, "label 9 is not one of the 3 classes"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seed": -1}, "a seed must be an integer"),
        ({"shape": (4, 3)}, r"states of this mixture have shape \(B, 2\)"),
    ],
)
def test_sample_says_what_is_wrong(change: dict, words: str) -> None:
    arguments = {"shape": (4, 2), "cond": torch.tensor([0, 1, 2, 0])} | change
    with pytest.raises(ValueError, match=words):
        fg.sample(exact(), **arguments)


def test_states_are_floating_point() -> None:
    with pytest.raises(ValueError, match="states are floating-point tensors"):
        fg.solvers.build("euler").solve(exact(), torch.zeros(4, 2, dtype=torch.int64))


def test_adams_bashforth_weights_are_the_classical_ones() -> None:
    """On equal steps; and on unequal ones they integrate every polynomial of their degree."""
    even = torch.arange(5, dtype=torch.float64) / 3
    classical = {2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
    for order, expected in classical.items():
        assert weights(even[: order + 1]) == pytest.approx(expected, rel=1e-12)
    uneven = torch.tensor([0.1, 0.35, 0.4, 0.9, 1.0], dtype=torch.float64)
    w = torch.tensor(weights(uneven), dtype=torch.float64)
    for power in range(4):
        velocities = uneven[:4].flip(0) ** power
        integral = (uneven[4] ** (power + 1) - uneven[3] ** (power + 1)) / (power + 1)
        torch.testing.assert_close(0.1 * (w * velocities).sum(), integral)


def test_multistep_methods_start_well_in_few_steps() -> None:
    for steps in (1, 2, 3):
        for name in ("ab2", "ab3", "ab4"):
            solver = fg.solvers.build(name, steps=steps)
            field = Counting(exact())
            assert solver.solve(field, *start(field)).isfinite().all()
            assert len(field.times) == solver.evaluations
