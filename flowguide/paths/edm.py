r"""The path of EDM: unscaled data, and noise that falls on EDM's clock.

.. math::
    \alpha_t = 1, \qquad
    \sigma_t = \left( (1 - t)\, \sigma_{\max}^{1/\rho} + t\, \sigma_{\min}^{1/\rho} \right)^\rho,

so that steps of equal length in t are EDM's steps in sigma.

Source: Karras et al. (2022), arXiv 2206.00364, Eq. 5 and table 1.
"""

import math

import torch
from torch import Tensor

from .path import Path, paths


@paths.register("edm")
class EDM(Path):
    """Variance exploding on EDM's clock: alpha = 1, sigma^(1/rho) falls linearly from sigma_max to sigma_min.

    Args:
        sigma_min: Noise scale at t = 1, > 0, in data units.
        sigma_max: Noise scale at t = 0, > sigma_min: large beside the data.
        rho: The larger, the more of the time is spent at low noise; >= 1.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"edm needs 0 < sigma_min < sigma_max, not sigma_min={sigma_min}, sigma_max={sigma_max}")
        if not 1 <= rho < math.inf:
            raise ValueError(f"edm needs rho >= 1, not {rho}")
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max
        self.rho = rho

    def _root(self, t: Tensor) -> Tensor:
        """The rho-th root of sigma. Weighted so that no digits are lost at t = 1, where it is small."""
        return (1 - t) * self.sigma_max ** (1 / self.rho) + t * self.sigma_min ** (1 / self.rho)

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self._root(t) ** self.rho

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        slope = self.sigma_min ** (1 / self.rho) - self.sigma_max ** (1 / self.rho)
        return self.rho * slope * self._root(t) ** (self.rho - 1)
