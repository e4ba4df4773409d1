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
        nodes = nodes.clamp(max=times[-1]).to(x).unbind()
        for h, t in zip(lengths.tolist(), nodes, strict=True):
            slopes = [field(x, t[0], cond).velocity]
            for stage, row in enumerate(self.a, start=1):
                slopes.append(field(_advance(x, h, row, slopes), t[stage], cond).velocity)
            x = _advance(x, h, self.b, slopes)
            yield x


def _advance(x: Tensor, h: float, weights: Sequence[float], slopes: Sequence[Tensor]) -> Tensor:
    """``x + h * sum(weights * slopes)``."""
    for weight, slope in zip(weights, slopes, strict=True):
        if weight:
            x = torch.add(x, slope, alpha=h * weight)
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
