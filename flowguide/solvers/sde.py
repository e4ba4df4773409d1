r"""Integrators of the generative SDE for any diffusion.

.. math:: dX = f(X, t)\, dt + g_t\, dW, \qquad f = u + \tfrac12 g^2 s = u - \frac{g^2}{2 \sigma} \hat\varepsilon.

or, with factors on its two parts that bring samples nearer to the modes and leave the marginals of the path,

.. math:: dX = \left[ u + \lambda\, \tfrac12 g^2 s \right] dt + \tau\, g\, dW, \qquad \lambda \ge 1 \ge \tau,

which is what one tried before there was guidance: of a law that stays as it is, it makes :math:`p^{\lambda / \tau^2}`.
Its noise is additive, which keeps the methods simple. With :math:`\Delta W = \int dW` and :math:`\Delta Z = \int W dt`
over a step, which two standard normal numbers give,

.. math::
    \text{euler\_maruyama:} \quad X_s &= X + h f(X, t) + g_t \Delta W, \\
    \text{stochastic\_heun:} \quad X_s &= X + \tfrac h2 \left[ f(X, t) + f(\tilde X, s) \right]
        + \tfrac12 (g_t + g_s) \Delta W, \quad \tilde X = X + h f(X, t) + g_t \Delta W, \\
    \text{sra1:} \quad X_s &= X + \tfrac h3 \left[ f(X, t) + 2 f(\tilde X, t + \tfrac34 h) \right]
        + g_s \Delta W - (g_s - g_t) \tfrac{\Delta Z}{h}, \\
    & \qquad \tilde X = X + \tfrac34 h f(X, t) + \tfrac32 g_s \tfrac{\Delta Z}{h}.

Sources: Maruyama (1955); Kloeden & Platen (1992), Numerical Solution of Stochastic Differential Equations, chapters 10
and 15; Rößler (2010), SIAM J. Numer. Anal. 48, table 6.1 (SRA1); Ho & Salimans (2022), arXiv 2207.12598, section 1 (the
factors on score and noise, and that they are no substitute for guidance).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..devices import sent
from ..fields import Field
from ..paths import Path
from .base import Solver, solvers
from .diffusions import Diffusion, diffusions, pull
from .runge_kutta import advance
from .wiener import Wiener


class SDE(Solver):
    """What they share.

    Args:
        diffusion: g: its name, or name and options, ``{"name": "sigma", "scale": 2.0}``.
        steps, grid, t_start, t_end: As for every solver.
        score_scale, noise_scale: lambda and tau: 1 for the SDE; others for low temperatures, at least 0.
    """

    def __init__(
        self,
        diffusion: str | Mapping[str, Any] = "sigma",
        steps: int = 100,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
        score_scale: float = 1.0,
        noise_scale: float = 1.0,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        for name, scale in {"score_scale": score_scale, "noise_scale": noise_scale}.items():
            if not 0 <= scale < math.inf:
                raise ValueError(f"{name} is a factor of at least 0, 1 for the SDE of the field, not {scale}")
        self.diffusion: Diffusion = diffusions.choose(diffusion)
        self.score_scale, self.noise_scale = score_scale, noise_scale

    def interval(self, field: Field) -> tuple[float, float]:
        start, end = self.diffusion.interval(field.path)
        return max(field.t_min, start), min(field.t_max, end)

    def noise(self, path: Path, t: Tensor) -> Tensor:
        """The factor of dW at ``t``."""
        return self.noise_scale * self.diffusion(path, t)

    def pull(self, path: Path, t: Tensor) -> Tensor:
        """Minus the factor of the noise prediction in the drift at ``t``."""
        return self.score_scale * pull(self.diffusion, path, t)


@solvers.register("euler_maruyama")
class EulerMaruyama(SDE):
    """Euler-Maruyama, strong order 1 for this SDE, one evaluation per step."""

    order = 1
    strong_order = 1.0
    evaluations = property(lambda self: self.steps)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener) -> Iterator[Tensor]:
        path, lengths = field.path, times.diff().tolist()
        stds = (self.noise(path, times[:-1]) * times.diff().sqrt()).tolist()
        pulls = self.pull(path, times[:-1]).tolist()
        mine = not torch.is_grad_enabled()
        x = x.clone() if mine else x
        for n, (t, h, k, std) in enumerate(zip(sent(times[:-1], x.device, x.dtype), lengths, pulls, stds, strict=True)):
            p = field(x, t, cond)
            slopes = [p.velocity.clone() if p.velocity is x else p.velocity] + ([p.noise] if k else [])
            x = advance(x, 1.0, [h, -h * k], slopes, mine)
            x = advance(x, 1.0, [std], [noise(n, x)], mine) if std else x
            yield x


@solvers.register("stochastic_heun")
class StochasticHeun(SDE):
    """Heun's method with noise, strong order 1 and order 2 without noise, two evaluations per step."""

    order = 2
    strong_order = 1.0
    evaluations = property(lambda self: 2 * self.steps)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener) -> Iterator[Tensor]:
        g, k = self.noise(field.path, times).tolist(), self.pull(field.path, times).tolist()
        at = sent(times, x.device, x.dtype).unbind()
        for n, h in enumerate(times.diff().tolist()):
            dw = math.sqrt(h) * noise(n, x)
            first = drift(field, x, at[n], cond, k[n])
            last = drift(field, advance(x, 1.0, [h, g[n]], [first, dw]), at[n + 1], cond, k[n + 1])
            x = advance(x, 1.0, [h / 2, h / 2, (g[n] + g[n + 1]) / 2], [first, last, dw])
            yield x


@solvers.register("sra1")
class SRA1(SDE):
    """Rößler's SRA1 for additive noise, strong order 1.5 and order 2 without noise, two evaluations per step."""

    order = 2
    strong_order = 1.5
    evaluations = property(lambda self: 2 * self.steps)

    def states(self, field: Field, x: Tensor, cond: Tensor | None, times: Tensor, noise: Wiener) -> Iterator[Tensor]:
        lengths = times.diff()
        middle = times[:-1] + 0.75 * lengths
        g, k = self.noise(field.path, times).tolist(), self.pull(field.path, times).tolist()
        inner = self.pull(field.path, middle).tolist()
        at, between = (sent(each, x.device, x.dtype).unbind() for each in (times, middle))
        for n, h in enumerate(lengths.tolist()):
            one, two = noise(n, x), noise(n, x, draw=1)
            dw, dz = math.sqrt(h) * one, math.sqrt(h) / 2 * (one + two / math.sqrt(3))  # the latter over h
            first = drift(field, x, at[n], cond, k[n])
            state = advance(x, 1.0, [0.75 * h, 1.5 * g[n + 1]], [first, dz])
            last = drift(field, state, between[n], cond, inner[n])
            weights = [h / 3, 2 * h / 3, g[n + 1], g[n] - g[n + 1]]
            x = advance(x, 1.0, weights, [first, last, dw, dz])
            yield x


def drift(field: Field, x: Tensor, t: Tensor, cond: Tensor | None, k: float) -> Tensor:
    """f, shape (B, *); k is the pull at ``t``."""
    p = field(x, t, cond)
    return torch.sub(p.velocity, p.noise, alpha=k) if k else p.velocity
