r"""Polynomial paths.

.. math:: \alpha_t = t^n, \qquad \sigma_t = 1 - t^n,

the straight path on another clock. For n > 1 the clock stands still at t = 0, where a velocity of zero says nothing of
the data; the path then begins at :math:`t_{\min} = 10^{-3}`.

Source: Lipman et al. (2024), arXiv 2412.06264, section 4.8 (convex schedulers).
"""

import math

from torch import Tensor

from .path import Path, paths


@paths.register("polynomial")
class Polynomial(Path):
    """The straight path on another clock: alpha = t^n, sigma = 1 - t^n.

    Args:
        n: Exponent, >= 1; 1 is the linear path.
    """

    def __init__(self, n: float = 2.0) -> None:
        if not 1 <= n < math.inf:
            raise ValueError(f"polynomial needs n >= 1, not {n}")
        self.n = n
        self.t_min = 0.0 if n == 1 else 1e-3

    def alpha(self, t: Tensor) -> Tensor:
        return t**self.n

    def sigma(self, t: Tensor) -> Tensor:
        return 1 - t**self.n

    def alpha_dot(self, t: Tensor) -> Tensor:
        return self.n * t ** (self.n - 1)

    def sigma_dot(self, t: Tensor) -> Tensor:
        return -self.alpha_dot(t)
