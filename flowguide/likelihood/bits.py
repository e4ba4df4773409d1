r"""Bits per dimension: how well a continuous model compresses what takes discrete values.

Images take L values in every entry, a lattice of spacing :math:`\Delta` from low to high. A density gives a lattice
point the probability of its cell, which dequantization bounds: with u uniform in :math:`[0, 1)^D`,

.. math::
    P(x) = \int_{|x' - x|_\infty < \Delta / 2} p(x')\, dx'
    = \Delta^D\, E_u\, p\!\left( x + \Delta (u - \tfrac12) \right), \qquad \Delta = \frac{high - low}{L - 1},

.. math::
    -\frac{\log_2 P(x)}{D} \le -\frac{1}{D \ln 2} E \left[ \log \frac1K \sum_{k=1}^K
    p\!\left( x + \Delta (u_k - \tfrac12) \right) + D \ln \Delta \right].

The bound falls as K grows, and becomes an equality. It does not depend on the units: a lattice in [0, 255] and its
model give the bits of the same lattice in [-1, 1].

Sources: Theis, van den Oord & Bethge (2016), arXiv 1511.01844, Eq. 6 (K = 1); Burda, Grosse & Salakhutdinov (2016),
arXiv 1509.00519, theorem 1 (K > 1); Song et al. (2021), arXiv 2011.13456 (under probability flows).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..fields import Field
from ..randomness import derive, uniform
from .flow import log_likelihood

_OFF = 0.01  # of a cell: more than the rounding of float32 in up to 2^16 levels


def bits_per_dim(
    field: Field,
    images: Tensor,
    cond: Tensor | None = None,
    *,
    levels: int = 256,
    low: float = -1.0,
    high: float = 1.0,
    samples: int = 1,
    prior: Callable[[Tensor], Tensor] | None = None,
    exact: bool | None = None,
    probes: int = 1,
    seed: int = 0,
    first: int = 0,
    rtol: float = 1e-5,
    atol: float = 1e-5,
) -> Tensor:
    """An upper bound, in expectation, on the bits per dimension of images, by uniform dequantization.

    Where the divergence is estimated, which adds noise to the logarithm, one sample keeps the bound and several may
    fall short of it.

    Args:
        field: Any field, as for :func:`.log_likelihood`.
        images: Shape (B, *), on the lattice, in the dtype to compute in; integers are computed with in the default one.
        cond: Conditions, one per sample, or None.
        levels: L, the number of values that an entry takes, at least 2.
        low, high: The least and the largest of them: the cells reach half a spacing further.
        samples: K, the number of dequantizations, each of which costs one likelihood.
        prior, exact, probes, rtol, atol: As for :func:`.log_likelihood`.
        seed: Of the dequantization and of the random vectors.
        first: Index of the sample in row 0: sample ``first + i`` has the same noise in every batch.
    Returns:
        Bits per dimension, shape (B,).
    Raises:
        ValueError: if the images are not on the lattice, or an argument does not fit.
    """
    if levels < 2:
        raise ValueError(f"a lattice has at least 2 levels, not {levels}")
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"a lattice needs low < high, both finite, not low={low}, high={high}")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, not {samples}")
    if not images.is_floating_point():
        images = images.to(torch.get_default_dtype())
    spacing = (high - low) / (levels - 1)
    lattice = _snapped(images, levels, low, spacing)
    logs = []
    for k in range(samples):
        u = uniform(images.shape, seed, stream=k, first=first, device=images.device, dtype=torch.float64)
        x = (lattice + spacing * (u - 0.5)).to(images)
        options = {"prior": prior, "exact": exact, "probes": probes, "first": first, "rtol": rtol, "atol": atol}
        # Probes of another seed than the noise, with which they must have nothing in common.
        logs.append(log_likelihood(field, x, cond, seed=derive(seed, k), **options))
    dim = images[0].numel()
    log_probability = torch.stack(logs).logsumexp(0) - math.log(samples) + dim * math.log(spacing)
    return -log_probability / (dim * math.log(2))


def _snapped(images: Tensor, levels: int, low: float, spacing: float) -> Tensor:
    """The lattice points of the images, float64; ValueError naming the first value that is on none."""
    position = (images.double() - low) / spacing
    index = position.round()
    wrong = images[~(((position - index).abs() < _OFF) & (index >= 0) & (index < levels))]
    if len(wrong):
        high = low + spacing * (levels - 1)
        raise ValueError(
            f"{wrong[0].item():.6g} is not one of the {levels} values from {low:g} to {high:g}; "
            f"give levels, low and high as the images have them, and no images that were resized or augmented"
        )
    return low + spacing * index
