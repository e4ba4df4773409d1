"""Fitted grids: better than what they start from, on samples that they have not seen; and what they refuse."""

from itertools import pairwise

import pytest
import torch

import flowguide as fg

from .problems import exact, guided, rms, start


def error(solver: fg.solvers.Solver, field: fg.Field) -> float:
    """On samples of another seed than the grids were fitted to."""
    x = field.path.prior((256, 2), seed=7, dtype=torch.float64)
    y = torch.arange(256) % field.num_classes
    truth = fg.solvers.build("torchdiffeq", method="dopri8", rtol=1e-10, atol=1e-10, steps=1).solve(field, x, y)
    return rms(solver.solve(field, x, y) - truth)


@pytest.mark.parametrize(
    ("name", "steps", "share"),
    [
        ("euler", 5, 1.02),
        pytest.param("auto", 6, 0.8, marks=pytest.mark.slow),
        pytest.param("heun", 4, 1.02, marks=pytest.mark.slow),
    ],
)
def test_fitted_to_a_field_it_beats_every_other_grid(name: str, steps: int, share: float) -> None:
    """By a good part for multistep methods; for single steps an even grid may be the best there is."""
    field = guided("linear", w=3.0)
    solver = fg.solvers.build(name, steps=steps)
    fitted = fg.solvers.build(name, steps=steps)
    fitted.grid = fg.solvers.optimize_grid(fitted, field, *start(field, 64), rounds=8)
    others = []
    for grid in ("uniform", "quadratic", "cosine", "shifted", "log_snr", "karras"):
        solver.grid = fg.solvers.grids.build(grid)
        others.append(error(solver, field))
    assert error(fitted, field) < share * min(others)
    assert len(fitted.grid.times) == steps + 1


def test_by_name_it_serves_fields_it_has_not_seen() -> None:
    field = guided("vp", w=2.0)
    quick = {"name": "optimized", "rounds": 2}
    uniform, fitted = (fg.solvers.build("heun", steps=5, grid=grid) for grid in ("uniform", quick))
    assert error(fitted, field) < 0.5 * error(uniform, field)
    assert torch.equal(fitted.times(field), fitted.times(field))  # fitted once
    again = fg.solvers.build("heun", steps=5, grid=quick)
    torch.testing.assert_close(again.times(field), fitted.times(field), rtol=0, atol=1e-12)  # the same anywhere


def test_shared_by_solvers_it_is_fitted_to_each() -> None:
    field, grid = exact(), fg.solvers.grids.build("optimized", rounds=1)
    settings = [("euler", {}), ("heun", {}), ("heun", {"coordinates": "polar"})]
    fitted = []
    for name, options in settings:
        one, other, own = (fg.solvers.build(name, steps=3, **options) for _ in range(3))
        one.grid, other.grid, own.grid = grid, grid, fg.solvers.grids.build("optimized", rounds=1)
        assert torch.equal(one.times(field), own.times(field)), (name, options)
        assert one.times(field) is other.times(field)  # fitted once
        fitted.append(one.times(field))
    assert not any(torch.equal(a, b) for a, b in pairwise(fitted))


class InRuns(fg.guidance.Guidance):
    """cfg with w = 2 in a run that has conditions, and nothing outside one."""

    run = None

    def for_run(self, run):
        fresh = self.with_parts({})
        fresh.run = run
        return fresh

    def predict(self, x, t, cond):
        assert self.run is not None
        assert len(x) == self.run.count
        assert any(torch.isclose(self.run.times, t.double(), rtol=0, atol=1e-6))
        return self.field(x, t, None).lerp(self.field(x, t, self.run.cond), 2.0)


def test_the_field_that_is_fitted_to_is_the_one_of_a_run() -> None:
    """Its ``for_run`` is asked in every trial, with the times of the trial."""
    plain = exact()
    x, y = start(plain, 16)
    grids = [
        fg.solvers.optimize_grid(fg.solvers.build("euler", steps=3), field, x, y, rounds=2)
        for field in (InRuns(plain), fg.guidance.build("cfg", plain, w=2.0))
    ]
    torch.testing.assert_close(grids[0].times, grids[1].times, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("rule", "options", "words"),
    [
        ("cfgpp", {}, "CFGPlusPlus changes with the steps of a run: there is no one flow to compare with"),
        ("smc", {}, "SequentialMonteCarlo acts between steps: it has no flow"),
        ("independent_condition", {}, "IndependentCondition draws noise: it has no flow"),
    ],
)
def test_for_fields_that_have_a_flow(rule: str, options: dict, words: str) -> None:
    field = fg.guidance.build(rule, exact(), **options)
    x, y = start(field)
    with pytest.raises(ValueError, match=words):
        fg.solvers.optimize_grid(fg.solvers.build("ddim", steps=3), field, x, y)


@pytest.mark.parametrize("name", ["euler_maruyama", "langevin"])
def test_for_solvers_of_odes(name: str) -> None:
    field = exact()
    solver = fg.solvers.build(name, steps=3)
    with pytest.raises(ValueError, match="grids are optimized for ODE solvers"):
        fg.solvers.optimize_grid(solver, field, start(field)[0])
    with pytest.raises(ValueError, match="grids are optimized for ODE solvers"):
        fg.solvers.build(name, steps=3, grid="optimized").solve(field, start(field)[0], seed=0)


def test_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="at least 1 round, not 0"):
        fg.solvers.build("euler", grid={"name": "optimized", "rounds": 0})
    with pytest.raises(ValueError, match="chooses its steps itself"):
        fg.solvers.optimize_grid(fg.solvers.build("torchdiffeq"), exact(), start(exact())[0])
