r"""Frechet distance for infinitely many samples.

A distance that is estimated from N samples is too large by about c / N, and c depends on the model, so that models
of one N do not compare. Distances of subsets of several sizes are fitted by

.. math:: \mathrm{FD}_N = \mathrm{FD}_\infty + c / N

in least squares, and the intercept is the metric. The reference is taken as it is, whole. Sizes are evenly spaced, up
to all samples, from a tenth of them, or twice the features if that is more (below, the law c / N does not hold), but
at most half of them.

Source: Chong & Forsyth (2020), arXiv 1911.07023.
"""

import torch

from ..randomness import derive, uniform
from .base import Seen, metrics
from .frechet_distance import FrechetDistance, Gaussian, warn_of_rank


@metrics.register("frechet_distance_infinity")
class FrechetDistanceInfinity(FrechetDistance):
    """Frechet distance extrapolated to infinitely many samples; lower is better, and it may be below zero.

    Args:
        points: Sizes of subsets, at least 3.
        seed: Of the subsets.
    """

    title = "Fréchet distance, N → ∞"

    def __init__(self, points: int = 15, seed: int = 0) -> None:
        if points < 3:
            raise ValueError(f"points must be at least 3, not {points}")
        self.points, self.seed = points, seed

    def __call__(self, samples: Seen, reference: Seen) -> float:
        self.check(samples, reference)
        count, features = samples.features.shape
        if count < 2 * self.points:
            raise ValueError(
                f"to extrapolate from {self.points} sizes takes at least {2 * self.points} samples, not {count}"
            )
        target = Gaussian.of(reference.features)
        warn_of_rank(len(reference), features, target.rank, "reference samples")
        smallest = max(2, count // 10, min(2 * features, count // 2))
        sizes = torch.linspace(smallest, count, self.points, dtype=torch.float64).round().long().tolist()
        distances = []
        for index, size in enumerate(sizes):
            chosen = uniform((count, 1), derive(self.seed, index))[:, 0].argsort()[:size]
            fitted = Gaussian.of(samples.features[chosen.to(samples.features.device)])
            distances.append(fitted.distance(target))
        warn_of_rank(count, features, fitted.rank, "samples")
        inverse = 1 / torch.tensor(sizes, dtype=torch.float64)
        design = torch.stack([torch.ones_like(inverse), inverse], 1)
        return float(torch.linalg.lstsq(design, torch.tensor(distances, dtype=torch.float64)[:, None]).solution[0])
