r"""Conditional flow matching.

.. math:: L = E_{t, z, \varepsilon} \left\| u(x_t, t, y) - (\dot\alpha_t z + \dot\sigma_t \varepsilon) \right\|^2,
    \qquad x_t = \alpha_t z + \sigma_t \varepsilon,

whose minimiser is the marginal velocity. With probability ``label_dropout`` a sample's condition becomes null, so that
one network learns the conditional and the unconditional field.

Sources: Lipman et al. (2022), arXiv 2210.02747, Eq. 14; Ho & Salimans (2022), arXiv 2207.12598, algorithm 1.
"""

import torch
from torch import Tensor

from ..fields import Field
from .base import Objective, objectives


@objectives.register("cfm")
class ConditionalFlowMatching(Objective):
    """Conditional flow matching, with label dropout per sample.

    Args:
        label_dropout: Probability that a sample's condition becomes null, in [0, 1].
    """

    def __init__(self, label_dropout: float = 0.1) -> None:
        if not 0 <= label_dropout <= 1:
            raise ValueError(f"label_dropout is a probability in [0, 1], not {label_dropout}")
        self.label_dropout = label_dropout

    def losses(self, model: Field, data: Tensor, cond: Tensor | None, generator: torch.Generator | None) -> Tensor:
        options = {"generator": generator, "dtype": data.dtype, "device": data.device}
        t = model.t_min + (model.t_max - model.t_min) * torch.rand(len(data), **options)
        noise = torch.randn(data.shape, **options)
        if cond is not None and self.label_dropout:
            cond = model.drop(cond, torch.rand(len(data), **options) < self.label_dropout)
        truth = model.path.interpolate(data, noise, t)
        error = model(truth.x, t, cond).velocity - truth.velocity
        return error.square().flatten(1).mean(1)
