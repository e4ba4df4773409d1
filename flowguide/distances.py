r"""Distances within and between sets of points, in blocks of rows, so that 50,000 points by 50,000 fit anywhere.

Sets have shapes (N, F) and (M, F). No matrix of more than 2^25 numbers is ever held (256 MiB of float64).
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]  # (N, F) and (M, F) -> (N, M)

_ENTRIES = 2**25  # of a matrix of distances at a time


def blocks(points: Tensor, others: int) -> Iterator[Tensor]:
    """The points, so many at a time that their distances from ``others`` many points fit into memory."""
    yield from points.split(max(1, _ENTRIES // max(1, others)))


def pairwise(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances, shape (N, M).

    By differences, since |a|^2 + |b|^2 - 2 ab would round the small ones away.
    """
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def nearest(points: Tensor, others: Tensor, k: int = 1) -> Tensor:
    """Distance of each point from its k-th nearest among the others, shape (N,), float64."""
    points, others = points.double(), others.double()
    found = [pairwise(part, others).topk(k, 1, largest=False).values[:, -1] for part in blocks(points, len(others))]
    return torch.cat(found)


def radii(points: Tensor, k: int) -> Tensor:
    """Distance of each point from its k-th nearest neighbour in its own set, shape (N,), float64.

    Raises:
        ValueError: if there are not as many neighbours.
    """
    if len(points) <= k:
        raise ValueError(f"a manifold of {k} nearest neighbours needs more samples than that, not {len(points)}")
    return nearest(points, points, k + 1)  # the nearest of all is the point itself


def sliced(mine: Tensor, theirs: Tensor) -> float:
    r"""Sliced 2-Wasserstein distance of projected samples, exactly that of the two sets.

    .. math:: \mathrm{SW}^2 = E_\theta \int_0^1 \left( F_\theta^{-1}(q) - \tilde F_\theta^{-1}(q) \right)^2 dq

    Args:
        mine, theirs: Projections on P directions, shapes (N, P) and (M, P).
    Source: Bonneel et al. (2015), J. Math. Imaging Vis. 51.
    """
    n, m = len(mine), len(theirs)
    ours, others = mine.sort(0).values, theirs.sort(0).values
    # Both inverses are steps: one ends at every multiple of m, one at every multiple of n, in units of 1 / (n m).
    ends = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    widths = ends.diff(prepend=ends.new_zeros(1)).to(ours) / (n * m)
    at = (ends - 1).to(mine.device)
    squares = (ours[at // m] - others[at // n]).square()
    return float((widths @ squares).mean().sqrt())


def gaussian(variance: float) -> Kernel:
    r"""The kernel :math:`\exp(-|x - y|^2 / 2 h^2)`, with :math:`h^2` the variance."""
    return lambda a, b: torch.exp(-0.5 * torch.cdist(a, b).square() / variance)


def mmd2(x: Tensor, y: Tensor, kernel: Kernel) -> tuple[float, float]:
    r"""Squared maximum mean discrepancy, without bias, so that it may be negative; and its standard error.

    .. math:: \frac{1}{n (n - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m - 1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{n m} \sum_{i, j} k(x_i, y_j)

    The error is that of the sum's linear part, and so right to first order where the distance is clear of zero.

    Args:
        x, y: Shapes (N, F) and (M, F).
        kernel: Of two sets.
    Returns:
        Both nan for fewer than two points on either side.
    Source: Gretton et al. (2012), JMLR 13, Lemma 6; the error is Hoeffding's (1948) of a U-statistic.
    """
    n, m = len(x), len(y)
    if min(n, m) < 2:
        return math.nan, math.nan
    across, back = [], y.new_zeros(m)
    for part in blocks(x, m):
        values = kernel(part, y)
        across.append(values.sum(1))
        back += values.sum(0)
    mine, theirs = _within(x, kernel) / (n - 1), _within(y, kernel) / (m - 1)
    between = torch.cat(across)
    value = mine.mean() + theirs.mean() - 2 * between.mean() / m
    variance = (mine - between / m).var() / n + (theirs - back / n).var() / m
    return float(value), float(2 * variance.sqrt())


def _within(x: Tensor, kernel: Kernel) -> Tensor:
    """The sum over all others of each point's kernel with them, shape (N,)."""
    sums, first = [], 0
    for part in blocks(x, len(x)):
        values = kernel(part, x)
        values.diagonal(first).zero_()
        sums.append(values.sum(1))
        first += len(part)
    return torch.cat(sums)
