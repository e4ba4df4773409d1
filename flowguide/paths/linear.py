r"""The straight path.

.. math:: \alpha_t = t, \qquad \sigma_t = 1 - t.

Sources: Liu, Gong & Liu (2022), arXiv 2209.03003 (rectified flow); Lipman et al. (2022), arXiv 2210.02747, with
:math:`\sigma_{\min} = 0` (conditional optimal transport).
"""

import torch
from torch import Tensor

from .path import Path, paths


@paths.register("linear")
class Linear(Path):
    """Straight lines from noise to data: alpha = t, sigma = 1 - t (rectified flow, CondOT)."""

    def alpha(self, t: Tensor) -> Tensor:
        return t

    def sigma(self, t: Tensor) -> Tensor:
        return 1 - t

    def alpha_dot(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -torch.ones_like(t)
