r"""Power-function averages of weights: how wide they are, how they are updated, and how far apart two of them are.

An average of the weights :math:`\theta` up to step t, and the share in it of those of step :math:`\tau` or earlier:

.. math:: \hat\theta_\gamma(t) = \int_0^t p_{t,\gamma}(\tau)\,\theta(\tau)\,d\tau, \qquad
    p_{t,\gamma}(\tau) = \frac{\gamma + 1}{t^{\gamma + 1}} \tau^\gamma, \qquad
    P_{t,\gamma}(\tau) = \min\left(1, \tau / t\right)^{\gamma + 1}.

It is the same shape whatever t is, so one number says how long it is: the standard deviation of p over t,

.. math:: \sigma_{rel}^2 = \frac{\gamma + 1}{(\gamma + 2)^2 (\gamma + 3)},

which falls from :math:`1/\sqrt{12}` at :math:`\gamma = 0`, the plain mean, to 0 for the last weights alone. For weights
that stand still between steps the integral is exactly

.. math:: \hat\theta(t) = \beta(t)\,\hat\theta(t - 1) + (1 - \beta(t))\,\theta(t), \qquad
    \beta(t) = P_{t,\gamma}(t - 1) = (1 - 1/t)^{\gamma + 1}, \qquad t = 1, 2, \ldots,

and does not know the initial weights. Two averages differ, if the weights walk at random with a variance of
:math:`D^2` per step, by :math:`\int (P_a - P_b)\,d\theta`, and so by

.. math:: \mathbb{E}\,|\hat\theta_a - \hat\theta_b|^2 = D^2 \int_0^T (P_a - P_b)^2 d\tau
    = D^2 \left(\langle a, a\rangle - 2 \langle a, b\rangle + \langle b, b\rangle\right),

whose products, with exponents a and b of P and :math:`t_a \le t_b \le T`, are

.. math:: \langle a, b\rangle = \int_0^T P_a P_b\,d\tau = \frac{t_a}{a + b + 1}\left(\frac{t_a}{t_b}\right)^b
    + \frac{t_b}{b + 1}\left(1 - \left(\frac{t_a}{t_b}\right)^{b + 1}\right) + T - t_b.

Source: averages and their widths: Karras et al. (2023), arXiv 2312.02696, Sec. 3 and App. C. The distance is ours
(there it is that of p in L2).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LONGEST = 1 / math.sqrt(12)  # relative width of the plain mean of all weights
SHORTEST = 1e-6  # there is nothing to average over in less


@dataclass(frozen=True)
class Profile:
    """A power-function average: its relative width, and the step up to which it goes."""

    sigma_rel: float
    step: int


def gamma_of(sigma_rel: float) -> float:
    r"""The exponent of an average of relative width ``sigma_rel``.

    With :math:`z = \gamma + 2` it is the largest root of :math:`z^3 + z^2 - (z - 1)/\sigma^2`, by Viète's formula.

    Args:
        sigma_rel: From SHORTEST to LONGEST.
    Returns:
        gamma, at least 0.
    Raises:
        ValueError: if there is no such average.
    """
    if not SHORTEST <= sigma_rel <= LONGEST + 1e-9:
        raise ValueError(
            f"the relative width of an average, sigma_rel, is from {SHORTEST:g}, the last weights, to {LONGEST:.4f}, "
            f"the plain mean of all, not {sigma_rel:g}"
        )
    inverse = sigma_rel**-2
    p, q = -inverse - 1 / 3, 2 / 27 + 4 * inverse / 3
    angle = math.acos(max(-1.0, 1.5 * q / p * math.sqrt(-3 / p)))
    return max(0.0, 2 * math.sqrt(-p / 3) * math.cos(angle / 3) - 7 / 3)


def sigma_rel_of(gamma: float) -> float:
    """The relative width of the average with an exponent, at least 0."""
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def products(first: Sequence[Profile], second: Sequence[Profile], until: float) -> Tensor:
    """<a, b> of every a of the first with every b of the second.

    Args:
        first, second: Profiles.
        until: T, not before any of their steps.
    Returns:
        Shape (len(first), len(second)), float64, in units of ``until``.
    """
    (ta, a), (tb, b) = _numbers(first, until), _numbers(second, until)
    ta, a, tb, b = torch.broadcast_tensors(ta[:, None], a[:, None], tb, b)
    swapped = ta > tb
    ta, tb = torch.where(swapped, tb, ta), torch.where(swapped, ta, tb)
    a, b = torch.where(swapped, b, a), torch.where(swapped, a, b)
    power = (ta / tb) ** b
    return ta / (a + b + 1) * power + tb / (b + 1) * (1 - power * ta / tb) + 1 - tb


def _numbers(profiles: Sequence[Profile], until: float) -> tuple[Tensor, Tensor]:
    """Steps in units of ``until``, and exponents of P."""
    steps = torch.tensor([each.step for each in profiles], dtype=torch.float64)
    exponents = torch.tensor([gamma_of(each.sigma_rel) + 1 for each in profiles], dtype=torch.float64)
    return steps / until, exponents
