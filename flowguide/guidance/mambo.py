r"""Magnitude-aware guidance: less where the two predictions differ much.

.. math:: r = \frac{\lVert F_c - F_u \rVert}{\lVert F_u \rVert}, \qquad
          \tilde F = (1 - w_r)\, F_u + w_r\, F_c, \qquad w_r = 1 + (w - 1)\, e^{-\kappa r}.

Source: Zhu et al. (2025), arXiv 2508.03442 (MAMBO-G), for velocities; their :math:`\alpha` is :math:`\kappa` here.
"""

import math

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Kind
from .base import guidance
from .spaces import SpacePair, inner, ratio, root
from .weights import Weight


@guidance.register("mambo")
class MagnitudeAwareGuidance(SpacePair):
    """Magnitude-aware guidance: cfg with the weight 1 + (w - 1) exp(-kappa |difference| / |unconditional|).

    Args:
        field: A field that knows its null condition.
        w: The weight where the predictions agree: a number, one per sample, shape (B,), or a schedule.
        kappa: How fast it falls, at least 0; 0 is classifier-free guidance.
        space: The kind whose norms are compared; None for velocity, as in the paper.
    Raises:
        ValueError: if kappa is negative.
    """

    space: Kind = "velocity"
    starts_at_reference = False
    conditional_at_1 = True
    affine_in_w = True

    def __init__(self, field: Field, w: Weight = 1.0, kappa: float = 8.0, space: Kind | None = None) -> None:
        super().__init__(field, w, space)
        if not 0 <= kappa < math.inf:
            raise ValueError(f"kappa must be at least 0 and finite, not {kappa}")
        self.kappa = kappa

    def blend(self, u: Tensor, c: Tensor, w: float | Tensor) -> Tensor:
        delta = c - u
        if not self.kappa:
            return c + (w - 1) * delta
        uu = inner(u, u)
        size = root(ratio(inner(delta, delta), uu))
        factor = torch.where(uu > 0, torch.exp(-self.kappa * size), 0.0)
        return c + (w - 1) * factor.to(c.dtype) * delta
