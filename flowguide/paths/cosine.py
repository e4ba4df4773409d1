r"""The trigonometric path.

.. math:: \alpha_t = \sin\left(\tfrac{\pi}{2} t\right), \qquad \sigma_t = \cos\left(\tfrac{\pi}{2} t\right),

a quarter turn at constant speed: it preserves variance, and its determinant :math:`\dot\alpha\sigma - \alpha\dot\sigma`
is :math:`\pi/2` throughout.

Sources: Albergo & Vanden-Eijnden (2022), arXiv 2209.15571; as "GVP", Ma et al. (2024), arXiv 2401.08740.
"""

import math

import torch
from torch import Tensor

from .path import Path, paths

_QUARTER = math.pi / 2


@paths.register("cosine")
class Cosine(Path):
    """Trigonometric, variance preserving: alpha = sin(pi t / 2), sigma = cos(pi t / 2) (GVP)."""

    def alpha(self, t: Tensor) -> Tensor:
        return torch.sin(_QUARTER * t)

    def sigma(self, t: Tensor) -> Tensor:
        # The cosine, as a sine that is exactly 0 at t = 1; the cosine of pi / 2 rounds to less than 0.
        return torch.sin(_QUARTER * (1 - t))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return _QUARTER * self.sigma(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -_QUARTER * self.alpha(t)
