r"""Explicit Runge-Kutta methods, written as what they are: Butcher tableaux.

For :math:`\dot y = f(y, c)`, where y = x / r and c is a clock (:mod:`.coordinates`; by default x and t themselves),

.. math::
    k_i = f\Big(y + h \sum_{j < i} a_{ij} k_j,\; c + c_i h\Big), \qquad y(c + h) \approx y + h \sum_i b_i k_i.

Source: Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, chapter II.1.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..devices import sent
from ..fields import Field
from ..paths import Numbers, Path
from . import coordinates as systems
from .base import Solver, solvers
from .coordinates import STRAIGHT, Coordinates


class Stage(NamedTuple):
    """A state inside a step, ``ratio * x + sum(weights * slopes)``, and the time at which it is."""

    time: Tensor
    numbers: Numbers
    ratio: float
    weights: list[float]


class Step(NamedTuple):
    """The stages of a step from the second on, and last its end; ``numbers`` are the coefficients at its beginning."""

    coordinates: Coordinates
    numbers: Numbers
    stages: list[Stage]


class RungeKutta(Solver):
    """An explicit Runge-Kutta method; a subclass states its tableau.

    Args:
        steps, grid, t_start, t_end: As for every solver.
        coordinates: Name of the coordinates in which it steps; "straight" sees every path as the linear one. A step
            that begins or ends where their clock is infinite is taken in straight ones.

    Attributes:
        a: Lower triangle of the matrix, row by row from the second stage on.
        b: Weights.
        c: Nodes.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]

    def __init__(
        self,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
        coordinates: str = "path",
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        self.coordinates: Coordinates = systems.registry.build(coordinates)
        self._kept: tuple = (None, None, None, None, [])

    @property
    def evaluations(self) -> int:
        return self.steps * len(self.b)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        mine = not torch.is_grad_enabled()  # states may be overwritten, but for the caller's
        x = x.clone() if mine else x
        for t, step in zip(sent(times, x.device, x.dtype).unbind(), self._plan(field.path, times, x), strict=False):
            first = step.coordinates.slope(field(x, t, cond), step.numbers)
            x = take(step, field, x, cond, first, mine)
            yield x

    def _plan(self, path: Path, times: Tensor, x: Tensor) -> list[Step]:
        """All steps; those of the last run if they are the same."""
        kept, *key, plan = self._kept
        if kept is not times or key != [path, x.dtype, x.device]:
            plan = self.plan(path, times[:-1], times[1:], self.coordinates, x)
            self._kept = (times, path, x.dtype, x.device, plan)
        return plan

    @classmethod
    def plan(cls, path: Path, begin: Tensor, end: Tensor, coordinates: Coordinates, x: Tensor) -> list[Step]:
        """The steps between two rows of times, in numbers; the times of stages in dtype and device of ``x``."""
        finite = coordinates.clock(path, begin).isfinite() & coordinates.clock(path, end).isfinite()
        steps: dict[int, Step] = {}
        numbers = path.numbers(begin)
        for system, where in ((coordinates, finite), (STRAIGHT, ~finite)):
            columns = cls.stages(path, begin[where], end[where], system, x)
            for n, *stages in zip(where.nonzero().flatten().tolist(), *columns, strict=True):
                steps[n] = Step(system, numbers[n], stages)
        return [steps[n] for n in range(len(begin))]

    @classmethod
    def stages(cls, path: Path, begin: Tensor, end: Tensor, coordinates: Coordinates, x: Tensor) -> list[list[Stage]]:
        """For each stage from the second on, and for the end, what it is in every step."""
        start, lengths = coordinates.clock(path, begin), coordinates.clock(path, end) - coordinates.clock(path, begin)
        columns = []
        for node, row in [*zip(cls.c[1:], cls.a, strict=True), (1.0, cls.b)]:
            # Interior nodes need the time at which the clock shows them; a node may not leave the interval by a
            # rounding error.
            at = end if node == 1 else torch.minimum(coordinates.time(path, start + node * lengths), end)
            scale = coordinates.scale(path, at)
            weights = (scale * lengths)[:, None] * torch.tensor(row, dtype=torch.float64)
            columns.append(stages_of(path, at, scale / coordinates.scale(path, begin), weights, x))
        return columns


def stages_of(path: Path, at: Tensor, ratio: Tensor, weights: Tensor, x: Tensor) -> list[Stage]:
    """One stage per step, of rows of numbers."""
    return list(map(Stage, sent(at, x.device, x.dtype).unbind(), path.numbers(at), ratio.tolist(), weights.tolist()))


def take(step: Step, field: Field, x: Tensor, cond: Tensor | None, first: Tensor, overwrite: bool = False) -> Tensor:
    """The state after a step from ``x``, where the slope is ``first``."""
    slopes = [first]
    *inner, end = step.stages
    for stage in inner:
        state = advance(x, stage.ratio, stage.weights, slopes)
        slopes.append(step.coordinates.slope(field(state, stage.time, cond), stage.numbers))
    return advance(x, end.ratio, end.weights, slopes, overwrite)


def advance(
    x: Tensor, ratio: float, weights: Sequence[float], slopes: Sequence[Tensor], overwrite: bool = False
) -> Tensor:
    """``ratio * x + sum(weights * slopes)``, in the memory of ``x`` if ``overwrite`` is set.

    Only as many slopes are used as there are weights.
    """
    if ratio != 1:
        x = x.mul_(ratio) if overwrite else x * ratio
        overwrite = not torch.is_grad_enabled()  # what is our own may be added to, unless its past is needed
    for weight, slope in zip(weights, slopes, strict=False):
        if weight:
            x = x.add_(slope, alpha=weight) if overwrite else torch.add(x, slope, alpha=weight)
            overwrite = not torch.is_grad_enabled()
    return x


@solvers.register("euler")
class Euler(RungeKutta):
    """Euler's method, order 1, one evaluation per step."""

    order = 1
    a, b, c = (), (1.0,), (0.0,)


@solvers.register("heun")
class Heun(RungeKutta):
    """Heun's method (explicit trapezoid), order 2, two evaluations per step."""

    order = 2
    a, b, c = ((1.0,),), (0.5, 0.5), (0.0, 1.0)


@solvers.register("midpoint")
class Midpoint(RungeKutta):
    """The explicit midpoint rule, order 2, two evaluations per step."""

    order = 2
    a, b, c = ((1 / 2,),), (0.0, 1.0), (0.0, 1 / 2)


@solvers.register("ralston")
class Ralston(RungeKutta):
    """Ralston's method, of all with two stages the one of least error bound, order 2, two evaluations per step."""

    order = 2
    a, b, c = ((2 / 3,),), (1 / 4, 3 / 4), (0.0, 2 / 3)


@solvers.register("rk3")
class RK3(RungeKutta):
    """Kutta's third-order method, three evaluations per step."""

    order = 3
    a, b, c = ((1 / 2,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6), (0.0, 1 / 2, 1.0)


@solvers.register("rk4")
class RK4(RungeKutta):
    """The classical Runge-Kutta method, order 4, four evaluations per step."""

    order = 4
    a = ((1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0))
    b, c = (1 / 6, 1 / 3, 1 / 3, 1 / 6), (0.0, 1 / 2, 1 / 2, 1.0)
