r"""Denoising score matching, with any weighting.

.. math:: L = E_{t, z, \varepsilon}\, w(t) \left\| \hat z(x_t, t, y) - z \right\|^2,

which is as well an error of the score, :math:`\|\hat z - z\| = (\sigma^2/\alpha) \|s - \nabla \log p_t(x_t \mid z)\|`,
and of every other kind, with other factors. It is computed from the error of v, for which all factors are finite at
both ends of a path: :math:`\hat z - z = -(\sigma / r^2)(\hat v - v)` with :math:`r^2 = \alpha^2 + \sigma^2`, so that

.. math:: w\, \|\hat z - z\|^2 = \frac{w \sigma^2}{r^4} \|\hat v - v\|^2,

and a weighting states the product :math:`w \sigma^2`, whatever the network predicts. ``weighting=velocity`` is
conditional flow matching, sample by sample.

Sources: Vincent (2011), Neural Computation 23:7; Song et al. (2021), arXiv 2011.13456, Eq. 7; Kingma & Gao (2023),
arXiv 2303.00848, for the weightings.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..paths import Prediction
from .base import objectives
from .regression import Regression
from .weighting import Weighting, weightings


@objectives.register("dsm")
class DenoisingScoreMatching(Regression):
    """Denoising score matching: the mean squared error of the data, weighted, with label dropout per sample.

    Args:
        label_dropout: Probability that a sample's condition becomes null, in [0, 1].
        weighting: Of the error of the data: a name, or a name and options, ``{"name": ..., ...}``.
        time: Law of the times: likewise.
        coupling: Of data and noise: likewise. With any but "independent" data, noise and velocity are what they are for
            cfm, and minus the noise over sigma is no score.
        quasi_conservative: Weight of the penalty on rotation, 0 for none; or a group of settings, ``{"weight": ...,
            "share": ..., "of": ...}``.
    """

    def __init__(
        self,
        label_dropout: float = 0.1,
        weighting: str | Mapping[str, Any] = "snr",
        time: str | Mapping[str, Any] = "uniform",
        coupling: str | Mapping[str, Any] = "independent",
        quasi_conservative: float | Mapping[str, Any] = 0.0,
    ) -> None:
        super().__init__(label_dropout, time, coupling, quasi_conservative)
        self.weighting: Weighting = weightings.choose(weighting)

    def errors(self, guess: Prediction, truth: Prediction) -> Tensor:
        c = truth.coefficients
        factor = self.weighting(c) / (c.alpha**2 + c.sigma**2) ** 2
        return (factor * (guess.v - truth.v).square()).flatten(1).mean(1)
