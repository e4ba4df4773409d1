r"""Weightings: how much the error of the data counts at each time.

A weighting is the :math:`w(t)` of :math:`w(t) \|\hat z - z\|^2`, as in the literature. It may be infinite where there
is no noise left, :math:`\sigma = 0`; the product :math:`w \sigma^2` is finite, and that is what each states:

===========  ================================================  =============================================
name         :math:`w`, with SNR :math:`= \alpha^2/\sigma^2`    :math:`w \sigma^2`
===========  ================================================  =============================================
none         1                                                 :math:`\sigma^2`
snr          SNR                                               :math:`\alpha^2`
min_snr      min(SNR, gamma)                                   :math:`\min(\alpha^2, \gamma \sigma^2)`
edm          SNR + 1 / sigma_data^2                            :math:`\alpha^2 + \sigma^2 / \sigma_{data}^2`
sigmoid      SNR sigmoid(bias - log SNR)                       :math:`\alpha^2\, \text{sigmoid}(\cdot)`
velocity     :math:`(D / \sigma)^2`, D the determinant         :math:`D^2`
===========  ================================================  =============================================

with :math:`D = \dot\alpha\sigma - \alpha\dot\sigma`. Weights are per time t as the time sampling draws it. Papers that
weigh an integral over log SNR (Kingma & Gao; Hoogeboom et al.) have besides, where they draw t uniformly, the factor
:math:`|d \log \text{SNR} / dt|`.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..paths import Coefficients
from ..registry import Registry

weightings = Registry("weighting")


class Weighting(ABC):
    """A weight of the data's squared error at each time."""

    @abstractmethod
    def __call__(self, c: Coefficients) -> Tensor:
        """The weight times sigma^2, of the shape of ``c.sigma``; finite and not negative on all of the path."""


@weightings.register("none")
class Unweighted(Weighting):
    """The squared error of the data as it is."""

    def __call__(self, c: Coefficients) -> Tensor:
        return c.sigma**2


@weightings.register("snr")
class SNR(Weighting):
    """The squared error of the noise, DDPM's simple loss (Ho, Jain & Abbeel 2020, arXiv 2006.11239, Eq. 14)."""

    def __call__(self, c: Coefficients) -> Tensor:
        return c.alpha**2


@weightings.register("min_snr")
class MinSNR(Weighting):
    """As snr, but no more than gamma (Hang et al. 2023, arXiv 2303.09556).

    Args:
        gamma: The greatest weight, positive.
    """

    def __init__(self, gamma: float = 5.0) -> None:
        self.gamma = _positive("min_snr", "gamma", gamma)

    def __call__(self, c: Coefficients) -> Tensor:
        return torch.minimum(c.alpha**2, self.gamma * c.sigma**2)


@weightings.register("edm")
class EDM(Weighting):
    """Equal weights of all noise levels for EDM's bare network (Karras et al. 2022, arXiv 2206.00364, table 1).

    Args:
        sigma_data: Standard deviation of the data, positive.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        self.sigma_data = _positive("edm", "sigma_data", sigma_data)

    def __call__(self, c: Coefficients) -> Tensor:
        return c.alpha**2 + (c.sigma / self.sigma_data) ** 2


@weightings.register("sigmoid")
class Sigmoid(Weighting):
    """The squared error of the noise, fading out above log SNR = bias (Kingma & Gao 2023, arXiv 2303.00848).

    Hoogeboom et al. (2024), arXiv 2410.19324, write it exp(b) sigmoid(log SNR - b) on the error of the data, which is
    the same; theirs, and ours, is the log of alpha^2 / sigma^2.

    Args:
        bias: The log SNR at which the weight of the noise is one half.
    """

    def __init__(self, bias: float = 0.0) -> None:
        if not math.isfinite(bias):
            raise ValueError(f"the weighting sigmoid needs a finite bias, not {bias}")
        self.bias = bias

    def __call__(self, c: Coefficients) -> Tensor:
        # Where a scale is 0 the logarithm is infinite, and the sigmoid of that is 0 or 1.
        return c.alpha**2 * torch.sigmoid(self.bias - 2 * (c.alpha.log() - c.sigma.log()))


@weightings.register("velocity")
class Velocity(Weighting):
    """The squared error of the velocity: with it, dsm is conditional flow matching."""

    def __call__(self, c: Coefficients) -> Tensor:
        return c.determinant**2


def _positive(owner: str, name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"the weighting {owner} needs a positive {name}, not {value}")
    return value
