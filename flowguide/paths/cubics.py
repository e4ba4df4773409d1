r"""Smooth curves through rising values.

Between knots :math:`L_0 = 0 < L_1 < \dots < L_N`, one apart, with increments :math:`\Delta_k = L_{k+1} - L_k` and
slopes :math:`d_k` at the knots, the curve is the cubic

.. math:: L(k + s) = L_k + s \left[ d_k + s \left( 3 \Delta_k - 2 d_k - d_{k+1} + s (d_k + d_{k+1} - 2 \Delta_k) \right)
    \right], \qquad 0 \le s \le 1.

The slopes are differences of fourth order,

.. math:: d_k = (7 \Delta_{k-1} + 7 \Delta_k - \Delta_{k-2} - \Delta_{k+1}) / 12,

held between half the smaller of the two increments beside the knot and twice that. With such slopes a cubic rises
everywhere: the curve and its derivative are continuous, and the derivative is positive.

Source: Fritsch & Carlson (1980), "Monotone piecewise cubic interpolation", SIAM J. Numer. Anal. 17 (limits on slopes).
"""

import torch
from torch import Tensor


def rising_cubics(increments: Tensor) -> Tensor:
    """The coefficients of s, lowest first, between each two knots: shape (N, 4).

    Args:
        increments: Shape (N,), N >= 3, positive.
    """
    padded = increments
    parabola = padded.new_tensor([3.0, -3.0, 1.0])
    for _ in range(2):  # increments go on along parabolas, so that cubics are reproduced up to their ends
        first, last = padded[:3] @ parabola, padded[-3:].flip(0) @ parabola
        padded = torch.cat([first[None], padded, last[None]])
    a, b, c, d = (padded[i : i + len(increments) + 1] for i in range(4))
    beside = torch.cat([increments[:1], increments, increments[-1:]])
    smaller = torch.minimum(beside[1:], beside[:-1])
    slopes = ((7 * (b + c) - a - d) / 12).clamp(smaller / 2, 2 * smaller)
    left, right = slopes[:-1], slopes[1:]
    knots = increments.cumsum(0) - increments
    return torch.stack([knots, left, 3 * increments - 2 * left - right, left + right - 2 * increments], dim=1)
