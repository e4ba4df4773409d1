r"""Tangential damping: the unconditional prediction without what it does not share with the conditional one.

.. math::
    v = \text{first right-singular vector of } \begin{pmatrix} F_c \\ F_u \end{pmatrix}, \qquad
    \tilde F = (1 - w)\, \langle F_u, v \rangle\, v + w\, F_c.

The matrix has two rows, so that :math:`v \propto \cos\theta\, F_c + \sin\theta\, F_u` with
:math:`\tan 2\theta = 2 \langle F_c, F_u \rangle / (\lVert F_c \rVert^2 - \lVert F_u \rVert^2)`: no decomposition of
anything large.

Source: Kwon et al. (2025), arXiv 2503.18137 (TCFG), for scores, that is for predictions of the noise.
"""

import torch
from torch import Tensor

from ..paths import Kind
from .base import guidance
from .spaces import SpacePair, inner, ratio


@guidance.register("tangential")
class TangentialDamping(SpacePair):
    """Tangential damping: (1 - w) unconditional, along the direction that both predictions share most, + w conditional.

    Args:
        field: A field that knows its null condition.
        w: The weight: a number, one per sample, shape (B,), or a schedule.
        space: The kind to act in; None for noise, as in the paper.
    """

    space: Kind = "noise"
    starts_at_reference = False
    conditional_at_1 = True
    affine_in_w = True

    def blend(self, u: Tensor, c: Tensor, w: float | Tensor) -> Tensor:
        cc, cu, uu = inner(c, c), inner(c, u), inner(u, u)
        angle = torch.atan2(2 * cu, cc - uu) / 2
        v = torch.cos(angle).to(c.dtype) * c + torch.sin(angle).to(c.dtype) * u
        damped = ratio(inner(u, v), inner(v, v)).to(c.dtype) * v
        return (1 - w) * damped + w * c
