r"""Vectors to multiply Jacobians with: all unit vectors, or random signs.

.. math:: \sum_i e_i e_i^\top = I, \qquad E\, v v^\top = I.

The first give traces and norms exactly, in as many products as there are dimensions; the second without bias, in any
number of products, with less variance than any other law of independent entries.

Source: Hutchinson (1989), "A stochastic estimator of the trace of the influence matrix", Commun. Stat. 18.
"""

import torch
from torch import Tensor

from .randomness import uniform


def units(x: Tensor) -> Tensor:
    """The unit vectors of the space of one sample of x, (B, *), shape (D, 1, *)."""
    dim = x[0].numel()
    return torch.eye(dim, dtype=x.dtype, device=x.device).reshape(dim, 1, *x.shape[1:])


def signs(x: Tensor, seed: int, probe: int, first: int) -> Tensor:
    """Random signs like x, shape (B, *), keyed by the seed, the probe and the sample, ``first`` being that of row 0."""
    options = {"stream": probe, "first": first, "device": x.device, "dtype": torch.float64}
    return uniform(x.shape, seed, **options).sub(0.5).sign().to(x)
