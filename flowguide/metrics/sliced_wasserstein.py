r"""Sliced Wasserstein distance: for points in few dimensions.

.. math:: \mathrm{SW}^2 = E_\theta \int_0^1 \left( F_\theta^{-1}(q) - \tilde F_\theta^{-1}(q) \right)^2 dq

over random directions :math:`\theta`, with the quantiles of both sets projected on them, exactly, whatever their sizes.
In units of the features. Finite samples of the data are not at distance 0: compare with the real held-out data.

Source: Bonneel et al. (2015), J. Math. Imaging Vis. 51.
"""

import torch
from torch.nn.functional import normalize

from ..distances import sliced
from ..randomness import normal
from .base import Metric, Seen, metrics


@metrics.register("sliced_wasserstein")
class SlicedWasserstein(Metric):
    """Sliced Wasserstein distance from the training data, in units of the features; lower is better.

    Args:
        projections: Random directions.
        seed: Of the directions.
    """

    title = "sliced Wasserstein"
    better = "lower"

    def __init__(self, projections: int = 64, seed: int = 0) -> None:
        if projections < 1:
            raise ValueError(f"projections must be at least 1, not {projections}")
        self.projections, self.seed = projections, seed

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        x, y = samples.features.double(), reference.features.double()
        directions = normalize(normal((self.projections, x.shape[1]), self.seed, dtype=torch.float64), dim=1).to(x)
        return sliced(x @ directions.T, y @ directions.T)
