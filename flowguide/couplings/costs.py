r"""Costs of pairs, and the assignment that makes their sum smallest.

.. math:: C_{ij} = \|z_i - \varepsilon_j\|^2 = \|z_i\|^2 + \|\varepsilon_j\|^2 - 2 \langle z_i, \varepsilon_j \rangle,

where no permutation changes the sums of the first two terms: the assignment of least cost is that of greatest total
inner product, and one matrix product is all that is computed.
"""

import torch
from torch import Tensor

from ..devices import sent


def inner_products(a: Tensor, b: Tensor) -> Tensor:
    """All inner products of the samples of ``a`` and ``b``, shape (len(a), len(b)); float64 stays, all else is float32.

    Autocasting is off: in sixteen bits the largest of many products of images are often the same number.
    """
    wide = torch.float64 if a.dtype == torch.float64 else torch.float32
    with torch.autocast(a.device.type, enabled=False):
        return a.flatten(1).to(wide) @ b.flatten(1).to(wide).T


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """All squared distances of the samples of ``a`` and ``b``, shape (len(a), len(b)), never negative."""
    products = inner_products(a, b)
    squares = [sample.flatten(1).to(products.dtype).square().sum(1) for sample in (a, b)]
    return (squares[0][:, None] + squares[1] - 2 * products).clamp(min=0)  # rounding may give less than 0


def assignment(gains: Tensor) -> Tensor:
    """The permutation of greatest total gain: row i goes with column ``assignment(gains)[i]``, on gains' device.

    It is found exactly, by the Jonker-Volgenant algorithm in scipy, on the CPU: O(B^3), some 10 ms for a batch of 512.

    Args:
        gains: Shape (B, B).
    Raises:
        ValueError: if a gain is not finite.
    """
    from scipy.optimize import linear_sum_assignment

    on_host = gains.cpu()  # the one time that a GPU has to wait
    check_finite(on_host)
    _, columns = linear_sum_assignment(on_host.numpy(), maximize=True)
    return sent(torch.from_numpy(columns), gains.device)


def check_finite(costs: Tensor) -> None:
    """ValueError unless all pairs have a finite cost."""
    if not costs.isfinite().all():
        row = int((~costs.isfinite()).any(1).nonzero()[0])
        raise ValueError(
            f"data sample {row} of the batch has a pair whose cost is infinite or NaN; look at data, source and "
            f"conditions for numbers that are not finite, or too large to be squared"
        )
