r"""Pseudo-inverse guidance: the spread of the data about their prediction is counted in.

.. math:: C_t = s^2 I + r_t^2 A A^\top, \qquad
    r_t^2 = \mathrm{Var}[z \mid x_t] = \frac{\tau^2 \sigma_t^2}{\alpha_t^2 \tau^2 + \sigma_t^2}

for data of variance :math:`\tau^2` in all directions: for Gaussian data :math:`N(m, \tau^2 I)` the guided score is that
of the posterior. Without noise, s = 0, it is the pseudo-inverse :math:`A^+` that acts on the residual.

Source: Song, Vahdat, Mardani & Kautz (2023), "Pseudoinverse-guided diffusion models for inverse problems", ICLR, Eq. 7
and section 3.3, where :math:`\tau = 1`; the paper's factor :math:`r_t^2` of the gradient, which is for few steps of
DDIM, can be had as a schedule for w.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..fields import Field
from ..observations import Observation
from ..paths import Coefficients
from .base import guidance
from .inverse import Inverse
from .weights import Weight


@guidance.register("pigdm")
class PiGDM(Inverse):
    """Pseudo-inverse guidance: as dps, with the spread of the data that the state leaves open in the likelihood.

    Args:
        field: The field to guide, with or without conditions.
        observation: How the data are seen; in a recipe its name, or its name and options.
        observed: y, one for all samples or one for each; in a recipe a list, or a file .npy or .safetensors.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        data_std: tau, the standard deviation of the data, > 0.
    """

    def __init__(
        self,
        field: Field,
        observation: Observation | str | Mapping[str, Any],
        observed: Tensor | Sequence | float | str,
        w: Weight = 1.0,
        data_std: float = 1.0,
    ) -> None:
        super().__init__(field, observation, observed, w)
        if not 0 < data_std < math.inf:
            raise ValueError(f"data_std is the standard deviation of the data, above 0, not {data_std}")
        self.data_std = data_std

    @property
    def t_max(self) -> float:
        # Without any noise, of the observation or of the state, nothing is left to divide by.
        return super().t_max if self.observation.std else min(super().t_max, self.path.interval("data")[1])

    def whiten(self, residual: Tensor, c: Coefficients, shape: tuple[int, ...]) -> Tensor:
        variance = (self.data_std * c.sigma / c.spread(self.data_std)) ** 2
        variance = variance.reshape(-1, *[1] * (residual.ndim - 1)) if variance.ndim else variance
        return self.observation.solve(residual, self.observation.std**2, variance, shape)
