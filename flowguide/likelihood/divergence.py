r"""Divergences: exact in few dimensions, estimated without bias in many.

.. math:: \nabla \cdot u = \sum_i e_i^\top (\nabla u)\, e_i = E\left[ v^\top (\nabla u)\, v \right], \qquad
    E\, v v^\top = I,

where v is a vector of random signs (:mod:`flowguide.probing`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ..probing import signs, units

_FEW = 16


def probing_vectors(x: Tensor, exact: bool | None, probes: int, seed: int, first: int) -> Tensor:
    """What :func:`value_and_divergence` multiplies with: unit vectors (D, 1, *), or signs (probes, B, *).

    Args:
        x: Shape (B, *): like this.
        exact: Unit vectors, or signs; None: unit vectors in up to 16 dimensions.
        probes: Random vectors per sample; they are divided by the root of their number.
        seed, first: Of the signs; row i is sample ``first + i``.
    Raises:
        ValueError: if probes is no number of vectors.
    """
    if not hasattr(probes, "__index__") or probes < 1:
        raise ValueError(f"probes must be at least 1, an integer, not {probes!r:.80}")
    dim = x[0].numel()
    if exact or (exact is None and dim <= _FEW):
        return units(x)
    return torch.stack([signs(x, seed, probe, first) for probe in range(probes)]) / probes**0.5


def value_and_divergence(function: Callable[[Tensor], Tensor], x: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """A vector field at x, shape (B, *), and its divergence, shape (B,): the sum over the vectors of v . (grad u) v."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = function(x)
        divergence = x.new_zeros(len(x))
        for vector in vectors:
            (product,) = torch.autograd.grad(value, x, vector.expand_as(value), retain_graph=True)
            divergence = divergence + (product * vector).flatten(1).sum(1)
    return value.detach(), divergence
