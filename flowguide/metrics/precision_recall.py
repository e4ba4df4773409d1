r"""Improved precision and recall: what share of one set lies in the manifold of the other.

With :math:`r_k(a)` the distance of a from its k-th nearest neighbour in its own set A,

.. math::
    \mathrm{share}(B; A) = \frac{1}{|B|} \sum_{b \in B} \mathbb 1\left[ \exists\, a \in A : |b - a| \le r_k(a) \right];

precision is the share of the samples in the real data, recall the other way round. The first falls where
samples are no data, the second where data are not sampled. Both depend on the sizes of the two sets, and so compare
only for equal ones.

Source: Kynkäänniemi et al. (2019), arXiv 1904.06991, Eq. 1 and 2.
"""

import torch
from torch import Tensor

from ..distances import blocks, pairwise, radii
from .base import Metric, Seen, metrics


class ManifoldShare(Metric):
    """What both have in common.

    Args:
        neighbours: k, the neighbour whose distance is the radius of a ball, at least 1.
    """

    better = "higher"

    def __init__(self, neighbours: int = 3) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {neighbours}")
        self.neighbours = neighbours

    def share(self, points: Tensor, manifold: Tensor) -> float:
        """The share of ``points``, shape (N, F), in the manifold of the others, shape (M, F)."""
        points, manifold = points.double(), manifold.double()
        reach = radii(manifold, self.neighbours)
        inside = [(pairwise(part, manifold) <= reach).any(1) for part in blocks(points, len(manifold))]
        return float(torch.cat(inside).double().mean())


@metrics.register("precision")
class Precision(ManifoldShare):
    """Share of the samples within the manifold of the training data, from 0 to 1; higher is better."""

    title = "precision"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        return self.share(samples.features, reference.features)


@metrics.register("recall")
class Recall(ManifoldShare):
    """Share of the training data within the manifold of the samples, from 0 to 1; higher is better."""

    title = "recall"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        return self.share(reference.features, samples.features)
