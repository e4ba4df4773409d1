r"""The variance-exploding path, whose forward process is the VE-SDE.

.. math:: \alpha_t = 1, \qquad \sigma_t = \sigma_{\max} \left( \sigma_{\min} / \sigma_{\max} \right)^t.

The data are never scaled down; the noise drowns them at t = 0 and is small, not zero, at t = 1.

Source: Song et al. (2021), arXiv 2011.13456, Eq. 9 and appendix C.
"""

import math

import torch
from torch import Tensor

from .path import Path, paths


@paths.register("ve")
class VE(Path):
    """Variance exploding: alpha = 1, sigma falls geometrically from sigma_max to sigma_min.

    Args:
        sigma_min: Noise scale at t = 1, > 0, in data units.
        sigma_max: Noise scale at t = 0, > sigma_min: large beside the data.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        if not 0 < sigma_min < sigma_max < math.inf:
            raise ValueError(f"ve needs 0 < sigma_min < sigma_max, not sigma_min={sigma_min}, sigma_max={sigma_max}")
        self.sigma_min = sigma_min
        self.sigma_max = sigma_max

    def alpha(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma(self, t: Tensor) -> Tensor:
        return self.sigma_max * torch.exp(t * math.log(self.sigma_min / self.sigma_max))

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.zeros_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return math.log(self.sigma_min / self.sigma_max) * self.sigma(t)
