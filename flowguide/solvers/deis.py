r"""DEIS: the noise prediction as a polynomial in time, integrated exactly against the path.

A multistep method in noise coordinates: with :math:`\rho = \sigma / \alpha`,

.. math:: \frac{x_s}{\alpha_s} = \frac{x_t}{\alpha_t} + \int_t^s \hat\varepsilon(\tau)\, \dot\rho_\tau\, d\tau,
    \qquad \dot\rho = -\frac{\dot\alpha\sigma - \alpha\dot\sigma}{\alpha^2}.

Where a path begins with no signal, the first step is taken in straight coordinates.

Source: Zhang & Chen (2022), arXiv 2204.13902, Eq. 14 and 15 (tAB-DEIS).
"""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from ..paths import Path
from .base import solvers
from .coordinates import Noise
from .multistep import Multistep


@solvers.register("deis")
class DEIS(Multistep):
    """tAB-DEIS: one evaluation per step; one more to start with order 3.

    Args:
        order: Order of convergence, the number of slopes: 1 (DDIM), 2 or 3.
        steps, grid, t_start, t_end: As for every solver.
    """

    order = 3
    coordinates = Noise()

    def __init__(
        self,
        order: Literal[1, 2, 3] = 3,
        steps: int = 20,
        grid: str | Mapping[str, Any] = "uniform",
        t_start: float | None = None,
        t_end: float | None = None,
    ) -> None:
        super().__init__(steps, grid, t_start, t_end)
        self.order = self.predictor = order

    def variable(self, path: Path, times: Tensor) -> Tensor:
        return times

    def density(self, path: Path, variable: Tensor) -> Tensor:
        c = path.at(variable.flatten(), variable.flatten())
        return (c.determinant / c.alpha**2).reshape(variable.shape)

    def totals(self, path: Path, times: Tensor) -> Tensor:
        # Finite also where the clock is not.
        sigma = path.sigma(times)
        return sigma[1:] - sigma[:-1] * self.ratios(path, times)
