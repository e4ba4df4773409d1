r"""Adams-Bashforth methods: the order of the history, at one evaluation per step, on any grid.

The velocities of the last k steps are interpolated by a polynomial, which is integrated over the next step,

.. math::
    x_{n+1} = x_n + h \sum_{j=0}^{k-1} w_j\, u(x_{n-j}, t_{n-j}), \qquad
    \sum_j w_j\, s_j^m = \int_0^1 s^m ds = \frac{1}{m + 1}, \quad m = 0 \ldots k - 1,

where :math:`s_j = (t_{n-j} - t_n) / h`. The first k - 1 steps have no such history. They are Runge-Kutta steps of order
k - 1, whose local error is that of the method as a whole; for k = 2 that is Euler's and costs nothing.

Source: Hairer, Norsett & Wanner (1993), Solving Ordinary Differential Equations I, chapters III.1 and III.5.
"""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from ..fields import Field
from .base import Solver, solvers
from .runge_kutta import RK3, Euler, Heun, RungeKutta, advance


class AdamsBashforth(Solver):
    """An Adams-Bashforth method; a subclass states its order and how it starts.

    Attributes:
        starter: The Runge-Kutta method of the first steps, of order ``order - 1``.
    """

    starter: type[RungeKutta]

    @property
    def evaluations(self) -> int:
        starts = min(self.order - 1, self.steps)
        return self.steps + starts * (len(self.starter.b) - 1)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor) -> Iterator[Tensor]:
        lengths = times.diff()
        history: deque[Tensor] = deque(maxlen=self.order)  # the newest first
        overwrite = False  # the first state is the caller's
        for n, (h, t) in enumerate(zip(lengths.tolist(), times[:-1].to(x), strict=True)):
            slope = field(x, t, cond).velocity
            # The state is overwritten, and a field may have returned that very tensor.
            history.appendleft(slope.clone() if slope is x else slope)
            if len(history) < self.order:
                nodes = times[n] + h * torch.tensor(self.starter.c, dtype=torch.float64)
                x = self.starter.step(field, x, cond, h, nodes.clamp(max=times[-1]).to(x).unbind(), slope, overwrite)
            else:
                x = advance(x, h, weights(times[n + 1 - self.order : n + 2]), list(history), overwrite)
            overwrite = not torch.is_grad_enabled()
            yield x


def weights(times: Tensor) -> list[float]:
    """The weights of k velocities, the newest first.

    Args:
        times: Those of the velocities and, last, the one to step to; increasing, float64, shape (k + 1,).
    """
    k = len(times) - 1
    s = (times[:-1].flip(0) - times[-2]) / (times[-1] - times[-2])
    powers = torch.arange(k, dtype=torch.float64)[:, None]
    return torch.linalg.solve(s[None] ** powers, 1 / (powers[:, 0] + 1)).tolist()


@solvers.register("ab2")
class AB2(AdamsBashforth):
    """Adams-Bashforth, order 2, one evaluation per step."""

    order = 2
    starter = Euler


@solvers.register("ab3")
class AB3(AdamsBashforth):
    """Adams-Bashforth, order 3, one evaluation per step; two more to start."""

    order = 3
    starter = Heun


@solvers.register("ab4")
class AB4(AdamsBashforth):
    """Adams-Bashforth, order 4, one evaluation per step; six more to start."""

    order = 4
    starter = RK3
