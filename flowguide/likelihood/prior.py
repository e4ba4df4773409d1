r"""The law of the states where a path begins with a little signal left.

At :math:`t_{\min}` the paths vp, subvp, ve, edm and ddpm are not quite at noise: with :math:`a = \alpha / \sigma` small
and :math:`y = x / \sigma` the states have the density

.. math::
    \log p(x) &= \log N(x; 0, \sigma^2 I) + \log E_z\, e^{a\, z \cdot y - a^2 |z|^2 / 2} \\
    &= \log N(x; 0, \sigma^2 I) + a\, m \cdot y + \tfrac{a^2}{2} \left[ y^\top S y - |m|^2 - \mathrm{tr}\, S \right]
    + O(a^3)

in the mean m and covariance S of the data. A field knows both: its data prediction is
:math:`\hat z(x) = m + a S (y - a m) + O(a^2)`, so that to the same order

.. math::
    \log p(x) = \log N(x; 0, \sigma^2 I) + \tfrac a2\, y \cdot \left[ \hat z(x) + \hat z(0) \right]
    - \tfrac{a^2}{2} |\hat z(0)|^2 - \tfrac{a \sigma}{2} \nabla \cdot \hat z(x).

The first two terms of the correction are the line integral of the score from 0 to x.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..fields import Field
from ..fields.inference import outside_inference_mode
from .divergence import probing_vectors, value_and_divergence


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """log N(x; 0, sigma^2 I), shape (B,)."""
    squares = (x / sigma).square().flatten(1).sum(1)
    return -0.5 * squares - x[0].numel() * (0.5 * math.log(2 * math.pi) + math.log(sigma))


@outside_inference_mode
def matched_prior(
    field: Field,
    cond: Tensor | None = None,
    *,
    exact: bool | None = None,
    probes: int = 1,
    seed: int = 0,
    first: int = 0,
) -> Callable[[Tensor], Tensor]:
    """A ``prior`` for :func:`.log_likelihood`: the law at t_min of what the field itself predicts of the data.

    It brings the likelihood of an exact field to that of its data. For a network it is as good as the network is at
    t_min, and a solver does not start from it but from N(0, sigma^2 I).

    Args:
        field: As for the likelihood; a conservative one.
        cond: Conditions, one per sample, or None.
        exact, probes, seed, first: How the divergence is taken, as for the likelihood.
    Returns:
        A function of states at ``field.t_min``, (B, *) to nats (B,).
    """

    @outside_inference_mode
    def prior(x: Tensor) -> Tensor:
        t = torch.tensor(field.t_min, dtype=torch.float64)
        alpha, sigma = field.path.alpha(t).item(), field.path.sigma(t).item()
        if alpha == 0:
            return gaussian(x, sigma)
        vectors = probing_vectors(x, exact, probes, seed, first)
        here, divergence = value_and_divergence(lambda x: field(x, field.t_min, cond).data, x, vectors)
        with torch.no_grad():
            mean = field(torch.zeros_like(x), field.t_min, cond).data
        along = (x * (here + mean)).flatten(1).sum(1) / sigma
        ratio = alpha / sigma
        correction = along - ratio * mean.square().flatten(1).sum(1) - sigma * divergence
        return gaussian(x, sigma) + 0.5 * ratio * correction

    return prior
