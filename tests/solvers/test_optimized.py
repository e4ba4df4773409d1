"""Fitted grids: better than what they start from, on samples that they have not seen; and what they refuse."""

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
    [("euler", 5, 1.02), ("auto", 6, 0.8), pytest.param("heun", 4, 1.02, marks=pytest.mark.slow)],
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
