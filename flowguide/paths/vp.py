r"""The variance-preserving path and its sub-variance-preserving sibling, whose forward processes are Song's SDEs.

With :math:`r = 1 - t` the time since the data, :math:`\beta(r) = \beta_{\min} + r(\beta_{\max} - \beta_{\min})` and
:math:`B(r) = \int_0^r \beta`, both scale the data by

.. math:: \alpha_t = e^{-B(r)/2}, \qquad \dot\alpha_t = \tfrac12 \beta\, \alpha_t,

and the noise by

.. math::
    \text{vp: } \sigma_t &= \sqrt{1 - e^{-B(r)}}, & \dot\sigma_t &= -\tfrac12 \beta\, \alpha_t^2 / \sigma_t, \\
    \text{subvp: } \sigma_t &= 1 - e^{-B(r)}, & \dot\sigma_t &= -\beta\, \alpha_t^2.

The derivative of vp's sigma is infinite at the data, so that path ends at :math:`t_{\max} = 1 - 10^{-5}`, where
:math:`\sigma \approx 10^{-3}` (for the default beta_min). At t = 0 a little signal is left: alpha = 0.0066.

Source: Song et al. (2021), arXiv 2011.13456, Eq. 11, Eq. 12 and appendices B, C.
"""

import math

import torch
from torch import Tensor

from .path import Path, paths


class _LinearBeta(Path):
    """What the two share: beta linear in time.

    Args:
        beta_min: Rate of the forward SDE at the data, > 0.
        beta_max: Rate at the noise, >= beta_min.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        if not 0 < beta_min <= beta_max < math.inf:
            name = type(self).__name__.lower()
            raise ValueError(f"{name} needs 0 < beta_min <= beta_max, not beta_min={beta_min}, beta_max={beta_max}")
        self.beta_min = beta_min
        self.beta_max = beta_max

    def _beta(self, t: Tensor) -> Tensor:
        return self.beta_min + (1 - t) * (self.beta_max - self.beta_min)

    def _variance(self, t: Tensor) -> Tensor:
        """1 - exp(-B); expm1 keeps full relative precision near the data, where the difference would cancel."""
        return -torch.expm1(-self._integral(t))

    def _integral(self, t: Tensor) -> Tensor:
        r = 1 - t
        return r * (self.beta_min + 0.5 * r * (self.beta_max - self.beta_min))

    def alpha(self, t: Tensor) -> Tensor:
        return torch.exp(-0.5 * self._integral(t))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return 0.5 * self._beta(t) * self.alpha(t)


@paths.register("vp")
class VP(_LinearBeta):
    """Variance preserving, alpha^2 + sigma^2 = 1: the VP-SDE with beta linear in time (DDPM in the limit)."""

    t_max = 1 - 1e-5

    def sigma(self, t: Tensor) -> Tensor:
        return torch.sqrt(self._variance(t))

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -0.5 * self._beta(t) * self.alpha(t) ** 2 / self.sigma(t)


@paths.register("subvp")
class SubVP(_LinearBeta):
    """Sub-variance preserving, sigma = 1 - alpha^2: the sub-VP-SDE with beta linear in time."""

    def sigma(self, t: Tensor) -> Tensor:
        return self._variance(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -self._beta(t) * self.alpha(t) ** 2
