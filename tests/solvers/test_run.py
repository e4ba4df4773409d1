"""The hook between solvers and fields: a field may keep state in a run, know its steps, and act between them."""

import copy

import pytest
import torch

import flowguide as fg
from flowguide.fields import Run

from .problems import EVERY, exact, seeded, start

SINGLE_STEPS = [(name, options) for name, options in EVERY if not fg.solvers.build(name, **options).remembers]


class Diary(fg.Field):
    """Notes every evaluation and step of a run, and shifts the states by a constant after each step if told to."""

    def __init__(self, field: fg.Field, shift: float | None = None) -> None:
        super().__init__()
        self.field, self.path, self.num_classes, self.shift = field, field.path, field.num_classes, shift
        self.between_steps = shift is not None
        self.runs: list[Diary] = []
        self.seen: list[object] = []

    def null(self, batch: int):
        return self.field.null(batch)

    def for_run(self, run: Run) -> "Diary":
        fresh = copy.copy(self)
        fresh.seen = [run]
        self.runs.append(fresh)
        return fresh

    def predict(self, x, t, cond):
        self.seen.append(float(t))
        return self.field(x, t, cond)

    def after_step(self, x, step):
        self.seen.append(f"step {step}")
        return x + self.shift


@pytest.mark.parametrize("name", fg.solvers.names())
def test_state_is_fresh_for_every_run(name: str) -> None:
    field = Diary(exact())
    x, y = start(field)
    solver = fg.solvers.build(name, steps=3)
    seed = {"seed": 1, "first": 7} if solver.stochastic else {}
    for _ in range(2):
        solver.solve(field, x, y, **seed)
    assert field.seen == []
    one, two = field.runs
    assert one.seen[1:] == two.seen[1:]
    assert len(one.seen) == 1 + solver.evaluations
    run = one.seen[0]
    assert torch.equal(run.times, solver.times(field))
    assert torch.equal(run.cond, y)
    assert (run.seed, run.first) == (seed.get("seed"), seed.get("first", 0))


@pytest.mark.parametrize(("name", "options"), SINGLE_STEPS)
def test_between_steps(name: str, options: dict) -> None:
    """Called once after each step; a shift of nothing changes nothing (see test_contract.py), a real one adds up."""
    field = exact()
    x, y = start(field)
    solver = fg.solvers.build(name, steps=4, t_start=0.1, t_end=0.9, **options)
    plain = solver.solve(field, x, y, **seeded(solver))
    busy = Diary(field, 0.25)
    shifted = solver.solve(busy, x, y, **seeded(solver))
    assert (shifted - plain).mean() > 0.3
    assert [note for note in busy.runs[0].seen if isinstance(note, str)] == [f"step {n}" for n in (1, 2, 3, 4)]


def test_a_field_that_draws_needs_a_seed_whatever_the_solver() -> None:
    field = Diary(exact())
    field.draws = True
    x, y = start(field)
    with pytest.raises(ValueError, match="Diary draws noise: it needs a seed"):
        fg.solvers.build("heun", steps=2).solve(field, x, y)
    fg.sample(field, (4, 2), y[:4], fg.solvers.build("heun", steps=2), seed=3, first=2)
    run = field.runs[-1].seen[0]
    assert (run.seed, run.first) == (3, 2)
