r"""The published discrete schedules, made continuous.

DDPM and its heirs know N timesteps n = 0 (next to the data) to N - 1 (the noisiest), and variances
:math:`\beta_n \in (0, 1)` that each adds. With :math:`r = N (1 - t)`, so that timestep n is at

.. math:: t = 1 - \frac{n + 1}{N}, \qquad n = N (1 - t) - 1, \qquad r = n + 1,

and :math:`L(r)` a smooth function through the knots :math:`L(n + 1) = -\sum_{m \le n} \log(1 - \beta_m)`, L(0) = 0,

.. math::
    \alpha_t = e^{-L/2} = \sqrt{\bar\alpha_n}, \quad \sigma_t = \sqrt{1 - e^{-L}} = \sqrt{1 - \bar\alpha_n}, \qquad
    \dot\alpha_t = \tfrac N2 L' \alpha_t, \quad \dot\sigma_t = -\tfrac N2 L' \alpha_t^2 / \sigma_t.

At the timesteps the scales are the published ones, and between them a network that was trained on such a schedule can
be driven at any real t. L is interpolated because it is tame: it plays the part of :math:`\int \beta` in the VP-SDE,
and leaves the data (n = -1, where it is 0) with a positive slope and without loss of digits.

Between knots L is a cubic, with a continuous and positive L' (:mod:`.cubics`). The derivative of sigma is infinite at
the data, as on vp, and so the path ends at :math:`t_{\max} = 1 - 10^{-5}`.

===============  =======================================================  =========================
schedule         :math:`\beta_n`                                          sigma / alpha at t = 0
===============  =======================================================  =========================
linear           evenly spaced, 1e-4 to 0.02                              157.4
scaled_linear    squares of evenly spaced roots, 0.00085 to 0.012         14.6: much signal is left
cosine           :math:`1 - f_{n+1} / f_n \le 0.999`,                     2.0e4
                 :math:`f_n = \cos^2 \frac{n/N + s}{1 + s} \frac\pi2`,
                 s = 0.008
===============  =======================================================  =========================

Sources: Ho et al. (2020), arXiv 2006.11239 (linear); Nichol & Dhariwal (2021), arXiv 2102.09672, Eq. 17 (cosine);
Rombach et al. (2022), arXiv 2112.10752, and its code (scaled_linear).
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .cubics import rising_cubics
from .path import Path, paths

_PUBLISHED = {"linear": (1e-4, 0.02), "scaled_linear": (0.00085, 0.012)}
_LARGEST = 150.0  # of L: float32 has no normal number for exp(-L / 2) beyond 174


@paths.register("ddpm")
class DDPM(Path):
    """Discrete schedules made continuous, variance preserving: linear (DDPM), cosine, scaled_linear (Stable Diffusion).

    Args:
        schedule: Of the betas: "linear", "cosine" or "scaled_linear".
        steps: N, at least 3.
        beta_start, beta_end: The first and the last beta; None for the published ones. The cosine has none to set.
    """

    t_max = 1 - 1e-5

    def __init__(
        self,
        schedule: Literal["linear", "cosine", "scaled_linear"] = "linear",
        steps: int = 1000,
        beta_start: float | None = None,
        beta_end: float | None = None,
    ) -> None:
        if steps < 3:
            raise ValueError(f"ddpm needs steps >= 3, not {steps}")
        if schedule == "cosine":
            if beta_start is not None or beta_end is not None:
                raise ValueError("ddpm's cosine schedule has no beta_start and no beta_end: leave them out")
        elif schedule in _PUBLISHED:
            start, end = _PUBLISHED[schedule]
            beta_start = start if beta_start is None else beta_start
            beta_end = end if beta_end is None else beta_end
            if not 0 < beta_start <= beta_end < 1:
                raise ValueError(
                    f"ddpm needs 0 < beta_start <= beta_end < 1, not beta_start={beta_start}, beta_end={beta_end}"
                )
        else:
            raise ValueError(f"ddpm's schedule is linear, cosine or scaled_linear, not {schedule!r}")
        self.schedule = schedule
        self.steps = steps
        self.beta_start = beta_start
        self.beta_end = beta_end
        increments = -torch.log1p(-self.betas())
        if (total := float(increments.sum())) > _LARGEST:
            raise ValueError(
                f"these betas leave alpha = exp({-total / 2:.0f}) at the last of {steps} steps, which float32 cannot "
                f"hold; take a smaller beta_end or fewer steps"
            )
        self._table = rising_cubics(increments)
        self._cast: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def betas(self) -> Tensor:
        """The variances of the timesteps, shape (N,), float64."""
        if self.schedule == "cosine":
            f = torch.cos((torch.linspace(0, 1, self.steps + 1, dtype=torch.float64) + 0.008) / 1.008 * math.pi / 2)
            return (1 - (f[1:] / f[:-1]) ** 2).clamp(max=0.999)
        assert self.beta_start is not None
        assert self.beta_end is not None
        power = 0.5 if self.schedule == "scaled_linear" else 1.0
        ends = self.beta_start**power, self.beta_end**power
        return torch.linspace(*ends, self.steps, dtype=torch.float64) ** (1 / power)

    def timestep(self, t: Tensor) -> Tensor:
        """The timestep, a real number in [-1, N - 1], at time ``t``: what a network of the discrete schedule takes."""
        return self.steps * (1 - t) - 1

    def time_of_timestep(self, n: Tensor) -> Tensor:
        """The time of timestep ``n``: the inverse of :meth:`timestep`."""
        return 1 - (n + 1) / self.steps

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return 0.5 * self.steps * self._slope(t) * self.alpha(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -0.5 * self.steps * self._slope(t) * self.alpha(t) ** 2 / self.sigma(t)

    def _integral(self, t: Tensor) -> Tensor:
        """L."""
        s, (c0, c1, c2, c3) = self._piece(t)
        return c0 + s * (c1 + s * (c2 + s * c3))

    def _slope(self, t: Tensor) -> Tensor:
        """L'."""
        s, (_, c1, c2, c3) = self._piece(t)
        return c1 + s * (2 * c2 + s * (3 * c3))

    def _piece(self, t: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """How far r is past its knot, and the coefficients of the cubic there. Nothing leaves the device."""
        key = (t.dtype, t.device)
        if key not in self._cast:
            self._cast[key] = self._table.to(dtype=t.dtype, device=t.device)
        r = self.steps * (1 - t)
        knot = r.detach().long().clamp(0, self.steps - 1)
        # Not by indexing: an index without dimensions is first read by the host.
        return r - knot, functional.embedding(knot, self._cast[key]).unbind(-1)
