r"""EDM's sampler: Heun's method in noise coordinates, with noise churned in.

In the state :math:`x / \alpha` and the noise level :math:`\rho = \sigma / \alpha` a step first raises the level to
:math:`\hat\rho = (1 + \gamma) \rho` by adding noise, and then takes Heun's step from there,

.. math::
    \hat y &= y + \sqrt{\hat\rho^2 - \rho^2}\, S_{noise}\, n, \qquad \gamma = \min(S_{churn} / N, \sqrt2 - 1)
        \text{ if } \rho \in [S_{min}, S_{max}], \text{ else } 0, \\
    y' &= \hat y + (\rho' - \hat\rho)\, \hat\varepsilon(\hat y, \hat\rho), \qquad
    y_{next} = \hat y + \tfrac12 (\rho' - \hat\rho) \left[ \hat\varepsilon(\hat y, \hat\rho)
        + \hat\varepsilon(y', \rho') \right].

A step to where there is no noise, the last one on some paths, is Euler's; one from where there is no signal is Heun's
in straight coordinates.

Source: Karras et al. (2022), arXiv 2206.00364, algorithm 2.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..devices import sent
from ..fields import Field
from .base import Solver, solvers
from .coordinates import STRAIGHT, Noise
from .runge_kutta import Euler, Heun, Step, advance, take
from .wiener import Wiener

_NOISE = Noise()


@solvers.register("edm_heun")
class EDMHeun(Solver):
    """EDM's sampler: order 2, two evaluations per step, or one where it ends without noise.

    Args:
        churn: S_churn >= 0: how much noise is exchanged in all; 0 is the ODE.
        churn_min, churn_max: The noise levels sigma / alpha between which it is.
        churn_noise: S_noise, factor on the noise that is added, > 0.
        steps, t_start, t_end: As for every solver.
        grid: EDM's own by default.

    The level is never raised above that of the time from which the whole run sets out, so that a step is the same
    whether it is taken in a run or by itself. Where a run ends is known after it: before the first one, ``evaluations``
    is the most that it may be.
    """

    order = 2
    _spared = 0  # evaluations, by Euler's step at the end of the last run

    def __init__(
        self,
        churn: float = 0.0,
        churn_min: float = 0.0,
        churn_max: float = math.inf,
        churn_noise: float = 1.0,
        steps: int = 18,
        grid: str | Mapping[str, Any] = "karras",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        if not 0 <= churn < math.inf:
            raise ValueError(f"edm_heun needs churn >= 0, not {churn}")
        if not 0 <= churn_min <= churn_max:
            raise ValueError(f"edm_heun needs 0 <= churn_min <= churn_max, not {churn_min} and {churn_max}")
        if not 0 < churn_noise < math.inf:
            raise ValueError(f"edm_heun needs churn_noise > 0, not {churn_noise}")
        self.churn = churn
        self.churn_min = churn_min
        self.churn_max = churn_max
        self.churn_noise = churn_noise
        self.strong_order = 1.0 if churn else None

    @property
    def evaluations(self) -> int:
        return 2 * self.steps - self._spared

    def states(
        self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener | None = None
    ) -> Iterator[Tensor]:
        path = field.path
        begin, stds = self._raised(field, times)
        ratios = (path.alpha(begin) / path.alpha(times[:-1])).nan_to_num(1.0).tolist()
        stds = (path.alpha(begin) * stds).tolist()
        self._spared = int(path.sigma(times[-1]) == 0)
        heun = len(begin) - self._spared
        plan: list[Step] = [
            *Heun.plan(path, begin[:heun], times[1 : heun + 1], _NOISE, x),
            *Euler.plan(path, begin[heun:], times[heun + 1 :], STRAIGHT, x),
        ]
        for n, (t, step) in enumerate(zip(sent(begin, x.device, x.dtype), plan, strict=True)):
            if stds[n]:
                x = advance(x, ratios[n], [stds[n]], [noise(n, x)])
            x = take(step, field, x, cond, step.coordinates.slope(field(x, t, cond), step.numbers))
            yield x

    def _raised(self, field: Field, times: Tensor) -> tuple[Tensor, Tensor]:
        """Times from which the steps set out, and the deviation of the noise that leads there, of x / alpha."""
        path = field.path
        level = torch.exp(-path.half_log_snr(times[:-1]))
        ceiling = torch.exp(-path.half_log_snr(times.new_tensor(self.span(field)[0])))
        gamma = min(self.churn / self.steps, math.sqrt(2) - 1)
        churned = (level >= self.churn_min) & (level <= self.churn_max) & (level <= ceiling / (1 + gamma))
        churned &= level.isfinite()  # what is all noise cannot be given more
        if not gamma or not churned.any():
            return times[:-1], torch.zeros_like(level)
        raised = torch.where(churned, level * (1 + gamma), level)
        begin = torch.where(churned, path.time_at(-raised.log()), times[:-1])
        return begin, torch.where(churned, self.churn_noise * level * math.sqrt((1 + gamma) ** 2 - 1), 0.0)
