r"""CFG-Zero*: classifier-free guidance with the unconditional velocity scaled to fit, and none at first.

.. math::
    k = \frac{\langle u_c, u_u \rangle}{\lVert u_u \rVert^2} = \arg\min_k \lVert u_c - k\, u_u \rVert, \qquad
    \tilde u = (1 - w)\, k\, u_u + w\, u_c,

and :math:`\tilde u = 0` for :math:`t < t_0` ("zero-init"), while a network that is not trained to the end predicts
the velocity worse than nothing would.

Source: Fan, Zheng, Yeh & Liu (2025), arXiv 2503.18886, algorithm 1, for flow matching. They set the
velocity of the first K steps to zero (their code the first one at least); here it is that before a time, which does
not move with the grid: K steps of n are ``zero_until=K/n`` on a uniform one.
"""

import torch
from torch import Tensor

from ..fields import Field
from ..paths import Kind, Prediction
from .base import guidance
from .spaces import SpacePair, inner, ratio
from .weights import Weight


@guidance.register("cfg_zero_star")
class CFGZeroStar(SpacePair):
    """CFG-Zero*: (1 - w) k unconditional + w conditional, k by least squares; a velocity of 0 at first if wanted.

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        zero_until: The time before which the velocity is 0; 0 for never.
        space: The kind whose scale is fitted; None for velocity, as in the paper.
    Raises:
        ValueError: if zero_until is not in [0, 1).
    """

    space: Kind = "velocity"
    starts_at_reference = False
    affine_in_w = True

    def __init__(self, field: Field, w: Weight = 1.0, zero_until: float = 0.0, space: Kind | None = None) -> None:
        super().__init__(field, w, space)
        if not 0 <= zero_until < 1:
            raise ValueError(f"zero_until is a time, from 0 (never zero) to below 1, not {zero_until}")
        self.zero_until = zero_until
        self.conditional_at_1 = zero_until == 0

    def blend(self, u: Tensor, c: Tensor, w: float | Tensor) -> Tensor:
        scale = ratio(inner(c, u), inner(u, u)).to(u.dtype)
        return (1 - w) * scale * u + w * c

    def predict(self, x: Tensor, t: Tensor, cond: Tensor | None) -> Prediction:
        # To look at the times makes a GPU wait; where the velocity is never 0 nobody looks.
        if not self.zero_until or cond is None:
            return super().predict(x, t, cond)
        early = self.early(t)
        return self.still(x, t) if early.all() else self.still(x, t).where(early, super().predict(x, t, cond))

    def with_conditional(self, x: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Prediction, Prediction]:
        guided, c = super().with_conditional(x, t, cond)
        if not self.zero_until or cond is None:
            return guided, c
        return self.still(x, t).where(self.early(t), guided), c

    def early(self, t: Tensor) -> Tensor:
        """Whether the velocity is 0, same shape as ``t``."""
        # With slack, for the K-th time of n may be less than K / n by its rounding.
        return t < self.zero_until - 1e-6

    def still(self, x: Tensor, t: Tensor) -> Prediction:
        """The prediction whose velocity is 0."""
        return self.path.predict("velocity", torch.zeros_like(x), x, t)
