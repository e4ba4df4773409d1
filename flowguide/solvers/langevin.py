r"""Predictor-corrector sampling: after each step of a solver, Langevin dynamics at the time that it reached.

.. math:: x \leftarrow x + \epsilon\, s_t(x) + \sqrt{2 \epsilon}\, n, \qquad \epsilon = 2 (r \sigma_t)^2,

has the marginal of time t as its stationary law, and so undoes what errors the step has made. The published step length
:math:`2 (r |n| / |s|)^2` takes norms over the batch, which makes a sample depend on the others; for Gaussian states
:math:`|n| / |s|` is :math:`\sigma_t`, and that is what is used here.

Source: Song et al. (2021), arXiv 2011.13456, algorithms 4 and 5 (there :math:`\alpha = 1`).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ..devices import sent
from ..fields import Field
from .base import Solver, solvers
from .runge_kutta import advance
from .wiener import Wiener


@solvers.register("langevin")
class Langevin(Solver):
    """Predictor-corrector: a solver's step, then Langevin steps that need one evaluation each.

    Args:
        predictor: A solver of single steps: its name, or name and options; where its steps are is set here.
        corrections: Langevin steps after each step, at least 1.
        snr: r, the ratio of the step to the noise, > 0.
        steps, grid, t_start, t_end: As for every solver.

    Where sigma is 0, at the end of some paths, there is nothing to correct.
    """

    strong_order = 1.0

    def __init__(
        self,
        predictor: str | Mapping[str, Any] = "euler_maruyama",
        corrections: int = 1,
        snr: float = 0.16,
        steps: int = 100,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        node = {"name": predictor} if isinstance(predictor, str) else predictor
        mine = {"steps": steps, "t_start": t_start, "t_end": t_end}
        for name in (*mine, "grid"):
            if name in node:
                raise ValueError(f"langevin says where its predictor steps: give {name} to langevin itself")
        self.predictor: Solver = solvers.build_from(node, **mine)
        if self.predictor.remembers:
            raise ValueError(f"langevin needs a predictor that steps without a history; {node['name']} has one")
        if self.predictor.evaluations is None or isinstance(self.predictor, Langevin):
            raise ValueError(f"langevin needs a predictor of single steps; {node['name']} is none")
        if corrections < 1:
            raise ValueError(f"langevin needs at least 1 correction, not {corrections}")
        if not 0 < snr < math.inf:
            raise ValueError(f"langevin needs snr > 0, not {snr}")
        self.corrections = corrections
        self.draws = 1 + corrections
        self.snr = snr
        self.order = self.predictor.order

    @property
    def evaluations(self) -> int:
        assert self.predictor.evaluations is not None
        return self.predictor.evaluations + self.steps * self.corrections

    def interval(self, field: Field) -> tuple[float, float]:
        return self.predictor.interval(field)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener) -> Iterator[Tensor]:
        sigmas, at = field.path.sigma(times).tolist(), sent(times, x.device, x.dtype).unbind()
        for n in range(len(times) - 1):
            own = (noise.later(n * self.draws),) if self.predictor.stochastic else ()
            (x,) = self.predictor.states(field, x, cond, times[n : n + 2], *own)
            for m in range(self.corrections):
                # In units of sigma, so that nothing is divided by it: epsilon s = -2 r^2 sigma eps.
                error = field(x, at[n + 1], cond).noise
                weights = [-2 * self.snr**2 * sigmas[n + 1], 2 * self.snr * sigmas[n + 1]]
                x = advance(x, 1.0, weights, [error, noise(n * self.draws + 1 + m, x)])
            yield x
