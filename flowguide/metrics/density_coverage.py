r"""Density and coverage: precision and recall that a single outlier does not move.

With the ball :math:`B_k(y)` around each real datum y that reaches to its k-th nearest neighbour among N real data,

.. math::
    \mathrm{density} = \frac{1}{k M} \sum_{x} \sum_{y} \mathbb 1\left[ x \in B_k(y) \right], \qquad
    \mathrm{coverage} = \frac{1}{N} \sum_{y} \mathbb 1\left[ \exists\, x \in B_k(y) \right]

over M samples x. Density counts in how many balls a sample lies, is about 1 for data and may be above; coverage is the
share of the real data that have a sample nearby, and for data it is about :math:`1 - 2^{-k}` if M = N.

Source: Naeem et al. (2020), arXiv 2002.09797.
"""

import torch

from ..distances import blocks, nearest, pairwise, radii
from .base import Metric, Seen, metrics


class _Balls(Metric):
    """What both have in common.

    Args:
        neighbours: k, the neighbour whose distance is the radius of a ball, at least 1.
    """

    better = "higher"

    def __init__(self, neighbours: int = 5) -> None:
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, not {neighbours}")
        self.neighbours = neighbours


@metrics.register("density")
class Density(_Balls):
    """In how many balls around training data a sample lies, over k; higher is better, and data have about 1."""

    title = "density"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        points, real = samples.features.double(), reference.features.double()
        reach = radii(real, self.neighbours)
        counts = [(pairwise(part, real) <= reach).sum(1) for part in blocks(points, len(real))]
        return float(torch.cat(counts).double().mean() / self.neighbours)


@metrics.register("coverage")
class Coverage(_Balls):
    """Share of the training data that have a sample among their neighbours, from 0 to 1; higher is better."""

    title = "coverage"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        reach = radii(reference.features, self.neighbours)
        return float((nearest(reference.features, samples.features) <= reach).double().mean())
