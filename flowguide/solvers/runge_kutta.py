r"""Explicit Runge-Kutta methods, written as what they are: Butcher tableaux.

.. math::
    k_i = u\Big(x + h \sum_{j < i} a_{ij} k_j,\; t + c_i h\Big), \qquad x(t + h) \approx x + h \sum_i b_i k_i.

Source: Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, chapter II.1.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ..fields import Field
from .base import Solver, solvers


class RungeKutta(Solver):
    """An explicit Runge-Kutta method; a subclass states its tableau.

    Attributes:
        a: Lower triangle of the matrix, row by row from the second stage on.
        b: Weights.
        c: Nodes.
    """

    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]
    c: tuple[float, ...]

    @property
    def evaluations(self) -> int:
        return self.steps * len(self.b)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        lengths = times.diff()
        nodes = times[:-1, None] + lengths[:, None] * torch.tensor(self.c, dtype=torch.float64)
        # A node may not leave the interval by a rounding error.
        nodes = nodes.clamp(max=times[-1]).to(x)
        overwrite = False  # the first state is the caller's
        for h, *t in zip(lengths.tolist(), *(stage.unbind() for stage in nodes.unbind(1)), strict=True):
            x = self.step(field, x, cond, h, t, field(x, t[0], cond).velocity, overwrite)
            overwrite = not torch.is_grad_enabled()
            yield x

    @classmethod
    def step(
        cls,
        field: Field,
        x: Tensor,
        cond: Tensor | None,
        h: float,
        nodes: Sequence[Tensor],
        first: Tensor,
        overwrite: bool = False,
    ) -> Tensor:
        """One step of length ``h``; ``nodes`` are the times of the stages, ``first`` the velocity at the first."""
        slopes = [first]
        for stage, row in enumerate(cls.a, start=1):
            slopes.append(field(advance(x, h, row, slopes), nodes[stage], cond).velocity)
        return advance(x, h, cls.b, slopes, overwrite)


def advance(x: Tensor, h: float, weights: Sequence[float], slopes: Sequence[Tensor], overwrite: bool = False) -> Tensor:
    """``x + h * sum(weights * slopes)``, in the memory of ``x`` if ``overwrite`` is set."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x = x.add_(slope, alpha=h * weight) if overwrite else torch.add(x, slope, alpha=h * weight)
            overwrite = not torch.is_grad_enabled()  # a sum of our own may be added to, unless its past is needed
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
