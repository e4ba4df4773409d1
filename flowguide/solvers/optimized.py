r"""Time grids that are fitted: those at which a given solver with a given number of steps errs least.

A grid of N steps is its N step lengths in :math:`u = \sigma / (\alpha + \sigma)`, the time of the straightened path.
From the best of some :class:`.Shifted` grids on, all of them are adjusted to minimise

.. math:: \sum_{\text{cases}} \log \left\| x_{\text{solver}} - x_{\text{reference}} \right\|

over a few samples of one field, or of several random Gaussian mixtures where no field is given: then the grid depends
on the path, the solver and the number of steps alone, and serves every field tolerably. The logarithm lets easy and
hard cases count alike.

Related: Sabour, Fidler & Kreis (2024), arXiv 2404.14507 ("align your steps"), who minimise a bound on the error.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..fields import Field, MixtureField, Run
from ..fields.oracle import GaussianMixture
from ..paths import Path, Prediction
from ..randomness import normal, uniform
from .adams import PEC
from .base import Solver
from .grids import Explicit, Grid, Shifted, along_noise, grids

log = logging.getLogger(__name__)


class Case(NamedTuple):
    """A field, where to start and where the flow ends."""

    field: Field
    x: Tensor
    cond: Tensor | None
    end: Tensor


@torch.no_grad()
def optimize_grid(
    solver: Solver, field: Field, x: Tensor, cond: Tensor | None = None, *, rounds: int = 20, reference: int = 200
) -> Explicit:
    """The grid with which ``solver`` errs least on some samples of a field.

    It costs about ``reference`` evaluations and then, ``rounds`` times, some N runs of the solver of N steps.

    Args:
        solver: An ODE solver with the steps, t_start and t_end that it is to be used with; its own grid plays no part.
        field: Any field, guided as it will be used, that has a flow to compare with: one that does not change with the
            steps (as ``cfgpp`` does), act between them or draw noise.
        x: States at the first time, shape (B, *): some dozens.
        cond: Conditions, one per sample, or None.
        rounds: Iterations of the minimiser, at least 1.
        reference: Steps of the solution to compare with.
    Returns:
        A grid; ``solver.grid = optimize_grid(solver, field, x)`` puts it to use.
    Raises:
        ValueError: if the solver draws noise or chooses its steps itself, or the field has no flow to compare with.
    """
    start, end = solver.span(field)
    _check_flow(field, x, cond, start, end)
    truth = PEC(4.0, steps=reference, grid={"name": "shifted", "shift": 1.4, "power": 1.5}, t_start=start, t_end=end)
    return _fit(solver, field.path, start, end, [Case(field, x, cond, truth.solve(field, x, cond))], rounds)


def _check_flow(field: Field, x: Tensor, cond: Tensor | None, start: float, end: float) -> None:
    """ValueError unless the field has a flow: the same velocity in runs of any steps, and nothing else."""
    name = type(field).__name__
    if field.between_steps:
        raise ValueError(f"{name} acts between steps: it has no flow, and grids are optimized against one")
    if field.draws:
        raise ValueError(f"{name} draws noise: it has no flow, and grids are optimized against one")
    middle = (start + end) / 2
    one, two = (
        field.for_run(Run(torch.linspace(start, end, steps + 1, dtype=torch.float64), cond, count=len(x)))(
            x, middle, cond
        ).velocity
        for steps in (2, 4)
    )
    if not torch.allclose(one, two, rtol=1e-4, atol=1e-4 * float(one.abs().mean())):
        raise ValueError(
            f"{name} changes with the steps of a run: there is no one flow to compare with; fit the grid to the field "
            f"that is guided, or with another rule"
        )


@grids.register("optimized")
class Optimized(Grid):
    """Fitted to the solver, its number of steps and the path, on random Gaussian mixtures; takes seconds, once.

    For a field of your own use ``fg.solvers.optimize_grid``.

    Args:
        rounds: Iterations of the minimiser, at least 1.
    """

    def __init__(self, rounds: int = 20) -> None:
        if rounds < 1:
            raise ValueError(f"an optimized grid needs at least 1 round, not {rounds}")
        self.rounds = rounds
        self._kept: dict[tuple, Tensor] = {}

    @torch.no_grad()
    def __call__(self, path: Path, start: float, end: float, solver: Solver) -> Tensor:
        key = (path, start, end, *solver.identity)
        if key not in self._kept:
            log.info("fitting the grid of %d steps", solver.steps)
            self._kept[key] = _fit(solver, path, start, end, list(_cases(path, start, end)), self.rounds).times
        return self._kept[key]


def _fit(solver: Solver, path: Path, start: float, end: float, cases: Sequence[Case], rounds: int) -> Explicit:
    from scipy.optimize import minimize

    if solver.stochastic:
        raise ValueError(f"{type(solver).__name__} draws noise: grids are optimized for ODE solvers")
    if solver.evaluations is None:
        raise ValueError(f"{type(solver).__name__} chooses its steps itself: there is no grid to optimize")

    def loss(times: Tensor) -> float:
        total = 0.0
        for case in cases:
            field = case.field.for_run(Run(times, case.cond, count=len(case.x)))
            *_, state = solver.states(field, case.x, case.cond, times)
            total += math.log((state - case.end).double().square().mean().sqrt().clamp(min=1e-300))
        return total / len(cases) if math.isfinite(total) else 1e3

    family = [Shifted(shift, power)(path, start, end, solver) for power in (1.0, 1.5, 2.0) for shift in (0.7, 1.4, 2.8)]
    best = min(family, key=loss)
    if solver.steps == 1:
        return Explicit(best.tolist())
    lengths = (-torch.sigmoid(-path.half_log_snr(best)).diff()).log()

    def times_of(change: np.ndarray) -> Tensor:
        steps = torch.softmax(lengths + torch.from_numpy(change), 0)
        return along_noise(path, start, end, torch.cat([1 - steps.cumsum(0) + steps, steps.new_zeros(1)]))

    options = {"maxiter": rounds, "eps": 1e-3}
    found = minimize(lambda c: loss(times_of(c)), np.zeros(solver.steps), method="L-BFGS-B", options=options)
    return Explicit(min(times_of(found.x), best, key=loss).tolist())


class _Guided(Field):
    """A mixture guided with a weight per sample, as ``cfg`` guides; rules are of this floor and not to be imported."""

    def __init__(self, field: MixtureField, w: Tensor) -> None:
        super().__init__()
        self.field, self.w, self.path, self.num_classes = field, w, field.path, field.num_classes

    def null(self, batch: int) -> Tensor:
        return self.field.null(batch)

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        return self.field(x, t, None).lerp(self.field(x, t, cond), self.w)


def _cases(path: Path, start: float, end: float) -> Iterator[Case]:
    """Labelled mixtures in 2 and 16 dimensions, components of very different widths, w = 1, 2 and 4 in one batch."""
    truth = PEC(4.0, steps=200, grid={"name": "shifted", "shift": 1.4, "power": 1.5}, t_start=start, t_end=end)
    for seed, (dim, widest) in enumerate([(2, 0.3), (2, 0.2), (16, 0.5)]):
        roots = normal((8, dim, dim), seed, dtype=torch.float64)
        bases = torch.linalg.qr(roots).Q
        widths = 0.05 * (widest / 0.05) ** uniform((8, dim), seed, dtype=torch.float64)
        covariances = bases @ torch.diag_embed(widths**2) @ bases.mT
        means = (0.9 if dim == 2 else 0.6) * normal((8, dim), seed, stream=1, dtype=torch.float64)
        symmetric = (covariances + covariances.mT) / 2
        mixture = GaussianMixture(torch.ones(8), means, symmetric, labels=torch.arange(8) % 4)
        cond = torch.arange(72) % 4
        field = _Guided(MixtureField(mixture, path), torch.tensor([1.0, 2.0, 4.0]).double().repeat_interleave(24))
        x = path.prior((72, dim), seed, t=start, dtype=torch.float64)
        yield Case(field, x, cond, truth.solve(field, x, cond))
