r"""What objectives that regress a field on the truth have in common.

.. math:: L = E_{t, z, \varepsilon}\, c_t\, \text{error}\left( \text{field}(x_t, t, y),\ (z, \varepsilon) \right),
    \qquad x_t = \alpha_t z + \sigma_t \varepsilon,

with times t from a time sampling, which gives the factors :math:`c_t` too, and pairs :math:`(z, \varepsilon)` from a
coupling. With probability ``label_dropout`` a sample's condition becomes null, so that one network learns the
conditional and the unconditional field. With ``quasi_conservative``, what the Jacobian of the field has of a rotation
is penalised besides (:mod:`flowguide.objectives.quasi_conservative`).

Source: label dropout is Ho & Salimans (2022), arXiv 2207.12598, algorithm 1.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..couplings import Coupling
from ..couplings import registry as couplings
from ..fields import Field
from ..paths import Prediction
from .base import Objective
from .quasi_conservative import QuasiConservative
from .time_sampling import TimeSampling, time_samplings


class Regression(Objective):
    """An error of the field's prediction, averaged over times, data and noise.

    Args:
        label_dropout: Probability that a sample's condition becomes null, in [0, 1].
        time: Law of the times: a name, or a name and options, ``{"name": ..., ...}``.
        coupling: Of data and noise: likewise.
        quasi_conservative: Weight of the penalty on rotation, 0 for none; or a group of settings, ``{"weight": ...,
            "share": ..., "of": ...}``.
    """

    def __init__(
        self,
        label_dropout: float = 0.1,
        time: str | Mapping[str, Any] = "uniform",
        coupling: str | Mapping[str, Any] = "independent",
        quasi_conservative: float | Mapping[str, Any] = 0.0,
    ) -> None:
        if not 0 <= label_dropout <= 1:
            raise ValueError(f"label_dropout is a probability in [0, 1], not {label_dropout}")
        self.label_dropout = label_dropout
        self.time: TimeSampling = time_samplings.choose(time)
        self.coupling: Coupling = couplings.choose(coupling)
        self.quasi_conservative = QuasiConservative.choose(quasi_conservative)

    @abstractmethod
    def errors(self, guess: Prediction, truth: Prediction) -> Tensor:
        """How far the field's prediction is from the truth, one number per sample, shape (B,)."""

    def losses(
        self,
        model: Field,
        data: Tensor,
        cond: Tensor | None,
        generator: torch.Generator | None,
        source: Tensor | None = None,
    ) -> Tensor:
        options = {"generator": generator, "dtype": data.dtype, "device": data.device}
        # The order of the draws is part of what a seed means: times, noise, pairs, dropout, signs.
        t, factor = self.time.draw(len(data), model.path, model.t_min, model.t_max, **options)
        noise = torch.randn(data.shape, **options) if source is None else source.to(data)
        noise = self.coupling(data, noise, cond, generator)
        if cond is not None and self.label_dropout:
            cond = model.drop(cond, torch.rand(len(data), **options) < self.label_dropout)
        truth = model.path.interpolate(data, noise, t)
        losses = factor * self.errors(model(truth.x, t, cond), truth)
        if not self.quasi_conservative.weight:
            return losses
        rotation, size = self.quasi_conservative(model, truth.x, t, cond, generator)
        return self._penalised(losses, factor * rotation, factor * size)

    def _penalised(self, errors: Tensor, rotation: Tensor, size: Tensor) -> Tensor:
        """The losses with the penalty, shape (B,); reports both, and ||J - J^T|| / ||J||."""
        error, asymmetry = errors.detach().mean(), rotation.detach().mean()
        # A ratio of averages: an average of ratios would be biased.
        ratio = (2 * asymmetry / size.detach().mean()).sqrt()
        self.report = {"error": error, "asymmetry": asymmetry, "asymmetry_ratio": ratio}
        return errors + self.quasi_conservative.weight * rotation
