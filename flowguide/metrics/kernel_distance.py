r"""Kernel distance (KID): the squared maximum mean discrepancy of features for a cubic kernel.

.. math:: k(a, b) = \left( a^T b / F + 1 \right)^3

F is the number of features. Without bias for any number of samples, unlike the Frechet distance, and so below zero now
and then. All samples are used at once: the mean over subsets of the literature has the same expectation and more noise.

Source: Binkowski et al. (2018), arXiv 1801.01401.
"""

from torch import Tensor

from ..distances import mmd2
from .base import Metric, Seen, metrics


@metrics.register("kernel_distance")
class KernelDistance(Metric):
    """Kernel distance (KID) to the features of the training data; lower is better, and it may be below zero."""

    title = "kernel distance"
    better = "lower"

    def __call__(self, samples: Seen, reference: Seen) -> float:
        return self.with_error(samples, reference)[0]

    def with_error(self, samples: Seen, reference: Seen) -> tuple[float, float]:
        """The distance, and its standard error over draws of both sets (to first order)."""
        self.check(samples, reference)
        for seen in (samples, reference):
            if len(seen) < 2:
                raise ValueError(f"a kernel distance needs at least 2 samples on each side, not {len(seen)}")
        return mmd2(samples.features.double(), reference.features.double(), cubic)


def cubic(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of sets of shapes (N, F) and (M, F), shape (N, M)."""
    return (a @ b.T).div_(a.shape[1]).add_(1).pow_(3)
