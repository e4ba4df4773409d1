r"""Squared maximum mean discrepancy for a Gaussian kernel: for points in few dimensions.

.. math:: k(a, b) = \exp\left( -\tfrac12 |a - b|^2 / h^2 \right), \quad h^2 = s^2\, \mathrm{tr}\, \mathrm{Cov}_{data}

Without bias, so that it may be below zero.

Source: Gretton et al. (2012), JMLR 13, Lemma 6.
"""

from ..distances import gaussian, mmd2
from .base import Metric, Seen, metrics


@metrics.register("mmd")
class MMD(Metric):
    """Squared maximum mean discrepancy from the training data; lower is better, and it may be below zero.

    Args:
        scale: s, the width of the kernel in standard deviations of the data.
    """

    title = "MMD²"
    better = "lower"

    def __init__(self, scale: float = 1.0) -> None:
        if not scale > 0:
            raise ValueError(f"scale must be positive, not {scale}")
        self.scale = scale

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        for seen in (samples, reference):
            if len(seen) < 2:
                raise ValueError(f"mmd needs at least 2 samples on each side, not {len(seen)}")
        x, y = samples.features.double(), reference.features.double()
        if not (spread := float(y.var(0).sum())) > 0:
            raise ValueError(f"mmd takes its kernel's width from the reference samples, and all {len(y)} are the same")
        return mmd2(x, y, gaussian(self.scale**2 * spread))[0]
